"""One-bit codes: the rotation, the estimate and its error, and the scan that they shorten."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.datasets.dataset import vectors
from fanns.errors import InputError
from fanns.kernels.bit_encode import encode_bits
from fanns.kernels.bits import SPREAD, record_words
from fanns.kernels.distance import COSINE, IP, L2
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


def make(
    array: Array, metric: int, ties: Array | None = None, bits: int = 1
) -> tuple[ScanPath, BitCodes]:
    store = DenseVectors.from_array(array, metric)
    codes = Int8Codes.build(store)
    clusters = parted(array, metric)
    made = BitCodes.build(store, codes.mean, 1, *clusters, bits=bits)
    ties = np.arange(len(array), dtype=np.int64) if ties is None else ties
    centroids = Centroids(*clusters, np.zeros(len(clusters[1])), codes.mean)
    return ScanPath(store, codes, ties, (made, centroids)), made


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


@pytest.mark.parametrize(("metric", "bits"), [(L2, 1), (COSINE, 1), (IP, 2), (L2, 4)])
def test_the_estimate_is_unbiased_and_within_its_bound(metric: int, bits: int) -> None:
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
        codes = BitCodes.build(store, mean, seed, offsets, centres, bits=bits)
        keys = codes.estimates(query, starts)
        errors[seed] = (keys - truth) / (2 if metric == L2 else 1)
        # cos is the cosine of the angle between a row and its code: f = |z| / (cos |s|).
        levels = np.linalg.norm(codes.levels(np.flatnonzero(keep)), axis=1)
        cos = length[keep] / (codes.factors[keep, -2] * levels)
        size = gap[keep] * length[keep] * np.sqrt(1 / cos**2 - 1) / np.sqrt(d - 1)
        for place, epsilon in enumerate((1.9, 3.0)):
            within[place] += (np.abs(errors[seed, keep]) <= epsilon * size).mean() / rotations
        bounds = codes.estimates(query, starts, 1.9 * SPREAD * gaps)
        below += (bounds <= truth)[keep].mean() / rotations
    np.testing.assert_allclose(errors[:, ~keep], 0, atol=1e-5)
    assert 0.92 <= within[0] <= 0.955 and within[1] >= 0.994
    assert 0.955 <= below <= 0.98
    spread = errors.std(axis=0)[keep] / np.sqrt(rotations)
    # Of 400 means of 60 errors, none is far from zero; nor is the mean of all.
    assert (np.abs(errors.mean(axis=0))[keep] < 5 * spread).all()
    assert abs(errors.mean()) < 0.1 * errors.std()


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 7, 64, 100, 500])
def test_records_hold_what_their_description_says(d: int, metric: int, bits: int) -> None:
    rows = clustered(50, d, 4)
    store = DenseVectors.from_array(rows, metric)
    offsets, centres = parted(rows, metric)
    mean = np.linspace(-1, 1, d).astype(np.float32)
    codes = BitCodes.build(store, mean, 0, offsets, centres, bits=bits)
    words, width = record_words(d, bits)
    size = 64 * words // bits
    assert codes.records.shape == (50, width) and codes.records.ctypes.data % 64 == 0
    c = np.repeat(centres, np.diff(offsets), axis=0).astype(np.float64)
    z = unit(rows, metric) - c
    turned, shift = (np.zeros((50, size), np.float32) for _ in range(2))
    turned[:, :d], shift[:, :d] = z, c - mean
    rotate_rows(turned, codes.signs)
    rotate_rows(shift, codes.signs)
    s = codes.levels(np.arange(50))
    assert s.shape == (50, size) and set(np.unique(s)) <= set(range(1 - 2**bits, 2**bits, 2))
    clear = np.abs(turned) > 1e-5  # rounding may turn the sign of less
    np.testing.assert_array_equal((s > 0)[clear], (turned > 0)[clear])
    squared, length = (z**2).sum(axis=1), (turned * s).sum(axis=1)
    f = np.where(squared > 1e-9, squared / np.maximum(length, 1e-12), 0)
    second = squared if metric == L2 else -(c * z).sum(axis=1)
    second = second + (2 if metric == L2 else 1) * f * (shift * s).sum(axis=1)
    np.testing.assert_allclose(codes.factors[:, -2], f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(codes.factors[:, -1], second, rtol=1e-4, atol=1e-4)
    assert not codes.records[:, words:-1].any()


def nearest_direction(values: Array, bits: int) -> float:
    """The largest cosine between values and odd integers within +-(2^bits - 1), exactly.

    As the grid's scale falls, one value after the other moves to its next cell: all are tried.
    """
    a = np.abs(values.astype(np.float64))
    a = a[a > 0]
    odd, norm, dot = np.ones(len(a)), float(len(a)), a.sum()
    best = dot / np.sqrt(norm)
    moves = [(cell / value, j) for j, value in enumerate(a) for cell in range(1, 1 << (bits - 1))]
    for _, j in sorted(moves):
        odd[j] += 2
        dot, norm = dot + 2 * a[j], norm + odd[j] ** 2 - (odd[j] - 2) ** 2
        best = max(best, dot / np.sqrt(norm))
    return float(best / np.linalg.norm(a))


@pytest.mark.parametrize(("bits", "usual"), [(1, 0.36), (2, 0.118), (4, 0.0108)])
def test_levels_are_nearly_the_nearest_in_direction(bits: int, usual: float) -> None:
    rows = np.random.default_rng(3).standard_normal((40, 256)).astype(np.float32)
    rows[5] = 0
    rows[5, 7], rows[6] = 1, 1  # one axis, and the diagonal
    store = DenseVectors.from_array(rows, L2)
    nothing = np.zeros(256, np.float32)
    offsets, centres = np.array([0, 40]), nothing[None]
    codes = BitCodes.build(store, nothing, 0, offsets, centres, bits=bits)
    turned = rows.copy()
    rotate_rows(turned, codes.signs)
    s = codes.levels(np.arange(40))
    cosines = (s * turned).sum(axis=1) / np.linalg.norm(s, axis=1) / np.linalg.norm(turned, axis=1)
    best = np.array([nearest_direction(row, bits) for row in turned])
    assert (1 - cosines**2 <= 1.05 * (1 - best**2) + 1e-6).all()
    error = codes.reconstruction_error(store, np.arange(40))
    assert error == pytest.approx(usual, rel=0.05)
    left = (1 - cosines**2) * (rows**2).sum(axis=1)
    assert error == pytest.approx(left.sum() / (rows**2).sum(), rel=1e-3)
    assert codes.bits_per_vector == 64 * codes.records.shape[1]


@pytest.mark.parametrize(("threads", "bits"), [(1, 1), (3, 1), (3, 2), (3, 4)])
def test_builds_are_the_same_whatever_the_threads(threads: int, bits: int) -> None:
    store = DenseVectors.from_array(clustered(5000, 48, 1), COSINE)
    mean = Int8Codes.build(store).mean
    clusters = parted(store.vectors, COSINE)
    one = BitCodes.build(store, mean, 7, *clusters, threads, bits=bits)
    whole = BitCodes.build(store, mean, 7, *clusters, 2, bits=bits)
    np.testing.assert_array_equal(one.records, whole.records)
    records = np.zeros_like(one.records)
    rows = (store.exact, store.norms, COSINE, one.mean, one.signs)
    runs = (frozen(clusters[0]), frozen(clusters[1]))
    encode_bits(*rows, bits, *runs, 100, 200, records, records.view(np.float32))
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
    bits=st.sampled_from([1, 1, 2, 4]),
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
    bits: int,
) -> None:
    rng = np.random.default_rng(seed)
    array = whole_numbers(seed, n, d, dtype, metric)
    queries = whole_numbers(seed + 1, 2, d, "float32", metric)
    ties = rng.permutation(n).astype(np.int64) - n // 2
    chosen = rng.random(n) < share
    path, _ = make(array, metric, ties, bits)
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
    array = clustered(10_000, 128, 5)
    noise = np.random.default_rng(6).standard_normal((50, 128)).astype(np.float32)
    queries = array[:50] + noise * np.float32(0.5)
    path, _ = make(array, metric)
    chosen = np.random.default_rng(7).random(10_000) < 0.3
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
                truth = nearest(distances, np.arange(10_000), chosen, 10)
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


@pytest.mark.parametrize("bits", [0, 1, 2, 4])
def test_the_build_option(bits: int, tmp_path: Path) -> None:
    array = clustered(5000, 40, 12)
    options: dict[str, Any] = {"vector": "v", "metric": "l2", "bits": bits}
    planned = fanns.Index.plan_build({"v": array}, **options)
    path = tmp_path / "index"
    made = fanns.Index.build({"v": array}, path=path, calibration="default", **options)
    told = made.info()
    assert told["bits"] == bits and ("bits" in told["codes"]) == (bits > 0)
    assert told["bytes"]["codes"] == pytest.approx(planned["bytes"]["codes"], rel=0.1)
    int8 = told["codes"]["int8"]
    assert int8["bits_per_vector"] == 8 * (64 + 4 + 8 + 4)
    assert 0 < int8["reconstruction_error"] < 1e-3
    if bits:
        assert told["codes"]["bits"]["bits_per_vector"] == 512
        most = {1: 0.4, 2: 0.14, 4: 0.02}[bits]  # of the variance within clusters
        assert 0.2 * most < told["codes"]["bits"]["reconstruction_error"] < most
    segment = made._snapshot.segments[0]
    assert segment.has_bits == (bits > 0) and (segment.bits is None) == (bits == 0)
    assert made.search(array[9], 5, plan="scan").ids[0] == 9
    made.close()
    with fanns.open(path, mode="w") as writer:
        writer.add({"v": array[:1_000] + 1})  # so few are held by int8 codes alone
        assert writer._snapshot.segments[1].meta["bits"] == 0
        writer.add({"v": array[:4_500] + 2})
        assert writer._snapshot.segments[-1].meta["bits"] == bits
        assert writer.info()["bits"] == bits


def test_empty_segments_have_codes_of_nothing() -> None:
    index = fanns.Index.build({"v": np.empty((0, 8), np.float32)}, vector="v", bits=2)
    told = index.info()["codes"]
    assert {report["reconstruction_error"] for report in told.values()} == {0.0}


@pytest.mark.parametrize("bits", [3, -1, "2", None])
def test_other_numbers_of_bits_are_refused(bits: Any) -> None:
    with pytest.raises(InputError, match="bits is"):
        fanns.Index.build({"v": clustered(10, 4, 1)}, vector="v", bits=bits)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_lengths_do_not_matter(scale: float, bits: int) -> None:
    """Under l2 keys are squares: what is scaled by s is estimated at s^2, without overflow."""
    rows, query = clustered(200, 65, 13), clustered(1, 65, 14)[0]
    rows[50:60] = rows[50]  # a run of equal rows
    factor = np.float32(scale)
    keys = []
    for times in (np.float32(1), factor):
        store = DenseVectors.from_array(rows * times, L2)
        offsets, centres = parted(rows * times, L2)
        mean = Int8Codes.build(store).mean
        codes = BitCodes.build(store, mean, 3, offsets, centres, bits=bits)
        assert codes.usable
        starts, _ = centre_keys(query * times, centres, L2)
        keys.append(codes.estimates(query * times, starts) / float(times) ** 2)
    truth = ((query.astype(np.float64) - rows) ** 2).sum(axis=1)
    if scale > 1e-20:  # of smaller lengths the squares are below float32's
        np.testing.assert_allclose(keys[1], keys[0], rtol=0.02 * 4.0 ** (1 - bits))
    error = np.abs(keys[1] - truth) / truth
    assert error.mean() < (0.2 if scale > 1e-20 else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("metric", METRICS)
def test_unbiased_and_bounded_over_many_pairs(
    metric: int, bits: int, arxiv_sample: pa.Table, arxiv_queries: pa.Table
) -> None:
    """100,000 pairs of real rows and queries, each under 24 rotations of their own."""
    n, m, rotations = 5000, 20, 24
    rows, queries = vectors(arxiv_sample)[:n], vectors(arxiv_queries)[:m]
    order, offsets, centres = cluster_order(rows, metric, 0)
    store = DenseVectors.from_array(rows[order], metric)
    mean = Int8Codes.build(store).mean
    x = unit(rows[order], metric)
    z = x - np.repeat(centres, np.diff(offsets), axis=0)
    length = np.linalg.norm(z, axis=1)
    errors = np.empty((rotations, m, n))  # in standard errors
    below = 0
    for seed in range(rotations):
        codes = BitCodes.build(store, mean, seed, offsets, centres, 2, bits=bits)
        s = np.linalg.norm(codes.levels(np.arange(n)), axis=1)
        cos = length / (codes.factors[:, -2] * s)
        tangent = np.sqrt(np.maximum(1 / cos**2 - 1, 0)) / np.sqrt(store.d - 1)
        for number, query in enumerate(queries):
            starts, gaps = centre_keys(query, centres, metric)
            q = unit(query, metric)
            truth = ((q - x) ** 2).sum(axis=1) if metric == L2 else -(x @ q)
            size = np.repeat(gaps, np.diff(offsets)) * length * tangent
            size *= 2 if metric == L2 else 1
            errors[seed, number] = (codes.estimates(query, starts) - truth) / size
            bound = codes.estimates(query, starts, 1.9 * SPREAD * gaps)
            below += (bound <= truth).sum()
    # Each pair's mean over rotations is a draw around zero; so is the mean of all pairs.
    means = errors.mean(axis=0)
    assert abs(means.mean()) < 0.01
    assert np.abs(means).max() < 5.5 * errors.std() / np.sqrt(rotations)
    assert means.std() < 1.1 * errors.std() / np.sqrt(rotations)
    assert errors.std() < 1.1  # 1, and the query's own rounding
    assert (np.abs(errors) <= 3.0).mean() > 0.993
    assert below / errors.size > 0.955
