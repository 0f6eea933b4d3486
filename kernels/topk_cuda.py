"""The best rows that a block has seen: lists in shared memory, cut back to k when they are full.

After the k-selection of faiss on GPUs (Johnson, Douze and Jegou 2017, arXiv 1702.08734), by blocks
instead of warps: what is better than the k-th best so far is put behind the list by an atomic
count, and when there is no room for another round of offers all threads sort the list (bitonic,
Batcher 1968) and keep k. Of N rows in random order about k ln(N / k) are put down at all.

A block has `lists` lists (one a query) of `room` places, a power of two. In shared memory a place
takes 12 bytes, distance float64 and row int32, and a list 20 more: its bar, that is the k-th best
as (distance float64, tie int64), and its size int32. Order is by (distance, tie), as on the CPU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import cuda, inner

LAST_TIE = np.int64(2**63 - 1)


def room_for(k: int, offers: int) -> int:
    """Places of a list, a power of two, when a round brings at most so many offers."""
    return 1 << (k + 2 * offers - 1).bit_length()


class Lists(NamedTuple):
    """A block's lists in shared memory, `room` places of each one behind the other."""

    distances: Array
    rows: Array
    bars: Array
    bar_ties: Array
    sizes: Array


@inner
def clear(lists: Lists) -> None:
    """Empty all lists; a barrier must follow."""
    for number in range(cuda.threadIdx.x, lists.sizes.shape[0], cuda.blockDim.x):
        lists.bars[number], lists.bar_ties[number] = math.inf, LAST_TIE
        lists.sizes[number] = 0


@inner
def tie_of(ties: Array, row: Integer) -> Any:
    """What orders rows of equal distance: their ties, or without any their numbers."""
    return ties[row] if ties.shape[0] > 0 else np.int64(row)


@inner
def offer(
    lists: Lists, number: Integer, room: Integer, distance: float, tie: Integer, row: Integer
) -> Any:
    """Put a row into a list unless k better ones are known; gives the list's size then, or 0."""
    bar = lists.bars[number]
    if distance > bar or (distance == bar and tie >= lists.bar_ties[number]):
        return 0
    place = cuda.atomic.add(lists.sizes, number, 1)
    lists.distances[number * room + place] = distance
    lists.rows[number * room + place] = row
    return place + 1


@inner
def _worse(lists: Lists, place: Integer, other: Integer, ties: Array) -> Any:
    """Whether a place belongs behind another; places without a row (-1) are last of all."""
    row, other_row = lists.rows[place], lists.rows[other]
    if row < 0 or other_row < 0:
        return other_row >= 0
    if lists.distances[place] != lists.distances[other]:
        return lists.distances[place] > lists.distances[other]
    return tie_of(ties, row) > tie_of(ties, other_row)


@inner
def _sort(lists: Lists, room: Integer, ties: Array) -> None:
    """Bitonic sort of each list, all at once: log2(room)^2 / 2 rounds."""
    distances, rows = lists.distances, lists.rows
    size = 2
    while size <= room:
        step = size >> 1
        while step > 0:
            for i in range(cuda.threadIdx.x, rows.shape[0] >> 1, cuda.blockDim.x):
                low = 2 * i - (i & (step - 1))
                high = low + step
                turned = (low & size & (room - 1)) != 0
                first, last = (high, low) if turned else (low, high)
                if _worse(lists, first, last, ties):
                    distances[low], distances[high] = distances[high], distances[low]
                    rows[low], rows[high] = rows[high], rows[low]
            cuda.syncthreads()
            step >>= 1
        size <<= 1


@inner
def cut_back(lists: Lists, room: Integer, k: Integer, ties: Array) -> None:
    """Sort all lists, best first, keep k of each and raise the bars. All threads, after a barrier.

    Places behind a list's rows hold row -1 and an infinite distance then.
    """
    for i in range(cuda.threadIdx.x, lists.rows.shape[0], cuda.blockDim.x):
        if i % room >= lists.sizes[i // room]:
            lists.distances[i], lists.rows[i] = math.inf, -1
    cuda.syncthreads()
    _sort(lists, room, ties)
    for number in range(cuda.threadIdx.x, lists.sizes.shape[0], cuda.blockDim.x):
        if lists.sizes[number] >= k:
            lists.sizes[number] = k
            last = number * room + k - 1
            lists.bars[number] = lists.distances[last]
            lists.bar_ties[number] = tie_of(ties, lists.rows[last])
    cuda.syncthreads()
