"""The bitmap kernels of the device against numpy and the CPU's."""

import numpy as np
import pytest

from fanns.kernels import bitset, bitset_cuda
from fanns.kernels.jit import frozen
from fanns.kernels.jit_cuda import Workspace
from tests.cuda_helpers import bitmaps, row_lists, to_device, to_host, workspace

SHAPES = [(1, 1), (2, 64), (3, 65), (2, 1300)]
DENSITIES = [0.0, 0.03, 1.0]


@pytest.fixture(params=[(s, n, p) for s, n in SHAPES for p in DENSITIES], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    s, n, density = request.param
    rng = np.random.default_rng(n)
    return rng.random((s, n)) < density, rng.random((s, n)) < 0.3


def test_counts_of_selections(pair: tuple[np.ndarray, np.ndarray]) -> None:
    masks = pair[0]
    words, counts = to_device(bitmaps(masks), np.full(len(masks), -7))
    bitset_cuda.count(words, counts, workspace(64, 6))
    assert to_host(counts)[0].tolist() == masks.sum(axis=1).tolist()


def test_counts_of_more_selections_than_a_grid_is_high(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launch alone: the simulator would take a minute for so many blocks."""
    grids = []
    monkeypatch.setattr(
        Workspace, "launch", lambda self, kernel, blocks, *arguments, **more: grids.append(blocks)
    )
    words, counts = to_device(np.zeros((70_000, 1), np.uint64), np.zeros(70_000, np.int64))
    bitset_cuda.count(words, counts, workspace(64, 6))
    assert grids == [(70_000, 1), 70_000]


@pytest.mark.parametrize("shared", [False, True])
def test_algebra_equals_the_cpus(pair: tuple[np.ndarray, np.ndarray], shared: bool) -> None:
    a, b = pair
    b = b[:1] if shared else b
    left, right = bitmaps(a), bitmaps(b)
    device_left, device_right, out = to_device(left, right, np.full_like(left, 7))
    for operation in (bitset.AND, bitset.OR, bitset.AND_NOT):
        bitset_cuda.combine(device_left, device_right, operation, out, workspace())
        expected = np.empty_like(left)
        for i in range(len(left)):
            other = frozen(right[0 if shared else i])
            bitset.combine(frozen(left[i]), other, operation, expected[i])
        np.testing.assert_array_equal(to_host(out)[0], expected)


def test_inverting_leaves_the_rest_of_the_last_word_empty(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    masks = pair[0]
    (words,) = to_device(bitmaps(masks))
    bitset_cuda.invert(words, masks.shape[1], words, workspace())
    np.testing.assert_array_equal(to_host(words)[0], bitmaps(~masks))


def test_counts_in_ranges_of_rows(pair: tuple[np.ndarray, np.ndarray]) -> None:
    masks = pair[0]
    s, n = masks.shape
    cuts = np.sort(np.random.default_rng(1).integers(0, n + 1, 40))
    offsets = np.concatenate([[0, 0], cuts, [n]]).astype(np.int64)
    words, on_device, counts = to_device(
        bitmaps(masks), offsets, np.full((s, len(offsets) - 1), -7)
    )
    bitset_cuda.count_ranges(words, on_device, counts, workspace())
    expected = np.empty(len(offsets) - 1, np.int64)
    for i, mask in enumerate(masks):
        bitset.count_ranges(frozen(bitmaps(mask[None])[0]), frozen(offsets), expected)
        np.testing.assert_array_equal(to_host(counts)[0][i], expected)


def test_rows_and_words_convert_both_ways(pair: tuple[np.ndarray, np.ndarray]) -> None:
    masks = pair[0]
    rows, offsets = row_lists(masks)
    words, out, starts = to_device(
        bitmaps(masks), np.full(len(rows) + 3, -7, np.int32), np.empty(len(masks) + 1, np.int64)
    )
    bitset_cuda.rows_of_words(words, out, starts, workspace(64, 6))
    np.testing.assert_array_equal(to_host(starts)[0], offsets)
    np.testing.assert_array_equal(to_host(out)[0], [*rows, -7, -7, -7])
    (empty,) = to_device(np.zeros_like(bitmaps(masks)))
    bitset_cuda.set_rows(out, starts, empty, workspace())
    np.testing.assert_array_equal(to_host(empty)[0], bitmaps(masks))


def test_rows_of_words_stops_at_the_capacity() -> None:
    masks = np.ones((2, 200), bool)
    words, out, starts = to_device(bitmaps(masks), np.empty(205, np.int32), np.empty(3, np.int64))
    bitset_cuda.rows_of_words(words, out, starts, workspace())
    assert to_host(starts)[0].tolist() == [0, 200, 400]
    assert to_host(out)[0].tolist() == [*range(200), *range(5)]


def test_no_selections_are_no_work() -> None:
    words, counts = to_device(np.empty((0, 3), np.uint64), np.empty(0, np.int64))
    bitset_cuda.count(words, counts, workspace())
    bitset_cuda.combine(words, words, bitset.AND, words, workspace())
