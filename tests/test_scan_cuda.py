"""The scan of the device against a float64 oracle and against the CPU's, bit for bit."""

from typing import Any

import numpy as np
import pytest

from fanns.kernels import masked_scan_cuda, scan, scan_cuda
from fanns.kernels.distance import COSINE, IP, L2, exact_view
from fanns.kernels.jit import Array, frozen
from fanns.kernels.jit_cuda import Workspace
from fanns.kernels.scan import EXACT
from tests.cuda_helpers import (
    NO_ROWS,
    NO_WORDS,
    no_answers,
    selection,
    to_device,
    to_host,
    workspace,
)
from tests.test_scan import nearest, oracle

METRICS = [COSINE, L2, IP]
TYPES = ["float32", "float16", "int8"]


def vectors_of(seed: int, n: int, d: int, dtype: str) -> Array:
    """Rows that no two are alike of, none of length zero."""
    array = np.random.default_rng(seed).standard_normal((n, d)) * 20 + 1
    return (
        array.astype(dtype)
        if dtype != "int8"
        else np.where(array.astype("i1"), array, 1).astype("i1")
    )


def lengths(array: Array) -> Array:
    return np.asarray(np.sqrt((array.astype(np.float64) ** 2).sum(axis=1)))


def on_device(
    queries: Array,
    array: Array,
    masks: Array,
    form: str,
    metric: int,
    k: int,
    ties: Array,
    space: Workspace | None = None,
) -> list[Array]:
    """Answers of the device: rows, distances, found, status, work."""
    number, rows, offsets, words = selection(masks, form)
    device = to_device(queries, rows, offsets, words, array, lengths(array), ties)
    given = [
        device[0],
        number,
        *device[1:4],
        len(array),
        *device[4:6],
        metric,
        device[6],
    ]
    out = to_device(*no_answers(len(queries), k))
    launch: Any = scan_cuda.scan_exact
    launch(*given, *out, space or workspace())
    return to_host(*out)


def on_cpu(
    queries: Array, array: Array, masks: Array, form: str, metric: int, k: int, ties: Array
) -> list[Array]:
    """The same of the CPU, query by query, with each its selection."""
    answers = no_answers(len(queries), k)
    for i in range(len(queries)):
        mask = masks[i if len(masks) > 1 else 0][None]
        number, rows, _, words = selection(mask, form)
        part = slice(i, i + 1)
        scan.scan_exact(
            frozen(queries[part]),
            number,
            frozen(rows if form == "rows" else NO_ROWS),
            frozen(words[0] if form == "words" else NO_WORDS[:, :0].ravel()),
            len(array),
            frozen(exact_view(array)),
            frozen(lengths(array)),
            metric,
            frozen(ties),
            0,
            0,
            *(answer[part] for answer in answers),
        )
    return answers


def check(
    queries: Array,
    array: Array,
    masks: Array,
    form: str,
    metric: int,
    k: int,
    ties: Array,
    space: Workspace | None = None,
) -> None:
    """The device's answers are the CPU's, and the oracle's."""
    answers = on_device(queries, array, masks, form, metric, k, ties, space)
    for part, expected in zip(
        answers, on_cpu(queries, array, masks, form, metric, k, ties), strict=True
    ):
        np.testing.assert_array_equal(part, expected)
    rows, distances, found, status, work = answers
    assert (status == EXACT).all()
    for i, query in enumerate(queries):
        mask = masks[i if len(masks) > 1 else 0]
        truth, size = oracle(array, query, metric), min(k, int(mask.sum()))
        assert found[i] == size and work[i].tolist() == [0, mask.sum(), 0, 0]
        assert (rows[i, size:] == -1).all() and np.isinf(distances[i, size:]).all()
        expected = nearest(truth, ties, mask, k)
        np.testing.assert_allclose(distances[i, :size], truth[expected], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(truth[rows[i, :size]], truth[expected], rtol=1e-9, atol=1e-12)


def batch(seed: int, m: int, n: int, d: int, dtype: str) -> tuple[Array, Array, Array]:
    """Queries, vectors and ties."""
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((m, d)).astype(np.float32)
    return queries, vectors_of(seed, n, d, dtype), rng.permutation(n).astype(np.int64) - n // 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("form", ["all", "rows", "words"])
def test_answers_are_the_cpus_bit_for_bit(metric: int, dtype: str, form: str) -> None:
    queries, array, ties = batch(1, 1, 100, 21, dtype)
    share = 1.0 if form == "all" else 0.5
    masks = np.random.default_rng(2).random((1, 100)) < share
    check(queries, array, masks, form, metric, 5, ties)


@pytest.mark.parametrize("d", [1, 3, 8, 17, 32, 45, 72])
@pytest.mark.parametrize("m", [1, 3])
def test_odd_dimensions(d: int, m: int) -> None:
    queries, array, ties = batch(d, m, 40, d, "float32")
    for metric in (COSINE, L2):
        check(queries, array, np.ones((1, 40), bool), "all", metric, 3, ties)


@pytest.mark.parametrize("form", ["rows", "words"])
def test_each_query_has_its_own_filter(form: str) -> None:
    queries, array, ties = batch(3, 6, 150, 9, "float32")
    masks = np.random.default_rng(4).random((6, 150)) < np.array(
        [[0], [0.01], [0.1], [0.5], [0.9], [1]]
    )
    check(queries, array, masks, form, L2, 4, ties)


@pytest.mark.parametrize("form", ["rows", "words"])
@pytest.mark.parametrize("threads", [32, 128])
def test_queries_that_share_a_filter(form: str, threads: int) -> None:
    """More queries than a block takes at a time, and the last group is not full."""
    queries, array, ties = batch(5, 21 if threads == 128 else 6, 70, 9, "float16")
    masks = np.random.default_rng(6).random((1, 70)) < 0.6
    check(queries, array, masks, form, IP, 4, ties, workspace(threads))


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("form", ["all", "rows", "words"])
def test_few_rows(n: int, form: str) -> None:
    queries, array, ties = batch(7, 2, n, 5, "float32")
    for chosen in {n, n // 2, 0} if form != "all" else {n}:
        masks = np.tile(np.arange(n) < chosen, (2 if form != "all" else 1, 1))
        check(queries, array, masks, form, COSINE, 3, ties)


@pytest.mark.parametrize("k", [1, 40, 100])
def test_k_above_what_matches_and_lists_that_fill_up(k: int) -> None:
    """Rows come nearer and nearer, so that every one is put into a list."""
    n = 150
    array = np.arange(n, 0, -1, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    masks = np.ones((1, n), bool)
    masks[0, ::3] = False
    queries = np.zeros((2, 3), np.float32)
    check(queries, array, masks, "words", L2, k, np.arange(n, dtype=np.int64))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1, 5])
def test_equal_rows_are_ordered_by_tie(metric: int, m: int) -> None:
    array = np.ones((120, 5), np.float32)
    ties = np.random.default_rng(8).permutation(120).astype(np.int64) * 2**40
    masks = np.random.default_rng(9).random((1, 120)) < 0.7
    check(np.ones((m, 5), np.float32), array, masks, "words", metric, 6, ties)


@pytest.mark.parametrize("shares", [1, 3, 20])
def test_answers_do_not_depend_on_the_number_of_blocks(shares: int) -> None:
    queries, array, ties = batch(10, 1, 130, 4, "float32")
    array[65:] = array[:65]
    masks = np.random.default_rng(11).random((1, 130)) < 0.8
    check(queries, array, masks, "words", L2, 7, ties, workspace(32, shares))


def test_no_queries() -> None:
    queries, array, ties = batch(12, 0, 10, 4, "float32")
    masks = np.ones((1, 10), bool)
    assert on_device(queries, array, masks, "all", L2, 3, ties)[0].shape == (0, 3)


def test_a_k_that_does_not_fit_is_told() -> None:
    queries, array, ties = batch(13, 1, 10, 4, "float32")
    masks = np.ones((1, 10), bool)
    with pytest.raises(ValueError, match="k = 1025: scans on the device keep 1 to 1024 rows"):
        on_device(queries, array, masks, "all", L2, 1025, ties)
    with pytest.raises(MemoryError, match="make one of at least"):
        on_device(queries, array, masks, "all", L2, 1000, ties, workspace(nbytes=256))


def test_every_k_has_a_layout_and_a_workspace() -> None:
    space = workspace(128, 528)
    for m in (1, 2, 7, 64, 10_000):
        for k in (1, 10, 100, 500, scan_cuda.MOST):
            for one_selection in (True, False):
                shape = masked_scan_cuda.shape_of(m, k, 10**6, one_selection, space)
                assert shape.shared_bytes(128) <= 49_152
                assert shape.shares * k <= masked_scan_cuda.MERGED
                assert shape.room >= k + 2 * shape.offers(128)
                assert one_selection or shape.queries == 1
