"""The best rows that a block has seen: lists in shared memory, cut back to k when they are full.

After the k-selection of faiss on GPUs (Johnson, Douze and Jegou 2017, arXiv 1702.08734), by blocks
instead of warps: what is better than the k-th best so far is put behind the list by an atomic
count, and when there is no room for another round of offers all threads sort the list (bitonic,
Batcher 1968) and keep k. Of N rows in random order about k ln(N / k) are put down at all.

A block has `lists` lists (one a query) of `room` places, a power of two. In shared memory a place
takes 12 bytes, distance float64 and row int32, and a list 28 more: its bar, that is the k-th best
as (distance float64, tie int64), and its size int32. Order is by (distance, tie), as on the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import cuda, inner

LAST_TIE = np.int64(2**63 - 1)


def room_for(k: int, offers: int) -> int:
    """Places of a list, a power of two, when a round brings at most so many offers."""
    return 1 << (k + 2 * offers - 1).bit_length()


@inner
def clear_lists(lists: Integer, bars: Array, bar_ties: Array, sizes: Array) -> None:
    """Empty all lists; a barrier must follow."""
    for number in range(cuda.threadIdx.x, lists, cuda.blockDim.x):
        bars[number], bar_ties[number], sizes[number] = math.inf, LAST_TIE, 0


@inner
def offer(
    number: Integer,
    room: Integer,
    distances: Array,
    rows: Array,
    bars: Array,
    bar_ties: Array,
    sizes: Array,
    distance: float,
    tie: Integer,
    row: Integer,
) -> Any:
    """Put a row into a list unless k better ones are known; gives the list's size then, or 0."""
    bar = bars[number]
    if distance > bar or (distance == bar and tie >= bar_ties[number]):
        return 0
    place = cuda.atomic.add(sizes, number, 1)
    distances[number * room + place] = distance
    rows[number * room + place] = row
    return place + 1


@inner
def _worse(distance: float, row: Integer, other: float, other_row: Integer, ties: Array) -> Any:
    """Whether a place belongs behind another; places without a row (-1) are last of all."""
    if row < 0 or other_row < 0:
        return other_row >= 0
    if distance != other:
        return distance > other
    return ties[row] > ties[other_row]


@inner
def _sort(places: Integer, room: Integer, distances: Array, rows: Array, ties: Array) -> None:
    """Bitonic sort of each `room` places of all, at once: log2(room)^2 / 2 rounds."""
    size = 2
    while size <= room:
        step = size >> 1
        while step > 0:
            for i in range(cuda.threadIdx.x, places >> 1, cuda.blockDim.x):
                low = 2 * i - (i & (step - 1))
                high = low + step
                turned = (low & size & (room - 1)) != 0
                first, last = (high, low) if turned else (low, high)
                if _worse(distances[first], rows[first], distances[last], rows[last], ties):
                    distances[low], distances[high] = distances[high], distances[low]
                    rows[low], rows[high] = rows[high], rows[low]
            cuda.syncthreads()
            step >>= 1
        size <<= 1


@inner
def cut_back(
    lists: Integer,
    room: Integer,
    k: Integer,
    distances: Array,
    rows: Array,
    bars: Array,
    bar_ties: Array,
    sizes: Array,
    ties: Array,
) -> None:
    """Sort all lists, best first, keep k of each and raise the bars. All threads, after a barrier.

    Places behind a list's rows hold row -1 and an infinite distance then.
    """
    for i in range(cuda.threadIdx.x, lists * room, cuda.blockDim.x):
        if i % room >= sizes[i // room]:
            distances[i], rows[i] = math.inf, -1
    cuda.syncthreads()
    _sort(lists * room, room, distances, rows, ties)
    for number in range(cuda.threadIdx.x, lists, cuda.blockDim.x):
        if sizes[number] >= k:
            sizes[number] = k
            last = number * room + k - 1
            bars[number], bar_ties[number] = distances[last], ties[rows[last]]
    cuda.syncthreads()
