"""The quick way of a search gives what the usual way gives, errors included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.errors import FannsError, InputError, ParameterError
from fanns.hits import BatchHits, Hits
from fanns.line_hits import LineBatch, LineHits
from tests.test_direct import DAYS, LEAVES, STRANGE, VALUES, N, table

__all__ = ["table"]

D = 24


@contextmanager
def usual_way(index: fanns.Index) -> Iterator[None]:
    """Searches without the quick way."""
    quick, index._quick = index._quick, None
    try:
        yield
    finally:
        index._quick = quick


def same(a: Hits, b: Hits) -> None:
    """Everything that hits tell, apart from times."""
    assert list(a.ids) == list(b.ids) and type(a.ids) is type(b.ids)
    assert a.distances.dtype == b.distances.dtype == np.float64
    assert a.distances.tolist() == b.distances.tolist() and a.scores.tolist() == b.scores.tolist()
    assert (a.status, a.matches, a.metric, len(a)) == (b.status, b.matches, b.metric, len(b))
    assert a.work.tolist() == b.work.tolist() and a.work.dtype == b.work.dtype
    assert a.places() == b.places() and list(a) == list(b)
    assert a.to_arrow(["year"]).equals(b.to_arrow(["year"]), check_metadata=True)
    told, expected = a.explain(), b.explain()
    for name in ("where", "k", "recall", "status", "found", "matches", "rows", "notes"):
        assert getattr(told, name) == getattr(expected, name), name
    for one, other in zip(told.segments, expected.segments, strict=True):
        for name in ("rows", "matches", "path", "parameters", "reason", "work", "rejected"):
            assert getattr(one, name) == getattr(other, name), name
    assert told.filter_us >= 0 and told.search_us >= 0 and str(told)


def both(index: fanns.Index, *args: Any, **options: Any) -> tuple[Any, Any]:
    """What a search gives in both ways, or the error that it raises."""

    def run() -> Any:
        try:
            return index.search(*args, **options)
        except FannsError as error:
            return type(error), str(error)

    found = run()
    with usual_way(index):
        return found, run()


def agree(index: fanns.Index, *args: Any, **options: Any) -> Any:
    """The answer of a search, which is that of the usual way; an error as (type, text)."""
    found, expected = both(index, *args, **options)
    if isinstance(expected, tuple):
        assert found == expected
    elif isinstance(expected, BatchHits):
        assert isinstance(found, BatchHits) and found.offsets.tolist() == expected.offsets.tolist()
        assert list(found.ids) == list(expected.ids) and found.statuses == expected.statuses
        assert found.distances.tolist() == expected.distances.tolist()
        for a, b in zip(found, expected, strict=True):
            same(a, b)
    else:
        same(found, expected)
    return found


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((40, D)).astype(np.float32)


def build(table: pa.Table, metric: str = "cosine", ids: str | None = None) -> fanns.Index:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((N, D)).astype(np.float32)
    vectors[40:60] = vectors[40]  # equal distances
    table = table.append_column("v", pa.FixedSizeListArray.from_arrays(vectors.ravel(), D))
    if ids is not None:
        keys = rng.permutation(N)
        column = (
            pa.array([f"key {key}" for key in keys]) if ids == "string" else pa.array(keys - 99)
        )
        table = table.append_column("key", column)
    return fanns.Index.build(
        table,
        vector="v",
        id=None if ids is None else "key",
        metric=metric,
        calibration="default",
        threads=1,
    )


@pytest.fixture(scope="module")
def index(table: pa.Table) -> fanns.Index:
    return build(table, ids="int")


KINDS = [("cosine", "string"), ("l2", "int"), ("ip", None)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: str(kind[0]))
def other(table: pa.Table, request: pytest.FixtureRequest) -> fanns.Index:
    return build(table, *request.param)


def values_of(data: st.DataObject, names: frozenset[str], strange: bool) -> dict[str, Any]:
    drawn = {name: data.draw(VALUES[name]) for name in names}
    if strange:
        for name in names:
            if data.draw(st.booleans()):
                drawn[name] = data.draw(st.sampled_from(STRANGE))
    return drawn


def filters(data: st.DataObject, index: fanns.Index, strange: bool) -> tuple[str, dict[str, Any]]:
    texts = data.draw(st.lists(st.sampled_from(LEAVES), min_size=1, max_size=3))
    where = data.draw(st.sampled_from([" AND ", " AND ", " OR "])).join(text for text, _ in texts)
    names = index._snapshot.template(where, None).parameters
    return where, values_of(data, names, strange)


@given(data=st.data())
def test_gives_what_the_usual_way_gives(
    index: fanns.Index, queries: np.ndarray, data: st.DataObject
) -> None:
    where, params = filters(data, index, data.draw(st.booleans()))
    k = data.draw(st.sampled_from([1, 3, 10, 200, 2 * N]))
    recall = data.draw(st.sampled_from([0.8, 0.95, 0.99, 1.0]))
    agree(index, queries[data.draw(st.integers(0, 39))], k, where, params, recall=recall)


@pytest.mark.parametrize("where", ["year = :y", "list_contains(tags, :t)", "wide <= :x"])
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_every_kind_of_index(other: fanns.Index, queries: np.ndarray, where: str, k: int) -> None:
    params = {"y": 3, "t": "ab", "x": 1.5}
    name = where.split(":")[1].rstrip(")")
    for query in queries[:5]:
        hits = agree(other, query, k, where, {name: params[name]})
        assert isinstance(hits, LineHits) and len(hits) == min(k, hits.matches) > 0
    agree(other, queries[0], k, fanns.ids([*list(other.ids())[:9], other.ids()[0]]))
    nothing = agree(other, queries[0], k, "year = :y", {"y": -5})
    assert len(nothing) == nothing.matches == 0 and nothing.status == "exact"


def test_other_spellings_and_none(index: fanns.Index, queries: np.ndarray) -> None:
    query = queries[0]
    prepared = index.prepare("year = :y AND small >= :s")
    given_ids = index.ids()[:5]
    spellings: list[Any] = [
        None,
        "",
        "year = 3",
        "name LIKE '%b%' OR year IS NULL",
        prepared.bind(y=3, s=0),
        fanns.col("year") == 3,
        {"year": {"$gt": 5}},
        np.arange(N) % 50 == 0,
        fanns.ids(given_ids),
        fanns.ids([]),
    ]
    for where in spellings:
        agree(index, query, 7, where)
    agree(index, query, 7, prepared, {"y": 1, "s": -100})
    for some in ([*given_ids, -10_000, 10**9], [given_ids[0]] * 3, ["key 5"], index.ids()):
        agree(index, query, 7, fanns.ids(some))
        agree(index, query, 7, fanns.ids(some), {"y": 1})
    assert isinstance(index.search(query, 7, fanns.ids(given_ids)), LineHits)


def test_queries_of_every_kind(index: fanns.Index, queries: np.ndarray) -> None:
    where, params = "year = :y", {"y": 1}
    fixed = queries[0].copy()
    fixed.setflags(write=False)
    strided = np.repeat(queries[0], 2)[::2]
    broken = queries[0].copy()
    broken[3] = math.nan
    long = np.full(D, 3e38, np.float32)
    for query in (
        *(fixed, strided, queries[0].astype(np.float64), queries[0].astype(np.float16)),
        *(queries[0].astype(">f4"), queries[0].tolist(), queries[0].astype(np.int8), long),
        *(broken, np.zeros(D, np.float32), np.zeros(D + 1, np.float32), "text", queries[0][None]),
        *(np.full(D, math.inf, np.float32), queries[0].astype(str), np.ma.array(queries[0])),
    ):
        agree(index, query, 5, where, params)
    assert agree(index, broken, 5, where, {"y": -5})[0] is InputError


@pytest.mark.parametrize(
    "options",
    [
        *({"k": 0}, {"k": -1}, {"k": 2.0}, {"k": True}, {"k": np.int64(4)}, {"recall": 0}),
        *({"recall": 1.5}, {"recall": math.nan}, {"recall": "high"}, {"exact": True}),
        *({"radius": 0.0}, {"radius": 0.9}, {"offset": 2}, {"offset": -1}, {"offset": 0.5}),
        *({"columns": ["year", "tags"]}, {"columns": ["none"]}, {"columns": "year"}),
        *({"nulls": "python"}, {"nulls": "other"}, {"group_by": "name"}, {"group_size": 0}),
        *({"threads": 0}, {"threads": 2}, {"timeout": 0}, {"timeout": 1e-9}, {"timeout": 9.0}),
        *({"max_work": 0}, {"max_work": 3}, {"plan": "scan"}, {"plan": "graph"}, {"plan": "x"}),
    ],
    ids=str,
)
def test_options(index: fanns.Index, queries: np.ndarray, options: dict[str, Any]) -> None:
    def run() -> Any:
        try:
            return index.search(queries[1], where="year <= :y", params={"y": 5}, **options)
        except (FannsError, TypeError) as error:
            return type(error), str(error)

    found = run()
    with usual_way(index):
        expected = run()
    if isinstance(expected, tuple):
        assert found == expected
    else:
        same(found, expected)
        assert found.prefetched == expected.prefetched


@pytest.mark.parametrize(
    ("where", "params"),
    [
        ("year = :y", {}),
        ("year = :y", None),
        ("year = :y", {"y": 1, "z": 2}),
        ("year = :y", {"z": 2}),
        ("year = :y", {"y": "one"}),
        ("year = :y", {"y": fanns.each([1])}),
        ("year = :y", {"y": fanns.each([1, 2])}),
        ("nothing = :y", {"y": 1}),
        ("key = :y", {"y": 1}),
        ("year = = :y", {"y": 1}),
        ("year = 1", {"y": 1}),
        (["year = 1"], None),
        (3.5, None),
        ("day > :d", {"d": DAYS[3]}),
        ("day > :d", {"d": "2000-01-05"}),
        ("list_has_any(tags, :t)", {"t": "ab"}),
        ("list_has_any(tags, :t)", {"t": []}),
        ("year = :y AND name = :n", {"y": -5, "n": 7}),
    ],
)
def test_filters_that_are_wrong_or_unusual(
    index: fanns.Index, queries: np.ndarray, where: Any, params: Any
) -> None:
    for _ in range(2):  # also when the text has been seen
        agree(index, queries[2], 5, where, params)


def test_hits_keep_what_they_were_asked(index: fanns.Index, queries: np.ndarray) -> None:
    params = {"y": 1}
    hits = index.search(queries[0], 5, "year = :y", params)
    assert isinstance(hits, LineHits)
    params["y"] = 2
    assert hits.explain().where == "year = 1"
    part = hits.subset([2, 0])
    assert part.ids.tolist() == [hits.ids[2], hits.ids[0]] and part.explain().where == "year = 1"


def test_follows_the_calibration(table: pa.Table, queries: np.ndarray) -> None:
    made = build(table)
    segment = made._snapshot.segments[0]
    before = agree(made, queries[0], 3, "year <= :y", {"y": 5}).explain().segments[0]
    depths = (30.0,) * len(segment.calibration.depths)
    segment.calibrate(dataclasses.replace(segment.calibration, depths=depths))
    after = agree(made, queries[0], 3, "year <= :y", {"y": 5}).explain().segments[0]
    assert after.parameters["rerank"] > before.parameters["rerank"]


def test_follows_add_and_close(table: pa.Table, queries: np.ndarray) -> None:
    made = build(table)
    prepared = made.prepare("year = :y").bind(y=1)
    before = made.search(queries[0], N, "year = :y", {"y": 1})
    more = table.slice(0, 300).append_column(
        "v", pa.FixedSizeListArray.from_arrays(np.ones(300 * D, np.float32), D)
    )
    made.add(more)
    for where, params in (("year = :y", {"y": 1}), (prepared, None)):
        after = agree(made, queries[0], N, where, params)
        assert after.matches > before.matches
    agree(made, queries[:3], 4, "year = :y", {"y": fanns.each([1, 2, 3])})
    assert before.ids is before.ids and len(before.columns(["year"])) == len(before)
    made.close()
    assert made._quick is None


@given(data=st.data())
def test_batches_give_what_the_usual_way_gives(
    index: fanns.Index, queries: np.ndarray, data: st.DataObject
) -> None:
    where, _ = filters(data, index, False)
    names = index._snapshot.template(where, None).parameters
    m = data.draw(st.integers(0, 12))
    strange = data.draw(st.integers(0, 9)) == 0
    rows = [values_of(data, names, strange) for _ in range(m)]
    params: dict[str, Any] = {name: fanns.each([row[name] for row in rows]) for name in names}
    k = data.draw(st.sampled_from([1, 10, 2 * N]))
    threads = data.draw(st.sampled_from([1, 2]))
    agree(index, queries[:m], k, where, params, threads=threads)


@given(data=st.data())
def test_batches_of_single_look_ups(
    index: fanns.Index, other: fanns.Index, queries: np.ndarray, data: st.DataObject
) -> None:
    where = data.draw(st.sampled_from([text for text, _ in LEAVES]))
    names = index._snapshot.template(where, None).parameters
    m = data.draw(st.integers(1, 12))
    strange = data.draw(st.integers(0, 4)) == 0
    rows = [values_of(data, names, strange) for _ in range(m)]
    params: dict[str, Any] = {name: fanns.each([row[name] for row in rows]) for name in names}
    if len(names) > 1 and data.draw(st.booleans()):
        shared = sorted(names)[0]
        params[shared] = rows[0][shared]
    searched = data.draw(st.sampled_from([index, other]))
    k = data.draw(st.sampled_from([1, 10, 2 * N]))
    agree(searched, queries[:m], k, where, params, threads=data.draw(st.sampled_from([1, 2])))
    prepared = searched.prepare(where)
    agree(searched, queries[:m], k, [prepared.bind(**row) for row in rows])


def test_batches_are_made_when_asked_for(index: fanns.Index, queries: np.ndarray) -> None:
    params = {"y": fanns.each([1, 2, -5] * 4)}
    hits = index.search(queries[:12], 5, "year = :y", params)
    assert isinstance(hits, LineBatch) and len(hits) == 12
    with usual_way(index):
        expected = index.search(queries[:12], 5, "year = :y", params)
    assert hits.ids.tolist() == expected.ids.tolist()
    assert hits.distances.tolist() == expected.distances.tolist()
    assert hits.statuses == expected.statuses and repr(hits) == repr(expected)
    assert hits.to_arrow(["name"]).equals(expected.to_arrow(["name"]))
    assert hits[3] is hits[3] is hits[-9] and [len(part) for part in hits[1:4]] == [5, 0, 5]
    with pytest.raises(IndexError):
        hits[12]


def test_batches_of_different_filters(index: fanns.Index, queries: np.ndarray) -> None:
    bound = index.prepare("name = :n").bind(n="ab")
    wheres: list[Any] = [
        "year = 1",
        None,
        "year <= 9",
        bound,
        fanns.ids(index.ids()[:3]),
        "year = 1",
    ]
    wheres += [bound, fanns.col("year") == 1, np.arange(N) % 2 == 0, "name LIKE '%b'", "year = -5"]
    for threads in (1, 2):
        agree(index, queries[: len(wheres)], 6, wheres, threads=threads)
    ones = [True, 1, 1.0]
    with pytest.raises(FannsError, match="year"):
        index.search(queries[:3], 6, "year = :y", {"y": fanns.each(ones)})
    agree(index, queries[:2], 6, "year = :y", {"y": fanns.each([1, 1.0])})
    agree(index, queries[:5], 6, ["year = :y"] * 5, {"y": fanns.each([1, 1, 2, 1, 2])})
    agree(index, queries[:5], 6, ["year = :y"] * 5, {"y": 1})
    agree(index, queries[:5], 6, ["year = 1"] * 4)
    by_year = index.prepare("year = :y")
    agree(index, queries[:2], 6, [by_year.bind(y=1), by_year])
    agree(index, queries[:2], 6, [by_year.bind(y=1), index.prepare("year < :y").bind(y=3)])
    agree(index, queries[:2], 6, [by_year, by_year], {"y": fanns.each([1, 2])})
    with pytest.raises(ParameterError):
        index.search(queries[:3], 6, "year = :y", {"y": fanns.each([1])})
    many = np.concatenate([queries] * 5)
    each = fanns.each([i % 7 for i in range(len(many))])
    agree(index, many, 6, "year = :y", {"y": each}, threads=2)
    agree(index, many, 6, "small >= :y", {"y": each}, threads=2, recall=0.8)
    bad = many.copy()
    bad[7, 0] = math.nan
    agree(index, bad, 6, "year = :y", {"y": each})
