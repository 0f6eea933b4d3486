"""The rows of a selection, a block's share at a time: into a list in shared memory.

A batch has one selection for all queries, or one for each. All are of one form (`scan.ALL`, `ROWS`
or `WORDS`): `rows` int32 with `offsets` int64[s + 1] holds the lists one behind the other; `words`
uint64[s, w] are bitmaps, which kernels read as uint32[s, 2 w]; s is 1 or the number of queries.

A bitmap is read word by word, 4 bytes a thread side by side; each set bit is written to the list by
the thread that read its word, at a place that a count in shared memory gives. So rows come in no
particular order, which the best of them do not depend on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import cuda, inner
from fanns.kernels.scan import ROWS, WORDS

WORD = 32
"""Rows in a word as kernels read it."""


@inner
def share_of(
    form: Integer, offsets: Array, words: Array, n: Integer, selection: Integer, side: Integer
) -> Any:
    """Where the block's share starts (side 0) or ends (1): a row, a place in `rows`, or a word.

    Blocks of one row of the grid, y = 0, 1, ..., divide the selection evenly.
    """
    first, size = np.int64(0), np.int64(n)
    if form == ROWS:
        first = offsets[selection]
        size = offsets[selection + 1] - first
    elif form == WORDS:
        size = np.int64(words.shape[1])
    return first + size * (cuda.blockIdx.y + side) // cuda.gridDim.y


@inner
def pick_word(
    words: Array, selection: Integer, place: Integer, picked: Array, count: Array
) -> None:
    """Put the rows of one word of a bitmap into the list."""
    word = np.uint32(words[selection, place])
    if word != np.uint32(0):
        at = cuda.atomic.add(count, 0, np.int32(cuda.popc(word)))
        while word != np.uint32(0):
            picked[at] = place * WORD + np.int64(cuda.ffs(word)) - 1
            at += 1
            word &= word - np.uint32(1)


@inner
def pick(
    form: Integer,
    rows: Array,
    words: Array,
    selection: Integer,
    position: Integer,
    stop: Integer,
    wanted: Integer,
    picked: Array,
    count: Array,
) -> Any:
    """Fill the list with rows from `position` on; gives the position after them. All threads.

    `picked` int32 has places for `wanted` rows and WORD more for each thread. count[0] tells how
    many it holds; when it is 0 there are no more. Barriers stand before and after.
    """
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    cuda.syncthreads()
    if thread == 0:
        count[0] = 0
    cuda.syncthreads()
    if form == WORDS:
        held = 0
        while held < wanted and position < stop:
            if position + thread < stop:
                pick_word(words, selection, position + thread, picked, count)
            position += threads
            cuda.syncthreads()
            held = count[0]
            cuda.syncthreads()
        return min(position, stop)
    size = min(stop - position, picked.shape[0])
    for i in range(thread, size, threads):
        picked[i] = rows[position + i] if form == ROWS else position + i
    if thread == 0:
        count[0] = size
    cuda.syncthreads()
    return position + size
