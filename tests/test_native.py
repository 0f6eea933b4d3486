"""Compressed tables searched natively: what brute force finds on the decoded table, to the bit."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns.errors import CorruptIndexError, InputError
from fanns.stores import NativeStore, QuotientRemainder
from tests.store_helpers import KINDS, make

METRICS = ("ip", "l2", "cosine")
FILTERS = {
    "all": None,
    "half": "colour = 1",
    "few": "year < 30",
    "one": "year = 17",
    "none": "year < 0",
    "range": "year BETWEEN 40 AND 140",
    "mixed": "colour <> 2 AND year > 25",
}


def columns(n: int) -> pa.Table:
    rows = np.arange(n)
    return pa.table({"colour": rows * 7 % 3, "year": rows, "name": [f"n{r}" for r in rows]})


def passing(n: int, where: str) -> Any:
    colour, year = np.arange(n) * 7 % 3, np.arange(n)
    return {
        "all": np.ones(n, bool),
        "half": colour == 1,
        "few": year < 30,
        "one": year == 17,
        "none": year < 0,
        "range": (year >= 40) & (year <= 140),
        "mixed": (colour != 2) & (year > 25),
    }[where]


def distances(rows: np.ndarray[Any, Any], q: np.ndarray[Any, Any], metric: str) -> Any:
    """float64[n], smaller is nearer."""
    wide, query = rows.astype(np.float64), q.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((wide - query) ** 2).sum(axis=1))
    dot = (wide * query).sum(axis=1)
    if metric == "ip":
        return -dot
    return 1 - dot / (np.linalg.norm(wide, axis=1) * np.linalg.norm(query))


def nearest(
    store: NativeStore, ids: Any, q: Any, k: int, metric: str, mask: Any
) -> tuple[list[int], Any]:
    """Brute force over the decoded table: ids by (distance, id), and distances."""
    rows = np.flatnonzero(mask)
    told = distances(store.decode(rows), q, metric)
    order = np.lexsort((ids[rows], told))[:k]
    return ids[rows][order].tolist(), told[order]


def agree(hits: Any, ids: list[int], told: Any, exact_ids: bool = True) -> None:
    assert len(hits) == len(ids) and hits.status == "exact"
    np.testing.assert_allclose(hits.distances, told, rtol=1e-12, atol=1e-12)
    if exact_ids:
        assert list(hits.ids) == ids


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_search_is_brute_force_on_the_decoded_table(kind: str, metric: str) -> None:
    n = 300
    rng = np.random.default_rng(len(kind))
    store, _ = make(kind, n, rng)
    index = fanns.Index.build(columns(n), vectors=store, metric=metric)
    assert len(index) == n and index.dimensions == store.d
    for name, where in FILTERS.items():
        mask = passing(n, name)
        for k, plan in ((7, "scan"), (7, "keys"), (500, None)):
            q = rng.standard_normal(store.d).astype(np.float32)
            expected = nearest(store, np.arange(n), q, k, metric, mask)
            agree(index.search(q, k, where, plan=plan), *expected)
            agree(index.search(q, k, where, exact=True), *expected)
    batch = rng.standard_normal((5, store.d)).astype(np.float32)
    many = index.search(batch, 3, [None, *list(FILTERS.values())[1:5]])
    for q, hits, name in zip(batch, many, FILTERS, strict=False):
        agree(hits, *nearest(store, np.arange(n), q, 3, metric, passing(n, name)))
    if kind == "concat" and metric != "cosine":
        assert "keys" in str(index.search(batch[0], 3, plan="keys").explain())


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(["ip", "l2"]),
    n=st.integers(1, 200),
    k=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 10**6),
    plan=st.sampled_from([None, "scan", "keys"]),
)
def test_ties_and_masks(
    kind: str, metric: str, n: int, k: int, share: float, seed: int, plan: str | None
) -> None:
    """Small whole numbers, whose scores tie often: ties by id, which is not the row's number."""
    rng = np.random.default_rng(seed)
    store, _ = make(kind, n, rng, whole=True)
    ids = rng.permutation(n) * 3 + 5
    index = fanns.Index.build({"id": ids}, vectors=store, metric=metric)
    q = rng.integers(-2, 3, store.d).astype(np.float32)
    mask = rng.random(n) < share
    expected = nearest(store, ids, q, k, metric, mask)
    agree(index.search(q, k, mask, plan=plan), *expected)


def test_explain_says_how_and_why_not() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal(12).astype(np.float32)
    why = {
        ("add", "l2"): "are no sums of halves",
        ("mult", "ip"): "products of two halves are no sums",
        ("concat", "cosine"): "cosine divides by lengths",
        ("masked", "ip"): "a masked table is no sum of two halves",
    }
    for (kind, metric), told in why.items():
        index = fanns.Index.build(None, vectors=make(kind, 500, rng)[0], metric=metric)
        text = str(index.explain(q, 5))
        assert "native(" in text and told in text
    index = fanns.Index.build(None, vectors=make("concat", 90_000, rng)[0], metric="ip")
    text = str(index.explain(q, 5))
    assert "keys(" in text and "rejected native scan" in text
    assert "native(" in str(index.explain(q, 5, np.arange(90_000) < 40))
    assert "quotient remainder table" in index.info()["segments"][0]["vectors"]


def test_a_walk_that_is_given_up_ends_in_the_scan() -> None:
    """The passing rows are the last in the order of the walk: it may not take for ever."""
    rng = np.random.default_rng(1)
    store, _ = make("concat", 40_000, rng)
    index = fanns.Index.build(None, vectors=store, metric="ip")
    q = rng.standard_normal(12).astype(np.float32)
    told = distances(store.decode(np.arange(40_000)), q, "ip")
    mask = told > np.quantile(told, 0.98)
    hits = index.search(q, 10, mask, plan="keys")
    agree(hits, *nearest(store, np.arange(40_000), q, 10, "ip", mask))
    assert "finished by native scan" in str(hits.explain())


def test_memory_of_a_large_table_is_that_of_its_halves() -> None:
    rng = np.random.default_rng(2)
    halves = rng.standard_normal((2, 1000, 32)).astype(np.float32)
    index = fanns.Index.build(
        None, vectors=QuotientRemainder((halves[0], halves[1]), 10**6), metric="ip"
    )
    assert index.info()["bytes"]["total"] < 0.0011 * 10**6 * 64 * 4
    q = rng.standard_normal(64).astype(np.float32)
    best = int(halves[0].dot(q[:32]).argmax() + 1000 * halves[1].dot(q[32:]).argmax())
    assert index.search(q, 1).ids.tolist() == [best]
    assert len(index.ids()) == 10**6


@pytest.mark.slow
def test_a_million_rows_are_searched_fifty_times_faster_than_decoded() -> None:
    """Against numpy's own gathering and product, over blocks that suit its caches."""
    rng = np.random.default_rng(9)
    n, halves = 10**6, rng.standard_normal((2, 1000, 32)).astype(np.float32)
    store = QuotientRemainder((halves[0], halves[1]), n)
    index = fanns.Index.build(None, vectors=store, metric="ip")
    queries = rng.standard_normal((8, 64)).astype(np.float32)

    def decoded(q: Any) -> list[int]:
        scores, ids = np.empty(0), np.empty(0, np.int64)
        for start in range(0, n, 10_000):
            rows = np.arange(start, start + 10_000)
            own = np.hstack([halves[0][rows % 1000], halves[1][rows // 1000]]) @ q
            best = np.argpartition(-own, 10)[:10]
            scores, ids = np.append(scores, own[best]), np.append(ids, rows[best])
        return [int(i) for i in ids[np.argsort(-scores)[:10]]]

    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    index.search(queries[0], 10)
    for q in queries:
        begun = perf_counter()
        ours = index.search(q, 10).ids.tolist()
        between = perf_counter()
        assert ours == decoded(q)
        took["ours"].append(between - begun)
        took["theirs"].append(perf_counter() - between)
    assert np.median(took["theirs"]) > 50 * np.median(took["ours"])


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_on_disk_is_the_same(kind: str, strings: bool, tmp_path: Path) -> None:
    n = 200
    rng = np.random.default_rng(3)
    store, _ = make(kind, n, rng)
    table = columns(n)
    if strings:
        table = table.append_column("key", pa.array([f"k{i * 37 % n:03}" for i in range(n)]))
    given: dict[str, Any] = {"vectors": store, "metric": "ip", "id": "key" if strings else None}
    here = fanns.Index.build(table, **given)
    index = fanns.Index.build(table, **given, path=tmp_path / "i")
    q = rng.standard_normal(store.d).astype(np.float32)
    for where in FILTERS.values():
        a, b = here.search(q, 9, where), index.search(q, 9, where)
        assert list(a.ids) == list(b.ids) and a.distances.tolist() == b.distances.tolist()
    some = list(index.ids()[5:8]) if strings else [5, 6, 7]
    got = index.get(some, vector=True, columns=["year"])
    assert got["year"].to_pylist() == [5, 6, 7]
    vectors = np.array(got["vector"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, store.decode([5, 6, 7]))
    assert index.verify() == []
    index.export(tmp_path / "out.parquet")
    back = fanns.Index.import_(tmp_path / "out.parquet")
    assert list(back.search(q, 9).ids) == list(index.search(q, 9).ids)
    index.close()


def test_rows_go_and_come_beside_a_table(tmp_path: Path) -> None:
    n = 300
    rng = np.random.default_rng(4)
    store, _ = make("concat", n, rng)
    fanns.Index.build(columns(n), vectors=store, metric="ip", path=tmp_path / "i").close()
    with fanns.open(tmp_path / "i", mode="w", merge="manual") as index:
        assert index.delete(where="year < 20") == 20
        assert index.update(where="year = 25", set={"colour": 9}) == 1
        q = rng.standard_normal(12).astype(np.float32)
        alive = np.arange(n) >= 20
        agree(index.search(q, 10), *nearest(store, np.arange(n), q, 10, "ip", alive))
        assert index.search(q, 10, "colour = 9").ids.tolist() == [25]
        same = pa.array([(50 * q).tolist()] * 3, pa.list_(pa.float32(), 12))
        index.add(columns(3).append_column("vector", same))
        assert index.search(q, 4).ids.tolist()[:3] == [300, 301, 302]
        report = index.compact(full=True)
        assert report.native == 1 and report.segments_after == 2
        assert index.search(q, 4).ids.tolist()[:3] == [300, 301, 302]
        with pytest.raises(InputError, match="cannot be erased"):
            index.compact(erase=True)
        assert [part["deleted"] for part in index.info()["segments"]] == [20, 0]
        assert index.check(rng.standard_normal((3, 12)).astype(np.float32)).recall == 1.0
        assert len(index.tune(rng.standard_normal((16, 12)).astype(np.float32)).after.statuses)
    with fanns.open(tmp_path / "i") as index:
        assert index.search(q, 4).ids.tolist()[:3] == [300, 301, 302]


def test_damage_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    store, _ = make("stored", 4200, rng)
    fanns.Index.build(columns(4200), vectors=store, metric="ip", path=tmp_path / "i").close()
    (path,) = (tmp_path / "i").rglob("store*.bin")
    whole = path.read_bytes()
    for place in (3, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with fanns.open(tmp_path / "i") as index:
            assert len(index.verify()) == 1
            with pytest.raises(CorruptIndexError):
                index.search(np.ones(12, np.float32))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"data": {"a": [1]}}, "1 rows, the store 50"),
        ({"data": None, "vectors": np.ones((50, 12))}, "expected a store"),
        ({"data": None, "memory_limit": "1GB"}, "not for a store"),
        ({"data": None, "keep_originals": False}, "written out"),
        ({"data": None, "range_index": ["a"]}, "graph=True"),
        ({"data": {"vector": [1] * 50}}, "name of the vectors"),
        ({"data": None, "id": "key"}, "no column 'key'"),
        ({"data": None, "metric": "dot"}, "metric"),
        ({"data": None, "graph": True, "vectors": None}, "vectors="),
    ],
)
def test_what_cannot_be_built_is_refused(arguments: dict[str, Any], told: str) -> None:
    store, _ = make("concat", 50, np.random.default_rng(6))
    arguments = {"vectors": store, **arguments}
    with pytest.raises(InputError, match=told):
        fanns.Index.build(arguments.pop("data"), **arguments)


def test_zero_rows_have_no_cosine() -> None:
    store = QuotientRemainder(
        (np.zeros((2, 3), np.float32), np.eye(3, dtype=np.float32)), 6, "mult"
    )
    with pytest.raises(InputError, match="row 0 of the store is zero"):
        fanns.Index.build(None, vectors=store)
    assert len(fanns.Index.build(None, vectors=store, metric="l2").search(np.ones(3), 9)) == 6
