"""Rows for a walk to begin with, of the clusters nearest to each query; one block a query.

The twin of `graph_steps.begin`. Every thread ranks clusters by the int8 code of what stands for
them, reading all of their codes once a query (64 KB of 1,000 clusters at 64 dimensions, from the L2
cache), and looks for a passing row only in clusters that are among the nearest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32

from fanns.kernels.bitset_cuda import WORD
from fanns.kernels.graph_steps_cuda import passes
from fanns.kernels.graph_walk import SEEDS as ROWS_OF_CLUSTER
from fanns.kernels.int8_cuda import code_key, pair_products
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import WARP, DeviceArray, Turn, Workspace, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import bytes_of_lists, shared_lists
from fanns.kernels.topk_cuda import clear, cut_back, offer, room_for
from fanns.kernels.turns_cuda import bitmap_of, skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

_products = pair_products(SUMS)


@inner
def _has_passing(words: Array, own: Integer, start: Integer, stop: Integer) -> Any:
    """Whether any of the rows start <= r < stop passes."""
    if words.shape[0] == 0:
        return start < stop
    for place in range(start // WORD, (stop + WORD - 1) // WORD):
        word = np.uint32(words[own, place])
        if place == start // WORD:
            word = word >> np.uint32(start % WORD) << np.uint32(start % WORD)
        if place == stop // WORD:
            word &= (np.uint32(1) << np.uint32(stop % WORD)) - np.uint32(1)
        if word != np.uint32(0):
            return True
    return False


@inner
def _write_rows(
    words: Array, own: Integer, entry: Integer, start: Integer, stop: Integer, out: Array
) -> None:
    """The entry row of a cluster and its first passing rows, as far as `out` goes; then -1."""
    place = 0
    if passes(words, own, entry):
        out[0], place = entry, 1
    row = start
    while row < stop and place < out.shape[0]:
        if row % WORD == 0 and words.shape[0] > 0 and words[own, row // WORD] == np.uint32(0):
            row += WORD
            continue
        if row != entry and passes(words, own, row):
            out[place] = row
            place += 1
        row += 1
    while place < out.shape[0]:
        out[place] = -1
        place += 1


@kernel
def _seeds(
    turn: Turn,
    queries: Array,
    parameters: Array,
    near: Any,
    bounds: Array,
    entries: Array,
    words: Array,
    clusters: int,
    room: int,
    out: Array,
) -> None:
    """out[number] = rows of the nearest `clusters` that have any that pass, the nearest first."""
    codes, scale, square = near
    number, warp = cuda.blockIdx.x, cuda.threadIdx.x // WARP
    if skipped(turn, number):
        return
    own = bitmap_of(turn, words.shape[0], number)
    step = SUMS * (cuda.blockDim.x // WARP)
    lists, _, _ = shared_lists(1, room, 0)
    rows, sums = cuda.local.array(SUMS, int32), cuda.local.array(SUMS, int32)
    clear(lists)
    cuda.syncthreads()
    total = entries.shape[0]
    for start in range(SUMS * warp, total + SUMS * warp, step):
        fill = 0
        if start < total:
            for i in range(SUMS):
                rows[i] = min(start + i, total - 1)
            _products(codes, rows, queries, number, queries.shape[0], sums)
            product, cluster = warp_sums(sums), start + sum_of_lane()
            if cluster < total and cuda.laneid & 1 == 0:
                key = code_key(product, scale[cluster], square[cluster], parameters[number])
                if key <= lists.bars[0] and _has_passing(
                    words, own, bounds[cluster], bounds[cluster + 1]
                ):
                    fill = offer(lists, 0, room, key, np.int64(cluster), cluster)
        if cuda.syncthreads_or(np.int32(fill > room - step)):
            cut_back(lists, room, clusters, entries[:0])
    cut_back(lists, room, clusters, entries[:0])
    size = out.shape[1] // clusters
    for rank in range(cuda.threadIdx.x, clusters, cuda.blockDim.x):
        cluster, places = lists.rows[rank], out[number, rank * size : (rank + 1) * size]
        if cluster < 0:
            for i in range(size):
                places[i] = -1
        else:
            _write_rows(words, own, entries[cluster], bounds[cluster], bounds[cluster + 1], places)


def seeds_of(
    queries: DeviceArray,
    parameters: DeviceArray,
    near: tuple[DeviceArray, DeviceArray, DeviceArray],
    bounds: DeviceArray,
    entries: DeviceArray,
    words: DeviceArray,
    out: DeviceArray,
    workspace: Workspace,
) -> None:
    """out int32[m, seeds] = passing rows near each query, -1 in places left empty.

    Prepared queries (codes int32[m, w / 4], parameters); codes, scale and square of what stands for
    a cluster; bounds int64[c + 1] and entries int32[c]; words uint32[s, 2 w] or none.
    """
    clusters = out.shape[1] // ROWS_OF_CLUSTER
    room = room_for(clusters, SUMS * (workspace.threads // WARP))
    given = (workspace.turn, queries, parameters, near, bounds, entries, words)
    shared = bytes_of_lists(1, room)
    workspace.launch(_seeds, queries.shape[0], *given, clusters, room, out, shared=shared)
