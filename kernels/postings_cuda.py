"""Bitmaps of conditions on columns, from codes that live on the device: the twin of `postings`.

A column is one *slot* a row, uint8, uint16 or uint32, the narrowest that holds them: its code + 1,
and 0 for null; a column of lists is the slots of all rows with offsets int64[n + 1]. A condition is
a flat, sorted list of bounds in codes (code -1: null), int32: codes bounds[0] <= c < bounds[1],
bounds[2] <= c < bounds[3], and so on. Those of s conditions stand one behind the other, condition i
with bounds[starts[i] : starts[i + 1]], int64[s + 1].

A warp makes 32 words of a bitmap, 1,024 rows: it reads 32 slots side by side, tests them against a
condition and gathers the answers by a ballot; lane i keeps word i, so that the 32 words are written
side by side. Bound by the bytes of the slots for each condition, which the L2 cache gives from the
second on: conditions are the faster index of the grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import ALL_LANES, WARP, DeviceArray, Workspace, cuda, inner, kernel

ROWS = 1024
"""Rows of a warp: 32 words of 32."""


@inner
def _within(slot: Integer, bounds: Array, start: Integer, stop: Integer) -> Any:
    """Whether a slot's code lies within bounds[start : stop]: below or at an odd number of them."""
    code, low, high = np.int64(slot) - 1, start, stop
    while low < high:
        middle = (low + high) >> 1
        if bounds[middle] <= code:
            low = middle + 1
        else:
            high = middle
    return ((low - start) & 1) == 1


@inner
def _first_row() -> Any:
    """The first row of this warp."""
    warps = cuda.blockDim.x // WARP
    return np.int64(cuda.blockIdx.y * warps + cuda.threadIdx.x // WARP) * ROWS


@inner
def _keep(word: Integer, condition: Integer, first: Integer, words: Array) -> None:
    """Write this lane's word of the warp."""
    place = first // WARP + cuda.laneid
    if place < words.shape[1]:
        words[condition, place] = word


@kernel
def _words_of_codes(slots: Array, bounds: Array, starts: Array, words: Array) -> None:
    condition, first, word = cuda.blockIdx.x, _first_row(), np.uint32(0)
    start, stop, n = starts[condition], starts[condition + 1], slots.shape[0]
    for part in range(WARP):
        row = first + part * WARP + cuda.laneid
        inside = row < n and _within(slots[row], bounds, start, stop)
        bits = cuda.ballot_sync(ALL_LANES, inside)
        word = np.uint32(bits) if part == cuda.laneid else word
    _keep(word, condition, first, words)


@kernel
def _words_of_lists(
    offsets: Array, slots: Array, bounds: Array, starts: Array, words: Array
) -> None:
    condition, first, word = cuda.blockIdx.x, _first_row(), np.uint32(0)
    start, stop, n = starts[condition], starts[condition + 1], offsets.shape[0] - 1
    for part in range(WARP):
        row, inside = first + part * WARP + cuda.laneid, False
        if row < n:
            place = offsets[row]
            while place < offsets[row + 1] and not inside:
                inside = _within(slots[place], bounds, start, stop)
                place += 1
        bits = cuda.ballot_sync(ALL_LANES, inside)
        word = np.uint32(bits) if part == cuda.laneid else word
    _keep(word, condition, first, words)


def _grid(words: DeviceArray, workspace: Workspace) -> tuple[int, int]:
    """Conditions x blocks of warps."""
    rows = 64 * words.shape[1]
    return words.shape[0], -(-rows * WARP // (ROWS * workspace.threads))


def words_of_codes(
    slots: DeviceArray,
    bounds: DeviceArray,
    starts: DeviceArray,
    words: DeviceArray,
    workspace: Workspace,
) -> None:
    """words uint64[s, w] = the rows whose code lies within the bounds of each condition."""
    halves = words.view(np.uint32)
    workspace.launch(_words_of_codes, _grid(words, workspace), slots, bounds, starts, halves)


def words_of_lists(
    offsets: DeviceArray,
    slots: DeviceArray,
    bounds: DeviceArray,
    starts: DeviceArray,
    words: DeviceArray,
    workspace: Workspace,
) -> None:
    """words uint64[s, w] = the rows with any code within the bounds of each condition.

    Row r has slots[offsets[r] : offsets[r + 1]]; a null list is one slot 0, an empty one none.
    """
    halves = words.view(np.uint32)
    workspace.launch(
        _words_of_lists, _grid(words, workspace), offsets, slots, bounds, starts, halves
    )
