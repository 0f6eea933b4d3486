"""What the graph's walks are made of: visited bits, where to begin, and budgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.graph_keys import inlined
from fanns.kernels.intrinsics import clock_ns, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.scan import EXHAUSTED, INCOMPLETE

# Places of a walk's state, int64[STATE].
CODES_LIMIT = 0  # codes that the user's budget allows
WALK_LIMIT = 1  # codes and lists of links after which another path is cheaper
STATUS = 2
COMPARED = 3  # codes
LISTS = 4  # lists of links that were read
CHECKED = 5  # links that were looked at
NEAR = 6  # rows of the pool that were near enough to be followed
STATE = 7

NO_LIMIT = np.int64(2**62)
ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def is_set(words: Array, row: Integer) -> bool:
    return bool((words[row >> 6] >> np.uint64(row & 63)) & np.uint64(1))


@inlined
def take(left: Array, row: Integer) -> Integer:
    """Clear a row's bit; gives what it was."""
    word, shift = left[row >> 6], np.uint64(row & 63)
    left[row >> 6] = word & ~(np.uint64(1) << shift)
    return np.int64((word >> shift) & np.uint64(1))


@inlined
def bits_of(left: Array, place: Integer, low: Integer, high: Integer) -> Any:
    """Word `place` of a bitmap with the bits outside rows low..high-1 cleared."""
    skip = np.uint64(max(low - 64 * place, np.int64(0)))
    drop = np.uint64(64 - min(high - 64 * place, np.int64(64)))
    return (left[place] >> skip << skip) & (ONES >> drop)


@inner
def begin(
    bounds: Array,
    entries: Array,
    around: Array,
    left: Array,
    most: Integer,
    near: Array,
    rows: Array,
) -> Integer:
    """Take rows to begin with, up to `most` of each of the nearest clusters that have any left.

    `around` float64[c] are the clusters' keys; `near` int64[clusters] is scratch. The entry row,
    the middle of its cluster, comes first. Gives the number of rows.
    """
    size, count = np.int64(0), np.int64(0)
    cluster: Integer
    for cluster in range(entries.shape[0]):
        if size == near.shape[0] and around[cluster] >= around[near[size - 1]]:
            continue
        low, high = bounds[cluster], bounds[cluster + 1]
        some = np.uint64(0)
        for place in range(low >> 6, (high + 63) >> 6):
            some |= bits_of(left, place, low, high)
        if some != np.uint64(0):
            rank: Integer = size if size < near.shape[0] else size - 1
            size += size < near.shape[0]
            while rank > 0 and around[near[rank - 1]] > around[cluster]:
                near[rank] = near[rank - 1]
                rank -= 1
            near[rank] = cluster
    for rank in range(size):
        cluster = near[rank]
        low, high = np.int64(bounds[cluster]), np.int64(bounds[cluster + 1])
        stop = count + most
        entry = np.int64(entries[cluster])
        rows[count] = entry
        count += take(left, entry)
        for place in range(low >> 6, (high + 63) >> 6):
            word = bits_of(left, place, low, high)
            while word != np.uint64(0) and count < stop:
                rows[count] = 64 * place + trailing_zeros(word)
                left[place] &= ~(word & (~word + np.uint64(1)))
                word &= word - np.uint64(1)
                count += 1
    return count


@inner
def within(state: Array, count: Integer) -> Integer:
    """Count codes to be compared, up to the limits, and note when one is reached; how many."""
    allowed = state[CODES_LIMIT] - state[COMPARED]
    worth = state[WALK_LIMIT] - state[COMPARED] - state[LISTS]
    if count > allowed:
        state[STATUS] = INCOMPLETE
        count = allowed
    elif count > worth:
        state[STATUS] = EXHAUSTED
        count = max(worth, np.int64(0))
    state[COMPARED] += count
    return count


@inner
def out_of_time(deadline: Integer, state: Array) -> bool:
    if deadline == 0 or clock_ns() <= deadline:
        return False
    state[STATUS] = INCOMPLETE
    return True
