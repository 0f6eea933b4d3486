"""Bitmaps of conditions on the device against numpy."""

import numpy as np
import pytest

from fanns.kernels import postings_cuda
from fanns.kernels.jit import Array
from tests.cuda_helpers import bitmaps, to_device, to_host, workspace

# Codes bounds[0] <= c < bounds[1], ...; -1 is null.
CONDITIONS = [
    [],
    [0, 1],
    [3, 9],
    [-1, 0],
    [-1, 4, 6, 7],
    [0, 2, 4, 5, 7, 8, 20, 60],
    [0, 100_000],
    [-1, 100_000],
]


def passes(codes: Array, bounds: list[int]) -> Array:
    inside = np.zeros(codes.shape, bool)
    for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
        inside |= (codes >= start) & (codes < stop)
    return inside


def flat(conditions: list[list[int]]) -> tuple[Array, Array]:
    """Bounds one behind the other, and where each condition's start."""
    starts = np.cumsum([0, *map(len, conditions)]).astype(np.int64)
    return np.concatenate([np.empty(0), *conditions]).astype(np.int32), starts


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("n", [1, 65, 1200])
def test_conditions_on_codes(dtype: type, n: int) -> None:
    codes = np.random.default_rng(n).integers(-1, 12, n)
    codes[0] = np.iinfo(dtype).max - 1 if dtype != np.uint32 else 99_999
    expected = bitmaps(np.array([passes(codes, bounds) for bounds in CONDITIONS]))
    slots, bounds, starts, words = to_device(
        (codes + 1).astype(dtype), *flat(CONDITIONS), np.full_like(expected, 7)
    )
    postings_cuda.words_of_codes(slots, bounds, starts, words, workspace(64))
    np.testing.assert_array_equal(to_host(words)[0], expected)


@pytest.mark.parametrize("n", [1, 64, 300])
def test_conditions_on_lists(n: int) -> None:
    rng = np.random.default_rng(n)
    lists = [rng.integers(0, 12, rng.integers(0, 5)) for _ in range(n)]
    lists[n // 2] = np.array([-1])  # a null list
    expected = bitmaps(
        np.array([[passes(row, bounds).any() for row in lists] for bounds in CONDITIONS])
    )
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    slots = (np.concatenate(lists) + 1).astype(np.uint16)
    offsets, slots, bounds, starts, words = to_device(
        offsets, slots, *flat(CONDITIONS), np.full_like(expected, 7)
    )
    postings_cuda.words_of_lists(offsets, slots, bounds, starts, words, workspace())
    np.testing.assert_array_equal(to_host(words)[0], expected)
