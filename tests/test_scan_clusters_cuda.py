"""The scan of clusters on the device: its choice as a plain loop's, its answers as the CPU's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids, cluster_reach
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.kernels import cluster_rows_cuda, scan_clusters_cuda
from fanns.kernels.cluster_rows_cuda import Chosen, Enough
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.int8_cuda import prepare_queries
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, EXHAUSTED, FULL, HOPS
from fanns.kernels.scan_bits_cuda import BitRows, estimates_bytes
from fanns.paths import NO_BUDGET, Answers
from fanns.paths.clusters import ClusterParameters, ClustersPath
from fanns.paths.locality import FAR
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.cuda_helpers import NO_WORDS, bitmaps, no_answers, to_device, to_host, workspace
from tests.test_scan import nearest, oracle

N, D = 400, 9
ALL = (math.inf,)
NO_COUNTS = np.zeros(0, np.int64)


class Rows:
    """Rows in cluster order, and what both scans take of them."""

    def __init__(self, array: Array, metric: int, ties: Array | None = None) -> None:
        order, offsets, centres = cluster_order(array, metric, 1)
        self.array = array[order]
        self.store = DenseVectors.from_array(self.array, metric)
        self.codes = Int8Codes.build(self.store)
        reach = cluster_reach(self.store, offsets, centres)
        # An infinite reach rules no cluster out, which the device never does.
        self.centroids = Centroids(offsets, centres, reach + math.inf, self.codes.mean)
        self.bounds = self.centroids.bounds
        self.ties = np.arange(len(array))[::-1].copy() if ties is None else ties
        self.path = ClustersPath(self.store, self.codes, self.ties, self.centroids)
        self.metric = metric


def rows_of(seed: int, n: int, d: int, metric: int) -> Rows:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, d)) * 3
    array = centres[rng.integers(0, 12, n)] + rng.standard_normal((n, d))
    return Rows(array.astype(np.float32), metric, rng.permutation(n).astype(np.int64))


HELD = {metric: rows_of(1, N, D, metric) for metric in (COSINE, L2, IP)}
QUERIES = np.random.default_rng(2).standard_normal((4, D)).astype(np.float32) * 3


def bit_rows(rows: Rows, bits: BitCodes | None) -> BitRows | None:
    if bits is None:
        return None
    labels = np.repeat(np.arange(len(rows.centroids), dtype=np.int32), np.diff(rows.bounds))
    records, signs, own = to_device(bits.records, bits.signs, labels)
    return BitRows(records, signs, bits.bits, own)


def on_device(
    rows: Rows,
    queries: Array,
    masks: Array | None,
    parameters: ClusterParameters,
    k: int,
    clusters: int = 1024,
    most: int | None = None,
    space: Workspace | None = None,
    bits: BitCodes | None = None,
) -> Answers:
    """Answers of the device; no masks: every row passes."""
    codes, centroids, n = rows.codes.arrays(), rows.centroids, len(rows.array)
    words = NO_WORDS if masks is None else bitmaps(masks)
    counts = NO_COUNTS if masks is None else masks.sum(axis=1)
    names = ("codes", "scale", "square", "mean", "limits")
    centres = (centroids.bounds, centroids.codes, centroids.scale, centroids.square)
    store, ties = rows.store, rows.ties
    query, *chosen = to_device(queries, words, counts, store.vectors, store.norms)
    near, far = to_device(np.array(parameters.near), np.array([parameters.far]))
    abandon = 0.0 if parameters.abandon else -1.0
    enough = Enough(near, far, FAR, rows.path._probe, abandon)
    given: list[Any] = [query, *chosen, rows.metric, *to_device(ties)]
    given += to_device(*(codes[name] for name in names), *centres)
    given += [bit_rows(rows, bits), enough, clusters, most or n, max(parameters.rerank, k)]
    out = to_device(*no_answers(len(queries), k))
    launch: Any = scan_clusters_cuda.scan_clusters
    launch(*given, *out, space or workspace())
    answers: Any = to_host(*out)
    return Answers(*answers)


def on_cpu(
    rows: Rows, queries: Array, masks: Array | None, parameters: ClusterParameters, k: int
) -> Answers:
    chosen = np.ones((1, len(rows.array)), bool) if masks is None else masks
    found = []
    for i in range(len(queries)):
        selection = Selection.from_mask(chosen[i if len(chosen) > 1 else 0])
        one = queries[i : i + 1]
        found.append(rows.path.search(one, selection, k, parameters, NO_BUDGET))
    parts: list[Any] = [np.concatenate(part) for part in zip(*found, strict=True)]
    return Answers(*parts)


def check(
    rows: Rows, queries: Array, masks: Array | None, parameters: ClusterParameters, k: int
) -> Answers:
    """The device's answers are the CPU's, row by row and bit by bit.

    It knows how many rows pass, and calls an answer exact where the CPU does not see that clusters
    which are left hold none.
    """
    answers = on_device(rows, queries, masks, parameters, k)
    expected = on_cpu(rows, queries, masks, parameters, k)
    np.testing.assert_array_equal(answers.found, expected.found)
    matches = len(rows.array) if masks is None else masks.sum(axis=1)
    surer = (answers.status == EXACT) & (expected.status == APPROXIMATE)
    assert (answers.work[:, CODES] == matches)[surer].all()
    np.testing.assert_array_equal(answers.status[~surer], expected.status[~surer])
    told = answers.status != EXHAUSTED
    np.testing.assert_array_equal(answers.rows[told], expected.rows[told])
    np.testing.assert_array_equal(answers.distances[told], expected.distances[told])
    np.testing.assert_array_equal(answers.work[told, CODES], expected.work[told, CODES])
    assert (answers.rows[~told] == -1).all() and (answers.found[~told] == 0).all()
    assert (answers.work[:, CHECKS] == 0).all() and (answers.work[:, HOPS] > 0).all()
    return answers


def choice(rows: Rows, masks: Array, query: Array, near: Any, far: float, probe: int) -> Array:
    """The rows that clusters by exact distance choose, bool[n], for one mask: naive."""
    bounds, centres = rows.bounds, rows.centroids.centres.astype(np.float64)
    if rows.metric == L2:
        keys = np.linalg.norm(centres - query, axis=1)
    else:
        keys = -centres @ query.astype(np.float64)
    chosen, passing, seen = np.zeros(len(masks), bool), 0, 0
    avoided = False
    for taken, cluster in enumerate(np.argsort(keys, kind="stable")):
        if taken == probe:
            avoided = passing < FAR * masks.mean() * seen
        if taken > 0:
            rate = -math.log2(passing / seen) if passing else math.inf
            places = np.arange(len(near))
            needed = math.exp(np.interp(rate, places, np.log(near))) if passing else math.inf
            if passing >= (far if avoided else needed):
                break
        part = slice(bounds[cluster], bounds[cluster + 1])
        chosen[part] = masks[part]
        passing, seen = passing + int(masks[part].sum()), seen + bounds[cluster + 1] - part.start
    return chosen


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.05])
def test_answers_are_the_cpus(metric: int, share: float) -> None:
    masks = None
    if share < 1.0:
        masks = np.random.default_rng(3).random((len(QUERIES), N)) < share
    parameters = ClusterParameters((80.0, 60.0, 40.0, 20.0), 70.0, 9)
    answers = check(HELD[metric], QUERIES, masks, parameters, 4)
    assert (answers.status == APPROXIMATE).any() or share == 0.05


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
def test_all_clusters_are_a_scan_of_all_that_passes(metric: int) -> None:
    rows = HELD[metric]
    masks = np.random.default_rng(4).random((1, N)) < 0.3
    answers = check(rows, QUERIES, masks, ClusterParameters(ALL, math.inf, 12), 4)
    for query, found, status in zip(QUERIES, answers.rows, answers.status, strict=True):
        if status == EXACT:
            best = nearest(oracle(rows.array, query, metric), rows.ties, masks[0], 4)
            np.testing.assert_array_equal(found, best)
    assert (answers.status == EXACT).any()
    assert (answers.work[:, CODES] == masks.sum()).all() and (answers.work[:, FULL] == 12).all()


@pytest.mark.parametrize("metric", [L2, IP])
def test_rows_are_chosen_as_a_plain_loop_would(metric: int) -> None:
    rows = HELD[metric]
    rng = np.random.default_rng(5)
    masks = rng.random((len(QUERIES), N)) < np.array([[0.9], [0.5], [0.1], [0.02]])
    near, far, probe = np.array([90.0, 50.0, 30.0, 8.0]), 45.0, 3
    space, clusters, m = workspace(64), rows.bounds, len(QUERIES)
    width = rows.codes.width
    query, mean, code, out = to_device(
        QUERIES, rows.codes.mean, np.empty((m, width), np.int8), np.empty((m, PARAMETERS))
    )
    prepare_queries(query, metric, mean, code, out, space)
    centroids = rows.centroids
    codes, scale, square, bounds, words, counts, *tables = to_device(
        centroids.codes, centroids.scale, centroids.square, clusters, bitmaps(masks),
        masks.sum(axis=1), near, np.array([far]),
    )  # fmt: skip
    parts = cluster_rows_cuda.chosen_parts(m, N)
    chosen = Chosen(*to_device(*(np.zeros(*part) for part in parts)))
    held = (code.view(np.int32), out, (codes.view(np.int32), scale, square), bounds)
    enough = Enough(tables[0], tables[1], FAR, probe, -1.0)
    cluster_rows_cuda.choose_rows(*held, words.view(np.uint32), counts, enough, 1024, chosen, space)
    listed, starts, stops, status, taken = to_host(*chosen)
    for i in range(m):
        expected = np.flatnonzero(choice(rows, masks[i], QUERIES[i], near, far, probe))
        found = listed.ravel()[starts[i] : stops[i]]
        np.testing.assert_array_equal(np.sort(found), expected)
        whole = len(expected) == masks[i].sum()
        assert status[i] == (EXACT if whole else APPROXIMATE) and taken[i] >= 1


def test_queries_that_a_filter_avoids_need_more_or_are_given_up() -> None:
    rows = HELD[L2]
    query = rows.array[:1]
    away = np.argsort(-oracle(rows.array, query[0], L2))
    masks = np.zeros((1, N), bool)
    masks[0, away[:150]] = True
    few = ClusterParameters((20.0,), 20.0, 10)
    many = ClusterParameters((20.0,), 120.0, 10)
    one, other = (check(rows, query, masks, given, 4) for given in (few, many))
    assert other.work[0, CODES] > one.work[0, CODES]
    gone = check(rows, query, masks, many._replace(abandon=True), 4)
    assert gone.status.tolist() == [EXHAUSTED]


def test_queries_are_given_up_by_what_they_need_of_what_passes() -> None:
    """`abandon` is a share of the passing rows, and `far` a table by the share of all rows."""
    rows, m = HELD[L2], 2
    query = np.repeat(rows.array[:1], m, axis=0)
    away = np.argsort(-oracle(rows.array, query[0], L2))
    masks = np.zeros((m, N), bool)
    masks[0, away[:200]] = masks[1, away[:100]] = True
    near, far = np.array([20.0]), np.array([90.0, 90.0, 10.0])
    words, counts, *tables = to_device(bitmaps(masks), masks.sum(axis=1), near, far)
    enough = Enough(tables[0], tables[1], FAR, rows.path._probe, 0.4)
    codes, centroids, store = rows.codes.arrays(), rows.centroids, rows.store
    names = ("codes", "scale", "square", "mean", "limits")
    centres = (centroids.bounds, centroids.codes, centroids.scale, centroids.square)
    given: list[Any] = [*to_device(query), words, counts, *to_device(store.vectors, store.norms)]
    given += [L2, *to_device(rows.ties), *to_device(*(codes[name] for name in names), *centres)]
    out = to_device(*no_answers(m, 4))
    launch: Any = scan_clusters_cuda.scan_clusters
    launch(*given, None, enough, 64, N, 9, *out, workspace())
    assert to_host(out[3])[0].tolist() == [EXHAUSTED, APPROXIMATE]


def test_what_does_not_fit_is_given_up() -> None:
    rows = HELD[COSINE]
    masks = np.random.default_rng(6).random((1, N)) < 0.5
    wide = ClusterParameters(ALL, math.inf, 9)
    for clusters, most in ((4, N), (1024, 20)):
        answers = on_device(rows, QUERIES, masks, wide, 4, clusters, most)
        assert (answers.status == EXHAUSTED).all() and (answers.found == 0).all()
    narrow = ClusterParameters((2.0,), 2.0, 9)
    assert (on_device(rows, QUERIES, masks, narrow, 4, 4).status == APPROXIMATE).all()
    with pytest.raises(ValueError, match="1025 clusters: a query ranks at most 1024"):
        many = Rows(np.ones((10, 2), np.float32), L2)
        many.centroids.bounds = np.arange(1026)
        on_device(many, np.ones((1, 2), np.float32), None, narrow, 1, 2000)


@pytest.mark.parametrize("n", [1, 2, 70])
@pytest.mark.parametrize("d", [1, 3])
def test_few_rows_and_dimensions(n: int, d: int) -> None:
    rows = rows_of(n, n, d, L2)
    queries = np.random.default_rng(d).standard_normal((3, d)).astype(np.float32)
    masks = np.zeros((3, n), bool)
    masks[1, n // 2] = masks[2] = True
    for near in ((2.0, 1.0), ALL):
        answers = check(rows, queries, masks, ClusterParameters(near, math.inf, 4), 4)
        assert answers.found[0] == 0 and answers.status[0] == EXACT


def test_equal_rows_tie_by_id() -> None:
    ties = np.random.default_rng(0).permutation(90).astype(np.int64)
    rows = Rows(np.ones((90, 5), np.float32), L2, ties)
    answers = check(rows, rows.array[:1], None, ClusterParameters(ALL, math.inf, 90), 7)
    np.testing.assert_array_equal(ties[answers.rows[0]], np.arange(7))


def test_layouts_do_not_matter() -> None:
    masks = np.random.default_rng(8).random((4, N)) < 0.5
    parameters = ClusterParameters((90.0, 60.0), 90.0, 9)
    spaces = (workspace(32, 1), workspace(64, 7), workspace(128, 16))
    one, *others = (
        on_device(HELD[L2], QUERIES, masks, parameters, 5, space=space) for space in spaces
    )
    for other in others:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_workspaces_are_as_large_as_they_are_told() -> None:
    for m, k in ((1, 5), (4, 2)):
        space = workspace()
        nbytes = scan_clusters_cuda.scan_clusters_bytes(m, k, N, 64, 9, space)
        parameters = ClusterParameters((60.0,), 60.0, 9)
        masks = np.ones((m, N), bool)
        answers = on_device(
            HELD[L2], QUERIES[:m], masks, parameters, k, space=workspace(nbytes=nbytes)
        )
        assert (answers.found == k).all()


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("width", [1, 2])
def test_estimates_choose_the_shortlist(metric: int, width: int) -> None:
    """The best of the rows that codes would have compared, by the estimates that the CPU has."""
    rows = HELD[metric]
    held = BitCodes.build(
        rows.store, rows.codes.mean, 1, rows.bounds, rows.centroids.centres, bits=width
    )
    masks = np.random.default_rng(9).random((len(QUERIES), N)) < 0.5
    near = ClusterParameters((90.0, 50.0, 30.0), 90.0, 12)
    every = ClusterParameters((90.0, 50.0, 30.0), 90.0, 200)  # of which all is compared in full
    whole = on_device(rows, QUERIES, masks, every, 200)
    answers = on_device(rows, QUERIES, masks, near, 4, bits=held)
    np.testing.assert_array_equal(answers.work[:, CODES], whole.work[:, CODES])
    assert (answers.status == APPROXIMATE).all() and (answers.work[:, FULL] == 12).all()
    for i, query in enumerate(QUERIES):
        seen = whole.rows[i, : whole.found[i]]
        gaps = rows.centroids.centres.astype(np.float64)
        wide = query.astype(np.float64)
        wide /= np.linalg.norm(wide) if metric == COSINE else 1.0
        starts = ((gaps - wide) ** 2).sum(axis=1) if metric == L2 else -gaps @ wide
        keys = held.estimates(query, starts)[seen]
        kept = np.isin(np.arange(N), seen[np.argsort(keys, kind="stable")[:12]])
        best = nearest(oracle(rows.array, query, metric), rows.ties, kept, 4)
        np.testing.assert_array_equal(answers.rows[i], best)


def test_few_rows_are_exact_by_estimates_too() -> None:
    rows = HELD[L2]
    held = BitCodes.build(rows.store, rows.codes.mean, 1, rows.bounds, rows.centroids.centres)
    masks = np.zeros((1, N), bool)
    masks[0, ::80] = True
    wide = ClusterParameters(ALL, math.inf, 12)
    estimates = estimates_bytes(1, D, held.records.shape[1], len(rows.centroids))
    sizes = (4, 4, N, 64, 12, workspace(), estimates)
    space = workspace(nbytes=scan_clusters_cuda.scan_clusters_bytes(*sizes))
    answers = on_device(rows, QUERIES, masks, wide, 4, bits=held, space=space)
    assert (answers.status == EXACT).all() and (answers.work[:, CODES] == 5).all()
    for query, found in zip(QUERIES, answers.rows, strict=True):
        best = nearest(oracle(rows.array, query, L2), rows.ties, masks[0], 4)
        np.testing.assert_array_equal(found, best)


def test_only_queries_that_have_the_plan_are_answered() -> None:
    rows, space = HELD[L2], workspace()
    (plans,) = to_device(np.array([1, 0, 1, 2], np.int8))
    parameters = ClusterParameters((60.0,), 60.0, 9)
    every = on_device(rows, QUERIES, None, parameters, 4)
    with space.only(plans, 1):
        some = on_device(rows, QUERIES, None, parameters, 4, space=space)
    pairs: list[tuple[Any, Any, Any]] = list(zip(some, every, no_answers(4, 4), strict=True))
    for part, whole, empty in pairs:
        np.testing.assert_array_equal(part[::2], whole[::2])
        np.testing.assert_array_equal(part[1::2], empty[1::2])
