"""Workloads from anybody's data: declarations, held-out queries, the command that makes them."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fanns.bench.cli_data import make
from fanns.bench.workloads import declared, families, grid
from fanns.bench.workloads.workload import load
from fanns.errors import InputError

DECLARATION = """
equality = "shop"
contains = ["tags"]
range = ["sold", "price"]
correlate_with = "shop"
vector = "vector"
metric = "l2"
selectivities = [0.2, 0.5]
seed = 3
"""


def shop(rows: int, seed: int = 0) -> pa.Table:
    """Rows in five clusters, each a shop of its own."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((5, 8)) * 2
    own = rng.integers(0, 5, rows)
    vectors = (centres[own] + rng.standard_normal((rows, 8))).astype(np.float32)
    tags = [["red", "green", "blue"][: i % 4] or None for i in rng.integers(0, 100, rows)]
    return pa.table(
        {
            "id": pa.array(range(rows)),
            "vector": pa.array(vectors.tolist(), pa.list_(pa.float32())),
            "shop": [f"shop {at}" for at in own],
            "tags": tags,
            "sold": [date(2020, 1, 1) + timedelta(days=int(day)) for day in range(rows)],
            "price": rng.random(rows),
            "blob": pa.array([b"x"] * rows),
        }
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pq.write_table(shop(400), tmp_path / "items.parquet")
    feather.write_feather(shop(30, 1), tmp_path / "queries.arrow")
    (tmp_path / "filters.toml").write_text(DECLARATION)
    return tmp_path


def run(*args: Any) -> Any:
    return CliRunner().invoke(make, [str(arg) for arg in args])


def test_make_from_a_file(files: Path) -> None:
    out = files / "made"
    told = run(
        *(files / "items.parquet", "--declare", files / "filters.toml"),
        *("--queries", files / "queries.arrow", "-o", out, "--depth", 5),
    )
    assert told.exit_code == 0, told.output
    assert told.stdout.strip() == str(out)
    assert "cell equality-0.5-none is left out: no value with about 200 rows" in told.stderr
    assert "all cells of em are left out: there is no column" in told.stderr
    found = load(out)
    assert (found.metric, found.depth, found.name) == ("l2", 5, "made")
    assert found.attributes.column_names == ["shop", "tags", "sold", "price", "random"]
    assert found.vectors.shape == (400, 8) and len(found.cells[0].measure) == 24
    cells = {cell.name: cell for cell in found.cells}
    assert {cell.target for cell in found.cells} == {0.2, 0.5, 1.0}
    assert cells["equality-0.2-positive"].affinity > 0.5
    assert cells["equality-0.2-negative"].affinity < -0.5
    assert cells["range_date-0.2-none"].where == "sold BETWEEN :first AND :last"
    assert cells["range_float-0.5-none"].where == "price BETWEEN :first AND :last"


def test_queries_are_held_out(files: Path) -> None:
    out = files / "made"
    told = run(
        *(files / "items.parquet", "--declare", files / "filters.toml", "-o", out, "-q"),
        *("--cell", "equality-0.2-positive", "--cell", "none"),
    )
    assert (told.exit_code, told.stderr) == (0, "")
    found = load(out)
    assert [cell.name for cell in found.cells] == ["none", "equality-0.2-positive"]
    assert len(found.vectors) == 360 and len(found.queries) == 2 * 40
    items = {row.tobytes() for row in found.vectors}
    assert not any(row.tobytes() in items for row in found.queries)


def test_dry_run_prints_the_cells(files: Path) -> None:
    told = run(
        files / "items.parquet", "--declare", files / "filters.toml", "--dry-run", "--cell", "in*"
    )
    assert told.exit_code == 0
    assert "in-0.2-positive" in told.stdout and "shop IN :chosen" in told.stdout
    assert {path.name for path in files.iterdir()} == {
        *("items.parquet", "queries.arrow", "filters.toml")
    }


def test_named_workloads_go_to_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path))
    monkeypatch.setattr(families, "QUERIES", 20)
    told = run("synthetic-1500x8")
    assert told.exit_code == 0, told.output
    assert told.stdout.strip() == str(tmp_path / "workloads" / "synthetic-1500x8")
    assert load(Path(told.stdout.strip())).vectors.shape == (1_500, 8)


def test_quick_has_all_its_cells() -> None:
    told = run("quick", "--dry-run")
    assert (told.exit_code, told.stderr) == (0, "")
    for name in grid.QUICK:
        assert name in told.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["items.parquet", "-o", "x"], "a file needs --declare"),
        (["nothing"], "no workload is called 'nothing'"),
        (["items.parquet", "--declare", "filters.toml"], "give -o"),
        (["quick", "--cell", "em"], "give -o"),
        (["quick", "--cell", "nope", "-o", "x"], "no cell is named nope; there are: none, random"),
    ],
)
def test_says_what_is_missing(
    files: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(files)
    told = run(*args)
    assert told.exit_code != 0
    assert message in " ".join(f"{told.output} {told.exception}".split())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"equalty": "a"}, "'equalty' is not known: expected equality"),
        ({"equality": 3}, "equality is 3, expected str or list"),
        ({"equality": [3]}, "expected names"),
        ({"metric": "hamming"}, "metric is 'hamming', expected one of cosine"),
        ({"selectivities": [0.1, 2]}, "selectivities hold 2"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_wrong_declarations(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        declared.declared(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"equality": "colour"}, "no column 'colour': it has id, vector"),
        ({"contains": "shop"}, "contains needs lists"),
        ({"equality": "tags"}, "need single values"),
        ({"range": "shop"}, "range needs numbers"),
        ({"vector": "price"}, "'price' is not one of vectors"),
        ({"vector": "tags"}, "'tags' is not one of vectors"),
        ({"vector": "blob"}, "'blob' is not one of vectors"),
        ({}, "no column 'embedding' of vectors"),
    ],
)
def test_declarations_that_do_not_fit_the_data(
    files: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        declared.corpus(files / "items.parquet", declared.declared(given), None)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_vectors_of_numbers_that_are_not_finite(files: Path, metric: str, value: float) -> None:
    told = declared.declared({"vector": "vector", "metric": metric})
    good = shop(400)
    rows = good["vector"].to_pylist()
    rows[7][3] = rows[9][0] = value
    at = good.schema.get_field_index("vector")
    bad = good.set_column(at, "vector", pa.array(rows, pa.list_(pa.float64())))
    pq.write_table(bad, files / "bad.parquet")
    for data, queries in (("bad", "items"), ("items", "bad"), ("bad", None)):
        with pytest.raises(InputError, match=r"bad\.parquet: vector 7 holds NaN, or"):
            declared.corpus(
                files / f"{data}.parquet", told, files / f"{queries}.parquet" if queries else None
            )


def test_tables_without_rows(files: Path) -> None:
    told = declared.declared({"vector": "vector"})
    pq.write_table(shop(1).slice(1), files / "none.parquet")
    for data, queries in (("none", "items"), ("items", "none"), ("none", None)):
        with pytest.raises(InputError, match=r"none\.parquet has no rows"):
            declared.corpus(
                files / f"{data}.parquet", told, files / f"{queries}.parquet" if queries else None
            )


def test_files_that_cannot_be_read(files: Path) -> None:
    (files / "bad.toml").write_text("equality = [")
    with pytest.raises(InputError, match=r"bad\.toml cannot be read as a declaration"):
        declared.read(files / "bad.toml")
    (files / "bad.parquet").write_text("no")
    with pytest.raises(InputError, match="cannot be read as Parquet or Arrow"):
        declared.table(files / "bad.parquet")
    pq.write_table(shop(10), files / "few.parquet")
    with pytest.raises(InputError, match="too few to hold queries out of"):
        declared.corpus(files / "few.parquet", declared.declared({"vector": "vector"}), None)
