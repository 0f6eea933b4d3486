"""Indexes with graphs of columns: plans, answers, and what writes do to the graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import fanns
from fanns import column_graphs
from fanns.column_graphs import chosen_values
from fanns.errors import InputError
from tests.graph_helpers import clustered, queries_near

N, D = 8_000, 24
VECTORS, _ = clustered(N, D, 90)
QUERIES = queries_near(VECTORS, 25)
RNG = np.random.default_rng(3)
YEARS = RNG.integers(0, 500, N)
KINDS = RNG.choice(5, N, p=[0.4, 0.3, 0.2, 0.09, 0.01])
TAGS = [sorted(set(RNG.choice(4, 2, p=[0.4, 0.3, 0.25, 0.05]).tolist())) for _ in range(N)]
TABLE = pa.table(
    {
        "id": np.arange(N),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), D),
        "year": YEARS,
        "kind": [f"kind {kind}" for kind in KINDS],
        "tags": pa.array(TAGS),
        "note": pa.array([str(i) for i in range(N)]),
    }
)
GRAPHS: dict[str, Any] = {"range_index": ["year"], "label_index": ["kind", "tags"]}


def built(path: Path | None = None, **options: Any) -> fanns.Index:
    given = {**GRAPHS, "calibration": "default", "store": ["note"], **options}
    return fanns.Index.build(TABLE, id="id", vector="vector", path=path, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with shipped constants: plans do not follow from times of this machine."""
    path = tmp_path_factory.mktemp("graphs") / "index"
    built(path)
    return path


@pytest.fixture
def writable(tmp_path: Path) -> fanns.Index:
    built(tmp_path / "index")
    return fanns.open(tmp_path / "index", mode="w")


def truth(rows: NDArray[np.bool_], query: NDArray[Any], k: int) -> set[int]:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    away = -(unit @ (query / np.linalg.norm(query)))
    return set(np.flatnonzero(rows)[np.argsort(away[rows])[:k]].tolist())


def check(index: fanns.Index, where: str, rows: NDArray[np.bool_], params: Any = None) -> str:
    """The plan of a filter on the graph alone; its answers are of the rows and near enough."""
    found = total = 0
    for query in QUERIES:
        hits = index.search(query, 10, where, params=params, plan="graph", recall=0.95)
        ids = set(hits.ids.tolist())
        assert rows[list(ids)].all() and len(ids) == min(10, int(rows.sum())), where
        found += len(ids & truth(rows, query, 10))
        total += len(ids)
    assert found / total > 0.9, where
    return str(hits.explain().segments[0].path)


def has(tag: int) -> NDArray[np.bool_]:
    return np.array([tag in tags for tags in TAGS])


def test_filters_walk_through_the_graph_of_their_column(folder: Path) -> None:
    index = fanns.open(folder)
    middle = (YEARS >= 100) & (YEARS <= 300)
    span = {"a": 100, "b": 300}
    year, kind, tags = (
        "range graph of year",
        "label graph of kind",
        "label graph of tags",
    )
    assert check(index, "year BETWEEN 100 AND 300", middle) == year
    assert check(index, "year BETWEEN :a AND :b", middle, span) == year
    assert check(index, "year < 200", YEARS < 200) == year
    assert check(index, "year >= 350", YEARS >= 350) == year
    assert check(index, "kind = 'kind 1'", KINDS == 1) == kind
    assert check(index, "kind = :kind", KINDS == 1, {"kind": "kind 1"}) == kind
    # Two walks, or one on the graph of all rows: whatever the times of this machine say.
    several = check(index, "kind IN ('kind 1', 'kind 2')", np.isin(KINDS, [1, 2]))
    assert several in (kind, "graph")
    assert check(index, "list_contains(tags, 1)", has(1)) == tags
    assert check(index, "array_has_any(tags, [1, 2])", has(1) | has(2)) in (tags, "graph")
    assert check(index, "array_has_all(tags, [0, 1])", has(0) & has(1)) in (tags, "graph")
    both = check(index, "year BETWEEN 100 AND 300 AND kind = 'kind 0'", middle & (KINDS == 0))
    assert both in (year, kind, "graph")


def test_of_several_things_said_of_a_column_the_narrowest_that_its_graph_covers_counts() -> None:
    common = [[*tags, 9] if i % 10 else tags for i, tags in enumerate(TAGS)]  # too frequent
    table = TABLE.set_column(4, "tags", pa.array(common))
    index = fanns.Index.build(
        table, id="id", vector="vector", label_index=["tags"], calibration="default"
    )
    nine = np.arange(N) % 10 > 0
    graph = "label graph of tags"
    assert check(index, "list_has_all(tags, [9, 1])", nine & has(1)) == graph
    assert check(index, "list_has_all(tags, [1, 9])", nine & has(1)) == graph
    several = "array_has_any(tags, [0, 1, 2, 3, 9]) AND list_contains(tags, 1)"
    assert check(index, several, has(1)) == graph
    assert check(index, "list_has_all(tags, :tags)", nine & has(1), {"tags": [9, 1]}) == graph


def test_filters_that_no_graph_covers(folder: Path) -> None:
    index = fanns.open(folder)
    assert check(index, "year < 200 OR year > 400", (YEARS < 200) | (YEARS > 400)) == "graph"
    either = (YEARS < 200) | (KINDS == 1)
    assert check(index, "year < 200 OR kind = 'kind 1'", either) == "graph"
    assert check(index, "NOT kind = 'kind 3'", KINDS != 3) == "graph"
    short = index.search(QUERIES[0], 10, "year = 7")
    assert short.explain().segments[0].path == "scan"


def test_batches_threads_and_exact_answers(folder: Path) -> None:
    index = fanns.open(folder)
    where = "year BETWEEN 100 AND 300"
    alone = [index.search(query, 10, where, plan="graph").ids.tolist() for query in QUERIES]
    for threads in (1, 3):
        found = index.search(QUERIES, 10, where, plan="graph", threads=threads)
        assert [hits.ids.tolist() for hits in found] == alone
    exact = index.search(QUERIES[0], 10, where, exact=True)
    rows = (YEARS >= 100) & (YEARS <= 300)
    assert exact.status == "exact" and set(exact.ids.tolist()) == truth(rows, QUERIES[0], 10)


def test_info_and_verify_tell_of_the_graphs(folder: Path) -> None:
    index = fanns.open(folder)
    told = index.info()
    columns = told["columns"]
    assert columns["year"]["graphs"]["range"] > 96 * N
    assert columns["kind"]["graphs"]["label"] == 96 * int(np.isin(KINDS, [0, 1, 2]).sum())
    assert columns["note"].get("graphs") is None
    parts = [column["graphs"].get(kind, 0) for column in columns.values() for kind in
             ("range", "label") if "graphs" in column]  # fmt: skip
    assert sum(parts) <= told["bytes"]["column_graphs"] < sum(parts) + 1_000
    planned = fanns.Index.plan_build(TABLE, id="id", vector="vector", store=["note"], **GRAPHS)
    assert planned["bytes"]["column_graphs"] == pytest.approx(sum(parts), rel=0.01)
    index.verify()


def test_the_build_is_the_same_for_any_number_of_threads(tmp_path: Path) -> None:
    graphs = []
    for threads in (1, 3):
        segment = built(threads=threads)._snapshot.segments[0]
        graphs.append({name: a for name, a in segment.arrays.items() if "_graphs/" in name})
    assert len(graphs[0]) == 6
    for name, array in graphs[0].items():
        np.testing.assert_array_equal(array, graphs[1][name])


def test_deleted_rows_are_never_found(writable: fanns.Index) -> None:
    writable.delete(ids=np.flatnonzero(YEARS % 3 == 0))
    kept = YEARS % 3 != 0
    rows = kept & (YEARS >= 100) & (YEARS <= 400)
    assert check(writable, "year BETWEEN 100 AND 400", rows) == "range graph of year"
    assert check(writable, "kind = 'kind 0'", kept & (KINDS == 0)) == "label graph of kind"
    assert check(writable, "list_contains(tags, 1)", kept & has(1)) == "label graph of tags"


def test_updates_take_a_graph_away_and_compaction_brings_it_back(writable: fanns.Index) -> None:
    years = YEARS.copy()
    changed = np.arange(0, N, 7)
    years[changed] = 450
    writable.update(set={"year": 450}, ids=changed)
    rows = (years >= 100) & (years <= 300)
    assert check(writable, "year BETWEEN 100 AND 300", rows) == "graph"
    assert writable.info()["columns"]["year"]["graphs"] == {"range": 0}
    assert check(writable, "kind = 'kind 0'", KINDS == 0) == "label graph of kind"
    before = writable.info()["segments"]
    writable.compact()
    assert writable.info()["segments"] == before
    assert check(writable, "year BETWEEN 100 AND 300", rows) == "range graph of year"
    reopened = fanns.open(writable.info()["path"])
    assert check(reopened, "year BETWEEN 100 AND 300", rows) == "range graph of year"


def test_columns_come_and_go(writable: fanns.Index) -> None:
    writable.drop_column("kind")
    assert "label graph of kind" not in str(writable.search(QUERIES[0], 5, "year < 300").explain())
    halves = np.where(YEARS < 250, "low", "high")
    writable.add_column("half", pa.array(halves), index=True)
    assert check(writable, "half = 'low'", halves == "low") == "graph"
    stages: list[str] = []
    writable.index_column(
        "half", label_index=True, progress=lambda stage, done, total: stages.append(stage)
    )
    assert set(stages) == {"graph of half"}
    assert check(writable, "half = 'low'", halves == "low") == "label graph of half"
    with pytest.raises(InputError, match="has a label graph already"):
        writable.index_column("half", label_index=True)
    with pytest.raises(InputError, match="has a range graph already"):
        writable.index_column("year", range_index=True)
    writable.index_column("note", range_index=True)  # it was only stored
    rows = np.array([str(i) for i in range(N)]) < "5"
    assert check(writable, "note < '5'", rows) == "range graph of note"
    writable.compact(full=True)
    assert check(writable, "half = 'low'", halves == "low") == "label graph of half"


def test_an_export_restores_the_graphs(folder: Path, tmp_path: Path) -> None:
    fanns.open(folder).export(tmp_path / "all.parquet")
    restored = fanns.Index.import_(tmp_path / "all.parquet")
    assert check(restored, "kind = 'kind 1'", KINDS == 1) == "label graph of kind"
    rows = YEARS < 200
    assert check(restored, "year < 200", rows) == "range graph of year"


def test_values_are_chosen_by_what_they_save_for_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(column_graphs, "AUTO_SHARE", 1.0)
    auto = built(label_index="auto", range_index=[])
    told = auto.info()["columns"]
    label = [told[name]["graphs"]["label"] for name in ("kind", "tags")]
    assert 0 < sum(label) <= N * D * 4
    auto.add_column("half", pa.array(np.where(YEARS < 250, "low", "high")), index=True)
    auto.index_column("half", label_index=True)  # asked for by name: whatever the others take
    assert auto.info()["columns"]["half"]["graphs"]["label"] == 96 * N
    counts = {"a": np.array([5_000, 2_000, 30]), "b": np.array([3_000, 90_000])}
    assert chosen_values(counts, 100_000, None) == {"a": [0, 1], "b": [0]}
    assert chosen_values(counts, 100_000, 96 * 8_000) == {"a": [0], "b": [0]}
    assert chosen_values(counts, 100_000, 96 * 7_500) == {"a": [0, 1]}
    assert chosen_values(counts, 100_000, 0) == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"range_index": ["nothing"]}, "'nothing' is not an indexed attribute; those are"),
        ({"range_index": ["note"]}, "'note' is not an indexed attribute"),
        ({"range_index": "year"}, "expected a list of column names"),
        ({"range_index": ["tags"]}, "label_index serves values"),
        ({"label_index": "year"}, 'expected column names or "auto"'),
        ({"label_index": ["auto", "kind"]}, "stands alone.*names without it .'kind'."),
        ({"label_index": ["id"]}, "'id' is not an indexed attribute"),
        ({"label_index": 3}, "expected a list of column names"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        built(**options)


def test_small_indexes_have_none() -> None:
    small = fanns.Index.build(TABLE.slice(0, 500), id="id", vector="vector", **GRAPHS)
    assert small.info()["bytes"]["column_graphs"] == 0
    assert len(small.search(QUERIES[0], 5, "year < 300")) == 5


def test_advice_names_the_graphs_that_filters_would_gain_by(tmp_path: Path) -> None:
    index = fanns.Index.build(TABLE, id="id", vector="vector", store=["note"], queries=QUERIES)
    filters: list[Any] = [
        ("year BETWEEN :a AND :b", {"a": 50, "b": 400}),
        "year < 300",
        "kind = 'kind 3'",
        "year = 3",
    ]
    found = index.advise(filters)
    assert all(0 < one.saved < 1 and one.nbytes > 0 for one in found)
    names = {(one.column, one.option) for one in found}
    assert names <= {("year", "range_index"), ("kind", "label_index")}
    for one in found:
        kind = one.option.removesuffix("_index")
        index.index_column(one.column, range_index=kind == "range", label_index=kind == "label")
        held = index.info()["columns"][one.column]["graphs"][kind]
        assert held <= one.nbytes <= 1.1 * held
        assert str(one).startswith(f"{one.option}=['{one.column}']: ")
    assert not index.advise(filters)  # it has them now
    assert not index.advise(["year = 3"])  # a scan is best
    wrong: Any
    for wrong in ([], "year < 300", None):
        with pytest.raises(InputError, match="filters is a list"):
            index.advise(wrong)
    with pytest.raises(fanns.FannsError, match="nothing"):
        index.advise(["nothing = 3"])
    options: dict[str, Any]
    for options in ({"k": 0}, {"k": "ten"}, {"recall": 2.0}, {"recall": "most"}):
        with pytest.raises(InputError, match=f"{next(iter(options))} is "):
            index.advise(["year < 300"], **options)
    with pytest.raises(InputError, match="is no pair"):
        index.advise([("year < :a", {"a": 3}, "sql")])
