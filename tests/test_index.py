"""The index as users hold it: every answer against exact brute force and DuckDB's WHERE."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns import col
from fanns.datasets import arxiv_like, exact
from fanns.datasets.dataset import vectors as vectors_of
from fanns.errors import (
    FilterError,
    FilterTypeError,
    InputError,
    ParameterError,
    StorageError,
    UnknownColumnError,
    UnknownIdError,
)

ROWS = 6_000
WHERES = [
    "",
    "primary_category = 'cs.LG'",
    "primary_category IN ('cs.LG', 'math.CO', 'hep-th')",
    "list_contains(categories, 'cs.LG')",
    "list_has_any(categories, ['cs.CV', 'quant-ph'])",
    "list_has_all(categories, ['cs.LG', 'stat.ML'])",
    "submitted_date >= DATE '2015-01-01'",
    "submitted_date BETWEEN DATE '2012-01-01' AND DATE '2012-03-01'",
    "comments IS NULL AND versions > 1",
    "NOT (versions = 1 OR comments IS NOT NULL)",
    "len(categories) >= 3 AND doi IS NOT NULL",
    "title LIKE '%graph%'",
    "versions > 1000",
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return arxiv_like.items(ROWS, 48, seed=3)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return vectors_of(arxiv_like.queries(60, 48, seed=3))


@pytest.fixture(scope="module")
def index(table: pa.Table) -> fanns.Index:
    samples = vectors_of(arxiv_like.queries(160, 48, seed=3))[60:]
    return fanns.Index.build(table, store=["title", "abstract"], seed=1, queries=samples)


def passing(table: pa.Table, where: str) -> np.ndarray:
    """DuckDB's opinion, bool[n] in the order of the table."""
    numbered = table.drop_columns(["embedding"]).append_column("_row", pa.array(range(len(table))))
    with duckdb.connect() as connection:
        connection.register("t", numbered)
        rows = connection.sql(f"SELECT _row FROM t WHERE {where or 'true'}").fetchnumpy()["_row"]
    mask = np.zeros(len(table), bool)
    mask[np.asarray(rows)] = True
    return mask


@pytest.mark.parametrize("where", WHERES)
def test_exact_answers_equal_brute_force(
    index: fanns.Index, table: pa.Table, queries: np.ndarray, where: str
) -> None:
    mask = passing(table, where)
    ids = np.array(table["id"].to_pylist())
    truth = exact.nearest(vectors_of(table), queries, 10, mask=mask, ids=ids)
    found = index.search(queries, 10, where, exact=True)
    for i, hits in enumerate(found):
        names, distances = truth.of(i)
        assert hits.ids == names.tolist()
        np.testing.assert_allclose(hits.distances, distances, atol=1e-12)
        assert hits.status == "exact" and hits.matches == mask.sum()


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("plan", [None, "scan", "graph"])
def test_other_answers_are_full_valid_and_near(
    index: fanns.Index, table: pa.Table, queries: np.ndarray, where: str, plan: str | None
) -> None:
    mask = passing(table, where)
    ids = np.array(table["id"].to_pylist())
    allowed = set(ids[mask].tolist())
    truth = exact.nearest(vectors_of(table), queries, 10, mask=mask, ids=ids)
    recalls = []
    for i, hits in enumerate(index.search(queries, 10, where, plan=plan)):
        assert len(hits) == min(10, mask.sum()) and set(hits.ids) <= allowed
        assert len(set(hits.ids)) == len(hits) and (np.diff(hits.distances) >= 0).all()
        recalls.append(exact.recall(hits.ids, hits.distances, truth.of(i)[1]))
        if hits.status == "exact":
            assert recalls[-1] == 1.0
    assert np.mean(recalls) >= 0.9


@settings(max_examples=25)
@given(st.data())
def test_random_small_indexes_agree_with_the_oracle(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.sampled_from([1, 2, 3, 10, 65, 300]))
    d = data.draw(st.sampled_from([1, 3, 63, 64, 65]))
    metric = data.draw(st.sampled_from(["cosine", "l2", "ip"]))
    k = data.draw(st.sampled_from([1, 5, 400]))
    values = rng.standard_normal((n, d)).astype(np.float32)
    if data.draw(st.booleans()):
        values[:] = values[0]  # every distance ties
    keys = rng.permutation(n).astype(np.int64) - n // 2
    table = {"id": keys, "v": values, "x": rng.integers(0, 4, n)}
    index = fanns.Index.build(table, vector="v", metric=metric, threads=1)
    query = rng.standard_normal(d).astype(np.float32)
    mask = table["x"] < 2
    truth_ids, truth = exact.nearest(values, query, k, metric=metric, mask=mask, ids=keys).of(0)
    hits = index.search(query, k, "x < 2", exact=True)
    np.testing.assert_allclose(hits.distances, truth, rtol=1e-9, atol=1e-9)
    assert hits.ids.tolist() == truth_ids.tolist()
    again = index.search(query, k, col("x") < 2)
    assert len(again) == min(k, mask.sum())
    if again.status == "exact":  # equal distances cannot always be proved from codes
        np.testing.assert_allclose(again.distances, truth, rtol=1e-9, atol=1e-9)


def test_every_spelling_of_a_filter_gives_the_same_rows(
    index: fanns.Index, table: pa.Table, queries: np.ndarray
) -> None:
    import polars as pl
    import pyarrow.compute as pc

    mask = passing(table, "versions > 1 AND primary_category = 'cs.LG'")
    names = np.array(table["id"].to_pylist())
    chosen = names[mask].tolist()

    @fanns.predicate("versions")
    def several(versions):  # type: ignore[no-untyped-def]
        return versions > 1

    spellings: list[Any] = [
        "versions > 1 AND primary_category = 'cs.LG'",
        (col("versions") > 1) & (col("primary_category") == "cs.LG"),
        {"versions": {"$gt": 1}, "primary_category": "cs.LG"},
        mask,
        fanns.ids(chosen),
        (pc.field("versions") > 1) & (pc.field("primary_category") == "cs.LG"),
        (pl.col("versions") > 1) & (pl.col("primary_category") == "cs.LG"),
        several & (col("primary_category") == "cs.LG"),
        fanns.ids(chosen) & (col("versions") > 1),
        index.prepare("versions > :v AND primary_category = :c").bind(v=1, c="cs.LG"),
    ]
    first = index.search(queries[0], 7, spellings[0], exact=True)
    assert first.matches == mask.sum() > 7
    for where in spellings:
        assert index.search(queries[0], 7, where, exact=True).ids == first.ids
        assert index.count(where) == mask.sum()


def test_roaring_bitmaps_hold_integer_ids(queries: np.ndarray) -> None:
    import pyroaring

    table = {"v": queries, "x": np.arange(len(queries))}
    index = fanns.Index.build(table, vector="v")
    hits = index.search(queries[3], 5, pyroaring.BitMap([3, 5, 7, 99]))
    assert sorted(hits.ids.tolist()) == [3, 5, 7] and hits.ids[0] == 3


def test_an_empty_filter_is_no_filter(index: fanns.Index, queries: np.ndarray) -> None:
    nothing: list[Any] = [None, "", {}]
    for where in nothing:
        assert index.search(queries[0], 3, where).matches == ROWS


def test_batches_take_one_filter_or_one_each(index: fanns.Index, queries: np.ndarray) -> None:
    wheres = ["versions = 1", None, "primary_category = 'cs.LG'"]
    each = index.search(queries[:3], 4, wheres)
    for query, where, hits in zip(queries, wheres, each, strict=False):
        assert hits.ids == index.search(query, 4, where).ids
    bound = index.search(queries[:3], 4, "versions = :v", {"v": fanns.each([1, 2, 3])})
    for i, hits in enumerate(bound):
        assert hits.ids == index.search(queries[i], 4, f"versions = {i + 1}").ids
    assert each.offsets.tolist() == [0, 4, 8, 12] and len(each.ids) == len(each.distances) == 12


def test_threads_never_change_an_answer(index: fanns.Index) -> None:
    many = vectors_of(arxiv_like.queries(70, 48, seed=3))
    alone = index.search(many, 10, "versions > 1")
    for threads in (2, 3):
        other = index.search(many, 10, "versions > 1", threads=threads)
        assert other.ids == alone.ids and (other.distances == alone.distances).all()


def test_builds_are_equal_whatever_the_threads(table: pa.Table) -> None:
    one, two = (
        fanns.Index.build(table, threads=threads, calibration="default") for threads in (1, 2)
    )
    ours, theirs = one._snapshot.segments[0], two._snapshot.segments[0]
    assert sorted(ours.arrays) == sorted(theirs.arrays)
    for name in ours.arrays:
        assert np.array_equal(ours.arrays[name], theirs.arrays[name]), name


def test_radius_is_inclusive_and_offset_slices(index: fanns.Index, queries: np.ndarray) -> None:
    whole = index.search(queries[0], 20, exact=True)
    limit = float(whole.distances[6])
    inside = index.search(queries[0], 20, radius=limit, exact=True)
    assert inside.ids == whole.ids[: int((whole.distances <= limit).sum())]
    assert index.search(queries[0], 5, offset=5, exact=True).ids == whole.ids[5:10]
    assert len(index.search(queries[0], 5, offset=ROWS)) == 0


def test_pages_do_not_repeat_and_end(index: fanns.Index, queries: np.ndarray) -> None:
    where = "primary_category = 'cs.LG'"
    total = index.count(where)
    seen = [key for page in index.pages(queries[0], 7, where) for key in page.ids]
    assert len(seen) == len(set(seen)) == total
    first = next(iter(index.pages(queries[0], 7)))
    assert len(first) == 7


def test_groups_hold_at_most_their_size(index: fanns.Index, queries: np.ndarray) -> None:
    hits = index.search(queries[0], 5, group_by="primary_category", group_size=2, exact=True)
    values = hits.columns(["primary_category"]).column(0).to_pylist()
    assert len(set(values)) == 5 and max(values.count(value) for value in values) <= 2
    nearest = index.search(queries[0], 1, exact=True)
    assert hits.ids[0] == nearest.ids[0]
    with pytest.raises(InputError, match="list column"):
        index.search(queries[0], 5, group_by="categories")


def test_limits_end_a_search_as_incomplete(index: fanns.Index, queries: np.ndarray) -> None:
    hits = index.search(queries[0], 10, exact=True, max_work=100)
    assert hits.status == "incomplete" and len(hits) <= 10
    assert index.search(queries[0], 10, timeout=30.0).status != "incomplete"


def test_added_rows_are_found_at_once(table: pa.Table, queries: np.ndarray) -> None:
    index = fanns.Index.build(table.slice(0, 5_000), calibration="default")
    prepared = index.prepare("versions = 1")
    index.add(table.slice(5_000))
    assert len(index) == ROWS and index.ids() == table["id"].to_pylist()
    ids = np.array(table["id"].to_pylist())
    mask = passing(table, "versions = 1")
    truth = exact.nearest(vectors_of(table), queries, 10, mask=mask, ids=ids)
    spellings: list[Any] = ["versions = 1", prepared, mask]
    for where in spellings:
        for i, hits in enumerate(index.search(queries, 10, where, exact=True)):
            assert hits.ids == truth.of(i)[0].tolist() and hits.matches == mask.sum()
    with pytest.raises(InputError, match="is in the index already"):
        index.add(table.slice(5_990))
    assert len(index) == ROWS
    with pytest.raises(InputError, match="mask"):
        index.search(queries[0], 3, mask[:5_000])
    counts = index.facets("versions")
    assert counts["count"].to_numpy().sum() == ROWS


def test_originals_come_back(table: pa.Table, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((200, 20)) * 7).astype(np.float32)
    data = {"id": [f"r{i}" for i in range(200)], "v": values, "x": np.arange(200)}
    index = fanns.Index.build(data, vector="v", metric="cosine")
    got = index.get(["r7", "r3", "r7"], vector=True)
    assert got["x"].to_pylist() == [7, 3, 7]
    assert np.array_equal(np.array(got["v"].to_pylist(), np.float32), values[[7, 3, 7]])
    with pytest.raises(UnknownIdError, match="'nope'"):
        index.get(["r1", "nope"])
    small = fanns.Index.build(data, vector="v", keep_originals=False)
    assert small.info()["keep_originals"] is False
    with pytest.raises(InputError, match="keep_originals"):
        small.get(["r1"], vector=True)
    overlap = set(small.search(values[5], 10).ids) & set(index.search(values[5], 10).ids)
    assert len(overlap) >= 8


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_vectors_keep_their_type(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((500, 30)) * 20).astype(dtype)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 30)
    index = fanns.Index.build(pa.table({"v": column}), vector="v", metric="l2")
    truth = exact.nearest(values.astype(np.float64), values[7].astype(np.float32), 9, metric="l2")
    hits = index.search(values[7].astype(np.float32), 9, exact=True)
    assert hits.ids.tolist() == truth.of(0)[0].tolist()
    np.testing.assert_allclose(hits.distances, truth.of(0)[1], atol=1e-9)
    assert index.get([7], vector=True)["v"].to_pylist()[0] == values[7].tolist()


def test_listing_counts_and_facets_equal_duckdb(index: fanns.Index, table: pa.Table) -> None:
    plain = table.drop_columns(["embedding"])
    with duckdb.connect() as connection:
        connection.register("t", plain)
        wanted = connection.sql(
            "SELECT id, versions FROM t WHERE versions > 2 ORDER BY submitted_date, id LIMIT 50"
        ).fetchall()
        facets = dict(
            connection.sql(
                "SELECT c, count(*) FROM (SELECT unnest(categories) c FROM t WHERE versions > 2)"
                " GROUP BY c"
            ).fetchall()
        )
        by_title = connection.sql("SELECT count(*) FROM t WHERE title < 'M'").fetchall()[0]
    got = index.rows(
        "versions > 2", columns=["versions", "submitted_date"], order_by="submitted_date"
    )
    assert got["submitted_date"].to_pylist()[:50] == sorted(got["submitted_date"].to_pylist())[:50]
    assert len(got) == index.count("versions > 2") and len(wanted) == 50
    found = index.facets("categories", "versions > 2")
    assert dict(zip(found["value"].to_pylist(), found["count"].to_pylist(), strict=True)) == facets
    assert found["count"].to_pylist() == sorted(facets.values(), reverse=True)
    assert index.count("title < 'M'") == by_title[0]
    assert index.rows(columns=[])["id"].to_pylist() == table["id"].to_pylist()


def test_hits_give_columns_and_frames(index: fanns.Index, queries: np.ndarray) -> None:
    hits = index.search(queries[0], 5, "versions > 1", columns=["title", "versions"])
    frame = hits.to_arrow()
    assert frame.column_names == ["id", "distance", "score", "title", "versions"]
    assert frame["title"].to_pylist() == index.get(hits.ids)["title"].to_pylist()
    assert hits.to_pandas(["doi"]).shape == (5, 4) and hits.to_polars().height == 5
    np.testing.assert_allclose(hits.scores, 1 - hits.distances)
    assert "approximate" in repr(hits) or "exact" in repr(hits)
    assert [hit.id for hit in hits] == hits.ids and hits[0].distance == hits.distances[0]


def test_explain_prints_the_plan_that_ran(index: fanns.Index, queries: np.ndarray) -> None:
    told = index.explain(queries[0], 10, "versions > 1 AND title LIKE '%graph%'")
    text = str(told)
    assert f"{told.matches:,} of {ROWS:,}" in text and "predicted" in text
    assert "'title' is stored" in text
    hits = index.search(queries[0], 10, "versions > 1")
    assert hits.explain().segments[0].work == tuple(hits.work)
    assert told.to_dict()["segments"][0]["path"] in ("scan", "graph")


def test_check_measures_recall(index: fanns.Index) -> None:
    many = vectors_of(arxiv_like.queries(40, 48, seed=3))
    report = index.check(many, "versions > 1", k=10, recall=0.9)
    assert 0.8 < report.low <= report.recall <= report.high <= 1.0
    assert report.queries == 40 and report.short == 0
    empty = index.check(many, "versions > 1000")
    assert empty.empty == 40 and empty.statuses == {"exact": 40}


def test_a_strict_filters_rows_stay_under_a_looser_one(
    index: fanns.Index, queries: np.ndarray
) -> None:
    for query in queries:
        strict = index.search(query, 10, "versions > 2", exact=True)
        loose = index.search(query, 10, "versions > 1", exact=True)
        last = loose.distances[-1]
        belongs = {hit.id for hit in strict if hit.distance < last}
        assert belongs <= set(loose.ids)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"k": 0}, InputError, "k is 0"),
        ({"k": True}, InputError, "k is True"),
        ({"recall": 0}, InputError, "recall is 0"),
        ({"recall": 1.5}, InputError, "recall is 1.5"),
        ({"offset": -1}, InputError, "offset is -1"),
        ({"threads": 0}, InputError, "threads is 0"),
        ({"timeout": 0}, InputError, "timeout is 0"),
        ({"plan": "magic"}, InputError, "plan is 'magic'"),
        ({"where": "id = '1'"}, UnknownColumnError, r"fanns\.ids"),
        ({"where": "colour = 'red'"}, UnknownColumnError, "colour"),
        ({"where": "versions = 'many'"}, FilterTypeError, "versions"),
        ({"where": "versions = :v"}, ParameterError, "v"),
        ({"where": "versions = 1", "params": {"w": 1}}, ParameterError, "w"),
        ({"where": "versions IN (SELECT 1)"}, FilterError, "SELECT"),
        ({"where": "versions = 1; DROP TABLE t"}, FilterError, "DROP"),
        ({"where": ["versions = 1"]}, InputError, "one query"),
        ({"where": np.array([1, 2])}, FilterError, "ids are strings"),
        ({"columns": ["colour"]}, UnknownColumnError, "colour"),
        ({"columns": "title"}, InputError, "list of names"),
    ],
)
def test_bad_arguments_are_named(
    index: fanns.Index, queries: np.ndarray, arguments: dict[str, Any], error: type, told: str
) -> None:
    with pytest.raises(error, match=told):
        index.search(queries[0], **arguments)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (np.zeros(48, np.float32), "zero"),
        (np.full(48, np.nan, np.float32), "NaN"),
        (np.full(48, np.inf, np.float32), "infinity"),
        (np.zeros(47, np.float32), "48"),
        (np.zeros((2, 3, 48), np.float32), "48"),
        (np.array(["a"] * 48), "numbers"),
        ([[1.0], [1.0, 2.0]], "numbers"),
    ],
)
def test_bad_queries_are_named(index: fanns.Index, query: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        index.search(query)


def test_bad_rows_are_named() -> None:
    good = np.ones((5, 4), np.float32)
    for value, told in ((np.nan, "NaN"), (np.inf, "infinity"), (0.0, "zero")):
        bad = good.copy()
        bad[3] = value
        with pytest.raises(InputError, match=rf"row 3 \(id 'd'\).*{told}"):
            fanns.Index.build({"id": list("abcde"), "v": bad}, vector="v")
    with pytest.raises(InputError, match="duplicate id 'a'"):
        fanns.Index.build({"id": list("abcda"), "v": good}, vector="v")
    with pytest.raises(InputError, match="metric is 'dot'"):
        fanns.Index.build({"v": good}, vector="v", metric="dot")
    with pytest.raises(InputError, match="no column 'w'"):
        fanns.Index.build({"v": good}, vector="w")


def test_an_empty_index_answers_exactly_nothing() -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), 4)
    index = fanns.Index.build(pa.table({"v": column, "x": pa.array([], pa.int64())}))
    hits = index.search(np.ones(4, np.float32), 5, "x > 1")
    assert len(hits) == 0 and hits.status == "exact" and hits.matches == 0
    assert len(index.ids()) == 0 and index.count() == 0


def test_saved_and_opened_it_answers_the_same(
    index: fanns.Index, queries: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "papers.fanns"
    index.save(path)
    with pytest.raises(StorageError, match="exists"):
        index.save(path)
    with fanns.open(path, check=True) as opened:
        assert len(opened) == ROWS and opened.schema == index.schema and opened.verify() == []
        assert opened.info()["bytes"]["vectors"] == index.info()["bytes"]["vectors"]
        for where in WHERES:
            ours = index.search(queries, 10, where)
            theirs = opened.search(queries, 10, where)
            assert ours.ids == theirs.ids and ours.statuses == theirs.statuses
        with pytest.raises(StorageError, match="mode"):
            opened.add({"id": ["x"], "embedding": queries[:1]})
    index.save(path, overwrite=True)


def test_a_closed_index_says_so(queries: np.ndarray) -> None:
    index = fanns.Index.build({"v": queries}, vector="v")
    index.close()
    with pytest.raises(StorageError, match="closed"):
        index.search(queries[0])
    with pytest.raises(StorageError, match="closed"):
        len(index)
    assert "closed" in repr(index)


def test_a_writer_adds_durably(table: pa.Table, queries: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "papers.fanns"
    built = fanns.Index.build(table.slice(0, 1_000), path=path, calibration="default")
    with fanns.open(path, "w") as writer:
        writer.add(table.slice(1_000, 500))
        assert len(writer) == 1_500
        with pytest.raises(StorageError, match=r"writer|lock"):
            fanns.open(path, "w")
    assert len(built) == 1_000  # the snapshot of a reader stays
    with fanns.open(path) as reader:
        assert len(reader) == 1_500
        assert reader.search(queries[0], 5, exact=True).matches == 1_500


def test_plan_build_tells_columns_and_bytes(table: pa.Table, index: fanns.Index) -> None:
    planned = fanns.Index.plan_build(table, store=["title", "abstract"])
    made = index.info()
    assert planned["rows"] == ROWS and set(planned["stored"]) == {"title", "abstract"}
    assert planned["bytes"]["total"] == pytest.approx(made["bytes"]["total"], rel=0.5)


def test_public_names_are_these() -> None:
    assert sorted(fanns.__all__) == fanns.__all__
    for name in fanns.__all__:
        assert hasattr(fanns, name)


def test_simulated_vectors_take_no_model(table: pa.Table) -> None:
    with pytest.raises(InputError, match="simulated"):
        fanns.Index.plan_build(table, model="some/encoder")


def test_clear_cache_forgets_filters_and_changes_no_answer(
    index: fanns.Index, queries: np.ndarray
) -> None:
    where = "versions > 1 AND doi IS NOT NULL"
    before = index.search(queries[0], 10, where)
    kept = [segment.attributes.cache for segment in index._snapshot.segments]
    assert any(len(cache) for cache in kept)
    index.clear_cache()
    assert not any(len(cache) or cache.used for cache in kept)
    assert list(index.search(queries[0], 10, where).ids) == list(before.ids)
