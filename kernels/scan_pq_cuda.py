"""The best rows of a selection by product codes on the device: the twin of `scan_pq`.

Codes lie as the CPU has them, 4 bits 64 rows a block (`fastscan`) or a byte a sub-quantizer. A
block of threads serves one query and a share of its rows: it copies the query's tables into shared
memory (1.5 KB of bytes for 96 sub-quantizers of 4 bits), takes selected rows into a list
(`selection_cuda`), and each thread looks up the codes of one row. Lanes have rows side by side, so
that what a warp reads of 4-bit codes lies side by side as well; entries of one table of 16 bytes
are in four banks of shared memory, which never conflict. Tables of float32 that do not fit (more
than some 20 sub-quantizers of 8 bits) are read from global memory, through the L1 cache.

Bound: with 4 bits, two look-ups a byte of codes, 144 reads of shared memory or the L1 cache a row
for 96 sub-quantizers: 50 * 10^9 rows and queries a second of an H200, about what its memory
delivers of 56 bytes a row. Queries share nothing but the caches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, uint8

from fanns.kernels.bitset_cuda import WORD
from fanns.kernels.fastscan import CENTROIDS, groups_of
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import (
    SHARED_BYTES,
    DeviceArray,
    Turn,
    Workspace,
    bytes_of,
    cuda,
    kernel,
)
from fanns.kernels.masked_scan_cuda import (
    MERGED,
    MOST,
    ROUNDS,
    Answers,
    Parts,
    bytes_of_lists,
    merge,
    parts_of,
    shared_lists,
)
from fanns.kernels.pq_cuda import (
    PARAMETERS,
    centre_bases,
    fast_key,
    fast_sum,
    prepare_pq,
    scratch_parts,
    table_key,
    table_sum,
)
from fanns.kernels.scan import CODES, WORDS
from fanns.kernels.selection_cuda import Selection, own_selection, pick, share_of
from fanns.kernels.topk_cuda import clear, cut_back, offer, room_for
from fanns.kernels.turns_cuda import skipped


def _scanner(name: str, fast: bool) -> Any:
    """The kernel for 4-bit codes (`fast`) or 8-bit codes; held: tables, codes, fields, parameters,
    cluster of each row, A of every cluster.
    """
    kind = uint8 if fast else float32

    @kernel(name=name)
    def scan(
        turn: Turn,
        held: Any,
        selection: Selection,
        k: int,
        room: int,
        picked_places: int,
        table_start: int,
        part_distances: Array,
        part_rows: Array,
        part_counts: Array,
    ) -> None:
        every, codes, fields, parameters, labels, bases = held
        number, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
        if skipped(turn, number):
            return
        lists, count, picked = shared_lists(1, room, picked_places)
        shared, tables = cuda.shared.array(0, kind), every[number]
        if table_start > 0:
            size = tables.shape[0]
            for i in range(thread, size, threads):
                shared[table_start + i] = tables[i]
            tables = shared[table_start : table_start + size]
        clear(lists)
        own, nothing = own_selection(turn, selection, number), lists.bar_ties[:0]
        position, stop = share_of(selection, own, 0), share_of(selection, own, 1)
        wanted, compared = picked_places - WORD * threads, 0
        while True:
            position = pick(selection, own, position, stop, wanted, picked, count)
            size = count[0]
            if size == 0:
                break
            compared += size
            for place in range(thread, size + thread, threads):
                fill = 0
                if place < size:
                    row = np.int64(picked[place])
                    base = bases[number, labels[row]]
                    if fast:
                        total = fast_sum(codes, row, tables)
                        key = base + fast_key(total, fields, row, parameters[number])
                    else:
                        entries = table_sum(codes, row, tables)
                        key = table_key(entries, fields, row, parameters[number], base)
                    fill = offer(lists, 0, room, key, row, row)
                if cuda.syncthreads_or(np.int32(fill > room - threads)):
                    cut_back(lists, room, k, nothing)
        cut_back(lists, room, k, nothing)
        for place in range(thread, k, threads):
            part_distances[number, cuda.blockIdx.y, place] = lists.distances[place]
            part_rows[number, cuda.blockIdx.y, place] = lists.rows[place]
        if thread == 0:
            part_counts[number, cuda.blockIdx.y] = compared

    return scan


_SCANNERS = {4: _scanner("pq-4", True), 8: _scanner("pq-8", False)}


def _picked(workspace: Workspace) -> int:
    return (ROUNDS + WORD) * workspace.threads


def _shares(m: int, k: int, blocks: int, workspace: Workspace) -> int:
    """Blocks that divide the rows of a query, in words of 64 rows."""
    wanted = -(-workspace.blocks // max(m, 1))
    return int(max(1, min(wanted, -(-64 * blocks // workspace.threads), MERGED // k)))


def _scratch(m: int, d: int, k: int, clusters: int, shape: tuple[int, ...], fast: bool) -> Parts:
    """Prepared queries, tables, A of every cluster, and what is no part of the answers."""
    bytes_ = groups_of(shape[0]) * 8 * CENTROIDS if fast else 0
    return [
        *scratch_parts(m, d, shape),
        ((m, shape[0] * shape[2]), np.float32),
        ((m, bytes_), np.uint8),
        ((m, PARAMETERS), np.float64),
        ((m, clusters), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def scan_pq_bytes(
    m: int,
    d: int,
    k: int,
    blocks: int,
    clusters: int,
    shape: tuple[int, ...],
    workspace: Workspace,
) -> int:
    """What scans borrow from a workspace, for `blocks` of 64 rows and books of a shape."""
    fast, shares = shape[2] == CENTROIDS, _shares(m, k, blocks, workspace)
    return bytes_of(*_scratch(m, d, k, clusters, shape, fast), *parts_of(m, k, shares))


def scan_pq(
    queries: DeviceArray,
    metric: int,
    mean: DeviceArray,
    rotation: DeviceArray,
    books: DeviceArray,
    centroids: DeviceArray,
    labels: DeviceArray,
    words: DeviceArray,
    codes: DeviceArray,
    fields: DeviceArray,
    out_rows: DeviceArray,
    out_keys: DeviceArray,
    workspace: Workspace,
) -> None:
    """The rows with the least keys, for each query, by (key, row).

    As `scan_pq.scan_fast` where books float32[m, s, K] have K = 16, else as `scan_pq.scan_tables`:
    queries float32[q, d]; the arrays of `PQCodes`, with the cluster of each row, labels int32[n],
    in the place of their bounds; words uint64[1, blocks] or uint64[q, blocks]; out_rows int32[q, L]
    (-1 where there is none) and out_keys float64[q, L]. ValueError for an L above MOST.
    """
    (m, d), k, shape = queries.shape, out_rows.shape[1], tuple(books.shape)
    if not 0 < k <= MOST:
        raise ValueError(f"k = {k}: scans on the device keep 1 to {MOST} rows a query")
    fast, threads, picked = shape[2] == CENTROIDS, workspace.threads, _picked(workspace)
    room = room_for(k, threads)
    shared = bytes_of_lists(1, room) + 4 * picked
    if shared > SHARED_BYTES:
        raise ValueError(f"k = {k} does not fit blocks of {threads} threads; 128 take any")
    with workspace.frame():
        parts = [
            workspace.take(*part) for part in _scratch(m, d, k, centroids.shape[0], shape, fast)
        ]
        scratch, (tables, bytes_, parameters, bases, *rest) = tuple(parts[:5]), parts[5:]
        prepare_pq(
            queries, metric, mean, rotation, books, scratch, tables, bytes_, parameters, workspace
        )
        centre_bases(metric, scratch[1], centroids, bases, workspace)
        looked_up = bytes_ if fast else tables
        size, start = looked_up.dtype.itemsize, 0
        if shared + size * looked_up.shape[1] <= SHARED_BYTES:
            start, shared = shared // size, shared + size * looked_up.shape[1]
        n, halves, nothing = labels.shape[0], words.view(np.uint32), labels[:0]
        ends = workspace.take((0,), np.int64)
        selection = Selection(WORDS, nothing, ends, ends, halves, n)
        shares = _shares(m, k, words.shape[1], workspace)
        found = [workspace.take(*part) for part in parts_of(m, k, shares)]
        held = (looked_up, codes, fields, parameters, labels, bases)
        given = (workspace.turn, held, selection, k, room, picked, start, *found)
        scan = _SCANNERS[4 if fast else 8]
        workspace.launch(scan, (m, shares), *given, shared=shared)
        answers = Answers(out_rows, out_keys, *rest)
        merge(found, ends, CODES, answers, workspace)
