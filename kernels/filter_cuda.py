"""Filters of a batch over all rows at once, from the codes of columns that lie on the device.

One thread looks at a row for one query: it runs the query's program (`filter_program`) on a stack
of bits in a register, and a ballot of its warp makes half a word of the query's bitmap. Threads
side by side read codes side by side, 128 bytes of a column a warp and leaf; programs and bounds
come from the cache. Bound: 4 bytes a row and leaf of device memory for the first query of a batch,
of the L2 cache for the others where it holds the columns.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.filter_program import AND, CODES, CONSTANT, LISTS, OR, WORDS
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import ALL_LANES, WARP, DeviceArray, Workspace, cuda, inner, kernel

MOST_BLOCKS = 65_535
"""Blocks that a grid has in its second direction."""


@inner
def _is_inside(bounds: Array, start: Integer, stop: Integer, code: Integer) -> bool:
    """Whether a code lies within sorted bounds: an odd number of them is not above it."""
    first = start
    while start < stop:
        middle = (start + stop) >> 1
        if bounds[middle] <= code:
            start = middle + 1
        else:
            stop = middle
    return (start - first) & 1 == 1


@inner
def _any_inside(
    bounds: Array, start: Integer, stop: Integer, codes: Array, first: Integer, last: Integer
) -> bool:
    """Whether the code of any element does."""
    found = False
    while first < last and not found:
        found = _is_inside(bounds, start, stop, codes[first])
        first += 1
    return found


@inner
def _joined(stack: Integer, operation: Integer) -> Integer:
    """The stack with the two bits on top joined."""
    top = stack & 1
    stack >>= 1
    if operation == OR:
        return stack | top
    if top == (operation == AND):
        return stack
    return stack & ~1


@inner
def _passes(
    instructions: Array,
    first: Integer,
    last: Integer,
    bounds: Array,
    codes: Array,
    list_starts: Array,
    list_codes: Array,
    bitmaps: Array,
    row: Integer,
) -> bool:
    """Whether a program leaves true for a row."""
    stack: Integer = 0
    for at in range(first, last):
        operation, place = instructions[at, 0], instructions[at, 1]
        start, stop = instructions[at, 2], instructions[at, 3]
        if operation == CODES:
            stack = stack << 1 | _is_inside(bounds, start, stop, codes[place, row])
        elif operation == LISTS:
            begin, end = list_starts[place, row], list_starts[place, row + 1]
            stack = stack << 1 | _any_inside(bounds, start, stop, list_codes, begin, end)
        elif operation == WORDS:
            word = bitmaps[place, row >> 6]
            stack = stack << 1 | ((word >> np.uint64(row & 63)) & np.uint64(1) == np.uint64(1))
        elif operation == CONSTANT:
            stack = stack << 1 | place
        else:
            stack = _joined(stack, operation)
    return stack & 1 == 1


@kernel
def _filter_rows(
    instructions: Array,
    starts: Array,
    bounds: Array,
    codes: Array,
    list_starts: Array,
    list_codes: Array,
    bitmaps: Array,
    n: int,
    out_words: Array,
) -> None:
    """A warp for each word of a query's bitmap; blocks are (words of several warps) x (queries)."""
    warp, lane = cuda.threadIdx.x // WARP, cuda.threadIdx.x % WARP
    number = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + warp
    if number >= out_words.shape[1]:
        return
    columns = (bounds, codes, list_starts, list_codes, bitmaps)
    for query in range(cuda.blockIdx.y, out_words.shape[0], cuda.gridDim.y):
        first, last = starts[query], starts[query + 1]
        row = number * 64 + lane
        passes = row < n and _passes(instructions, first, last, *columns, row)
        low = cuda.ballot_sync(ALL_LANES, passes)
        row += WARP
        passes = row < n and _passes(instructions, first, last, *columns, row)
        high = cuda.ballot_sync(ALL_LANES, passes)
        if lane == 0:
            # Ballots are signed: widened as such, row 31 would set all bits of the upper half.
            upper, lower = np.uint64(np.uint32(high)), np.uint64(np.uint32(low))
            out_words[query, number] = upper << np.uint64(32) | lower


def filter_rows(
    instructions: DeviceArray,
    starts: DeviceArray,
    bounds: DeviceArray,
    codes: DeviceArray,
    list_starts: DeviceArray,
    list_codes: DeviceArray,
    bitmaps: DeviceArray,
    n: int,
    out_words: DeviceArray,
    workspace: Workspace,
) -> None:
    """The bitmap of the rows that pass each query's program.

    instructions int32[p, 4], those of query i at starts[i] to starts[i + 1] - 1, starts
    int32[m + 1]; bounds int32[b]; codes int32[columns, n]; list_starts int64[lists, n + 1] into
    list_codes int32[l]; bitmaps uint64[u, (n + 63) // 64]. Writes uint64[m, (n + 63) // 64], unused
    bits 0.
    """
    m, words = out_words.shape
    blocks = (-(-words // (workspace.threads // WARP)), min(m, MOST_BLOCKS))
    columns = (bounds, codes, list_starts, list_codes, bitmaps)
    workspace.launch(_filter_rows, blocks, instructions, starts, *columns, n, out_words)
