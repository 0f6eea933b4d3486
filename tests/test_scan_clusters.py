"""The scan of clusters against a float64 oracle: what is found, what is proved, when it stops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids, cluster_reach
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array
from fanns.paths import APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.clusters import NO_ESTIMATES, ClusterParameters, ClustersPath
from fanns.pq_codes import PQCodes
from fanns.vectors import DenseVectors
from tests.test_scan import FORMS, METRICS, nearest, oracle, select, whole_numbers

ALL_CLUSTERS = (math.inf,)


def make(
    array: Array, metric: int, ties: Array | None = None, fast: bool = False, width: int = 1
) -> tuple[ClustersPath, Array]:
    """A path over rows put in cluster order, and that order.

    fast: with product codes. width: bits a dimension of the others.
    """
    order, offsets, centres = cluster_order(array, metric, 1)
    store = DenseVectors.from_array(array[order], metric)
    codes = Int8Codes.build(store)
    reach = cluster_reach(store, offsets, centres)
    centroids = Centroids(offsets, centres, reach, codes.mean)
    bits = BitCodes.build(store, codes.mean, 1, offsets, centres, bits=width)
    ties = np.arange(len(array), dtype=np.int64) if ties is None else ties
    products = None
    if fast:
        products = PQCodes.build(store, codes.mean, 1, centroids=centres, offsets=offsets)
    return ClustersPath(store, codes, ties, centroids, bits, products), order


def clustered(n: int, d: int, seed: int, spread: float = 1.0) -> Array:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d))
    rows = centres[rng.integers(0, 40, n)] + spread * rng.standard_normal((n, d))
    return rows.astype(np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["float32", "float16", "int8"]),
    n=st.sampled_from([1, 2, 63, 64, 65, 300]),
    d=st.sampled_from([1, 2, 63, 64, 65]),
    k=st.integers(1, 12),
    rerank=st.sampled_from([1, 20, 400]),
    slack=st.sampled_from([NO_ESTIMATES, 0.0, 3.0]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    form=st.sampled_from(FORMS),
    fast=st.booleans(),
)
def test_answers_are_the_nearest_of_what_was_seen(
    seed: int,
    metric: int,
    dtype: str,
    n: int,
    d: int,
    k: int,
    rerank: int,
    slack: float,
    share: float,
    form: str,
    fast: bool,
) -> None:
    rng = np.random.default_rng(seed)
    given_order = whole_numbers(seed, n, d, dtype, metric)
    queries = whole_numbers(seed + 1, 2, d, "float32", metric)
    ties = rng.permutation(n).astype(np.int64) - n // 2
    path, order = make(given_order, metric, ties, fast)
    array, chosen = given_order[order], rng.random(n) < share
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, rerank, slack)
    answers = path.search(queries, select(chosen, form), k, parameters, NO_BUDGET)
    found = min(k, int(chosen.sum()))
    assert (answers.found == found).all()
    assert (answers.rows[:, found:] == -1).all()
    assert np.isinf(answers.distances[:, found:]).all()
    for number, query in enumerate(queries):
        distances = oracle(array, query, metric)
        rows = answers.rows[number, :found]
        assert chosen[rows].all() and len(set(rows)) == found
        np.testing.assert_array_equal(answers.distances[number, :found], distances[rows])
        if answers.status[number] == EXACT:
            np.testing.assert_array_equal(rows, nearest(distances, ties, chosen, k))
        else:
            assert answers.status[number] == APPROXIMATE
            seen = np.isin(np.arange(n), rows)
            np.testing.assert_array_equal(rows, nearest(distances, ties, seen, k))
    if rerank >= n:
        assert (answers.status == EXACT).all()


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_prove_answers_and_save_work(metric: int) -> None:
    """In few dimensions most clusters are ruled out, and the answer is exact all the same."""
    rows = clustered(6000, 4, 1, 0.2)
    path, order = make(rows, metric)
    array, chosen = rows[order], np.random.default_rng(0).random(6000) < 0.5
    queries = clustered(30, 4, 2, 0.2)
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, 60)
    answers = path.search(queries, select(chosen, "words"), 10, parameters, NO_BUDGET)
    ties = np.arange(6000)
    proved = 0
    for number, query in enumerate(queries):
        if answers.status[number] == EXACT:
            proved += 1
            expected = nearest(oracle(array, query, metric), ties, chosen, 10)
            np.testing.assert_array_equal(answers.rows[number], expected)
    assert proved >= 25
    assert answers.work[:, 0].mean() < 0.5 * chosen.sum()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("share", "fast"), [(1.0, False), (1.0, True), (0.1, True)])
def test_a_part_of_the_clusters_holds_nearly_all(metric: int, share: float, fast: bool) -> None:
    rows, queries = clustered(6000, 100, 1), clustered(40, 100, 2)
    path, order = make(rows, metric, fast=fast, width=2)
    chosen = np.random.default_rng(0).random(6000) < share
    chosen |= share == 1.0
    parameters = ClusterParameters((1500.0,) * 2, math.inf, 20, 2.5)
    answers = path.search(queries, select(chosen, "words"), 10, parameters, NO_BUDGET)
    hits = 0
    for number, query in enumerate(queries):
        expected = nearest(oracle(rows[order], query, metric), np.arange(6000), chosen, 10)
        hits += len(set(answers.rows[number]) & set(expected))
    assert hits >= 0.9 * 400
    if share < 1:
        assert (answers.work[:, 3] >= 60).all()  # 600 rows pass: all clusters are needed
    else:
        assert (answers.work[:, 3] <= 40).all()


def test_forms_of_a_selection_give_one_answer() -> None:
    rows, queries = clustered(3000, 70, 1), clustered(20, 70, 2)
    path, _ = make(rows, L2)
    chosen = np.random.default_rng(0).random(3000) < 0.3
    parameters = ClusterParameters((300.0, 200.0, 150.0), 400.0, 20, 2.0)
    one, other = (
        path.search(queries, select(chosen, form), 10, parameters, NO_BUDGET) for form in FORMS
    )
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.distances, other.distances)


def test_the_denser_rows_pass_near_the_query_the_more_are_enough() -> None:
    rows, queries = clustered(6000, 32, 1), clustered(10, 32, 2)
    path, _ = make(rows, L2)
    near = (2000.0, 500.0, 100.0, 50.0)
    parameters = ClusterParameters(near, 1e9, 10, 3.0)
    seen = []
    for share in (1.0, 0.5, 0.25, 0.1):
        chosen = np.random.default_rng(0).random(6000) < share
        chosen |= share == 1.0
        answers = path.search(queries, select(chosen, "words"), 10, parameters, NO_BUDGET)
        seen.append(float(answers.work[:, 3].mean() * chosen.sum() / 69))
    for expected, value in zip(near, seen, strict=True):
        assert expected * 0.8 <= value <= expected * 1.4 + 80


def test_a_filter_that_avoids_the_query_needs_its_own_number() -> None:
    rows = clustered(6000, 32, 1)
    path, order = make(rows, L2)
    query = rows[order][:1]
    chosen = np.zeros(6000, bool)
    distances = oracle(rows[order], query[0], L2)
    chosen[np.argsort(-distances)[:1200]] = True
    few = ClusterParameters((20.0,), 20.0, 10, 3.0)
    many = ClusterParameters((20.0,), 900.0, 10, 3.0)
    one, other = (
        path.search(query, select(chosen, "words"), 10, parameters, NO_BUDGET)
        for parameters in (few, many)
    )
    assert other.work[0, 3] > one.work[0, 3] + 5


@pytest.mark.parametrize("form", ["rows", "words"])
def test_only_queries_that_the_filter_avoids_are_abandoned(form: str) -> None:
    rows = clustered(6000, 32, 1)
    path, order = make(rows, L2)
    queries = np.ascontiguousarray(rows[order][[0, 5999]])
    distances = oracle(rows[order], queries[0], L2)
    chosen = np.zeros(6000, bool)
    chosen[np.argsort(-distances)[:1200]] = True
    near = np.ascontiguousarray(rows[order][chosen][:1])
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, 60, 3.0)
    selection = select(chosen, form)
    whole = path.search(queries[:1], selection, 10, parameters, NO_BUDGET)
    expected = nearest(distances, np.arange(6000), chosen, 10)
    assert set(whole.rows[0]) == set(expected)  # though clusters were dropped
    both = np.concatenate([queries[:1], near])
    answers = path.search(both, selection, 10, parameters._replace(abandon=True), NO_BUDGET)
    assert answers.status.tolist() == [EXHAUSTED, APPROXIMATE]
    assert answers.found.tolist() == [0, 10]


@pytest.mark.parametrize("metric", METRICS)
def test_products_estimate_as_well_as_one_bit_codes(metric: int) -> None:
    """With the same slack, both miss few of the rows that all clusters hold."""
    rows, queries = clustered(4000, 100, 1), clustered(40, 100, 2)
    everything = select(np.ones(4000, bool), "rows")
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, 12, 1.5)
    hits, compared = [], []
    for fast in (False, True):
        path, order = make(rows, metric, fast=fast)
        answers = path.search(queries, everything, 10, parameters, NO_BUDGET)
        found = 0
        for number, query in enumerate(queries):
            distances = oracle(rows[order], query, metric)
            expected = nearest(distances, np.arange(4000), np.ones(4000, bool), 10)
            found += len(set(answers.rows[number]) & set(expected))
        hits.append(found)
        compared.append(answers.work[:, 0].mean() - 4000)
    assert min(hits) >= 0.97 * 400
    assert max(compared) <= 1000


def test_equal_rows_tie_by_id() -> None:
    rows = np.ones((500, 20), np.float32)
    ties = np.random.default_rng(0).permutation(500).astype(np.int64)
    path, _ = make(rows, L2, ties)
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, 600)
    answers = path.search(rows[:1], select(np.ones(500, bool), "rows"), 7, parameters, NO_BUDGET)
    np.testing.assert_array_equal(ties[answers.rows[0]], np.arange(7))


@pytest.mark.parametrize("slack", [NO_ESTIMATES, 2.0])
@pytest.mark.parametrize("max_work", [1, 2, 5, 50, 500])
def test_a_budget_ends_it(max_work: int, slack: float) -> None:
    rows, queries = clustered(2000, 32, 1), clustered(5, 32, 2)
    path, _ = make(rows, COSINE)
    everything = select(np.ones(2000, bool), "rows")
    parameters = ClusterParameters(ALL_CLUSTERS, math.inf, 10, slack)
    answers = path.search(queries, everything, 5, parameters, Budget(max_work))
    assert (answers.status == INCOMPLETE).all()
    assert (answers.work[:, :2].sum(axis=1) <= max_work).all()
    past = path.search(queries, everything, 5, parameters, Budget(0, clock_ns() - 1))
    assert (past.status == INCOMPLETE).all()


def test_reach_covers_every_row_of_a_cluster() -> None:
    rows = clustered(500, 10, 3)
    for metric in METRICS:
        order, offsets, centres = cluster_order(rows, metric, 1)
        store = DenseVectors.from_array(rows[order], metric)
        reach = cluster_reach(store, offsets, centres, 2)
        wide = rows[order].astype(np.float64)
        if metric == COSINE:
            wide /= np.linalg.norm(wide, axis=1)[:, None]
        labels = np.repeat(np.arange(len(centres)), np.diff(offsets))
        gaps = np.linalg.norm(wide - centres[labels], axis=1)
        most = np.maximum.reduceat(gaps, offsets[:-1])
        assert (reach >= most).all() and (reach <= most * 1.001 + 1e-9).all()


def test_estimates_need_codes() -> None:
    rows = clustered(100, 8, 1)
    order, offsets, centres = cluster_order(rows, IP, 1)
    store = DenseVectors.from_array(rows[order], IP)
    codes = Int8Codes.build(store)
    centroids = Centroids(offsets, centres, cluster_reach(store, offsets, centres), codes.mean)
    path = ClustersPath(store, codes, np.arange(100), centroids)
    selection = select(np.ones(100, bool), "rows")
    with pytest.raises(ValueError, match="few bits"):
        path.search(rows[:1], selection, 3, ClusterParameters((9.0,), 9.0, 9, 1.0), NO_BUDGET)
    answers = path.search(rows[:1], selection, 3, ClusterParameters((9.0,), 9.0, 9), NO_BUDGET)
    assert answers.found[0] == 3
