"""What a walk on the device is made of: rows met, links, where to begin. The twin of `graph_steps`.

Rows that a walk met stand in a hash table in shared memory, open addressing with steps of one, as
in CAGRA (Ootomo et al. 2023, arXiv 2308.15136); it forgets nothing, and a walk that fills three
quarters of it ends as EXHAUSTED. A table of 8,192 rows takes 32 KB. Which thread puts a row in does
not matter: what a step meets is the same set in any order, so walks are repeatable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.bitset_cuda import WORD
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import WARP, cuda, inner

EMPTY = -1
MULTIPLIER = 2_654_435_761
"""2^32 divided by the golden ratio (Knuth, volume 3, section 6.4)."""

# Places of a walk's state in shared memory, int32[STATE].
FRESH = 0  # rows met and not yet compared
MET = 1  # rows in the table
NEXT = 2  # place of the nearest row that was not followed
STATE = 3


@inner
def meet(table: Array, state: Array, row: Integer) -> Any:
    """Put a row into the table; whether it was not there. The table is never full."""
    place = (np.int64(row) * MULTIPLIER >> 15) & (table.shape[0] - 1)
    while True:
        found = cuda.atomic.cas(table, place, np.int32(EMPTY), np.int32(row))
        if found == EMPTY:
            cuda.atomic.add(state, MET, 1)
            return True
        if found == row:
            return False
        place = (place + 1) & (table.shape[0] - 1)


@inner
def passes(words: Array, own: Integer, row: Integer) -> Any:
    """Whether a row's bit is set; without bitmaps every row passes."""
    if words.shape[0] == 0:
        return True
    return (words[own, row // WORD] >> np.uint32(row % WORD)) & np.uint32(1) != np.uint32(0)


@inner
def add_fresh(table: Array, state: Array, fresh: Array, row: Integer) -> None:
    """Note a row that is to be compared, if it is met for the first time."""
    if meet(table, state, row):
        fresh[cuda.atomic.add(state, FRESH, 1)] = row


@inner
def follow(
    links: Array,
    row: Integer,
    words: Array,
    own: Integer,
    only_passing: bool,
    table: Array,
    state: Array,
    fresh: Array,
    failing: Array,
) -> None:
    """Meet the rows that a row is linked with; a thread a link.

    With `only_passing`, failing rows that were not looked through yet are noted in `failing`
    int32[places of a row] instead, each at the place of its link, with -1 between.
    """
    for place in range(cuda.threadIdx.x, links.shape[1], cuda.blockDim.x):
        other, failed = links[row, place], EMPTY
        if other >= 0:
            if not only_passing or passes(words, own, other):
                add_fresh(table, state, fresh, other)
            elif meet(table, state, other):
                failed = other
        failing[place] = failed


@inner
def look_through(
    links: Array,
    row: Integer,
    words: Array,
    own: Integer,
    table: Array,
    state: Array,
    fresh: Array,
) -> None:
    """Meet the passing rows that a failing row is linked with; a warp a failing row."""
    for place in range(cuda.laneid, links.shape[1], WARP):
        other = links[row, place]
        if other >= 0 and passes(words, own, other):
            add_fresh(table, state, fresh, other)
