"""Bitmaps of many selections at once on the device: the twin of `bitset`.

Bitmaps are uint64[s, w], one row a selection, as `bitset` tells: bit r % 64 of word r // 64 stands
for row r, and what is behind the last row is 0. Kernels read them as uint32[s, 2 w], the same
memory, because a device counts and shifts 32 bits at a time. An operand of one row, [1, w], serves
all selections. Every kernel here reads each word once, side by side, and is bound by that. A grid
has 65,535 blocks in its second direction: where batches may have more selections, these are its
first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64

from fanns.kernels.bitset import AND_NOT, OR
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    THREADS,
    DeviceArray,
    Workspace,
    bytes_of,
    cuda,
    inner,
    kernel,
)

WORD = 32
"""Rows in a word as kernels read it."""

WORDS_OF_BLOCK = 8
"""Words for each thread of a block, at least: fewer are not worth another block."""

MOST_THREADS = max(THREADS)


@inner
def sum_before(value: Integer) -> tuple[Any, Any]:
    """The sum of the values of all threads below this one, and of all. Barriers included.

    Doubling steps in shared memory (Hillis and Steele 1986), 4 KB of it.
    """
    sums = cuda.shared.array((2, MOST_THREADS), int64)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    side, step = 0, 1
    sums[0, thread] = value
    cuda.syncthreads()
    while step < threads:
        more = sums[side, thread - step] if thread >= step else 0
        sums[1 - side, thread] = sums[side, thread] + more
        side, step = 1 - side, step * 2
        cuda.syncthreads()
    before, total = sums[side, thread] - value, sums[side, threads - 1]
    cuda.syncthreads()
    return before, total


@inner
def _share(size: Integer, side: Integer) -> Any:
    """Where this block's share of so many words starts (side 0) or ends (1)."""
    return np.int64(size) * (cuda.blockIdx.y + side) // cuda.gridDim.y


@inner
def _count_share(words: Array, selection: Integer, start: Integer, stop: Integer) -> Any:
    """Set bits of words start <= i < stop, in all threads."""
    count = 0
    for i in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        count += cuda.popc(words[selection, i])
    return sum_before(count)[1]


@kernel
def _count(words: Array, counts: Array) -> None:
    """counts[selection, share] = the set bits of that share."""
    selection = cuda.blockIdx.x
    size = words.shape[1]
    count = _count_share(words, selection, _share(size, 0), _share(size, 1))
    if cuda.threadIdx.x == 0:
        counts[selection, cuda.blockIdx.y] = count


@kernel
def _sum_shares(counts: Array, out: Array) -> None:
    """out[selection] = the sum of its counts; one block a selection."""
    selection, total = cuda.blockIdx.x, 0
    for i in range(cuda.threadIdx.x, counts.shape[1], cuda.blockDim.x):
        total += counts[selection, i]
    total = sum_before(total)[1]
    if cuda.threadIdx.x == 0:
        out[selection] = total


@inner
def mask_of_range(place: Integer, start: Integer, stop: Integer) -> Any:
    """The bits of word `place` that stand for rows start <= r < stop."""
    low = min(max(start - place * WORD, 0), WORD)
    high = min(max(stop - place * WORD, 0), WORD)
    return ((1 << high) - 1) & ~((1 << low) - 1)


@kernel
def _count_ranges(words: Array, offsets: Array, counts: Array) -> None:
    """counts[selection, c] of rows offsets[c] <= r < offsets[c + 1]; a thread a range."""
    c, selection = cuda.grid(1), cuda.blockIdx.y
    if c < counts.shape[1]:
        start, stop, total = offsets[c], offsets[c + 1], 0
        for place in range(start // WORD, (stop + WORD - 1) // WORD):
            mask = np.uint32(mask_of_range(place, start, stop))
            total += cuda.popc(words[selection, place] & mask)
        counts[selection, c] = total


@kernel
def _combine(a: Array, b: Array, operation: int, out: Array) -> None:
    """One word of one selection a thread."""
    place, selection = cuda.grid(1), cuda.blockIdx.y
    if place < out.shape[1]:
        first = a[selection if a.shape[0] > 1 else 0, place]
        second = b[selection if b.shape[0] > 1 else 0, place]
        if operation == OR:
            out[selection, place] = first | second
        elif operation == AND_NOT:
            out[selection, place] = first & ~second
        else:
            out[selection, place] = first & second


@kernel
def _invert(words: Array, n: int, out: Array) -> None:
    """One word of one selection a thread."""
    place, selection = cuda.grid(1), cuda.blockIdx.y
    if place < out.shape[1]:
        mask = np.uint32(mask_of_range(place, 0, n))
        out[selection, place] = ~words[selection, place] & mask


@kernel
def _starts(counts: Array, starts: Array, offsets: Array) -> None:
    """starts[s, share] = the sum of all counts before, in order; one block."""
    size, carried = counts.shape[0] * counts.shape[1], 0
    for first in range(0, size, cuda.blockDim.x):
        i = first + cuda.threadIdx.x
        selection, share = i // counts.shape[1], i % counts.shape[1]
        value = counts[selection, share] if i < size else 0
        before, total = sum_before(value)
        if i < size:
            starts[selection, share] = carried + before
            if share == 0:
                offsets[selection] = carried + before
        carried += total
    if cuda.threadIdx.x == 0:
        offsets[counts.shape[0]] = carried


@kernel
def _write_rows(words: Array, starts: Array, rows: Array) -> None:
    """The rows of a share in order, from its start on."""
    selection, share = cuda.blockIdx.x, cuda.blockIdx.y
    stop, at = _share(words.shape[1], 1), starts[selection, share]
    for first in range(_share(words.shape[1], 0), stop, cuda.blockDim.x):
        place = first + cuda.threadIdx.x
        word = words[selection, place] if place < stop else np.uint32(0)
        before, total = sum_before(np.int64(cuda.popc(word)))
        to = at + before
        while word != np.uint32(0) and to < rows.shape[0]:
            rows[to] = place * WORD + np.int64(cuda.ffs(word)) - 1
            to += 1
            word &= word - np.uint32(1)
        at += total


@kernel
def _set_rows(rows: Array, offsets: Array, words: Array) -> None:
    """The bits of one list; blocks of a column divide it."""
    selection = cuda.blockIdx.y
    for i in range(offsets[selection] + cuda.grid(1), offsets[selection + 1], cuda.gridsize(1)):
        row = rows[i]
        bit = np.uint32(1) << np.uint32(row % WORD)
        cuda.atomic.or_(words, (selection, row // WORD), bit)


def _shares(words: DeviceArray, workspace: Workspace) -> int:
    """Blocks that divide the words of a selection."""
    selections, size = words.shape
    most = -(-size * 2 // (WORDS_OF_BLOCK * workspace.threads))
    return int(max(1, min(most, -(-workspace.blocks // max(selections, 1)))))


def _grid(out: DeviceArray, size: int, workspace: Workspace) -> tuple[int, int]:
    """A thread for each of `size` places of each row of `out`."""
    return -(-size // workspace.threads), out.shape[0]


def count_bytes(words: DeviceArray, workspace: Workspace) -> int:
    """What `count` borrows from a workspace; `rows_of_words` borrows twice as much."""
    return bytes_of(*_counts(words, workspace))


def _counts(words: DeviceArray, workspace: Workspace) -> list[tuple[tuple[int, ...], Any]]:
    return [((words.shape[0], _shares(words, workspace)), np.int64)]


def count(words: DeviceArray, out: DeviceArray, workspace: Workspace) -> None:
    """out int64[s] = how many bits of each selection are set."""
    with workspace.frame():
        (counts,) = (workspace.take(*part) for part in _counts(words, workspace))
        halves, shares = words.view(np.uint32), counts.shape[1]
        workspace.launch(_count, (words.shape[0], shares), halves, counts)
        workspace.launch(_sum_shares, words.shape[0], counts, out)


def count_ranges(
    words: DeviceArray, offsets: DeviceArray, counts: DeviceArray, workspace: Workspace
) -> None:
    """counts int64[s, c]: how many rows offsets[c] <= r < offsets[c + 1] are set."""
    grid = _grid(counts, counts.shape[1], workspace)
    workspace.launch(_count_ranges, grid, words.view(np.uint32), offsets, counts)


def combine(
    a: DeviceArray, b: DeviceArray, operation: int, out: DeviceArray, workspace: Workspace
) -> None:
    """out = a & b, a | b or a & ~b as `operation` is AND, OR or AND_NOT; out may be a or b."""
    grid = _grid(out, 2 * out.shape[1], workspace)
    operands = (a.view(np.uint32), b.view(np.uint32))
    workspace.launch(_combine, grid, *operands, operation, out.view(np.uint32))


def invert(words: DeviceArray, n: int, out: DeviceArray, workspace: Workspace) -> None:
    """out = ~words within n rows; out may be words."""
    grid = _grid(out, 2 * out.shape[1], workspace)
    workspace.launch(_invert, grid, words.view(np.uint32), n, out.view(np.uint32))


def rows_of_words(
    words: DeviceArray, rows: DeviceArray, offsets: DeviceArray, workspace: Workspace
) -> None:
    """The set rows of all selections in order, one list behind the other.

    Selection s has rows[offsets[s] : offsets[s + 1]], int32 with int64[s + 1]. What `rows` is too
    short for is left out; `offsets` counts it.
    """
    with workspace.frame():
        counts, starts = (workspace.take(*part) for part in 2 * _counts(words, workspace))
        halves, grid = words.view(np.uint32), counts.shape
        workspace.launch(_count, grid, halves, counts)
        workspace.launch(_starts, 1, counts, starts, offsets)
        workspace.launch(_write_rows, grid, halves, starts, rows)


def set_rows(
    rows: DeviceArray, offsets: DeviceArray, words: DeviceArray, workspace: Workspace
) -> None:
    """Set the bits of each selection's rows in words, which the caller has cleared or filled."""
    selections = words.shape[0]
    shares = -(-workspace.blocks // max(selections, 1))
    workspace.launch(_set_rows, (shares, selections), rows, offsets, words.view(np.uint32))
