"""The graph's walk under filters: recall, statuses, budgets, counters, and awkward selections."""

import threading
import time

import numpy as np
import pytest

from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array
from fanns.paths import APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.graph import ONE_HOP, TWO_HOP, GraphParameters, GraphPath
from fanns.selection import Selection
from tests.graph_helpers import clustered, distances, graph_of, queries_near, recall

N, K = 4000, 10
MODES = [ONE_HOP, TWO_HOP]
VECTORS, OFFSETS = clustered(N, 24, 60)
QUERIES = queries_near(VECTORS, 40)
PATHS: dict[tuple[int, int], GraphPath] = {}
INT8, TWO_BITS = 0, 2
KINDS = [INT8, TWO_BITS]


def graph(metric: int = COSINE, kind: int = TWO_BITS) -> GraphPath:
    if (metric, kind) not in PATHS:
        PATHS[metric, kind] = graph_of(VECTORS, OFFSETS, metric, bits=kind)
    return PATHS[metric, kind]


def by_distance(query: Array, metric: int, share: float, near: bool) -> Array:
    """Half of the rows on one side of a query: its nearest or its farthest 2 x share."""
    rng = np.random.default_rng(4)
    order = np.argsort(distances(VECTORS, query, metric))
    side = order[: int(2 * share * N)] if near else order[-int(2 * share * N) :]
    chosen = np.zeros(N, bool)
    chosen[rng.permutation(side)[: int(share * N)]] = True
    return chosen


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02])
@pytest.mark.parametrize("kind", KINDS)
def test_random_filters(metric: int, mode: int, share: float, kind: int) -> None:
    chosen = np.random.default_rng(2).random(N) < share
    answers = graph(metric, kind).search(
        QUERIES, Selection.from_mask(chosen), K, GraphParameters(mode, 64, 40), NO_BUDGET
    )
    assert recall(answers, VECTORS, QUERIES, metric, chosen, K) > 0.95
    assert (answers.found == K).all() and np.isin(answers.status, [EXACT, APPROXIMATE]).all()
    assert (np.diff(answers.distances, axis=1) >= 0).all()
    for number, query in enumerate(QUERIES):
        away = distances(VECTORS, query, metric)[answers.rows[number]]
        np.testing.assert_allclose(answers.distances[number], away, atol=1e-6)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("share", [0.2, 0.05])
@pytest.mark.parametrize(("kind", "beam"), [(INT8, 120), (TWO_BITS, 200)])
def test_filters_that_go_with_or_against_the_query(
    near: bool, share: float, kind: int, beam: int
) -> None:
    found, places = 0.0, 0
    for query in QUERIES[:20]:
        chosen = by_distance(query, COSINE, share, near)
        answers = graph(COSINE, kind).search(
            query[None],
            Selection.from_mask(chosen),
            K,
            GraphParameters(TWO_HOP, beam, 60),
            NO_BUDGET,
        )
        assert answers.found[0] == K
        found += recall(answers, VECTORS, query[None], COSINE, chosen, K)
        places += 1
    assert found / places > 0.95


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_single_queries_give(mode: int, kind: int) -> None:
    selection = Selection.from_mask(np.arange(N) % 7 == 0)
    parameters = GraphParameters(mode, 40, 20)
    batch = graph(COSINE, kind).search(QUERIES, selection, K, parameters, NO_BUDGET)
    for number, query in enumerate(QUERIES[:10]):
        single = graph(COSINE, kind).search(query[None], selection, K, parameters, NO_BUDGET)
        np.testing.assert_array_equal(single.rows[0], batch.rows[number])
        np.testing.assert_array_equal(single.work[0], batch.work[number])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_fewer_matches_than_k_are_all_found(mode: int, count: int, kind: int) -> None:
    for number, query in enumerate(QUERIES[:10]):
        far = np.argsort(distances(VECTORS, query, COSINE))[::-1][: 50 * count + 1]
        chosen = np.zeros(N, bool)
        chosen[np.random.default_rng(number).permutation(far)[:count]] = True
        answers = graph(COSINE, kind).search(
            query[None], Selection.from_mask(chosen), K, GraphParameters(mode, 40, 20), NO_BUDGET
        )
        assert answers.found[0] == count and answers.status[0] == EXACT
        assert set(answers.rows[0, :count]) == set(np.flatnonzero(chosen))
        assert (answers.rows[0, count:] == -1).all()
        assert np.isinf(answers.distances[0, count:]).all()


def test_k_beyond_the_number_of_rows_and_beams() -> None:
    answers = graph().search(
        QUERIES[:2], Selection.all(N), N + 5, GraphParameters(TWO_HOP, 10, 10), NO_BUDGET
    )
    assert (answers.found == N).all() and (answers.status == EXACT).all()
    chosen = np.arange(N) < 500
    for mode in MODES:
        answers = graph().search(
            QUERIES[:5], Selection.from_mask(chosen), 200, GraphParameters(mode, 10, 10), NO_BUDGET
        )
        assert (answers.found == 200).all()
        assert recall(answers, VECTORS, QUERIES[:5], COSINE, chosen, 200) > 0.9


def test_ties_are_ordered_by_the_given_numbers() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0)
    path = graph_of(vectors, np.array([0, 100], np.int64))
    parameters = GraphParameters(TWO_HOP, 100, 100)
    answers = path.search(vectors[:1], Selection.all(100), 25, parameters, NO_BUDGET)
    np.testing.assert_array_equal(answers.rows[0], np.arange(25))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_limit_ends_as_exhausted(mode: int, kind: int) -> None:
    selection = Selection.from_mask(np.arange(N) % 3 == 0)
    for limit in (1, 50, 100):
        parameters = GraphParameters(mode, 200, 40, limit)
        answers = graph(COSINE, kind).search(QUERIES, selection, K, parameters, NO_BUDGET)
        assert (answers.status == EXHAUSTED).all()
        spent = answers.work[:, 0] + answers.work[:, 3]
        # Rows met are compared once more by int8 codes.
        more = min(limit, 200) if kind else 0
        assert (answers.work[:, 0] <= limit + more).all() and (spent <= limit + more + 64).all()
    free = graph(COSINE, kind).search(
        QUERIES, selection, K, GraphParameters(mode, 40, 20, 10**6), NO_BUDGET
    )
    assert (free.status == APPROXIMATE).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_ends_as_incomplete_and_is_kept(mode: int, kind: int) -> None:
    chosen = np.arange(N) % 3 == 0
    selection = Selection.from_mask(chosen)
    for most in (1, 2, 25, 100):
        answers = graph(COSINE, kind).search(
            QUERIES, selection, K, GraphParameters(mode, 100, 40), Budget(max_work=most)
        )
        assert (answers.work[:, :2].sum(axis=1) <= most).all()
        assert (answers.status == INCOMPLETE).all()
        for rows, found in zip(answers.rows, answers.found, strict=True):
            assert chosen[rows[:found]].all() and (rows[found:] == -1).all()
    # A budget below the walk limit is the user's and wins.
    answers = graph(COSINE, kind).search(
        QUERIES, selection, K, GraphParameters(mode, 100, 40, 500), Budget(max_work=100)
    )
    assert (answers.status == INCOMPLETE).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_deadline_ends_as_incomplete(mode: int, kind: int) -> None:
    selection = Selection.from_mask(np.arange(N) % 3 == 0)
    parameters = GraphParameters(mode, 2000, 10)
    past = graph(COSINE, kind).search(
        QUERIES, selection, K, parameters, Budget(deadline_ns=clock_ns() - 1)
    )
    assert (past.status == INCOMPLETE).all() and (past.work[:, 0] < 300).all()
    begun = time.monotonic()
    many = np.repeat(QUERIES, 100, axis=0)
    soon = Budget(deadline_ns=clock_ns() + 20_000_000)
    answers = graph(COSINE, kind).search(many, selection, K, parameters, soon)
    assert answers.status[0] != INCOMPLETE and answers.status[-1] == INCOMPLETE
    assert time.monotonic() - begun < 2.0


@pytest.mark.parametrize("kind", KINDS)
def test_counters(kind: int) -> None:
    selection = Selection.from_mask(np.arange(N) % 2 == 0)
    for mode in MODES:
        parameters = GraphParameters(mode, 40, 15)
        answers = graph(COSINE, kind).search(QUERIES, selection, K, parameters, NO_BUDGET)
        codes, full, checks, hops = answers.work.T
        assert (codes > 40).all() and (codes < N).all()
        assert (
            (full >= K).all()
            and (full <= (40 if kind else 15)).all()
            and (checks >= codes - 104).all()
            and (hops >= 10).all()
        )
    wide = graph().search(QUERIES, selection, K, GraphParameters(TWO_HOP, 80, 15), NO_BUDGET)
    narrow = graph().search(QUERIES, selection, K, GraphParameters(TWO_HOP, 20, 15), NO_BUDGET)
    assert (wide.work[:, 0] > narrow.work[:, 0]).all()


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wider_gap_finds_more(metric: int, mode: int, kind: int) -> None:
    chosen = np.random.default_rng(2).random(N) < 0.5
    selection = Selection.from_mask(chosen)
    found, codes = [], []
    for gap in (0.0, 0.1, 0.5, 1e9):
        parameters = GraphParameters(mode, 100, 20, 0, gap)
        answers = graph(metric, kind).search(QUERIES, selection, K, parameters, NO_BUDGET)
        assert (answers.found == K).all()
        found.append(recall(answers, VECTORS, QUERIES, metric, chosen, K))
        codes.append(answers.work[:, 0].mean())
    assert found[0] <= found[2] and found[2] > 0.95
    assert codes[0] < codes[1] < codes[2] <= codes[3]
    plain = graph(metric, kind).search(
        QUERIES, selection, K, GraphParameters(mode, 100, 20), NO_BUDGET
    )
    np.testing.assert_array_equal(plain.rows, answers.rows)


def test_copies_of_the_query_end_a_walk_at_once() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 8)).astype(np.float32)
    vectors[100:130] = vectors[100]
    path = graph_of(vectors, np.array([0, 500], np.int64), L2)
    parameters = GraphParameters(TWO_HOP, 400, 20, 0, 0.1)
    answers = path.search(vectors[100:101], Selection.all(500), K, parameters, NO_BUDGET)
    assert (answers.distances[0] == 0).all() and answers.work[0, 0] < 250


def test_threads_share_one_path() -> None:
    selection = Selection.from_mask(np.arange(N) % 5 == 0)
    parameters = GraphParameters(ONE_HOP, 60, 20)
    expected = graph().search(QUERIES, selection, K, parameters, NO_BUDGET)
    results: list[Array] = []

    def work() -> None:
        for _ in range(20):
            results.append(graph().search(QUERIES, selection, K, parameters, NO_BUDGET).rows)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    for rows in results:
        np.testing.assert_array_equal(rows, expected.rows)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_every_width_of_codes(bits: int) -> None:
    """One bit a dimension is too coarse for a walk, which goes by int8 codes then."""
    path, parameters = graph(COSINE, bits), GraphParameters(TWO_HOP, 40, 20)
    answers = path.search(QUERIES, Selection.all(N), K, parameters, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, COSINE, np.ones(N, bool), K) > 0.95
    if bits == 1:
        plain = graph(COSINE, INT8).search(QUERIES, Selection.all(N), K, parameters, NO_BUDGET)
        np.testing.assert_array_equal(answers.work, plain.work)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1e-18, 1e15])
def test_very_short_and_very_long_vectors(factor: float, kind: int) -> None:
    vectors, offsets = clustered(1000, 16, 12)
    scaled = (vectors * factor).astype(np.float32)
    path = graph_of(scaled, offsets, L2, bits=kind)
    queries = np.ascontiguousarray(scaled[::50] * 1.01)
    answers = path.search(queries, Selection.all(1000), 5, GraphParameters(1, 60, 30), NO_BUDGET)
    expected = path.search(
        queries, Selection.all(1000), 5, GraphParameters(1, 1000, 1000), NO_BUDGET
    )
    assert (expected.status == EXACT).all()
    assert (answers.rows == expected.rows).mean() > 0.95


@pytest.mark.parametrize("bits", KINDS)
@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_other_types_of_vectors(kind: str, bits: int) -> None:
    vectors, offsets = clustered(800, 16, 12)
    typed = (vectors * 20).astype(kind)
    path = graph_of(typed, offsets, L2, bits=bits)
    queries = np.ascontiguousarray(typed[::20], np.float32)
    answers = path.search(queries, Selection.all(800), 5, GraphParameters(1, 60, 30), NO_BUDGET)
    wide = typed.astype(np.float32)
    assert recall(answers, wide, queries, L2, np.ones(800, bool), 5) > 0.95
