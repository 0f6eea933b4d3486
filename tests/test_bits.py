"""One-bit codes: the rotation, the estimate and its error, and the scan that they shorten."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.kernels.bits import SPREAD, encode_bits, record_words
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array, frozen
from fanns.kernels.rotation import random_signs, rotate_rows
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.test_scan import METRICS, nearest, oracle, select, whole_numbers


def unit(rows: Array, metric: int) -> Array:
    """x' of `kernels/bits.py`, float64."""
    wide = np.asarray(rows, np.float64)
    if metric != COSINE:
        return wide
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(lengths > 0, lengths, 1.0)


def parted(array: Array, metric: int) -> tuple[Array, Array]:
    """Runs of 1, 2, 3, ... rows as clusters: offsets int64[c + 1], centroids float32[c, d]."""
    n = len(array)
    ends = np.cumsum(np.arange(1, n + 2))
    offsets = np.concatenate([[0], ends[ends < n], [n][: n > 0]]).astype(np.int64)
    means = [
        unit(array[start:stop], metric).mean(axis=0) for start, stop in itertools.pairwise(offsets)
    ]
    return offsets, np.array(means, np.float32).reshape(len(means), array.shape[1])


def make(array: Array, metric: int, ties: Array | None = None) -> tuple[ScanPath, BitCodes]:
    store = DenseVectors.from_array(array, metric)
    codes = Int8Codes.build(store)
    clusters = parted(array, metric)
    bits = BitCodes.build(store, codes.mean, 1, *clusters)
    ties = np.arange(len(array), dtype=np.int64) if ties is None else ties
    centroids = Centroids(*clusters, np.zeros(len(clusters[1])), codes.mean)
    return ScanPath(store, codes, ties, (bits, centroids)), bits


def centre_keys(query: Array, centres: Array, metric: int) -> tuple[Array, Array]:
    """A and |q' - c| of `kernels/bits.py`, exactly."""
    query, centres = unit(query, metric), centres.astype(np.float64)
    gaps = np.linalg.norm(query - centres, axis=1)
    return (gaps**2 if metric == L2 else -(centres @ query)), gaps


def clustered(n: int, d: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d))
    return (centres[rng.integers(0, 40, n)] + rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("d", [1, 63, 64, 100, 384, 500])
def test_the_rotation_keeps_products_and_spreads_values(d: int) -> None:
    signs = random_signs(d, 3)
    size = signs.shape[1]
    assert size % 64 == 0 and 0 <= size - d < 64
    rng = np.random.default_rng(d)
    rows = rng.standard_normal((60, size)).astype(np.float32)
    turned = rows.copy()
    rotate_rows(turned, signs)
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=2e-3)
    one = np.zeros((1, size), np.float32)
    one[0, 0] = 1
    rotate_rows(one, signs)
    assert (np.abs(one) < 0.5).all()  # no direction is left standing out


@pytest.mark.parametrize("metric", METRICS)
def test_the_estimate_is_unbiased_and_within_its_bound(metric: int) -> None:
    """Gao and Long 2024, theorem 3.2: a normal error, whose size follows from row and query.

    The query's 4 bits add a little to it: 93.5 % are within 1.9 sizes where 94.3 % would be.
    """
    d, n, rotations = 256, 400, 60
    rows, query = clustered(n, d, 1), clustered(1, d, 2)[0]
    rows = rows[cluster_order(rows, metric, 0)[0]]
    store = DenseVectors.from_array(rows, metric)
    offsets, centres = parted(rows, metric)
    starts, gaps = centre_keys(query, centres, metric)
    mean = Int8Codes.build(store).mean
    z = unit(rows, metric) - np.repeat(centres, np.diff(offsets), axis=0)
    gap, length = np.repeat(gaps, np.diff(offsets)), np.linalg.norm(z, axis=1)
    between = unit(query, metric) - unit(rows, metric)
    truth = (
        (between**2).sum(axis=1) if metric == L2 else -(unit(rows, metric) @ unit(query, metric))
    )
    keep = length > 1e-6  # a cluster's only row is its centre
    errors, within, below = np.empty((rotations, n)), np.zeros(2), 0.0
    for seed in range(rotations):
        bits = BitCodes.build(store, mean, seed, offsets, centres)
        keys = bits.estimates(query, offsets, starts)
        errors[seed] = (keys - truth) / (2 if metric == L2 else 1)
        # cos is the cosine of the angle between a row and its code: f = |z| / (cos sqrt(D)).
        cos = length[keep] / (bits.factors[keep, 2 * d // 64] * np.sqrt(d))
        size = gap[keep] * length[keep] * np.sqrt(1 / cos**2 - 1) / np.sqrt(d - 1)
        for place, epsilon in enumerate((1.9, 3.0)):
            within[place] += (np.abs(errors[seed, keep]) <= epsilon * size).mean() / rotations
        bounds = bits.estimates(query, offsets, starts, 1.9 * SPREAD * gaps)
        below += (bounds <= truth)[keep].mean() / rotations
    np.testing.assert_allclose(errors[:, ~keep], 0, atol=1e-5)
    assert 0.92 <= within[0] <= 0.955 and within[1] >= 0.994
    assert 0.955 <= below <= 0.98
    spread = errors.std(axis=0)[keep] / np.sqrt(rotations)
    # Of 400 means of 60 errors, none is far from zero; nor is the mean of all.
    assert (np.abs(errors.mean(axis=0))[keep] < 5 * spread).all()
    assert abs(errors.mean()) < 0.1 * errors.std()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 7, 100, 500])
def test_records_hold_what_their_description_says(d: int, metric: int) -> None:
    rows = clustered(50, d, 4)
    store = DenseVectors.from_array(rows, metric)
    offsets, centres = parted(rows, metric)
    mean = np.linspace(-1, 1, d).astype(np.float32)
    bits = BitCodes.build(store, mean, 0, offsets, centres)
    signs, width = record_words(d)
    assert bits.records.shape == (50, width) and bits.records.ctypes.data % 64 == 0
    c = np.repeat(centres, np.diff(offsets), axis=0).astype(np.float64)
    z = unit(rows, metric) - c
    turned, shift = (np.zeros((50, 64 * signs), np.float32) for _ in range(2))
    turned[:, :d], shift[:, :d] = z, c - mean
    rotate_rows(turned, bits.signs)
    rotate_rows(shift, bits.signs)
    words = bits.records[:, :signs].copy().view(np.uint8)
    ones = np.unpackbits(words, axis=1, bitorder="little")
    clear = np.abs(turned) > 1e-5  # rounding may turn the sign of less
    np.testing.assert_array_equal(ones[clear], (turned > 0)[clear])
    s = 2.0 * ones - 1
    squared, length = (z**2).sum(axis=1), (turned * s).sum(axis=1)
    f = np.where(squared > 1e-9, squared / np.maximum(length, 1e-12), 0)
    second = squared if metric == L2 else -(c * z).sum(axis=1)
    second = second + (2 if metric == L2 else 1) * f * (shift * s).sum(axis=1)
    np.testing.assert_allclose(bits.factors[:, 2 * signs], f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bits.factors[:, 2 * signs + 1], second, rtol=1e-4, atol=1e-4)
    assert not bits.records[:, signs + 1 :].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_builds_are_the_same_whatever_the_threads(threads: int) -> None:
    store = DenseVectors.from_array(clustered(5000, 48, 1), COSINE)
    mean = Int8Codes.build(store).mean
    clusters = parted(store.vectors, COSINE)
    one = BitCodes.build(store, mean, 7, *clusters, threads)
    whole = BitCodes.build(store, mean, 7, *clusters, 2)
    np.testing.assert_array_equal(one.records, whole.records)
    records = np.zeros_like(one.records)
    rows = (store.exact, store.norms, COSINE)
    relative = (one.mean, one.signs, frozen(clusters[0]), frozen(clusters[1]))
    encode_bits(*rows, *relative, 100, 200, records, records.view(np.float32))
    np.testing.assert_array_equal(records[100:200], one.records[100:200])


@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["float32", "float32", "float16", "int8"]),
    n=st.sampled_from([0, 1, 2, 64, 65, 200]),
    d=st.sampled_from([1, 2, 63, 64, 65, 449]),
    k=st.integers(1, 12),
    shortlist=st.sampled_from([1, 5, 20, 300]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    form=st.sampled_from(["rows", "words"]),
)
def test_answers_are_rows_of_the_selection_in_order(
    seed: int,
    metric: int,
    dtype: str,
    n: int,
    d: int,
    k: int,
    shortlist: int,
    share: float,
    form: str,
) -> None:
    rng = np.random.default_rng(seed)
    array = whole_numbers(seed, n, d, dtype, metric)
    queries = whole_numbers(seed + 1, 2, d, "float32", metric)
    ties = rng.permutation(n).astype(np.int64) - n // 2
    chosen = rng.random(n) < share
    path, _ = make(array, metric, ties)
    parameters = ScanParameters(0, bits=shortlist)
    answers = path.search(queries, select(chosen, form), k, parameters, NO_BUDGET)
    count = int(chosen.sum())
    found = min(k, count)
    assert (answers.found == found).all() and (answers.rows[:, found:] == -1).all()
    whole = count <= max(shortlist, k)
    assert (answers.status == (EXACT if whole else APPROXIMATE)).all()
    for number, query in enumerate(queries):
        distances = oracle(array, query, metric)
        rows = answers.rows[number, :found]
        among = chosen if whole else np.isin(np.arange(n), rows)
        assert chosen[rows].all()
        np.testing.assert_array_equal(rows, nearest(distances, ties, among, k))
        np.testing.assert_array_equal(answers.distances[number, :found], distances[rows])


@pytest.mark.parametrize("metric", METRICS)
def test_a_short_list_finds_nearly_all(metric: int) -> None:
    array = clustered(20_000, 128, 5)
    noise = np.random.default_rng(6).standard_normal((50, 128)).astype(np.float32)
    queries = array[:50] + noise * np.float32(0.5)
    path, _ = make(array, metric)
    chosen = np.random.default_rng(7).random(20_000) < 0.3
    recalls = {}
    for shortlist in (60, 400):
        recall = []
        for form in ("rows", "words"):
            answers = path.search(
                queries, select(chosen, form), 10, ScanParameters(0, bits=shortlist), NO_BUDGET
            )
            assert (answers.work[:, 0] == chosen.sum() + shortlist).all()
            for number, query in enumerate(queries):
                distances = oracle(array, query, metric)
                truth = nearest(distances, np.arange(20_000), chosen, 10)
                recall.append(np.isin(answers.rows[number], truth).mean())
        recalls[shortlist] = np.mean(recall)
    assert 0.6 < recalls[60] < recalls[400] and recalls[400] > 0.97


def test_equal_rows_tie_by_id() -> None:
    array = np.ones((500, 20), np.float32)
    path, _ = make(array, L2, np.arange(500)[::-1].copy())
    answers = path.search(array[:1], Selection.all(500), 5, ScanParameters(0, bits=500), NO_BUDGET)
    np.testing.assert_array_equal(answers.rows[0], [499, 498, 497, 496, 495])
    answers = path.search(array[:1], Selection.all(500), 5, ScanParameters(0, bits=50), NO_BUDGET)
    assert answers.found[0] == 5 and (answers.distances[0] == 0).all()


@pytest.mark.parametrize("max_work", [1, 30, 700, 3000])
def test_a_budget_ends_it(max_work: int) -> None:
    array = clustered(4000, 32, 8)
    path, _ = make(array, L2)
    parameters = ScanParameters(0, bits=40)
    answers = path.search(array[:2], Selection.all(4000), 10, parameters, Budget(max_work))
    assert (answers.status == INCOMPLETE).all()
    assert (answers.work[:, :2].sum(axis=1) <= max(max_work, 3)).all()
    assert (answers.found <= 10).all()
    done = path.search(array[:2], Selection.all(4000), 10, parameters, Budget(9000))
    assert (done.status == APPROXIMATE).all()
    late = Budget(0, clock_ns() - 1)
    ended = path.search(array[:2], Selection.all(4000), 10, parameters, late)
    assert (ended.status == INCOMPLETE).all() and (ended.found == 0).all()


def test_lengths_beyond_float32_go_without_bits() -> None:
    array = clustered(300, 16, 9) * np.float32(1e25)
    _, bits = make(array, L2)
    assert not bits.usable
    index = fanns.Index.build({"v": array}, vector="v", metric="l2", calibration="default")
    segment = index._snapshot.segments[0]
    assert not segment.has_bits and segment.bits is None
    hits = index.search(array[7], 3)
    assert hits.ids[0] == 7


def test_the_index_takes_them_where_they_pay() -> None:
    array = clustered(30_000, 64, 10)
    index = fanns.Index.build(
        {"v": array, "a": np.arange(30_000)}, vector="v", metric="l2", calibration="default"
    )
    hits = index.search(array[5], 10, "a < 20000")
    assert hits.ids[0] == 5
    plan = index.search(array[5], 10, "a < 20000", plan="scan").explain().segments[0]
    assert plan.path == "scan" and plan.parameters["bits"] > 0
    assert "bits" in str(index.search(array[5], 10, "a < 20000").explain())
    assert index.search(array[5], 10, "a < 20000", exact=True).status == "exact"


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_a_huge_query_still_finds_k_rows(metric: str) -> None:
    array = clustered(5000, 16, 11)
    index = fanns.Index.build({"v": array}, vector="v", metric=metric, calibration="default")
    query = np.full(16, 1e37, np.float32)
    hits = index.search(query, 10, plan="scan")
    assert len(hits) == 10
    exact = index.search(query, 10, exact=True)
    assert len(exact) == 10
    huge = fanns.Index.build(
        {"v": array * np.float32(1e17)}, vector="v", metric=metric, calibration="default"
    )
    assert huge.search(array[3] * np.float32(1e17), 1, plan="scan").ids[0] >= 0


def test_segments_without_bits_are_planned_without_them() -> None:
    array = clustered(3000, 16, 9) * np.float32(1e25)
    index = fanns.Index.build({"v": array}, vector="v", metric="l2", calibration="default")
    assert index.search(array[7], 3, plan="scan").ids[0] == 7
    assert index._snapshot.segments[0].calibration.bits is None
