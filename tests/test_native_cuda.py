"""Rows computed from a table on the device: bit for bit what the CPU's scan of them gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.kernels import native_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array
from fanns.kernels.scan import EXACT, FULL
from fanns.kernels.stores_cuda import Store
from fanns.paths import NO_BUDGET
from fanns.paths.native import NativeParameters, NativePath
from fanns.selection import Selection
from fanns.stores import NativeStore
from tests.cuda_helpers import no_answers, selection, to_device, to_host, workspace
from tests.store_helpers import KINDS, make

METRICS = [IP, L2, COSINE]
NOTHING = np.empty(0, np.int32)


def on_device(store: NativeStore) -> Store:
    return Store(store.kind, *to_device(*store.held))


def scanned(
    store: NativeStore, queries: Array, metric: int, masks: Array, form: str, k: int,
    ties: Array, order: Array = NOTHING,
) -> list[Array]:  # fmt: skip
    number, *parts = selection(masks, form)
    out = to_device(*no_answers(len(queries), k))
    (asked,) = to_device(queries)
    (own, tied), (rows, offsets, words) = to_device(order, ties), to_device(*parts)
    given: Any = (asked, number, rows, offsets, words, store.n, own, on_device(store), metric, tied)
    rest: Any = (*out, workspace())
    native_cuda.scan_native(*given, *rest)
    return to_host(*out)


def wanted(
    store: NativeStore, query: Array, metric: int, mask: Array, k: int, ties: Array, order: Array
) -> Any:
    path = NativePath(store, metric, ties, order)
    rows = Selection.from_mask(mask)
    return path.search(query[None], rows, k, NativeParameters(False), NO_BUDGET)


def check(
    store: NativeStore, queries: Array, metric: int, masks: Array, form: str, k: int,
    ties: Array, order: Array = NOTHING,
) -> None:  # fmt: skip
    found = scanned(store, queries, metric, masks, form, k, ties, order)
    for number, query in enumerate(queries):
        mask = masks[number % len(masks)]
        best = wanted(store, query, metric, mask, k, ties, order)
        np.testing.assert_array_equal(found[0][number], best.rows[0])
        np.testing.assert_array_equal(found[1][number], best.distances[0])
        assert found[2][number] == best.found[0] and found[3][number] == EXACT
        assert found[4][number, FULL] == mask.sum()


def asked(rng: np.random.Generator, m: int, d: int, whole: bool = False) -> Array:
    drawn = rng.integers(-2, 3, (m, d)) if whole else rng.standard_normal((m, d))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_store(kind: str, metric: int) -> None:
    rng = np.random.default_rng(3)
    store, _ = make(kind, 37, rng, 12)
    queries, ties = asked(rng, 2, 12), rng.permutation(37).astype(np.int64)
    check(store, queries, metric, np.ones((1, 37), bool), "all", 5, ties)
    masks = rng.random((2, 37)) < 0.4
    check(store, queries, metric, masks, "words", 5, ties[:0], rng.permutation(37).astype("i4"))


@pytest.mark.parametrize("kind", ["concat", "mixed", "stored-summed", "lma", "masked"])
def test_more_dimensions_than_lanes(kind: str) -> None:
    rng = np.random.default_rng(5)
    store, _ = make(kind, 21, rng, 76)
    masks = np.stack([np.zeros(21, bool), np.arange(21) == 3, np.ones(21, bool)])
    check(store, asked(rng, 3, 76), COSINE, masks, "rows", 30, np.arange(21))


@settings(max_examples=12)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(METRICS),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 10**6),
)
def test_any_small_store(kind: str, metric: int, n: int, quarter: int, k: int, seed: int) -> None:
    """Of whole numbers, so that nearly all distances are ties, some rows and queries zero."""
    rng = np.random.default_rng(seed)
    store, _ = make(kind, n, rng, 4 * quarter, whole=True)
    queries, ties = asked(rng, 2, 4 * quarter, whole=True), rng.permutation(n).astype(np.int64)
    masks = rng.random((2, n)) < rng.random()
    check(store, queries, metric, masks, "words", k, ties)


@pytest.mark.parametrize("kind", ["concat", "stored"])
def test_shortlists(kind: str) -> None:
    rng = np.random.default_rng(8)
    store, _ = make(kind, 40, rng, 8)
    queries, k = asked(rng, 3, 8), 4
    rows = np.stack([rng.permutation(40)[:9] for _ in range(3)]).astype(np.int32)
    counts = np.array([0, 3, 9], np.int32)
    out = to_device(*no_answers(3, k))
    given: Any = (*to_device(queries, rows, counts, NOTHING), on_device(store), L2)
    rest: Any = (*to_device(np.empty(0, np.int64)), *out, workspace())
    native_cuda.compare_native(*given, *rest)
    found = to_host(*out)
    for number in range(3):
        mask = np.zeros(40, bool)
        mask[rows[number, : counts[number]]] = True
        best = wanted(store, queries[number], L2, mask, k, np.empty(0, np.int64), NOTHING)
        np.testing.assert_array_equal(found[0][number], best.rows[0])
        np.testing.assert_array_equal(found[1][number], best.distances[0])
