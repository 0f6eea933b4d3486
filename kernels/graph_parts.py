"""Which links a walk follows: all of a row, or those within a part of the rows.

A graph of a column has links for a walk among rows of one interval of its order alone. It comes in
two forms, and a walk knows it by three arrays:

- Levels (ordered columns). Rows are ranked by the column's value, and level l > 0 cuts the ranks
  into segments of 2^shifts[l - 1], each with links among its own rows; level 0 is a graph of all
  rows. A row has the links of all its segments, `width` places a level. Within an interval of ranks
  it goes by the smallest of its segments that holds the interval, by all below it that reach out of
  the interval, and by the largest that lies within, as in iRangeGraph (Xu et al., SIGMOD 2025);
  their segments halve from level to level, these are cut in four, which takes half of the memory.
- Members (values of any column): the links of the rows of one value, in the order of these rows.

marks int32[n]: the ranks, empty for other forms. members int32[m]: the value's rows, sorted, empty
for other forms. part int64[SHIFTS + levels - 1]: the interval LOW..HIGH-1, WIDTH, and the shifts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.graph_keys import inlined
from fanns.kernels.graph_steps import is_set, take
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.shortlist import make_heap, sink

LOW, HIGH, WIDTH = 0, 1, 2
SHIFTS = 3
"""Places of a part; from SHIFTS on one for each level but the first."""


@inlined
def place_of(members: Array, row: Integer) -> Integer:
    """Where the links of a row stand: at the last member that is not behind it."""
    low, high = np.int64(0), np.int64(members.shape[0])
    if high == 0:
        return row
    while high - low > 1:
        middle = (low + high) >> 1
        if members[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@inlined
def places_of(marks: Array, part: Array, row: Integer, places: Integer) -> Any:
    """The links of a row of `places` that count: the first, behind the last, and the first of those
    that surely lead to rows of the part.
    """
    first, last, sure = np.int64(0), np.int64(places), np.int64(0)
    if marks.shape[0] > 0:
        width, rank = part[WIDTH], np.int64(marks[row])
        last = width
        sure = width
        for place in range(SHIFTS, part.shape[0]):
            start = rank >> part[place] << part[place]
            stop = start + (np.int64(1) << part[place])
            if start <= part[LOW] and part[HIGH] <= stop:
                first = last
            last += width
            sure = last
            if part[LOW] <= start and stop <= part[HIGH]:
                sure = last - width
                break
    return first, last, sure


@inlined
def is_between(marks: Array, low: Integer, size: Integer, row: Integer) -> bool:
    """Whether a row's rank is among `size` from `low` on.

    Without a branch around the array, for which numba would count references: 30 ns a time.
    """
    return bool(np.uint64(np.int64(marks[row]) - low) < np.uint64(size))


@inner
def begin_part(
    bounds: Array,
    around: Array,
    left: Array,
    by: Any,
    clusters: int,
    most: Integer,
    rows: Array,
) -> Integer:
    """Take rows of the part to begin with, up to `most` of each of the nearest clusters with any.

    `around` float64[c] are the clusters' keys. Gives the number of rows.
    """
    marks, members, part = by
    ranked, low, size = marks.shape[0] > 0, part[LOW], part[HIGH] - part[LOW]
    count, taken = np.int64(0), np.int64(0)
    row: Integer
    waiting: Integer = np.int64(around.shape[0])
    queue, numbers = around.copy(), np.arange(around.shape[0])
    make_heap(queue, numbers, waiting)
    while taken < clusters and waiting > 0:
        nearest = numbers[0]
        waiting -= 1
        queue[0], numbers[0] = queue[waiting], numbers[waiting]
        sink(queue, numbers, np.int64(0), waiting)
        before, stop = count, count + most
        row, behind = np.int64(bounds[nearest]), np.int64(bounds[nearest + 1])
        place: Integer = np.int64(0)
        if members.shape[0] > 0:
            place = place_of(members, row)
            place += members[place] < row
        while count < stop:
            if members.shape[0] > 0:
                row = np.int64(members[place]) if place < members.shape[0] else behind
                place += 1
            if row >= behind:
                break
            if is_set(left, row) and (not ranked or is_between(marks, low, size, row)):
                take(left, row)
                rows[count] = row
                count += 1
            row += 1
        taken += count > before
    return count
