"""The rows of a selection, a block's share at a time: into a list in shared memory.

A batch has one selection for all queries, or one for each, all of one form (`scan.ALL`, `ROWS` or
`WORDS`): lists of rows, or bitmaps. A bitmap is read word by word, 4 bytes a thread side by side;
each set bit is written to the list by the thread that read its word, at a place that a count in
shared memory gives. So rows come in no particular order, which the best of them do not depend on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fanns.kernels.bitset_cuda import WORD
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import DeviceArray, Turn, cuda, inner
from fanns.kernels.scan import ROWS, WORDS
from fanns.kernels.turns_cuda import bitmap_of


class Selection(NamedTuple):
    """The selections of a batch, as kernels take them.

    `rows` int32 with starts, stops int64[s]: list s is rows[starts[s] : stops[s]]; `words`
    uint32[s, w] are bitmaps; s is 1 or the number of queries, or as many bitmaps as a `Turn` speaks
    of. What a form does not need is empty.
    """

    form: int
    rows: DeviceArray
    starts: DeviceArray
    stops: DeviceArray
    words: DeviceArray
    n: int

    @property
    def shared(self) -> bool:
        """Whether all queries have the same selection."""
        return bool(max(self.starts.shape[0], self.words.shape[0]) <= 1)


def selection_of(
    form: int, rows: DeviceArray, offsets: DeviceArray, words: DeviceArray, n: int
) -> Selection:
    """A selection as launch functions are given it.

    Lists stand one behind the other, with offsets int64[s + 1]; words are uint64[s, w].
    """
    return Selection(form, rows, offsets[:-1], offsets[1:], words.view(np.uint32), n)


@inner
def own_selection(turn: Turn, selection: Selection, query: Integer) -> Any:
    """Which selection a query has; lists are its own, or those of all."""
    if selection.form == WORDS:
        return bitmap_of(turn, selection.words.shape[0], query)
    return query if selection.starts.shape[0] > 1 else 0


@inner
def share_of(selection: Selection, own: Integer, side: Integer) -> Any:
    """Where the block's share starts (side 0) or ends (1): a row, a place in `rows`, or a word.

    Blocks of one column of the grid, y = 0, 1, ..., divide the selection evenly.
    """
    first, size = np.int64(0), np.int64(selection.n)
    if selection.form == ROWS:
        first = selection.starts[own]
        size = selection.stops[own] - first
    elif selection.form == WORDS:
        size = np.int64(selection.words.shape[1])
    return first + size * (cuda.blockIdx.y + side) // cuda.gridDim.y


@inner
def pick_word(words: Array, own: Integer, place: Integer, picked: Array, count: Array) -> None:
    """Put the rows of one word of a bitmap into the list."""
    word = np.uint32(words[own, place])
    if word != np.uint32(0):
        at = cuda.atomic.add(count, 0, np.int32(cuda.popc(word)))
        while word != np.uint32(0):
            picked[at] = place * WORD + np.int64(cuda.ffs(word)) - 1
            at += 1
            word &= word - np.uint32(1)


@inner
def pick(
    selection: Selection,
    own: Integer,
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
    if selection.form == WORDS:
        held = 0
        while held < wanted and position < stop:
            if position + thread < stop:
                pick_word(selection.words, own, position + thread, picked, count)
            position += threads
            cuda.syncthreads()
            held = count[0]
            cuda.syncthreads()
        return min(position, stop)
    size = min(stop - position, picked.shape[0])
    for i in range(thread, size, threads):
        picked[i] = selection.rows[position + i] if selection.form == ROWS else position + i
    if thread == 0:
        count[0] = size
    cuda.syncthreads()
    return position + size
