"""All sums of two lists, smallest first: the multi-sequence algorithm.

Of two sorted lists a and b, the pair (r, s) can only follow (r - 1, s) and (r, s - 1), so the next
smallest sum is always on a frontier. Here the frontier is a min-heap with at most one pair of each
place of a: the row of a place is opened when the row before it gives its first pair, and moves on
along b (Babenko and Lempitsky 2012, section 3; Frederickson and Johnson 1982 for sorted X + Y).
The first t pairs take O(t log t) steps and touch at most t places of each list.

A frontier is three arrays, as long as a, and its size: values float64, firsts and seconds int64
(places in the sorted lists). The smallest value stands at place 0; pairs of equal value come in
no particular order. With `metric` L2 a value is the root of the sum, else the sum; both grow with
it, also when rounded.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import L2
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.shortlist import cut_back

GROWTH = 4
"""What is sorted of a list grows by this factor."""

RUN = 8
"""Length of the runs that are sorted by insertion before they are merged."""


@inner
def pair_value(metric: Integer, first: float, second: float) -> float:
    """What a pair is ranked by: the root of the sum under L2, else the sum."""
    return math.sqrt(first + second) if metric == L2 else first + second


@inner
def sort_candidates(
    keys: Array, rows: Array, size: Integer, spare_keys: Array, spare_rows: Array
) -> None:
    """Sort the first `size` candidates by (key, row): float64 and int64, spare arrays as long.

    Merge sort from the bottom up: without a branch on the data in the loop that merges.
    """
    for start in range(0, size, RUN):
        for place in range(start + 1, min(start + RUN, size)):
            key, row, at = keys[place], rows[place], np.int64(place)
            while at > start and (
                keys[at - 1] > key or (keys[at - 1] == key and rows[at - 1] > row)
            ):
                keys[at], rows[at] = keys[at - 1], rows[at - 1]
                at -= 1
            keys[at], rows[at] = key, row
    width = np.int64(RUN)
    while width < size:
        for start in range(0, size, 2 * width):
            middle = np.int64(min(start + width, size))
            stop = np.int64(min(start + 2 * width, size))
            left, right = np.int64(start), middle
            for place in range(start, stop):
                from_left = left < middle and (
                    right >= stop
                    or keys[left] < keys[right]
                    or (keys[left] == keys[right] and rows[left] < rows[right])
                )
                at = left if from_left else right
                spare_keys[place], spare_rows[place] = keys[at], rows[at]
                left += from_left
                right += not from_left
        for place in range(size):
            keys[place], rows[place] = spare_keys[place], spare_rows[place]
        width *= 2


@inner
def sort_smallest(
    values: Array, limit: Integer, keys: Array, places: Array, spare: Array, spare_places: Array
) -> None:
    """The `limit` smallest of `values` float64[c] by (value, place), sorted, with their places.

    Writes the first `limit` of keys float64[c] and places int64[c]; the rest of both is scratch,
    as are spare float64[c] and spare_places int64[c].
    """
    size = np.int64(values.shape[0])
    for place in range(size):
        keys[place], places[place] = values[place], place
    if limit < size:
        cut_back(keys, places, size, limit)
    sort_candidates(keys, places, limit, spare, spare_places)


@inner
def open_frontier(
    metric: Integer, a: Array, b: Array, values: Array, firsts: Array, seconds: Array
) -> Integer:
    """Begin with the smallest pair of two sorted lists; gives the frontier's size, 1."""
    values[0], firsts[0], seconds[0] = pair_value(metric, a[0], b[0]), 0, 0
    return np.int64(1)


@inner
def _sink(values: Array, firsts: Array, seconds: Array, size: Integer) -> None:
    """Restore the heap of `size` pairs after the one at place 0 has changed."""
    value, first, second = values[0], firsts[0], seconds[0]
    place, child = np.int64(0), np.int64(1)
    while child < size:
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if value <= values[child]:
            break
        values[place], firsts[place], seconds[place] = values[child], firsts[child], seconds[child]
        place, child = child, 2 * child + 1
    values[place], firsts[place], seconds[place] = value, first, second


@inner
def advance(
    metric: Integer,
    a: Array,
    b: Array,
    end_a: Integer,
    end_b: Integer,
    values: Array,
    firsts: Array,
    seconds: Array,
    size: Integer,
) -> Integer:
    """Drop the smallest pair and take in the pairs that may follow it; gives the new size.

    The lists are a[:end_a] and b[:end_b]: slices would cost more than the step.
    """
    first, second = firsts[0], seconds[0]
    if second + 1 < end_b:
        values[0], seconds[0] = pair_value(metric, a[first], b[second + 1]), second + 1
    else:
        size -= 1
        values[0], firsts[0], seconds[0] = values[size], firsts[size], seconds[size]
    _sink(values, firsts, seconds, size)
    if second > 0 or first + 1 >= end_a:
        return size
    value, place = pair_value(metric, a[first + 1], b[0]), np.int64(size)
    while place > 0:
        parent = (place - 1) // 2
        if values[parent] <= value:
            break
        values[place] = values[parent]
        firsts[place], seconds[place] = firsts[parent], seconds[parent]
        place = parent
    values[place], firsts[place], seconds[place] = value, first + 1, 0
    return size + 1


@inner
def sort_more(
    values: Array,
    end: Integer,
    met: Integer,
    keys: Array,
    places: Array,
    spare: Array,
    spare_places: Array,
) -> Integer:
    """Sort GROWTH times as much of a list once place `met` is the last that is sorted.

    `end` places are sorted so far; gives how many are now. They stay as they are, because the
    order is by (value, place): so an enumeration may begin with few places and go on.
    """
    if met + 1 < end or end == values.shape[0]:
        return end
    wider = np.int64(min(GROWTH * end, values.shape[0]))
    sort_smallest(values, wider, keys, places, spare, spare_places)
    return wider
