"""What half keys add to sums, and the best of them: what look-ups of product keys share.

A warp computes what 16 half keys add for a query, in the CPU's order, so that values are the CPU's
bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int32

from fanns.kernels.best_keys_cuda import Best, bytes_of_best, clear, cut_back, offer, taken
from fanns.kernels.distance import L2
from fanns.kernels.distance_cuda import add_rest, pair_sums
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    REGISTERS,
    SHARED_BYTES,
    WARP,
    DeviceArray,
    Workspace,
    bytes_of,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.masked_scan_cuda import MOST
from fanns.kernels.topk_cuda import room_for
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

BESIDE = 4_096
"""Bytes of shared memory that `sum_before` takes beside a list."""

_sums_of = pair_sums(SUMS)


@kernel
def _split(queries: Array, left: Array, right: Array) -> None:
    """The halves of queries, each in an array of its own."""
    d = queries.shape[1]
    for i in range(cuda.grid(1), queries.shape[0] * d, cuda.gridsize(1)):
        number, j = i // d, i % d
        if j < left.shape[1]:
            left[number, j] = queries[number, j]
        else:
            right[number, j - left.shape[1]] = queries[number, j]


@kernel(max_registers=REGISTERS)
def _half_values(metric: int, keys: Array, queries: Array, out: Array) -> None:
    """What each half key adds to the sums of each query, a warp for SUMS of them."""
    c, m = keys.shape[0], queries.shape[0]
    groups = (c + SUMS - 1) // SUMS
    warp = cuda.grid(1) // WARP
    number, start = warp // groups, warp % groups * SUMS
    if number < m:
        rows = cuda.local.array(SUMS, int32)
        sums = cuda.local.array(SUMS, float64)
        for r in range(SUMS):
            rows[r] = min(start + r, c - 1)
        _sums_of(metric == L2, keys, rows, queries, number, m, sums)
        total, row = warp_sums(sums), start + sum_of_lane()
        if row < c and cuda.laneid & 1 == 0:
            total = add_rest(metric == L2, keys, row, queries, number, total)
            out[number, row] = total if metric == L2 else 0.0 - total


@inner
def pair_value(metric: int, first: float, second: float) -> float:
    """As `multisequence.pair_value`."""
    return math.sqrt(first + second) if metric == L2 else first + second


@inner
def smallest(
    values: Array, width: Integer, best: Best, room: Integer, kept: Array, places: Array
) -> None:
    """The `width` smallest of values float64[c] by (value, place), sorted, with their places."""
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    clear(best, math.inf)
    for start in range(0, values.shape[0], threads):
        i, fill = start + thread, 0
        if i < values.shape[0]:
            fill = offer(best, values[i], np.int64(i))
        taken(best, room, width, fill)
    cut_back(best, room, width)
    for place in range(thread, width, threads):
        kept[place], places[place] = best.values[place], best.numbers[place]
    cuda.syncthreads()


def room_of(k: int, workspace: Workspace) -> int:
    """Places of a list of k. ValueError above MOST."""
    if not 0 < k <= MOST:
        raise ValueError(f"k = {k}: product keys on the device keep 1 to {MOST} a query")
    room = room_for(k, workspace.threads)
    if bytes_of_best(room) > SHARED_BYTES - BESIDE:
        raise ValueError(f"k = {k} does not fit blocks of {workspace.threads} threads")
    return room


def halves_bytes(m: int, c_a: int, c_b: int, d: int) -> int:
    """What `halves_of` borrows of a workspace, for d dimensions of both halves together."""
    found = bytes_of(((m, c_a), np.float64), ((m, c_b), np.float64))
    return found + bytes_of(((m, d), np.float32)) + bytes_of(((m, d), np.float32))


def halves_of(
    queries: DeviceArray, metric: int, keys_a: DeviceArray, keys_b: DeviceArray, space: Workspace
) -> tuple[DeviceArray, DeviceArray]:
    """What half keys add, float64[m, c_a] and float64[m, c_b], borrowed of the workspace."""
    m = queries.shape[0]
    parts = [space.take((m, keys.shape[1]), np.float32) for keys in (keys_a, keys_b)]
    found = [space.take((m, keys.shape[0]), np.float64) for keys in (keys_a, keys_b)]
    wanted = -(-m * queries.shape[1] // space.threads)
    space.launch(_split, min(wanted, 4 * space.blocks), queries, *parts)
    for keys, part, out in zip((keys_a, keys_b), parts, found, strict=True):
        warps = m * -(-keys.shape[0] // SUMS)
        blocks = -(-warps * WARP // space.threads)
        space.launch(_half_values, blocks, metric, keys, part, out)
    return found[0], found[1]
