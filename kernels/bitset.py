"""Selections as bitmaps and as sorted row lists: algebra, counts, conversions.

A bitmap of n rows is uint64[(n + 63) // 64]: bit r % 64 of word r // 64 stands for row r, and the
unused bits of the last word are 0. Row lists are int32, sorted, without repeats. Inputs are
frozen arrays, outputs come last and are written by the kernel alone. Each kernel costs every new
installation a third of a second of compilation: what numpy does as fast is not here.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.intrinsics import popcount, trailing_zeros
from fanns.kernels.jit import Array, kernel
from fanns.kernels.words import rows_of_word

ONE = np.uint64(1)
ZERO = np.uint64(0)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)

AND, OR, AND_NOT = 0, 1, 2
"""What `combine` does."""


@kernel
def count(words: Array) -> int:
    """How many bits are set."""
    total = 0
    for w in range(words.shape[0]):
        total += popcount(words[w])
    return total


@kernel
def count_range(words: Array, start: int, stop: int) -> int:
    """How many of the rows start <= r < stop are set."""
    if stop <= start:
        return 0
    first = start >> 6
    last = (stop - 1) >> 6
    head = FULL << np.uint64(start & 63)
    tail = FULL >> np.uint64(63 - ((stop - 1) & 63))
    if first == last:
        total: int = popcount(words[first] & head & tail)
        return total
    total = popcount(words[first] & head) + popcount(words[last] & tail)
    for w in range(first + 1, last):
        total += popcount(words[w])
    return total


@kernel
def count_ranges(words: Array, offsets: Array, counts: Array) -> None:
    """counts[c] = how many rows offsets[c] <= r < offsets[c + 1] are set: the local selectivity."""
    for c in range(counts.shape[0]):
        counts[c] = count_range(words, offsets[c], offsets[c + 1])


@kernel
def combine(a: Array, b: Array, operation: int, out: Array) -> int:
    """out = a & b, a | b or a & ~b as `operation` is AND, OR or AND_NOT; returns the count."""
    flip = FULL if operation == OR else ZERO  # a | b = ~(~a & ~b)
    negate = FULL if operation == AND_NOT else flip
    total = 0
    for w in range(out.shape[0]):
        word = ((a[w] ^ flip) & (b[w] ^ negate)) ^ flip
        out[w] = word
        total += popcount(word)
    return total


@kernel
def rows_of_words(words: Array, rows: Array) -> int:
    """The set rows in order, at most rows.shape[0] of them; returns how many were written."""
    capacity = rows.shape[0]
    found = 0
    for w in range(words.shape[0]):
        word = words[w]
        if found + 64 <= capacity:
            found = rows_of_word(word, np.int64(w * 64), rows, np.int64(found))
            continue
        while word != ZERO:
            if found == capacity:
                return found
            rows[found] = w * 64 + trailing_zeros(word)
            found += 1
            word &= word - ONE
    return found


@kernel
def set_rows(rows: Array, words: Array) -> None:
    """Set the bits of rows in words, which the caller has cleared or filled."""
    for i in range(rows.shape[0]):
        r = rows[i]
        words[r >> 6] |= ONE << np.uint64(r & 63)


@kernel
def filter_rows(rows: Array, words: Array, wanted: int, out: Array) -> int:
    """out = those of rows whose bit is `wanted` (0 or 1), in order; returns how many."""
    found = 0
    for i in range(rows.shape[0]):
        r = rows[i]
        out[found] = r  # overwritten when its bit is another: no branch to mispredict
        found += int((words[r >> 6] >> np.uint64(r & 63)) & ONE) == wanted
    return found


@kernel
def intersect_rows(few: Array, many: Array, out: Array) -> int:
    """out = the rows in both sorted lists, by doubling steps through `many`; returns how many."""
    found = 0
    low = 0
    for i in range(few.shape[0]):
        row = few[i]
        step = 1
        while low + step < many.shape[0] and many[low + step] < row:
            low += step
            step *= 2
        high = min(low + step, many.shape[0])
        while low < high:
            middle = (low + high) >> 1
            if many[middle] < row:
                low = middle + 1
            else:
                high = middle
        if low == many.shape[0]:
            break
        if many[low] == row:
            out[found] = row
            found += 1
    return found
