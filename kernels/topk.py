"""The best rows seen so far: a bounded max-heap over (distance, tie), smaller is better.

A heap is three arrays of one length and its current size: distances float64, ties int64, rows
int32. The worst entry stands at place 0. Literal numbers are wrapped (`np.int64(0)`) because numba
compiles a callee once more for each literal.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.jit import Array, Integer, inner


@inner
def _sink(distances: Array, ties: Array, rows: Array, place: Integer, size: Integer) -> None:
    """Move the entry at a place down until both children are better (Williams 1964)."""
    distance, tie, row = distances[place], ties[place], rows[place]
    child = 2 * place + 1
    while child < size:
        right = child + 1
        if right < size and (
            distances[right] > distances[child]
            or (distances[right] == distances[child] and ties[right] > ties[child])
        ):
            child = right
        if distances[child] < distance or (distances[child] == distance and ties[child] <= tie):
            break
        distances[place] = distances[child]
        ties[place] = ties[child]
        rows[place] = rows[child]
        place, child = child, 2 * child + 1
    distances[place] = distance
    ties[place] = tie
    rows[place] = row


@inner
def push(
    distances: Array,
    ties: Array,
    rows: Array,
    size: Integer,
    distance: float,
    tie: Integer,
    row: Integer,
) -> Integer:
    """Offer an entry to a heap as long as its arrays; gives the new size.

    A full heap drops its worst entry, or the offered one if that is worse.
    """
    if size == distances.shape[0]:
        if distance > distances[0] or (distance == distances[0] and tie >= ties[0]):
            return size
        distances[0], ties[0], rows[0] = distance, tie, row
        _sink(distances, ties, rows, np.int64(0), size)
        return size
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if distances[parent] > distance or (distances[parent] == distance and ties[parent] >= tie):
            break
        distances[place] = distances[parent]
        ties[place] = ties[parent]
        rows[place] = rows[parent]
        place = parent
    distances[place], ties[place], rows[place] = distance, tie, row
    return size + 1


@inner
def sort_heap(distances: Array, ties: Array, rows: Array, size: Integer) -> None:
    """Order the first `size` entries of a heap best first, in place (heapsort)."""
    for last in range(size - 1, 0, -1):
        distances[0], distances[last] = distances[last], distances[0]
        ties[0], ties[last] = ties[last], ties[0]
        rows[0], rows[last] = rows[last], rows[0]
        _sink(distances, ties, rows, np.int64(0), np.int64(last))
