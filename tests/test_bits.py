"""One-bit codes: the rotation, the estimate and its error, and the scan that they shorten."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.bit_codes import BitCodes
from fanns.codes import Int8Codes
from fanns.kernels.bits import encode_bits, record_words
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array
from fanns.kernels.rotation import random_signs, rotate_rows
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.test_scan import METRICS, nearest, oracle, select, whole_numbers


def make(array: Array, metric: int, ties: Array | None = None) -> tuple[ScanPath, BitCodes]:
    store = DenseVectors.from_array(array, metric)
    codes = Int8Codes.build(store)
    bits = BitCodes.build(store, codes.mean, 1)
    ties = np.arange(len(array), dtype=np.int64) if ties is None else ties
    return ScanPath(store, codes, ties, bits), bits


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


def test_the_estimate_is_unbiased_and_within_its_bound() -> None:
    """Gao and Long 2024, theorem 3.2: a normal error, whose size follows from row and query.

    The query's 4 bits add a little to it: 93.5 % are within 1.9 sizes where 94.3 % would be.
    """
    d, rotations = 256, 100
    rows, queries = clustered(1000, d, 1), clustered(1, d, 2)
    store = DenseVectors.from_array(rows, IP)
    mean = Int8Codes.build(store).mean
    truth = -(rows.astype(np.float64) @ queries[0])
    errors, within = np.empty((rotations, len(rows))), np.zeros(2)
    z = rows - mean
    reach = np.linalg.norm(queries[0] - mean) * np.linalg.norm(z, axis=1)
    for seed in range(rotations):
        bits = BitCodes.build(store, mean, seed)
        errors[seed] = bits.estimates(queries[0]) - truth
        # cos is the cosine of the angle between a row and its code: factor = |z| / (cos sqrt(D)).
        cos = np.linalg.norm(z, axis=1) / (bits.factors[:, 2 * d // 64] * np.sqrt(d))
        size = reach * np.sqrt(1 / cos**2 - 1) / np.sqrt(d - 1)
        for place, epsilon in enumerate((1.9, 3.0)):
            within[place] += (np.abs(errors[seed]) <= epsilon * size).mean() / rotations
    assert 0.93 <= within[0] <= 0.955 and within[1] >= 0.995
    spread = errors.std() / np.sqrt(rotations)
    # Of 1,000 means of 100 errors, none is far from zero; nor is the mean of all.
    assert np.abs(errors.mean(axis=0)).max() < 5 * spread
    assert abs(errors.mean()) < 0.1 * errors.std()


def test_records_hold_what_their_description_says() -> None:
    rows = clustered(50, 100, 4)
    store = DenseVectors.from_array(rows, L2)
    mean = np.zeros(100, np.float32)
    bits = BitCodes.build(store, mean, 0)
    turned = np.zeros((50, 128), np.float32)
    turned[:, :100] = rows
    rotate_rows(turned, bits.signs)
    packed = np.packbits(turned > 0, axis=1, bitorder="little").view(np.uint64)
    assert record_words(100) == (2, 8) and bits.records.shape == (50, 8)
    np.testing.assert_array_equal(bits.records[:, :2], packed)
    squared = (rows.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(bits.factors[:, 4], squared / np.abs(turned).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(bits.factors[:, 5], squared, rtol=1e-6)
    assert bits.records.ctypes.data % 64 == 0 and not bits.records[:, 3:].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_builds_are_the_same_whatever_the_threads(threads: int) -> None:
    store = DenseVectors.from_array(clustered(5000, 48, 1), COSINE)
    mean = Int8Codes.build(store).mean
    one = BitCodes.build(store, mean, 7, threads)
    whole = BitCodes.build(store, mean, 7, 2)
    np.testing.assert_array_equal(one.records, whole.records)
    records = np.zeros_like(one.records)
    fixed = (store.exact, store.norms, COSINE, one.mean, one.signs)
    encode_bits(*fixed, 100, 200, records, records.view(np.float32))
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
