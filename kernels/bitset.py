"""Selections as bitmaps and as sorted row lists: pack, unpack, algebra, counts, conversions.

A bitmap of n rows is uint64[(n + 63) // 64]: bit r % 64 of word r // 64 stands for row r, and the
unused bits of the last word are 0. Row lists are int32, sorted, without repeats. Inputs are
frozen arrays, outputs come last and are written by the kernel alone.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.intrinsics import popcount, trailing_zeros
from fanns.kernels.jit import Array, kernel

ONE = np.uint64(1)
ZERO = np.uint64(0)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def pack(mask: Array, words: Array) -> int:
    """words = the bitmap of mask (bool[n]); returns how many rows are set."""
    n = mask.shape[0]
    total = 0
    for w in range(words.shape[0]):
        word = ZERO
        start = w * 64
        for b in range(min(64, n - start)):
            word |= np.uint64(mask[start + b]) << np.uint64(b)
        words[w] = word
        total += popcount(word)
    return total


@kernel
def unpack(words: Array, mask: Array) -> None:
    """mask (bool[n]) = the bits of words."""
    for r in range(mask.shape[0]):
        mask[r] = (words[r >> 6] >> np.uint64(r & 63)) & ONE != ZERO


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
def intersect(a: Array, b: Array, out: Array) -> int:
    """out = a & b; returns the count."""
    total = 0
    for w in range(out.shape[0]):
        word = a[w] & b[w]
        out[w] = word
        total += popcount(word)
    return total


@kernel
def unite(a: Array, b: Array, out: Array) -> int:
    """out = a | b; returns the count."""
    total = 0
    for w in range(out.shape[0]):
        word = a[w] | b[w]
        out[w] = word
        total += popcount(word)
    return total


@kernel
def subtract(a: Array, b: Array, out: Array) -> int:
    """out = a & ~b; returns the count."""
    total = 0
    for w in range(out.shape[0]):
        word = a[w] & ~b[w]
        out[w] = word
        total += popcount(word)
    return total


@kernel
def fill(n: int, out: Array) -> None:
    """Set all n rows."""
    for w in range(out.shape[0]):
        out[w] = FULL
    if n & 63:
        out[out.shape[0] - 1] = FULL >> np.uint64(64 - (n & 63))


@kernel
def rows_of_words(words: Array, rows: Array) -> int:
    """The set rows in order, at most rows.shape[0] of them; returns how many were written."""
    capacity = rows.shape[0]
    found = 0
    for w in range(words.shape[0]):
        word = words[w]
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
def rows_in_words(rows: Array, words: Array, out: Array) -> int:
    """out = those of rows whose bit is set, in order; returns how many."""
    found = 0
    for i in range(rows.shape[0]):
        r = rows[i]
        out[found] = r  # overwritten when the bit is not set: no branch to mispredict
        found += int((words[r >> 6] >> np.uint64(r & 63)) & ONE)
    return found


@kernel
def rows_not_in_words(rows: Array, words: Array, out: Array) -> int:
    """out = those of rows whose bit is not set, in order; returns how many."""
    found = 0
    for i in range(rows.shape[0]):
        r = rows[i]
        out[found] = r
        found += int(~(words[r >> 6] >> np.uint64(r & 63)) & ONE)
    return found


@kernel
def lower_bound(rows: Array, value: int, start: int) -> int:
    """The first i >= start with rows[i] >= value, by doubling steps: cheap when it is near."""
    n = rows.shape[0]
    step = 1
    low = start
    high = start
    while high < n and rows[high] < value:
        low = high + 1
        high += step
        step *= 2
    high = min(high, n)
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def intersect_rows(few: Array, many: Array, out: Array) -> int:
    """out = the rows in both sorted lists, galloping through `many`; returns how many."""
    found = 0
    at = 0
    for i in range(few.shape[0]):
        at = lower_bound(many, few[i], at)
        if at == many.shape[0]:
            break
        if many[at] == few[i]:
            out[found] = few[i]
            found += 1
    return found


@kernel
def unite_rows(a: Array, b: Array, out: Array) -> int:
    """out = the rows in either sorted list (room for both); returns how many."""
    i = 0
    j = 0
    found = 0
    while i < a.shape[0] and j < b.shape[0]:
        x = a[i]
        y = b[j]
        out[found] = min(x, y)
        found += 1
        i += x <= y
        j += y <= x
    while i < a.shape[0]:
        out[found] = a[i]
        found += 1
        i += 1
    while j < b.shape[0]:
        out[found] = b[j]
        found += 1
        j += 1
    return found
