"""The bitmap kernels against numpy."""

import itertools
from typing import Any

import numpy as np
import pytest

from fanns.kernels import bitset
from fanns.kernels.jit import frozen

SIZES = [1, 63, 64, 65, 127, 128, 1000, 4096]
DENSITIES = [0.0, 0.01, 0.5, 1.0]


def naive_words(mask: np.ndarray) -> np.ndarray:
    padded = np.zeros((len(mask) + 63) // 64 * 64, np.uint8)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)


@pytest.fixture(params=[(n, s) for n in SIZES for s in DENSITIES], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    n, density = request.param
    rng = np.random.default_rng(n)
    return rng.random(n) < density, rng.random(n) < 0.3


def test_algebra_and_counts(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    wa, wb = frozen(naive_words(a)), frozen(naive_words(b))
    out = np.empty_like(wa)
    for operation, expected in [
        (bitset.AND, a & b),
        (bitset.OR, a | b),
        (bitset.AND_NOT, a & ~b),
    ]:
        assert bitset.combine(wa, wb, operation, out) == expected.sum()
        assert (out == naive_words(expected)).all()
    assert bitset.count(wa) == a.sum()


def test_counts_in_ranges_of_rows(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mask = pair[0]
    n = len(mask)
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, n + 1, 20))
    offsets = np.concatenate([[0, 0], cuts, [n]]).astype(np.int64)
    counts = np.empty(len(offsets) - 1, np.int64)
    bitset.count_ranges(frozen(naive_words(mask)), frozen(offsets), counts)
    expected = [mask[a:b].sum() for a, b in itertools.pairwise(offsets)]
    assert counts.tolist() == expected


def test_rows_and_words_convert_both_ways(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mask = pair[0]
    expected = np.flatnonzero(mask).astype(np.int32)
    rows = np.empty(mask.sum(), np.int32)
    assert bitset.rows_of_words(frozen(naive_words(mask)), rows) == len(expected)
    assert (rows == expected).all()
    words = np.zeros((len(mask) + 63) // 64, np.uint64)
    bitset.set_rows(frozen(rows), words)
    assert (words == naive_words(mask)).all()


def test_rows_of_words_stops_at_the_capacity() -> None:
    rows = np.empty(5, np.int32)
    assert bitset.rows_of_words(frozen(naive_words(np.ones(200, np.bool_))), rows) == 5
    assert rows.tolist() == [0, 1, 2, 3, 4]


def test_row_lists(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    ra, rb = (frozen(np.flatnonzero(x).astype(np.int32)) for x in pair)
    out = np.empty(len(a) * 2, np.int32)
    cases: list[tuple[Any, tuple[Any, ...], np.ndarray]] = [
        (bitset.intersect_rows, (ra, rb), a & b),
        (bitset.filter_rows, (ra, frozen(naive_words(b)), 1), a & b),
        (bitset.filter_rows, (ra, frozen(naive_words(b)), 0), a & ~b),
    ]
    for kernel, arguments, expected in cases:
        found = kernel(*arguments, out)
        assert out[:found].tolist() == np.flatnonzero(expected).tolist()
