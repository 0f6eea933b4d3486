"""Workloads on disk: written, loaded, mapped, typed, and refused when they are not whole."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.bench.workloads import truth, typed_params, workload
from fanns.bench.workloads.workload import WorkloadError, load, write
from fanns.datasets.dataset import truth_table
from fanns.datasets.exact import Truth

N, M, D = 60, 4, 5
WHERES = [None, "day >= :d AND at < :t", "list_has_any(days, :ds)", "len(days) = :n"]
PARAMS: list[dict[str, Any]] = [
    {},
    {"d": date(2020, 1, 20), "t": datetime(2020, 2, 20, 12, 30)},
    {"ds": [date(2020, 1, 2), date(2020, 1, 3)]},
    {"n": 2},
]


def vectors_of(array: np.ndarray[Any, Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.astype(np.float32).ravel()), D)


def tables(metric: str = "cosine", ids: Any = None) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Items, queries (one cell for each filter, each asked by two vectors) and truth."""
    rng = np.random.default_rng(0)
    vectors, asked = rng.standard_normal((N, D)), rng.standard_normal((2, D))
    days = [date(2020, 1 + i // 28, 1 + i % 28) for i in range(N)]
    attributes = pa.table(
        {
            "day": pa.array(days),
            "at": pa.array([datetime(d.year, d.month, d.day, 12) for d in days]),
            "days": pa.array([[d, d] if i % 3 else None for i, d in enumerate(days)]),
        }
    )
    queries = np.tile(asked, (len(WHERES), 1)).astype(np.float32)
    wheres = [where for where in WHERES for _ in range(2)]
    params = [one for one in PARAMS for _ in range(2)]
    found = truth.solve(
        vectors.astype(np.float32), attributes, queries, wheres, params, metric, depth=10
    )
    names = np.arange(N) if ids is None else np.asarray(ids)
    table = pa.table(
        {
            "embedding": vectors_of(queries),
            "where": pa.array(wheres, pa.string()),
            "params": [typed_params.to_json(one) if one else None for one in params],
            "cell": [f"cell {i // 2}" for i in range(2 * len(WHERES))],
            "family": ["some"] * 2 * len(WHERES),
            "target": pa.array([0.5, 0.5, *[None] * 6], pa.float64()),
            "correlation": ["natural"] * 2 * len(WHERES),
            "role": ["tune", "measure"] * len(WHERES),
            "matches": found.matches,
            "near": found.near,
        }
    )
    items = attributes.add_column(0, "id", pa.array(names))
    items = items.append_column("embedding", vectors_of(vectors))
    answers = Truth(found.rows, names[found.rows], found.distances, found.offsets)
    return items, table, truth_table(answers)


def test_round_trip(tmp_path: Path) -> None:
    items, queries, answers = tables()
    write(tmp_path / "mine", items, queries, answers, "cosine", depth=10)
    found = load(tmp_path / "mine")
    assert (found.name, found.metric, found.depth) == ("mine", "cosine", 10)
    assert found.params == [one for one in PARAMS for _ in range(2)]
    assert found.attributes.column_names == ["day", "at", "days"]
    assert found.vectors.dtype == found.queries.dtype == np.float32
    for array in (found.vectors, found.queries):
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1.0, atol=1e-6)
        assert isinstance(array, np.memmap) and not array.flags.writeable
    np.testing.assert_array_equal(found.truth_rows, answers["id"])
    np.testing.assert_array_equal(found.truth_distances, answers["distance"])
    assert np.diff(found.truth_offsets).tolist() == np.minimum(found.matches, 10).tolist()
    assert [cell.name for cell in found.cells] == [f"cell {i}" for i in range(4)]
    cell = found.cells[1]
    assert (cell.where, cell.family, cell.correlation) == (WHERES[1], "some", "natural")
    assert (found.cells[0].target, cell.target) == (0.5, None)
    assert (cell.tune.tolist(), cell.measure.tolist()) == ([2], [3])
    assert cell.selectivity == found.matches[2:4].mean() / N
    assert found.cells[0].affinity == 0.0


def test_ids_may_be_text_and_rows_in_another_order(tmp_path: Path) -> None:
    names = [f"paper {(7 * i) % N:02d}" for i in range(N)]
    plain, named = tables("l2"), tables("l2", names)
    write(tmp_path / "a", *plain, "l2", depth=10)
    write(tmp_path / "b", *named, "l2", depth=10, name="other")
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    np.testing.assert_array_equal(first.truth_rows, second.truth_rows)
    assert second.name == "other" and first.fingerprint != second.fingerprint
    np.testing.assert_array_equal(first.vectors, plain[0]["embedding"].to_pylist())  # l2: as given


def test_arrays_are_mapped_once_and_shared(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", *tables(), "cosine", depth=10)
    load(folder, tmp_path / "share")
    assert not (folder / ".mapped").exists()
    (file,) = (tmp_path / "share").rglob("vectors.npy")
    stamp = file.stat().st_mtime_ns
    mapped: Any = load(folder, tmp_path / "share").vectors
    assert str(mapped.filename) == str(file)
    assert file.stat().st_mtime_ns == stamp
    (tmp_path / "file").write_text("taken")
    with pytest.raises(ValueError, match="cannot be written"):
        load(folder, tmp_path / "file")


def test_altered_and_incomplete_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="manifest"):
        load(tmp_path)
    items, queries, answers = tables()
    folder = write(tmp_path / "w", items, queries, answers, "cosine", depth=10)
    load(folder)
    pq.write_table(items.slice(1), folder / "items.parquet")
    with pytest.raises(WorkloadError, match=r"items\.parquet: its checksum"):
        load(folder)
    write(folder, items, queries, answers.slice(1), "cosine", depth=10)
    with pytest.raises(WorkloadError, match="query 0 has 9 true neighbours, expected 10"):
        load(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["truth.parquet"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WorkloadError, match=r"no truth\.parquet"):
        load(folder)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (lambda q: pa.array([-1, *q[1:]], pa.int32()), "names query -1: there are 8"),
        (lambda q: pa.array([*q[:-1], 2**31 - 1], pa.int32()), "names query 2147483647"),
        (lambda q: pa.array([None, *q[1:]], pa.int32()), "has nulls for numbers of queries"),
        (lambda q: pa.array(q, pa.float64()), "has double for numbers of queries"),
    ],
)
def test_truth_of_queries_that_there_are_not(tmp_path: Path, numbers: Any, message: str) -> None:
    items, queries, answers = tables()
    asked = numbers(answers["query"].to_pylist())
    write(tmp_path, items, queries, answers.set_column(0, "query", asked), "cosine", depth=10)
    with pytest.raises(WorkloadError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("depth", ["ten", "-1", "1.5", "", "9" * 5_000])
def test_depths_that_are_none(tmp_path: Path, depth: Any) -> None:
    write(tmp_path, *tables(), "cosine", depth=depth)
    with pytest.raises(WorkloadError, match="its depth is"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("near"), "no column 'near'"),
        (lambda t: t.set_column(8, "matches", t["matches"].cast(pa.int32())), "is int32"),
        (lambda t: t.set_column(7, "role", pa.array(["test"] * len(t))), "role is"),
        (lambda t: t.set_column(6, "correlation", pa.array(["some"] * len(t))), "correlation is"),
    ],
)
def test_queries_of_another_shape_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    items, queries, answers = tables()
    with pytest.raises(WorkloadError, match=message):
        write(tmp_path, items, change(queries), answers, "cosine", depth=10)


def test_zero_vectors_have_no_cosine(tmp_path: Path) -> None:
    items, queries, answers = tables()
    zero = vectors_of(np.zeros((N, D)))
    place = items.schema.get_field_index("embedding")
    with pytest.raises(ValueError, match="vector 0 has no direction"):
        write(
            tmp_path,
            items.set_column(place, "embedding", zero),
            queries,
            answers,
            "cosine",
            depth=10,
        )


def test_cells_mix_no_filters(tmp_path: Path) -> None:
    items, queries, answers = tables()
    mixed = queries.set_column(3, "cell", pa.array(["one"] * len(queries)))
    write(tmp_path, items, mixed, answers, "cosine", depth=10)
    with pytest.raises(WorkloadError, match="several families or filter texts"):
        load(tmp_path)


def test_affinity_of_what_is_near() -> None:
    shares = np.array([0.1, 0.3])
    assert workload.affinity(shares, shares) == 0.0
    assert workload.affinity(np.zeros(2), shares) == -1.0
    assert workload.affinity(np.array([0.5, 0.7]), shares) == pytest.approx(0.5)
    assert workload.affinity(np.zeros(2), np.zeros(2)) == 0.0
