"""Scans by products of matrices, against scans in full precision."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda_helpers import (
    NO_OFFSETS,
    NO_ROWS,
    bitmaps,
    no_answers,
    to_device,
    to_host,
    workspace,
)

pytest.importorskip("fanns.kernels.jit_cuda")
from fanns.device.products import Products
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array
from fanns.kernels.product_scan_cuda import scan_products, scan_products_bytes
from fanns.kernels.scan import EXACT, EXHAUSTED, WORDS
from fanns.kernels.scan_cuda import scan_exact


def both(
    queries: Array, vectors: Array, mask: Array, metric: int, k: int, shortlist: int, at_once: int
) -> tuple[list[Array], list[Array]]:
    """Answers by products, and in full precision."""
    m, n = len(queries), len(vectors)
    norms = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1))
    some = norms[norms > 0]
    extremes = np.array([norms.max(initial=0.0), some.min() if len(some) else 0.0])
    space = workspace(nbytes=1 << 21)
    ties = np.random.default_rng(1).permutation(n)
    asked, words, rows, held, order = to_device(queries, bitmaps(mask[None]), vectors, norms, ties)
    (ends,) = to_device(extremes)
    made, exact = (to_device(*no_answers(m, k)) for _ in range(2))
    given: list[Any] = [asked, words, rows, held, metric, order, ends, shortlist, at_once]
    given += [Products(space).multiply, *made, space]
    scan_products(*given)
    empty = to_device(NO_ROWS, NO_OFFSETS)
    given = [asked, WORDS, *empty, words, n, rows, held, metric, order, *exact, space]
    scan_exact(*given)
    assert scan_products_bytes(min(m, at_once), k, n, shortlist, space) <= space.nbytes
    return to_host(*made), to_host(*exact)


def check(made: list[Array], exact: list[Array]) -> None:
    """What was proved is what full precision finds."""
    proved = made[3] == EXACT
    assert np.isin(made[3], (EXACT, EXHAUSTED)).all()
    for array, other in zip(made[:3], exact[:3], strict=True):
        assert np.array_equal(array[proved], other[proved])


@pytest.mark.parametrize("metric", [L2, IP, COSINE])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_proved_answers_are_those_of_full_precision(metric: int, data: Any) -> None:
    m, n, d = (data.draw(st.integers(1, most)) for most in (5, 60, 9))
    k = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    queries, vectors = (rng.normal(size=(rows, d)).astype(np.float32) for rows in (m, n))
    if data.draw(st.booleans()):
        vectors[::2] = vectors[0]  # ties
    mask = rng.random(n) < data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    made, exact = both(queries, vectors, mask, metric, k, k + 3, data.draw(st.integers(1, 6)))
    check(made, exact)
    assert made[3].tolist() == [EXACT] * m or mask.sum() > k + 3


def test_rows_that_differ_are_proved_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    queries, vectors = (rng.normal(size=(rows, 12)).astype(np.float32) for rows in (6, 50))
    mask = np.ones(50, bool)
    for metric in (L2, IP, COSINE):
        made, exact = both(queries, vectors, mask, metric, 3, 8, 4)
        check(made, exact)
        assert (made[3] == EXACT).all()
        made, _ = both(queries, np.repeat(vectors[:1], 50, 0), mask, metric, 3, 8, 4)
        assert (made[3] == EXHAUSTED).all()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e25])
def test_lengths_beyond_float32_are_never_proved_wrong(size: float) -> None:
    rng = np.random.default_rng(0)
    queries, vectors = (rng.normal(size=(rows, 5)) * size for rows in (3, 40))
    vectors[0] = 0.0
    for metric in (L2, IP, COSINE):
        made, exact = both(
            queries.astype(np.float32),
            vectors.astype(np.float32),
            np.ones(40, bool),
            metric,
            2,
            6,
            8,
        )
        check(made, exact)


def test_other_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="float32 vectors"):
        both(
            np.ones((1, 3), np.float32), np.ones((4, 3), np.float16), np.ones(4, bool), L2, 1, 2, 1
        )
