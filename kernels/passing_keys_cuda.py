"""The k best of the sums of two half tables that pass a mask, on the device.

The twin of `product_keys.top_keys_masked`, for batches. The best pairs that pass give a bar; then
all keys that pass are compared, but for those of half keys of a whose best sum is beyond the bar.
Shares of the table have blocks of their own, so that few queries fill the device as well; another
kernel merges what they found.

Bound: a bit and a sum in float64 for each key that is not ruled out. A query of 10^6 keys is
predicted to take some 10 us in a batch that fills the device, when all are compared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float64

from fanns.kernels.best_keys_cuda import (
    NO_KEY,
    bytes_of_best,
    clear,
    cut_back,
    offer,
    shared_best,
    taken,
)
from fanns.kernels.bitset_cuda import sum_before
from fanns.kernels.half_keys_cuda import halves_bytes, halves_of, pair_value, room_of, smallest
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.product_keys import CHECKS, PRODUCTS, SUMS

WIDE = 256
"""Half keys of each side that are kept for a bar, at most."""

PAIRS = 4_096
"""Pairs of them that are looked at for it, at most."""

LEAST = 4_096
"""Keys of a share, at least."""


@inner
def _passes(words: Array, number: Integer) -> Any:
    """Whether a key's bit is set."""
    return words[number >> 6] >> np.uint64(number & 63) & np.uint64(1) != np.uint64(0)


@kernel
def _bars(
    metric: int,
    a: Array,
    b: Array,
    words: Array,
    depth: int,
    pairs: int,
    k: int,
    room: int,
    kept: Array,
    places: Array,
    bars: Array,
) -> None:
    """A value that the k-th best passing key does not exceed; infinite where none is found."""
    number = cuda.blockIdx.x
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    best, c_b = shared_best(room), b.shape[1]
    width_a, width_b = min(depth, a.shape[1]), min(depth, c_b)
    smallest(a[number], width_a, best, room, kept[number, 0], places[number, 0])
    smallest(b[number], width_b, best, room, kept[number, 1], places[number, 1])
    clear(best, math.inf)
    for r in range(width_a):
        stop = min(pairs // (r + 1), width_b)
        for start in range(0, stop, threads):
            s, fill = start + thread, 0
            if s < stop:
                key = places[number, 0, r] * c_b + places[number, 1, s]
                if _passes(words, key):
                    value = pair_value(metric, kept[number, 0, r], kept[number, 1, s])
                    fill = offer(best, value, key)
            taken(best, room, k, fill)
    cut_back(best, room, k)
    if thread == 0:
        bars[number] = best.bar[0]


@kernel
def _lowest(values: Array, out: Array) -> None:
    """The least of values float64[m, c], a block a line."""
    number = cuda.blockIdx.x
    least = cuda.shared.array(1, float64)
    if cuda.threadIdx.x == 0:
        least[0] = math.inf
    cuda.syncthreads()
    mine = math.inf
    for i in range(cuda.threadIdx.x, values.shape[1], cuda.blockDim.x):
        mine = min(mine, values[number, i])
    cuda.atomic.min(least, 0, mine)
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        out[number] = least[0]


@kernel
def _scan_passing(
    metric: int,
    a: Array,
    b: Array,
    words: Array,
    passing: Array,
    bars: Array,
    lowest: Array,
    room: int,
    k: int,
    part_values: Array,
    part_numbers: Array,
    part_formed: Array,
) -> None:
    """The best passing keys of a share of the table, or of a list of keys."""
    number, share, shares = cuda.blockIdx.x, cuda.blockIdx.y, cuda.gridDim.y
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    best, c_b = shared_best(room), np.int64(b.shape[1])
    clear(best, bars[number])
    listed = words.shape[0] == 0
    size = np.int64(passing.shape[0]) if listed else np.int64(a.shape[1]) * c_b
    position, stop = size * share // shares, size * (share + 1) // shares
    formed = np.int64(0)
    while position < stop:
        if not listed:
            i = position // c_b
            if pair_value(metric, a[number, i], lowest[number]) > best.bar[0]:
                position = (i + 1) * c_b
                continue
        at, fill = position + thread, 0
        if at < stop:
            key = passing[at] if listed else at
            if listed or _passes(words, key):
                i = key // c_b
                formed += 1
                fill = offer(best, pair_value(metric, a[number, i], b[number, key - i * c_b]), key)
        taken(best, room, k, fill)
        position += threads
    cut_back(best, room, k)
    for place in range(thread, k, threads):
        part_values[number, share, place] = best.values[place]
        part_numbers[number, share, place] = best.numbers[place]
    _, total = sum_before(formed)
    if thread == 0:
        part_formed[number, share] = total


@kernel
def _merge(
    part_values: Array,
    part_numbers: Array,
    part_formed: Array,
    products: int,
    room: int,
    out_numbers: Array,
    out_values: Array,
    out_work: Array,
) -> None:
    """The best k of what the shares found; a block a query."""
    number, k = cuda.blockIdx.x, out_numbers.shape[1]
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    best = shared_best(room)
    clear(best, math.inf)
    entries = part_values.shape[1] * k
    for start in range(0, entries, threads):
        entry, fill = start + thread, 0
        if entry < entries:
            key = part_numbers[number, entry // k, entry % k]
            if key != NO_KEY:
                fill = offer(best, part_values[number, entry // k, entry % k], key)
        taken(best, room, k, fill)
    cut_back(best, room, k)
    for place in range(thread, k, threads):
        out_numbers[number, place] = best.numbers[place]
        out_values[number, place] = best.values[place]
    if thread == 0:
        formed = np.int64(0)
        for share in range(part_formed.shape[1]):
            formed += part_formed[number, share]
        out_work[number, PRODUCTS], out_work[number, CHECKS] = products, 0
        out_work[number, SUMS] = formed


@kernel
def _no_bars(bars: Array) -> None:
    number = cuda.grid(1)
    if number < bars.shape[0]:
        bars[number] = math.inf


def _shares(m: int, keys: int, workspace: Workspace) -> int:
    """Blocks that divide the keys of a query, so that about so many run as fill the device."""
    return max(1, min(-(-workspace.blocks // max(m, 1)), -(-keys // LEAST)))


def top_keys_masked_bytes(m: int, k: int, c_a: int, c_b: int, d: int, workspace: Workspace) -> int:
    """What `top_keys_masked` borrows of a workspace; d: dimensions of both halves together."""
    shares = _shares(m, c_a * c_b, workspace)
    kept = bytes_of(((m, 2, WIDE), np.float64), ((m, 2, WIDE), np.int64))
    bars = bytes_of(((m,), np.float64), ((m,), np.float64))
    parts = (((m, shares, k), np.float64), ((m, shares, k), np.int64), ((m, shares), np.int64))
    return kept + bars + bytes_of(*parts) + halves_bytes(m, c_a, c_b, d)


def top_keys_masked(
    queries: DeviceArray,
    metric: int,
    keys_a: DeviceArray,
    keys_b: DeviceArray,
    words: DeviceArray,
    passing: DeviceArray,
    depth: int,
    max_sums: int,
    out_numbers: DeviceArray,
    out_values: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best of the passing keys of each query, by (value, number).

    As `product_keys.top_keys_masked`, with k at most the number of passing keys: the `words`
    uint64 of a bitmap or, where there are none, `passing`, sorted int64 key numbers. `depth` half
    keys of each side and `max_sums` of their pairs give a bar first (0: none do), WIDE and PAIRS
    at most. Work counts the sums that were formed behind it. ValueError for a k above MOST.
    """
    m, k = out_numbers.shape
    room, c_a, c_b = room_of(k, workspace), keys_a.shape[0], keys_b.shape[0]
    wide = room_of(max(k, min(depth, WIDE)) if depth else k, workspace)
    with workspace.frame():
        a, b = halves_of(queries, metric, keys_a, keys_b, workspace)
        bars, lowest = (workspace.take((m,), np.float64) for _ in range(2))
        if max_sums > 0 and words.shape[0] > 0:
            width = min(max(depth, 1), WIDE)
            kept = workspace.take((m, 2, width), np.float64)
            places = workspace.take((m, 2, width), np.int64)
            given = (metric, a, b, words, width, min(max_sums, PAIRS), k, wide)
            workspace.launch(_bars, m, *given, kept, places, bars, shared=bytes_of_best(wide))
        else:
            workspace.launch(_no_bars, -(-m // workspace.threads), bars)
        workspace.launch(_lowest, m, b, lowest)
        shares = _shares(m, passing.shape[0] or c_a * c_b, workspace)
        parts = [
            workspace.take((m, shares, k), np.float64),
            workspace.take((m, shares, k), np.int64),
            workspace.take((m, shares), np.int64),
        ]
        shared = bytes_of_best(room)
        scanned = (metric, a, b, words, passing, bars, lowest, room, k)
        workspace.launch(_scan_passing, (m, shares), *scanned, *parts, shared=shared)
        out = (out_numbers, out_values, out_work)
        workspace.launch(_merge, m, *parts, c_a + c_b, room, *out, shared=shared)
