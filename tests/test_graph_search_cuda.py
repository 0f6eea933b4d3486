"""Walks of the device over small graphs: against brute force, and no worse than the CPU's."""

from typing import Any

import numpy as np
import pytest

from fanns.codes import Int8Codes
from fanns.kernels import graph_search_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.graph_answer import ONE_HOP, TWO_HOP
from fanns.kernels.graph_walk import UNBOUNDED
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, EXHAUSTED, FULL, HOPS
from fanns.paths import NO_BUDGET, Answers
from fanns.paths.graph import GraphParameters, GraphPath
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.cuda_helpers import NO_WORDS, bitmaps, no_answers, to_device, to_host, workspace
from tests.graph_helpers import clustered, distances, graph_of, queries_near, recall

N, D, K = 200, 9, 5
VECTORS, OFFSETS = clustered(N, D, 6)
QUERIES = queries_near(VECTORS, 3)
BEAM, SHORTLIST, GAP = 16, 12, 0.3
GRAPHS: dict[int, GraphPath] = {}


def graph(metric: int) -> GraphPath:
    if metric not in GRAPHS:
        GRAPHS[metric] = graph_of(VECTORS, OFFSETS, metric, places=14, degree=9, beam=40)
    return GRAPHS[metric]


def on_device(
    path: GraphPath,
    metric: int,
    masks: Array | None,
    mode: int,
    beam: int = BEAM,
    gap: float = GAP,
    walk_limit: int = 0,
    space: Workspace | None = None,
) -> Answers:
    """Answers of the device; no masks: every row passes."""
    store = DenseVectors.from_array(VECTORS, metric)
    codes = Int8Codes.build(store)
    held = codes.arrays()
    near = [held[name][path.entries] for name in ("codes", "scale", "square")]
    words = NO_WORDS if masks is None else bitmaps(masks)
    counts = np.zeros(0, np.int64) if masks is None else masks.sum(axis=1)
    names = ("codes", "scale", "square", "mean", "limits")
    arrays = (QUERIES, words, counts, path.links, np.unique(OFFSETS), path.entries, *near)
    given: list[Any] = to_device(*arrays, *(held[name] for name in names))
    full: list[Any] = to_device(store.vectors, store.norms, np.arange(N))
    given += [*full[:2], metric, full[2], mode, beam, SHORTLIST, gap, walk_limit]
    out = to_device(*no_answers(len(QUERIES), K))
    launch: Any = graph_search_cuda.search_graph
    launch(*given, *out, space or workspace())
    answers: Any = to_host(*out)
    return Answers(*answers)


def on_cpu(metric: int, masks: Array | None, mode: int) -> Answers:
    parameters = GraphParameters(mode, BEAM, SHORTLIST, gap=GAP)
    chosen = np.ones((1, N), bool) if masks is None else masks
    answers = [
        graph(metric).search(
            QUERIES[i : i + 1],
            Selection.from_mask(chosen[i if len(chosen) > 1 else 0]),
            K,
            parameters,
            NO_BUDGET,
        )
        for i in range(len(QUERIES))
    ]
    parts: list[Any] = [np.concatenate(part) for part in zip(*answers, strict=True)]
    return Answers(*parts)


def check(answers: Answers, metric: int, masks: Array | None) -> float:
    """Rows pass, come best first with their true distances; gives the recall."""
    chosen = np.ones((1, N), bool) if masks is None else masks
    total = 0.0
    for i, query in enumerate(QUERIES):
        mask, found = chosen[i if len(chosen) > 1 else 0], answers.found[i]
        rows, away = answers.rows[i, :found], distances(VECTORS, query, metric)
        assert (answers.rows[i, found:] == -1).all() and np.isinf(
            answers.distances[i, found:]
        ).all()
        np.testing.assert_allclose(answers.distances[i, :found], away[rows], atol=1e-6)
        assert (np.diff(answers.distances[i, :found]) >= 0).all()
        single: list[Any] = [part[i : i + 1] for part in answers]
        one = Answers(*single)
        total += recall(one, VECTORS, query[None], metric, mask, K)
    return total / len(QUERIES)


@pytest.mark.parametrize(
    ("metric", "mode", "share"),
    [
        (COSINE, TWO_HOP, 1.0),
        (COSINE, ONE_HOP, 0.6),
        (IP, ONE_HOP, 0.15),
        (COSINE, TWO_HOP, 0.15),
        (L2, TWO_HOP, 0.6),
        (IP, TWO_HOP, 0.3),
    ],
)
def test_recall_is_no_lower_than_the_cpus(metric: int, mode: int, share: float) -> None:
    masks = None
    if share < 1.0:
        masks = np.random.default_rng(3).random((1, N)) < share
    answers = on_device(graph(metric), metric, masks, mode)
    assert np.isin(answers.status, [EXACT, APPROXIMATE]).all() and (answers.found == K).all()
    assert check(answers, metric, masks) >= check(on_cpu(metric, masks, mode), metric, masks)
    assert (answers.work[:, CODES] > 0).all() and (answers.work[:, HOPS] > 0).all()
    assert (answers.work[:, CHECKS] >= answers.work[:, HOPS]).all()
    assert (answers.work[:, FULL] <= SHORTLIST).all()


@pytest.mark.parametrize("mode", [ONE_HOP, TWO_HOP])
def test_each_query_has_its_own_filter(mode: int) -> None:
    """Few matches are all found, or the walk says that it ended too early; none is no rows."""
    share = np.array([[0.0], [0.01], [0.5]])
    masks = np.random.default_rng(5).random((3, N)) < share
    answers = on_device(graph(L2), L2, masks, mode)
    assert answers.found[0] == 0 and answers.status[0] == EXACT
    matches = masks.sum(axis=1)
    for found, status, count in zip(answers.found, answers.status, matches, strict=True):
        assert found == min(K, count) or status == EXHAUSTED
    assert answers.found[2] == K
    check(answers, L2, masks)


def test_two_hop_walks_find_few_matches() -> None:
    masks = np.zeros((1, N), bool)
    masks[0, [17, 120, 121, 190]] = True
    answers = on_device(graph(COSINE), COSINE, masks, TWO_HOP)
    assert (answers.found == 4).all() and (answers.status == EXACT).all()


def test_a_walk_limit_ends_as_exhausted() -> None:
    masks = np.random.default_rng(6).random((1, N)) < 0.5
    answers = on_device(graph(L2), L2, masks, TWO_HOP, walk_limit=40)
    assert (answers.status == EXHAUSTED).all()
    assert (answers.work[:, CODES] + answers.work[:, HOPS] <= 60).all()


def test_wider_walks_find_the_nearest() -> None:
    """A full beam alone ends a walk; blocks of more warps meet the same rows."""
    masks = np.random.default_rng(7).random((1, N)) < 0.4
    answers = [
        on_device(graph(L2), L2, masks, TWO_HOP, 16, UNBOUNDED, 0, workspace(threads))
        for threads in (32, 64)
    ]
    assert check(answers[0], L2, masks) == 1.0
    np.testing.assert_array_equal(answers[0].rows, answers[1].rows)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="a beam of 4000 with 14 links a row does not fit"):
        on_device(graph(L2), L2, None, TWO_HOP, 4000)
