"""The k best of all sums of two half tables on the device: the twin of `product_keys`.

A kernel computes what half keys add, a warp for 16 of them, in the CPU's order. A block a query
then keeps the k + 1 best half keys of each side. Of two sorted lists the pair (r, s) has
(r + 1) (s + 1) pairs that are no worse, itself counted, so the k + 1 best values are among those
where that is at most k + 1: some k ln k pairs, which all threads form at once, where the CPU walks
them in order. Where the value behind the last one equals it, lower numbers may be anywhere in the
table: half keys of a that can reach this value are taken in order, and all their sums compared.

Bound: the half values, 2 (c_a + c_b) d float64 operations a query, and the sorts of two lists of
k + 1. Predicted for 10^6 keys of 64 dimensions: 2 to 10 us a query in batches of a thousand.
`passing_keys_cuda` has the twin under a mask.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.best_keys_cuda import bytes_of_best, clear, cut_back, offer, shared_best, taken
from fanns.kernels.bitset_cuda import sum_before
from fanns.kernels.half_keys_cuda import halves_bytes, halves_of, pair_value, room_of, smallest
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.passing_keys_cuda import top_keys_masked, top_keys_masked_bytes
from fanns.kernels.product_keys import CHECKS, PRODUCTS, SUMS

__all__ = ["top_keys", "top_keys_bytes", "top_keys_masked", "top_keys_masked_bytes"]


@inner
def _lowest_tied(
    metric: int, a: Array, b: Array, least: float, last: float, need: Integer, out: Array
) -> None:
    """Write the `need` lowest numbers of all keys whose value is `last`; `least` is the best of b.

    There are as many. Half keys of a are taken in order, each with all of b, until they are found.
    """
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    c_a, c_b, found = a.shape[0], b.shape[0], np.int64(0)
    for start in range(0, c_a, threads):
        mine = start + thread
        reaches = mine < c_a and pair_value(metric, a[mine], least) <= last
        if cuda.syncthreads_or(np.int32(reaches)):
            for i in range(start, min(start + threads, c_a)):
                if pair_value(metric, a[i], least) <= last:
                    for first in range(0, c_b, threads):
                        j = first + thread
                        hit = j < c_b and pair_value(metric, a[i], b[j]) == last
                        before, total = sum_before(np.int64(hit))
                        if hit and found + before < need:
                            out[found + before] = np.int64(i) * c_b + j
                        found += total
                        if found >= need:
                            return


@kernel
def _best_pairs(
    metric: int,
    a: Array,
    b: Array,
    room: int,
    kept: Array,
    places: Array,
    out_numbers: Array,
    out_values: Array,
    out_work: Array,
) -> None:
    """The best k of all pairs; a block a query. kept, places [m, 2, w]: scratch of both sides."""
    number, k = cuda.blockIdx.x, out_numbers.shape[1]
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    c_a, c_b = a.shape[1], b.shape[1]
    best = shared_best(room)
    width_a, width_b = min(k + 1, c_a), min(k + 1, c_b)
    smallest(a[number], width_a, best, room, kept[number, 0], places[number, 0])
    smallest(b[number], width_b, best, room, kept[number, 1], places[number, 1])
    wanted = min(np.int64(k + 1), np.int64(c_a) * c_b)
    clear(best, math.inf)
    for r in range(width_a):
        stop = min(wanted // (r + 1), np.int64(width_b))
        for start in range(0, stop, threads):
            s, fill = start + thread, 0
            if s < stop:
                value = pair_value(metric, kept[number, 0, r], kept[number, 1, s])
                fill = offer(best, value, places[number, 0, r] * c_b + places[number, 1, s])
            taken(best, room, wanted, fill)
    cut_back(best, room, wanted)
    last = best.values[k - 1]
    for place in range(thread, k, threads):
        out_numbers[number, place] = best.numbers[place]
        out_values[number, place] = best.values[place]
    tied = wanted > k and best.values[k] == last
    if tied:
        sure = np.int64(k)
        while sure > 0 and best.values[sure - 1] == last:
            sure -= 1
        cuda.syncthreads()  # behind what was written above, which is written anew
        least, need = kept[number, 1, 0], k - sure
        _lowest_tied(metric, a[number], b[number], least, last, need, out_numbers[number, sure:])
    if thread == 0:
        out_work[number, PRODUCTS], out_work[number, CHECKS] = c_a + c_b, 0
        out_work[number, SUMS] = k + c_a if tied else k


def top_keys_bytes(m: int, k: int, c_a: int, c_b: int, d: int) -> int:
    """What `top_keys` borrows of a workspace; d: dimensions of both halves together."""
    kept = bytes_of(((m, 2, k + 1), np.float64), ((m, 2, k + 1), np.int64))
    return kept + halves_bytes(m, c_a, c_b, d)


def top_keys(
    queries: DeviceArray,
    metric: int,
    keys_a: DeviceArray,
    keys_b: DeviceArray,
    out_numbers: DeviceArray,
    out_values: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best keys of each query among all pairs, by (value, number).

    As `product_keys.top_keys`: queries float32[m, d_a + d_b]; keys_a float32[c_a, d_a], keys_b
    float32[c_b, d_b]. Writes numbers int64[m, k], values float64[m, k], k <= c_a * c_b, and work
    int64[m, COUNTERS]. ValueError for a k of MOST or more.
    """
    m, k = out_numbers.shape
    room = room_of(k + 1, workspace)
    with workspace.frame():
        a, b = halves_of(queries, metric, keys_a, keys_b, workspace)
        kept = workspace.take((m, 2, k + 1), np.float64)
        places = workspace.take((m, 2, k + 1), np.int64)
        out = (out_numbers, out_values, out_work)
        workspace.launch(
            _best_pairs, m, metric, a, b, room, kept, places, *out, shared=bytes_of_best(room)
        )
