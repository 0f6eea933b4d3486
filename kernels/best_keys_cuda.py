"""The best key numbers that a block has seen: a list in shared memory, in order of (value, number).

As `topk_cuda` does for rows, but for int64 numbers, which are their own ties: product keys are more
than int32 can count. A place takes 16 bytes, and the list 20 more.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int32, int64

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import cuda, inner

NO_KEY = np.int64(2**63 - 1)


class Best(NamedTuple):
    """A list of `room` places: the bar is the k-th best so far, one place each as is the size."""

    values: Array
    numbers: Array
    bar: Array
    bar_number: Array
    size: Array


def bytes_of_best(room: int) -> int:
    """Shared memory of a list."""
    return 16 * room + 24


@inner
def shared_best(room: int) -> Any:
    """The list in a block's dynamic shared memory."""
    wide = cuda.shared.array(0, float64)
    whole = cuda.shared.array(0, int64)
    small = cuda.shared.array(0, int32)
    bar = 2 * room
    return Best(
        wide[:room],
        whole[room:bar],
        wide[bar : bar + 1],
        whole[bar + 1 : bar + 2],
        small[2 * bar + 4 : 2 * bar + 5],
    )


@inner
def clear(best: Best, bar: float) -> None:
    """Empty the list; of values above the bar none is put down. Barriers before and after."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        best.bar[0], best.bar_number[0] = bar, NO_KEY
        best.size[0] = 0
    cuda.syncthreads()


@inner
def offer(best: Best, value: float, number: Integer) -> Any:
    """Put a key into the list unless k better ones are known; gives the list's size then, or 0."""
    bar = best.bar[0]
    if value > bar or (value == bar and number >= best.bar_number[0]):
        return 0
    place = cuda.atomic.add(best.size, 0, 1)
    best.values[place], best.numbers[place] = value, number
    return place + 1


@inner
def _sort(best: Best, room: Integer) -> None:
    """Bitonic sort: log2(room)^2 / 2 rounds."""
    values, numbers = best.values, best.numbers
    size = 2
    while size <= room:
        step = size >> 1
        while step > 0:
            for i in range(cuda.threadIdx.x, room >> 1, cuda.blockDim.x):
                low = 2 * i - (i & (step - 1))
                high = low + step
                turned = (low & size & (room - 1)) != 0
                first, last = (high, low) if turned else (low, high)
                if values[first] > values[last] or (
                    values[first] == values[last] and numbers[first] > numbers[last]
                ):
                    values[low], values[high] = values[high], values[low]
                    numbers[low], numbers[high] = numbers[high], numbers[low]
            cuda.syncthreads()
            step >>= 1
        size <<= 1


@inner
def cut_back(best: Best, room: Integer, k: Integer) -> None:
    """Sort the list, keep k and raise the bar. All threads, after a barrier; one stands behind.

    Places behind the keys hold an infinite value and NO_KEY then.
    """
    for i in range(best.size[0] + cuda.threadIdx.x, room, cuda.blockDim.x):
        best.values[i], best.numbers[i] = math.inf, NO_KEY
    cuda.syncthreads()
    _sort(best, room)
    if cuda.threadIdx.x == 0 and best.size[0] >= k:
        best.size[0] = k
        best.bar[0], best.bar_number[0] = best.values[k - 1], best.numbers[k - 1]
    cuda.syncthreads()


@inner
def taken(best: Best, room: Integer, k: Integer, fill: Integer) -> None:
    """After every thread's offer: cut the list back where it has no room for another round."""
    if cuda.syncthreads_or(np.int32(fill > room - cuda.blockDim.x)):
        cut_back(best, room, k)
