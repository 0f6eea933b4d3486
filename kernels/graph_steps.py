"""What the graph's walks are made of: visited bits, keys of rows, where to begin, and budgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.distance import L2
from fanns.kernels.graph_keys import inlined, insert, pack, row_of
from fanns.kernels.int8 import LENGTH, MULTIPLIER, OFFSET
from fanns.kernels.intrinsics import clock_ns, dot_u8i8, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.scan import EXHAUSTED, INCOMPLETE

# Places of a walk's state, int64[STATE].
CODES_LIMIT = 0  # codes that the user's budget allows
WALK_LIMIT = 1  # codes and lists of links after which another path is cheaper
STATUS = 2
COMPARED = 3  # codes
LISTS = 4  # lists of links that were read
CHECKED = 5  # links that were looked at
STATE = 6

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
def key_of(
    codes: Array, scale: Array, square: Array, row: Integer, code: Array, factors: Array
) -> Integer:
    """The key of a row for a prepared query.

    factors float64[4]: of the product, of the row's square (0 unless l2), the codes' offset, and
    a mask of row numbers (-1 under l2, else 0) that keeps squares out of the way when they do not
    count. A branch here would cost 30 ns: numba then counts references to the arrays.
    """
    product = dot_u8i8(codes, row, code) - np.int64(factors[2])
    needed = row & np.int64(factors[3])
    return pack(factors[0] * (scale[row] * product) + factors[1] * square[needed], row)


@inner
def key_factors(parameters: Array, metric: int, longest: float, out: Array) -> None:
    """Factors of `key_of`, in units that keep keys within float32's range and precision."""
    unit = parameters[LENGTH] * longest
    if metric == L2:
        unit += longest * longest
    unit = unit if unit > 0.0 else 1.0
    out[0] = -parameters[MULTIPLIER] / unit
    out[1] = 1.0 / unit if metric == L2 else 0.0
    out[2] = parameters[OFFSET]
    out[3] = -1.0 if metric == L2 else 0.0


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
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    code: Array,
    factors: Array,
    left: Array,
    most: Integer,
    near: Array,
    rows: Array,
) -> Integer:
    """Take rows to begin with, up to `most` of each of the nearest clusters that have any left.

    `near` int64[clusters] is scratch. The entry row, the middle of its cluster, comes first. Gives
    the number of rows.
    """
    size, count = np.int64(0), np.int64(0)
    cluster: Integer
    for cluster in range(entries.shape[0]):
        low, high = bounds[cluster], bounds[cluster + 1]
        some = np.uint64(0)
        for place in range(low >> 6, (high + 63) >> 6):
            some |= bits_of(left, place, low, high)
        if some != np.uint64(0):
            number = np.int64(cluster)
            key = key_of(entry_codes, entry_scale, entry_square, number, code, factors)
            if insert(near, size, key) < near.shape[0]:
                size += size < near.shape[0]
    for rank in range(size):
        cluster = row_of(near[rank])
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
