"""Scans by int8 codes and shortlists in full precision, on the device against the CPU."""

from typing import Any

import numpy as np
import pytest

from fanns.codes import Int8Codes
from fanns.kernels import int8, int8_cuda, rerank_cuda, scan_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen, kernel
from fanns.kernels.scan import APPROXIMATE, EXACT
from fanns.paths import NO_BUDGET
from fanns.paths import Answers as HostAnswers
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.vectors import DenseVectors
from tests.cuda_helpers import no_answers, selection, to_device, to_host, workspace
from tests.test_scan import nearest, oracle, select
from tests.test_scan_cuda import batch

METRICS = [COSINE, L2, IP]


@kernel
def prepare_on_cpu(queries: Array, metric: int, mean: Array, codes: Array, out: Array) -> None:
    for number in range(queries.shape[0]):
        int8.prepare_query(queries[number], metric, mean, codes[number], out[number])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 3, 8, 45])
def test_queries_are_prepared_as_on_the_cpu(metric: int, d: int) -> None:
    queries, _, _ = batch(d, 3, 1, d, "float32")
    queries[2] *= 0
    mean = np.random.default_rng(d).standard_normal(d).astype(np.float32)
    codes, parameters = np.full((3, 64), 7, np.int8), np.full((3, int8.PARAMETERS), np.nan)
    query, on_mean, code, out = to_device(queries, mean, codes, parameters)
    int8_cuda.prepare_queries(query, metric, on_mean, code, out, workspace())
    prepare_on_cpu(queries, metric, mean, codes, parameters)
    np.testing.assert_array_equal(to_host(code)[0], codes)
    np.testing.assert_allclose(to_host(out)[0], parameters, rtol=1e-14, atol=0)


def on_device(
    store: DenseVectors,
    codes: Int8Codes,
    queries: Array,
    masks: Array,
    form: str,
    k: int,
    shortlist: int,
    ties: Array,
) -> list[Array]:
    number, *chosen = selection(masks, form)
    arrays = (
        store.vectors,
        store.norms,
        ties,
        *(codes.arrays()[name] for name in ("codes", "scale", "square", "mean", "limits")),
    )
    query, rows, offsets, words, vectors, norms, on_ties, *held = to_device(
        queries, *chosen, *arrays
    )
    out = to_device(*no_answers(len(queries), k))
    space = workspace(64)
    given = (query, number, rows, offsets, words, store.n, vectors, norms, store.metric, on_ties)
    launch: Any = scan_cuda.scan_codes
    launch(*given, *held, shortlist, *out, space)
    return to_host(*out)


def check(
    store: DenseVectors,
    queries: Array,
    masks: Array,
    form: str,
    k: int,
    shortlist: int,
    ties: Array,
) -> Array:
    """The device's answers and statuses are the CPU's; gives the statuses."""
    codes = Int8Codes.build(store)
    rows, distances, found, status, work = on_device(
        store, codes, queries, masks, form, k, shortlist, ties
    )
    path = ScanPath(store, codes, ties)
    for i in range(len(queries)):
        mask = masks[i if len(masks) > 1 else 0]
        expected: HostAnswers = path.search(
            queries[i : i + 1], select(mask, "rows"), k, ScanParameters(shortlist), NO_BUDGET
        )
        np.testing.assert_array_equal(rows[i], expected.rows[0])
        np.testing.assert_array_equal(distances[i], expected.distances[0])
        assert found[i] == expected.found[0] and status[i] == expected.status[0]
        compared = int(mask.sum())
        assert work[i].tolist() == [compared, min(shortlist, compared), 0, 0]
        if status[i] == EXACT:
            truth = oracle(store.vectors, queries[i], store.metric)
            best = nearest(truth, ties, mask, k)
            np.testing.assert_allclose(distances[i, : found[i]], truth[best], rtol=1e-9, atol=1e-12)
    return status


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("form", ["all", "words"])
def test_answers_and_statuses_are_the_cpus(metric: int, dtype: str, form: str) -> None:
    queries, array, ties = batch(1, 2, 120, 21, dtype)
    masks = np.random.default_rng(2).random((1, 120)) < (1.0 if form == "all" else 0.6)
    check(DenseVectors.from_array(array, metric), queries, masks, form, 4, 12, ties)


def test_each_query_has_its_own_filter() -> None:
    queries, array, ties = batch(3, 5, 150, 70, "float32")
    share = np.array([[0], [0.03], [0.1], [0.5], [1]])
    masks = np.random.default_rng(4).random((5, 150)) < share
    status = check(DenseVectors.from_array(array, L2), queries, masks, "rows", 4, 9, ties)
    assert (status[:2] == EXACT).all()


def test_both_statuses_occur() -> None:
    """Far neighbours are proved; rows that no code tells apart are not."""
    _, array, ties = batch(5, 1, 100, 16, "float32")
    array[:6] = array[0] + np.arange(6)[:, None] * 0.1
    queries = np.concatenate([array[:1], np.zeros((1, 16), np.float32)])
    array[20:] /= 1e6
    store = DenseVectors.from_array(array, L2)
    status = check(store, queries, np.ones((1, 100), bool), "all", 4, 8, ties)
    assert status.tolist() == [EXACT, APPROXIMATE]


@pytest.mark.parametrize("metric", METRICS)
def test_reranking_orders_lists_of_any_length(metric: int) -> None:
    queries, array, ties = batch(6, 4, 60, 9, "float32")
    array[30:] = array[:30]
    rng = np.random.default_rng(7)
    rows = np.array([rng.permutation(60)[:25] for _ in range(4)], np.int32)
    counts = np.array([25, 3, 0, 20], np.int32)
    store = DenseVectors.from_array(array, metric)
    query, vectors, norms, lists, sizes, on_ties = to_device(
        queries, store.vectors, frozen(store.norms), rows, counts, ties
    )
    out = to_device(*no_answers(4, 5))
    launch: Any = rerank_cuda.rerank
    launch(query, vectors, norms, metric, lists, sizes, on_ties, *out, workspace())
    best, distances, found, status, work = to_host(*out)
    assert found.tolist() == [5, 3, 0, 5] and (status == EXACT).all()
    assert work[:, 1].tolist() == counts.tolist()
    for i in range(4):
        truth = oracle(array, queries[i], metric)
        chosen = np.isin(np.arange(60), rows[i, : counts[i]])
        expected = nearest(truth, ties, chosen, 5)
        np.testing.assert_allclose(distances[i, : found[i]], truth[expected], rtol=1e-9, atol=1e-12)
        assert set(best[i, : found[i]]) <= set(rows[i, : counts[i]])


def test_workspaces_are_as_large_as_they_are_told() -> None:
    """Exactly what `scan_codes_bytes` says is enough."""
    for m, k, one in ((1, 5, True), (7, 3, True), (6, 2, False)):
        queries, array, ties = batch(8, m, 40, 5, "float32")
        store = DenseVectors.from_array(array, COSINE)
        codes = Int8Codes.build(store)
        space = workspace()
        nbytes = scan_cuda.scan_codes_bytes(m, k, 40, 64, 8, one, space)
        space = workspace(nbytes=nbytes)
        number, *chosen = selection(np.ones((1 if one else m, 40), bool), "words")
        names = ("codes", "scale", "square", "mean", "limits")
        host = (queries, *chosen, store.vectors, store.norms, ties)
        query, rows, offsets, words, *full = to_device(*host)
        held = to_device(*(codes.arrays()[name] for name in names))
        out = to_device(*no_answers(m, k))
        launch: Any = scan_cuda.scan_codes
        given = (query, number, rows, offsets, words, 40, *full[:2], COSINE, full[2])
        launch(*given, *held, 8, *out, space)
        assert (to_host(out[2])[0] == k).all()
