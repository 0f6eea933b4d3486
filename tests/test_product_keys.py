"""Product keys equal brute force over all sums: ties, masks, awkward shapes, any thread count."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.errors import InputError
from fanns.kernels.distance import METRICS as METRIC
from fanns.kernels.jit import Array, frozen
from fanns.kernels.product_keys import top_keys_masked
from fanns.product_keys import ProductKeys

SHAPES = [(1, 1, 1, 1), (1, 7, 3, 2), (9, 1, 1, 5), (5, 13, 17, 4), (40, 33, 8, 19)]
METRICS = ["ip", "l2"]


def all_distances(keys: ProductKeys, query: Array) -> npt.NDArray[np.float64]:
    """Distances of all keys in the order of their numbers, float64[c_a * c_b]."""
    wide = np.asarray(query, np.float64)
    halves = []
    for table, part in (
        (keys.keys_a, wide[: keys.keys_a.shape[1]]),
        (keys.keys_b, wide[keys.keys_a.shape[1] :]),
    ):
        rows = table.astype(np.float64)
        halves.append(((rows - part) ** 2).sum(1) if keys.metric == "l2" else 0.0 - rows @ part)
    sums: npt.NDArray[np.float64] = np.add.outer(*halves).ravel()
    return np.sqrt(sums) if keys.metric == "l2" else sums


def brute_force(
    keys: ProductKeys, query: Array, k: int, passing: Array | None = None
) -> tuple[Array, Array]:
    """The k best of the passing keys by (distance, number)."""
    distances = all_distances(keys, query)
    numbers = np.arange(len(keys)) if passing is None else np.asarray(passing)
    order = numbers[np.lexsort((numbers, distances[numbers]))][:k]
    return order, distances[order]


def random_keys(seed: int, shape: tuple[int, int, int, int], metric: str) -> ProductKeys:
    rng = np.random.default_rng(seed)
    c_a, c_b, d_a, d_b = shape
    return ProductKeys(rng.standard_normal((c_a, d_a)), rng.standard_normal((c_b, d_b)), metric)


def queries_for(keys: ProductKeys, seed: int, m: int = 5) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, keys.dimensions)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_brute_force(shape: tuple[int, int, int, int], metric: str) -> None:
    keys = random_keys(1, shape, metric)
    queries = queries_for(keys, 2)
    for k in (1, 2, 10, len(keys), len(keys) + 3):
        hits = keys.topk(queries, k)
        assert len(hits) == len(queries)
        for query, hit in zip(queries, hits, strict=True):
            ids, distances = brute_force(keys, query, k)
            np.testing.assert_array_equal(hit.ids, ids)
            np.testing.assert_allclose(hit.distances, distances, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_thousand_half_keys(metric: str) -> None:
    keys = random_keys(3, (1000, 1000, 16, 16), metric)
    queries = queries_for(keys, 4, 3)
    for query, hit in zip(queries, keys.topk(queries, 32), strict=True):
        np.testing.assert_array_equal(hit.ids, brute_force(keys, query, 32)[0])


# Small whole numbers: sums are exact, ties are many, and numpy's order is the order asked for.
WHOLE = st.integers(-3, 3).map(float)


@st.composite
def tied_tables(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    """Half tables and queries of whole numbers."""
    c_a, c_b = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    d_a, d_b = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def table(rows: int, columns: int) -> Array:
        return draw(hnp.arrays(np.float32, (rows, columns), elements=WHOLE))

    return table(c_a, d_a), table(c_b, d_b), table(2, d_a + d_b)


@given(tied_tables(), st.integers(1, 160), st.sampled_from(METRICS))
def test_ties_go_to_the_lower_number(
    tables: tuple[Array, Array, Array], k: int, metric: str
) -> None:
    keys = ProductKeys(tables[0], tables[1], metric)
    for query, hit in zip(tables[2], keys.topk(tables[2], k), strict=True):
        ids, distances = brute_force(keys, query, k)
        np.testing.assert_array_equal(hit.ids, ids)
        np.testing.assert_array_equal(hit.distances, distances)


@given(tied_tables(), st.integers(1, 160), st.sampled_from(METRICS), st.data())
def test_masks(
    tables: tuple[Array, Array, Array], k: int, metric: str, data: st.DataObject
) -> None:
    keys = ProductKeys(tables[0], tables[1], metric)
    mask = data.draw(hnp.arrays(np.bool_, len(keys)))
    passing = np.flatnonzero(mask)
    for form in (mask, mask.reshape(keys.shape), passing, keys.mask(passing)):
        for query, hit in zip(tables[2], keys.topk(tables[2], k, mask=form), strict=True):
            ids, distances = brute_force(keys, query, k, passing)
            np.testing.assert_array_equal(hit.ids, ids)
            np.testing.assert_array_equal(hit.distances, distances)


def rounded_tables() -> list[tuple[list[float], list[float]]]:
    """Halves (d = 1) whose sums round to equal values, in an order against their numbers."""
    tiny = [2.0**-30 * (7 - j) for j in range(8)]
    return [
        ([2.0**30] * 3, tiny),
        ([2.0**30 + 128 * (i % 3) for i in range(9)], tiny),
        (tiny, [2.0**30] * 5 + [2.0**31]),
        ([1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-24], [2.0**30, 2.0**54]),
        ([0.0, -0.0, 0.0], [-0.0, 0.0]),
        ([1.0] * 30, [1.0] * 20),
    ]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("number", range(6))
def test_sums_that_round_to_ties(number: int, metric: str) -> None:
    first, second = (np.array(v, np.float32)[:, None] for v in rounded_tables()[number])
    keys = ProductKeys(first, second, metric)
    query = np.ones(2, np.float32) if metric == "ip" else np.zeros(2, np.float32)
    sign = np.array([-1, 1], np.float32)
    for asked in (query, -query, query * sign):
        for k in range(1, len(keys) + 2):
            ids, distances = brute_force(keys, asked, k)
            hit = keys.topk(asked, k)[0]
            np.testing.assert_array_equal(hit.ids, ids)
            np.testing.assert_array_equal(hit.distances, distances)
            odd = np.arange(1, len(keys), 2)
            hit = keys.topk(asked, k, mask=odd)[0]
            np.testing.assert_array_equal(hit.ids, brute_force(keys, asked, k, odd)[0])


@pytest.mark.parametrize("value", [0.0, 1.0, 3e37])
def test_all_equal(value: float) -> None:
    keys = ProductKeys(np.full((300, 8), value), np.full((400, 8), value))
    query = np.ones(16, np.float32)
    np.testing.assert_array_equal(keys.topk(query, 1000).ids, np.arange(1000))
    mask = np.arange(len(keys)) % 2 == 1
    hits = keys.topk(query, 10, mask=mask)
    np.testing.assert_array_equal(hits.ids, np.arange(1, 20, 2))
    assert hits.work[0, 1] < 2 * len(keys)  # a walk through ties ends in a scan


@pytest.mark.parametrize("share", [0.0, 2e-5, 0.001, 0.03, 0.3, 0.97, 1.0])
@pytest.mark.parametrize("metric", METRICS)
def test_walks_and_scans_agree(share: float, metric: str) -> None:
    """Every way to the passing keys, forced in turn, gives the same answer."""
    keys = random_keys(5, (300, 250, 6, 7), metric)
    queries = queries_for(keys, 6, 3)
    passing = np.flatnonzero(np.random.default_rng(7).random(len(keys)) < share)
    bitmap = np.zeros(len(keys), np.bool_)
    bitmap[passing] = True
    expected = [brute_force(keys, query, 40, passing)[0] for query in queries]
    words = keys.mask(bitmap).words()
    nothing = frozen(np.empty(0, np.uint64))
    ways = [(words, depth, most) for depth in (16, 1000) for most in (0, 5, 10**9)]
    for given_words, depth, most in [*ways, (nothing, 0, 0)]:
        k = min(40, len(passing))
        ids, values = np.empty((3, k), np.int64), np.empty((3, k))
        asked = (queries, METRIC[metric], keys.keys_a, keys.keys_b)
        listed, work = frozen(passing), np.empty((3, 3), np.int64)
        top_keys_masked(*asked, given_words, listed, depth, most, ids, values, work)
        for found, wanted in zip(ids, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    for form in (bitmap, passing):
        for hit, wanted in zip(keys.topk(queries, 40, mask=form), expected, strict=True):
            np.testing.assert_array_equal(hit.ids, wanted)


def test_a_mask_against_the_query_ends_in_a_scan() -> None:
    keys = random_keys(8, (200, 200, 4, 4), "ip")
    query = queries_for(keys, 9, 1)[0]
    order = brute_force(keys, query, len(keys))[0]
    mask = np.zeros(len(keys), np.bool_)
    mask[order[20_000:]] = True
    hits = keys.topk(query, 10, mask=mask)
    np.testing.assert_array_equal(hits.ids, order[20_000:20_010])
    assert 0 < hits.work[0, 2] < 20_000  # the walk gave up
    assert hits.work[0, 1] <= 2 * len(keys)
    open_mask = np.ones(len(keys), np.bool_)
    open_mask[order[:3]] = False
    hits = keys.topk(query, 10, mask=open_mask)
    np.testing.assert_array_equal(hits.ids, order[3:13])
    assert hits.work[0, 1] < 30


def test_a_mask_for_each_query() -> None:
    keys = random_keys(10, (12, 9, 3, 3), "l2")
    queries = queries_for(keys, 11, 4)
    rng = np.random.default_rng(12)
    masks = rng.random((4, len(keys))) < 0.2
    masks[1] = False
    expected = [
        brute_force(keys, query, 8, np.flatnonzero(mask))[0]
        for query, mask in zip(queries, masks, strict=True)
    ]
    numbers = [np.flatnonzero(mask) for mask in masks]
    prepared = [keys.mask(mask) for mask in masks]
    for given_masks in (masks, masks.reshape(4, 12, 9), list(masks), numbers, tuple(prepared)):
        hits = keys.topk(queries, 8, mask=given_masks)
        assert [len(hit.ids) for hit in hits] == np.diff(hits.offsets).tolist()
        for hit, ids in zip(hits, expected, strict=True):
            np.testing.assert_array_equal(hit.ids, ids)
        np.testing.assert_array_equal(hits.ids, np.concatenate(expected))
    hits = keys.topk(queries, 8, mask=[None, [3, 1, 3], None, []])
    assert np.diff(hits.offsets).tolist() == [8, 2, 8, 0]
    assert sorted(hits[1].ids.tolist()) == [1, 3]
    with pytest.raises(InputError, match="0 to 8 keys"):
        hits.table()
    weights = hits.weights()
    sums = [weights[a:b].sum() for a, b in zip(hits.offsets[:-1], hits.offsets[1:], strict=True)]
    np.testing.assert_allclose(sums, [1, 1, 1, 0])


def test_threads_do_not_matter() -> None:
    keys = random_keys(13, (60, 50, 8, 8), "ip")
    queries = queries_for(keys, 14, 100)
    mask = np.random.default_rng(15).random(len(keys)) < 0.4
    for given_mask in (None, mask, [mask, None] * 50):
        one = keys.topk(queries, 12, mask=given_mask)
        for threads in (2, 3, None):
            other = keys.topk(queries, 12, mask=given_mask, threads=threads)
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.distances, other.distances)
            np.testing.assert_array_equal(one.work, other.work)


def test_what_comes_back() -> None:
    keys = fanns.ProductKeys([[1.0, 0.0], [0.0, 1.0]], [[2.0], [0.0], [1.0]])
    assert (keys.shape, len(keys), keys.dimensions) == ((2, 3), 6, 3)
    hits = keys.topk([[1, 0, 1], [0, 3, -1]], k=2)
    ids, scores = hits.table()
    assert ids.tolist() == [[0, 2], [4, 5]]
    assert scores.tolist() == [[3, 2], [3, 2]]
    assert hits.distances.tolist() == [-3, -2, -3, -2]
    assert hits[-1].scores.tolist() == [3, 2] and hits[0:1][0].ids.tolist() == [0, 2]
    np.testing.assert_allclose(hits.weights().reshape(2, 2).sum(1), 1)
    assert hits.weights()[0] == pytest.approx(1 / (1 + np.exp(-1)))
    assert repr(keys) == "<ProductKeys: 2 x 3 keys of 2 + 1 dimensions, ip>"
    assert repr(hits) == "<KeyHits: 2 queries, 4 keys, ip>"
    near = ProductKeys(keys.keys_a, keys.keys_b, "l2").topk([1, 0, 4], 1)[0]
    assert near.ids.tolist() == [0] and near.distances.tolist() == [2]
    assert near.scores.tolist() == [1 / 3]
    with pytest.raises(IndexError):
        hits[2]


@pytest.mark.parametrize("mask", [None, [1, 5]])
def test_no_queries(mask: Any) -> None:
    hits = random_keys(16, (3, 4, 2, 2), "ip").topk(np.empty((0, 4), np.float32), 3, mask=mask)
    assert len(hits) == 0 and len(hits.ids) == 0 and hits.offsets.tolist() == [0]
    assert hits.table()[0].shape[0] == 0 and len(hits.weights()) == 0


def test_a_bitmap_is_a_mask() -> None:
    keys = random_keys(17, (11, 13, 2, 2), "ip")
    query = queries_for(keys, 18, 1)[0]
    words = np.zeros(3, np.uint64)
    words[0], words[2] = 1 << 5, (1 << 14) | 1  # 143 bits
    hits = keys.topk(query, 9, mask=words)
    passing = np.array([5, 128, 142])
    np.testing.assert_array_equal(hits.ids, brute_force(keys, query, 9, passing)[0])
    words[2] = 1 << 15
    with pytest.raises(InputError, match="beyond key 142"):
        keys.topk(query, 9, mask=words)


BAD_TABLES: list[tuple[Any, Any, str]] = [
    ([[np.nan, 1.0]], [[1.0]], "row 0 of keys_a holds NaN"),
    ([[1.0]], [[1.0], [np.inf]], "row 1 of keys_b holds infinity"),
    ([1.0, 2.0], [[1.0]], "keys_a: expected a 2-dimensional"),
    (np.empty((0, 3)), [[1.0]], "keys_a: expected at least one"),
    ([[1.0]], np.empty((2, 0)), "keys_b: 0 dimensions"),
    ([["x"]], [[1.0]], "keys_a: expected float32"),
]


@pytest.mark.parametrize(("first", "second", "told"), BAD_TABLES)
def test_tables_at_the_door(first: Any, second: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        ProductKeys(first, second)


BAD_MASKS: list[tuple[Any, str]] = [
    (np.ones(5, np.bool_), r"expected bool\[6\]"),
    (np.ones((3, 2), np.bool_), r"bool\[2, 3\]"),
    ([0, 6], "key 6 is outside 0..5"),
    ([-1], "key -1 is outside"),
    (np.array([0.5]), "got float64"),
    (np.zeros(2, np.uint64), r"uint64\[1\]"),
    ([None], "1 masks for 2 queries"),
    ("abc", "expected bool"),
]


def test_arguments_at_the_door() -> None:
    keys = random_keys(19, (2, 3, 2, 2), "ip")
    queries = queries_for(keys, 20, 2)
    for k in (0, -1, 1.5, True, "3"):
        with pytest.raises(InputError, match="k: expected"):
            keys.topk(queries, k)  # type: ignore[arg-type]
    for wrong in (queries[:, :3], np.full((1, 4), np.nan), [["a"] * 4]):
        with pytest.raises(InputError, match="quer"):
            keys.topk(wrong, 1)
    for mask, told in BAD_MASKS:
        with pytest.raises(InputError, match=told):
            keys.topk(queries, 1, mask=mask)
    with pytest.raises(InputError, match="made for"):
        keys.topk(queries, 1, mask=random_keys(0, (3, 2, 1, 1), "ip").mask([1]))
    with pytest.raises(InputError, match="metric"):
        ProductKeys([[1.0]], [[1.0]], "cosine")
    with pytest.raises(InputError, match="usage"):
        ProductKeys([[1.0]], [[1.0]], usage="all")
    with pytest.raises(InputError, match="not counted"):
        keys.topk(queries, 1, record=True)
    with pytest.raises(InputError, match="not counted"):
        keys.reinitialise_dead()


@pytest.mark.parametrize("what", ["halves", "keys"])
def test_usage(what: str) -> None:
    rng = np.random.default_rng(21)
    keys = ProductKeys(rng.standard_normal((8, 4)), rng.standard_normal((6, 4)), usage=what)
    usage = keys.usage
    assert usage is not None
    queries = queries_for(keys, 22, 20)
    hits = keys.topk(queries, 3)
    keys.topk(queries, 3, record=False)
    counts = np.bincount(hits.ids, minlength=48).reshape(8, 6)
    np.testing.assert_array_equal(usage.a, counts.sum(1))
    np.testing.assert_array_equal(usage.b, counts.sum(0))
    if usage.keys is not None:
        np.testing.assert_array_equal(usage.keys, counts)
    assert (usage.keys is not None) == (what == "keys")
    keys.record([0, 0])
    assert usage.a[0] == counts[0].sum() + 2
    keys.record([])
    for wrong in ([48], [-1], [0.5]):
        with pytest.raises(InputError, match="key numbers within"):
            keys.record(wrong)


def test_dead_half_keys_are_made_anew() -> None:
    """Half keys far from every query die; near copies of used ones take part again."""
    rng = np.random.default_rng(23)
    table = rng.standard_normal((20, 8)).astype(np.float32)
    far = table.copy()
    far[5:] = -100.0
    keys = ProductKeys(far, table, usage="keys")
    queries = np.abs(queries_for(keys, 24, 200))
    keys.topk(queries, 4)
    usage = keys.usage
    assert usage is not None
    used_a, used_b = usage.a.copy(), usage.b.copy()
    done = keys.reinitialise_dead(seed=1)
    np.testing.assert_array_equal(done.dead_a, np.flatnonzero(used_a == 0))
    np.testing.assert_array_equal(done.dead_b, np.flatnonzero(used_b == 0))
    assert set(range(5, 20)) <= set(done.dead_a.tolist())
    assert (used_a[done.donors_a] > 0).all() and len(done.donors_a) == len(done.dead_a)
    kept = np.setdiff1d(np.arange(20), done.dead_a)
    np.testing.assert_array_equal(keys.keys_a[kept], far[kept])
    moved = np.linalg.norm(keys.keys_a[done.dead_a] - far[done.donors_a], axis=1)
    lengths = np.linalg.norm(far[done.donors_a], axis=1)
    assert (moved > 0).all() and (moved < 0.03 * lengths).all()
    assert far[5, 0] == -100.0  # the given array is not written to
    assert usage.a.sum() == usage.b.sum() == 0
    keys.topk(queries, 4)
    assert (usage.a[done.dead_a] > 0).mean() > 0.5

    again = ProductKeys(far, table, usage="halves")
    again.topk(queries, 4)
    again.reinitialise_dead(seed=1)
    np.testing.assert_array_equal(again.keys_a, keys.keys_a)  # seeded


def test_nothing_dead_or_nothing_used() -> None:
    keys = ProductKeys(np.eye(3), np.eye(3), usage="halves")
    before = keys.keys_a.copy()
    assert all(len(part) == 0 for part in keys.reinitialise_dead())  # nobody to copy from
    keys.record([0, 4, 8])
    assert all(len(part) == 0 for part in keys.reinitialise_dead())
    keys.record([0, 0, 4, 8])
    done = keys.reinitialise_dead(threshold=1)
    assert done.dead_a.tolist() == [1, 2] and done.donors_a.tolist() == [0, 0]
    np.testing.assert_array_equal(keys.keys_a[0], before[0])
