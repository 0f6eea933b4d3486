"""Indexes with paths of columns: plans, answers, and what writes do to them.

With codes of few bits all intervals and values of so small an index are served by blocks, without
by graphs.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from fanns.paths import EXHAUSTED
from fanns.quick import Lane
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


FORMS = {"graph": 0, "blocks": 2}


def built(path: Path | None = None, **options: Any) -> fanns.Index:
    given = {**GRAPHS, "calibration": "default", "store": ["note"], **options}
    return fanns.Index.build(TABLE, id="id", vector="vector", path=path, **given)


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(form: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with shipped constants: plans do not follow from times of this machine."""
    path = tmp_path_factory.mktemp("paths") / "index"
    built(path, bits=FORMS[form])
    return path


@pytest.fixture
def writable(form: str, tmp_path: Path) -> fanns.Index:
    built(tmp_path / "index", bits=FORMS[form])
    return fanns.open(tmp_path / "index", mode="w")


def truth(rows: NDArray[np.bool_], query: NDArray[Any], k: int) -> set[int]:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    away = -(unit @ (query / np.linalg.norm(query)))
    return set(np.flatnonzero(rows)[np.argsort(away[rows])[:k]].tolist())


def check(index: fanns.Index, where: str, rows: NDArray[np.bool_], params: Any = None) -> str:
    """The plan of a filter by walks or clusters; its answers are of the rows and near enough.

    "other": not by a path of a column.
    """
    found = total = 0
    plan = "graph" if index._snapshot.segments[0].products is None else "clusters"
    for query in QUERIES:
        hits = index.search(query, 10, where, params=params, plan=plan, recall=0.95)
        ids = set(hits.ids.tolist())
        assert rows[list(ids)].all() and len(ids) == min(10, int(rows.sum())), where
        found += len(ids & truth(rows, query, 10))
        total += len(ids)
    assert found / total > 0.9, where
    path = str(hits.explain().segments[0].path)
    return path if " of " in path else "other"


def has(tag: int) -> NDArray[np.bool_]:
    return np.array([tag in tags for tags in TAGS])


def test_filters_take_the_path_of_their_column(folder: Path, form: str) -> None:
    index = fanns.open(folder)
    middle = (YEARS >= 100) & (YEARS <= 300)
    span = {"a": 100, "b": 300}
    year, kind, tags = f"range {form} of year", f"label {form} of kind", f"label {form} of tags"
    assert check(index, "year BETWEEN 100 AND 300", middle) == year
    assert check(index, "year BETWEEN :a AND :b", middle, span) == year
    assert check(index, "year < 200", YEARS < 200) == year
    assert check(index, "year >= 350", YEARS >= 350) == year
    assert check(index, "kind = 'kind 1'", KINDS == 1) == kind
    assert check(index, "kind = :kind", KINDS == 1, {"kind": "kind 1"}) == kind
    several = check(index, "kind IN ('kind 1', 'kind 2')", np.isin(KINDS, [1, 2]))
    assert several in (kind, "other")
    assert check(index, "list_contains(tags, 1)", has(1)) == tags
    assert check(index, "array_has_any(tags, [1, 2])", has(1) | has(2)) in (tags, "other")
    assert check(index, "array_has_all(tags, [0, 1])", has(0) & has(1)) in (tags, "other")
    both = check(index, "year BETWEEN 100 AND 300 AND kind = 'kind 0'", middle & (KINDS == 0))
    assert both in (year, kind, "other")


def test_of_several_things_said_of_a_column_the_narrowest_that_is_covered_counts() -> None:
    common = [[*tags, 9] if i % 10 else tags for i, tags in enumerate(TAGS)]  # too frequent
    table = TABLE.set_column(4, "tags", pa.array(common))
    index = fanns.Index.build(
        table, id="id", vector="vector", label_index=["tags"], calibration="default"
    )
    nine = np.arange(N) % 10 > 0
    path = "label blocks of tags"
    assert check(index, "list_has_all(tags, [9, 1])", nine & has(1)) == path
    assert check(index, "list_has_all(tags, [1, 9])", nine & has(1)) == path
    several = "array_has_any(tags, [0, 1, 2, 3, 9]) AND list_contains(tags, 1)"
    assert check(index, several, has(1)) == path
    assert check(index, "list_has_all(tags, :tags)", nine & has(1), {"tags": [9, 1]}) == path


def test_filters_that_no_path_covers(folder: Path) -> None:
    index = fanns.open(folder)
    assert check(index, "year < 200 OR year > 400", (YEARS < 200) | (YEARS > 400)) == "other"
    either = (YEARS < 200) | (KINDS == 1)
    assert check(index, "year < 200 OR kind = 'kind 1'", either) == "other"
    assert check(index, "NOT kind = 'kind 3'", KINDS != 3) == "other"
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


def with_dear_scans(folder: Path) -> fanns.Index:
    """The index, its planner made to think that a row takes 2 us to scan: it is a small one."""
    index = fanns.open(folder)
    segment = index._snapshot.segments[0]
    told = segment.calibration
    scan = replace(told.scan, code_ns=2e3, exact_ns=2e3)
    segment.calibrate(replace(told, scan=scan, bits=None))
    return index


REPEATED: list[tuple[str | None, dict[str, Any] | None]] = [
    (None, None),
    ("year >= :a AND year < :b", {"a": 40, "b": 300}),
    ("kind = :k", {"k": "kind 1"}),
    ("kind IN :ks", {"ks": ["kind 0", "kind 2"]}),
    ("list_contains(tags, :t)", {"t": 1}),
]


@pytest.mark.parametrize(("where", "params"), REPEATED)
def test_repeated_filters_are_answered_as_the_first_time(
    folder: Path, form: str, where: str | None, params: dict[str, Any] | None
) -> None:
    index, again = with_dear_scans(folder), with_dear_scans(folder)
    segment = index._snapshot.segments[0]
    expected = []
    for query in QUERIES:
        segment.plans.clear()
        expected.append(index.search(query, 7, where, params))
    lanes = again._snapshot.segments[0].plans
    for _ in range(2):
        for query, first in zip(QUERIES, expected, strict=True):
            hits = again.search(query, 7, where, params)
            assert hits.ids.tolist() == first.ids.tolist() and hits.status == first.status
            assert hits.distances.tolist() == first.distances.tolist()
            assert hits.explain().segments[0].path == first.explain().segments[0].path
    several_walks = form == "graph" and where == "kind IN :ks"
    assert any(isinstance(lane, Lane) for lane in lanes.values()) != several_walks
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: again.search(query, 7, where, params), QUERIES))
    assert [hits.ids.tolist() for hits in found] == [hits.ids.tolist() for hits in expected]
    assert again.search(QUERIES[0].astype(np.float64), 7, where, params).ids.tolist() == (
        expected[0].ids.tolist()
    )
    for bad in (np.full(D, np.nan, np.float32), np.zeros(D, np.float32)):
        with pytest.raises(InputError, match="query 0"):
            again.search(bad, 7, where, params)


def test_a_walk_that_gives_up_is_finished_by_another_path(folder: Path) -> None:
    index = with_dear_scans(folder)
    expected = index.search(QUERIES[0], 7)
    plans = index._snapshot.segments[0].plans
    ((key, lane),) = [(key, lane) for key, lane in plans.items() if isinstance(lane, Lane)]

    def exhausted(queries: NDArray[np.float32], answers: Any) -> None:
        answers.status[0] = EXHAUSTED

    plans[key] = lane._replace(search=exhausted)
    assert index.search(QUERIES[0], 7).ids.tolist() == expected.ids.tolist()


def test_info_and_verify_tell_of_the_paths(folder: Path, form: str) -> None:
    index = fanns.open(folder)
    told = index.info()
    columns = told["columns"]
    linked = int(np.isin(KINDS, [0, 1, 2]).sum())
    if form == "graph":
        assert columns["year"]["graphs"]["range"] > 96 * N
        assert columns["kind"]["graphs"]["label"] == pytest.approx(96 * linked, rel=0.001)
    else:
        assert 0 < columns["year"]["graphs"]["range"] < 50 * N
        assert 0 < columns["kind"]["graphs"]["label"] < 50 * linked
    assert columns["note"].get("graphs") is None
    parts = [column["graphs"].get(kind, 0) for column in columns.values() for kind in
             ("range", "label") if "graphs" in column]  # fmt: skip
    assert sum(parts) <= told["bytes"]["column_graphs"] < sum(parts) + 1_000
    planned = fanns.Index.plan_build(
        TABLE, id="id", vector="vector", store=["note"], bits=FORMS[form], **GRAPHS
    )
    assert planned["bytes"]["column_graphs"] == pytest.approx(sum(parts), rel=0.01)
    index.verify()


def test_the_build_is_the_same_for_any_number_of_threads(form: str) -> None:
    graphs = []
    for threads in (1, 3):
        segment = built(threads=threads, bits=FORMS[form])._snapshot.segments[0]
        graphs.append(
            {name: a for name, a in segment.arrays.items() if "range_" in name or "label_" in name}
        )
    assert len(graphs[0]) == (6 if form == "graph" else 24)
    for name, array in graphs[0].items():
        np.testing.assert_array_equal(array, graphs[1][name])


def test_deleted_rows_are_never_found(writable: fanns.Index, form: str) -> None:
    writable.delete(ids=np.flatnonzero(YEARS % 3 == 0))
    kept = YEARS % 3 != 0
    rows = kept & (YEARS >= 100) & (YEARS <= 400)
    assert check(writable, "year BETWEEN 100 AND 400", rows) == f"range {form} of year"
    assert check(writable, "kind = 'kind 0'", kept & (KINDS == 0)) == f"label {form} of kind"
    assert check(writable, "list_contains(tags, 1)", kept & has(1)) == f"label {form} of tags"


def test_updates_take_a_graph_away_and_compaction_brings_it_back(
    writable: fanns.Index, form: str
) -> None:
    years = YEARS.copy()
    changed = np.arange(0, N, 7)
    years[changed] = 450
    writable.update(set={"year": 450}, ids=changed)
    rows = (years >= 100) & (years <= 300)
    assert check(writable, "year BETWEEN 100 AND 300", rows) == "other"
    assert writable.info()["columns"]["year"]["graphs"] == {"range": 0}
    assert check(writable, "kind = 'kind 0'", KINDS == 0) == f"label {form} of kind"
    before = writable.info()["segments"]
    writable.compact()
    assert writable.info()["segments"] == before
    assert check(writable, "year BETWEEN 100 AND 300", rows) == f"range {form} of year"
    reopened = fanns.open(writable.info()["path"])
    assert check(reopened, "year BETWEEN 100 AND 300", rows) == f"range {form} of year"


def test_columns_come_and_go(writable: fanns.Index, form: str) -> None:
    writable.drop_column("kind")
    assert f"label {form} of kind" not in str(
        writable.search(QUERIES[0], 5, "year < 300").explain()
    )
    halves = np.where(YEARS < 250, "low", "high")
    writable.add_column("half", pa.array(halves), index=True)
    assert check(writable, "half = 'low'", halves == "low") == "other"
    stages: list[str] = []
    writable.index_column(
        "half", label_index=True, progress=lambda stage, done, total: stages.append(stage)
    )
    assert set(stages) == {"graph of half"}
    assert check(writable, "half = 'low'", halves == "low") == f"label {form} of half"
    with pytest.raises(InputError, match="has a label index already"):
        writable.index_column("half", label_index=True)
    with pytest.raises(InputError, match="has a range index already"):
        writable.index_column("year", range_index=True)
    writable.index_column("note", range_index=True)  # it was only stored
    rows = np.array([str(i) for i in range(N)]) < "5"
    assert check(writable, "note < '5'", rows) == f"range {form} of note"
    writable.compact(full=True)
    assert check(writable, "half = 'low'", halves == "low") == f"label {form} of half"


def test_an_export_restores_the_paths(folder: Path, tmp_path: Path, form: str) -> None:
    fanns.open(folder).export(tmp_path / "all.parquet")
    restored = fanns.Index.import_(tmp_path / "all.parquet")
    assert check(restored, "kind = 'kind 1'", KINDS == 1) == f"label {form} of kind"
    rows = YEARS < 200
    assert check(restored, "year < 200", rows) == f"range {form} of year"


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
    assert auto.info()["columns"]["half"]["graphs"]["label"] > 12 * N
    counts = {"a": np.array([5_000, 2_000, 30]), "b": np.array([3_000, 90_000])}
    assert chosen_values(counts, 100_000, D, None, False) == {"a": [0, 1], "b": [0]}
    assert chosen_values(counts, 100_000, D, 96 * 8_000, False) == {"a": [0], "b": [0]}
    assert chosen_values(counts, 100_000, D, 96 * 7_500, False) == {"a": [0, 1]}
    assert chosen_values(counts, 100_000, D, 0, False) == {}


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
