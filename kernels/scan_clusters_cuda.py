"""Scan of the passing rows of the clusters nearest to each query: the twin of `scan_clusters`.

`cluster_rows_cuda` chooses the rows, by how many of them pass, and writes them down; int8 codes
or estimates by codes of few bits then rank these lists (`masked_scan_cuda`), and full precision the
best of them (`rerank_cuda`).
What the CPU does row by row, so that each may leave out the next, is three launches here: which
clusters are taken depends on counts alone, so that all queries of a batch, and all blocks of a
query, go on without waiting for each other. Hence no cluster is left out by a bound on its nearest
row, which saves the CPU work and changes no answer.

One block chooses for a query, and as many compare its rows as fill the device: a single query's
2,000 rows go to some 30 blocks; from a few hundred queries on each has one. Counts are read on the
device, so that every query of a batch may have a filter of its own.

Bound: the codes of the rows chosen, some 400 bytes each at 384 dimensions. 10,000 queries that take
2,000 rows each read 8 GB, in 2 milliseconds if none of it came from the L2 cache. Records of 2 bits
are a third of that: estimates pay where the codes of all rows are more than that cache holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.cluster_rows_cuda import (
    MOST_CLUSTERS,
    Chosen,
    Enough,
    choose_rows,
    chosen_parts,
)
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.int8_cuda import prepare_queries, proves
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, bytes_of, cuda, kernel
from fanns.kernels.masked_scan_cuda import Answers, best_of_bytes
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, FULL, HOPS, ROWS
from fanns.kernels.scan_bits_cuda import BitRows, best_by_bits
from fanns.kernels.scan_cuda import best_by_codes
from fanns.kernels.selection_cuda import Selection
from fanns.kernels.turns_cuda import skipped

__all__ = ["MOST_CLUSTERS", "Enough", "scan_clusters", "scan_clusters_bytes"]


@kernel
def _settle(
    turn: Turn,
    estimated: bool,
    limits: Array,
    metric: int,
    parameters: Array,
    chosen: Chosen,
    shortlist: Answers,
    answers: Answers,
) -> None:
    """The status of answers, and their work; a thread a query.

    EXACT when all passing rows were compared and the shortlist held them all, or the bound on the
    error of keys that are no estimates proves that no row behind its last belongs to the answer.
    """
    number = cuda.grid(1)
    if number < answers.rows.shape[0] and not skipped(turn, number):
        k, size = answers.rows.shape[1], shortlist.found[number]
        compared, status = shortlist.work[number, CODES], chosen.status[number]
        if status == EXACT and compared > size:
            status = APPROXIMATE
            if not estimated and answers.found[number] == k:
                last, worst = (
                    shortlist.distances[number, size - 1],
                    answers.distances[number, k - 1],
                )
                if proves(parameters[number], limits, metric, last, worst):
                    status = EXACT
        answers.status[number] = status
        answers.work[number, CODES], answers.work[number, FULL] = compared, size
        answers.work[number, CHECKS], answers.work[number, HOPS] = 0, chosen.taken[number]


def _scratch(m: int, most: int, width: int, shortlist: int) -> list[tuple[tuple[int, ...], Any]]:
    """Query codes and parameters, the rows chosen, and the answers of the codes alone."""
    return [
        ((m, width), np.int8),
        ((m, PARAMETERS), np.float64),
        *chosen_parts(m, most),
        ((m, shortlist), np.int32),
        ((m, shortlist), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def scan_clusters_bytes(
    m: int,
    k: int,
    most: int,
    width: int,
    shortlist: int,
    workspace: Workspace,
    estimates: int = 0,
) -> int:
    """What `scan_clusters` borrows from a workspace, for codes of so many bytes.

    `estimates`: of a query, `scan_bits_cuda.estimates_bytes` where rows are estimated.
    """
    codes = best_of_bytes(m, shortlist, most, False, workspace) + m * estimates
    full = rerank_bytes(m, k, shortlist, workspace)
    return bytes_of(*_scratch(m, most, width, shortlist)) + max(codes, full)


def scan_clusters(
    queries: DeviceArray,
    words: DeviceArray,
    counts: DeviceArray,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    mean: DeviceArray,
    limits: DeviceArray,
    bounds: DeviceArray,
    centre_codes: DeviceArray,
    centre_scale: DeviceArray,
    centre_square: DeviceArray,
    bits: BitRows | None,
    enough: Enough,
    clusters: int,
    most: int,
    shortlist: int,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best rows of the nearest clusters that hold enough passing rows.

    As `scan_clusters.scan_clusters`, without a budget: queries float32[m, d]; words uint64[1, w] or
    uint64[m, w] with counts int64[1] or int64[m] of their bits, or neither ([0, 0] and [0]) for
    every row; vectors, norms and ties as `scan_cuda.scan_exact`; `Int8Codes`; of `Centroids` the
    bounds and the codes of centres. With `bits` the shortlist is the best rows by their estimates,
    else by their int8 codes. `enough`: see `Enough`. A query ranks its nearest `clusters`, and up
    to `most` rows are chosen for it; where that is too little, and where it is given up, its status
    is EXHAUSTED and it has no answer. All of the shortlist, at least k and at most MOST rows, is
    compared in full precision. The status is EXACT when all passing rows were chosen, which their
    count tells, and the answer is proved. ValueError for a k above MOST or more than MOST_CLUSTERS.
    """
    m, width = queries.shape[0], codes.shape[1]
    out = Answers(out_rows, out_distances, out_found, out_status, out_work)
    with workspace.frame():
        code, parameters, *taken = (
            workspace.take(*part) for part in _scratch(m, most, width, shortlist)
        )
        chosen, best = Chosen(*taken[:5]), Answers(*taken[5:])
        prepare_queries(queries, metric, mean, code, parameters, workspace)
        quads = code.view(np.int32)
        centres = (centre_codes.view(np.int32), centre_scale, centre_square)
        halves = words.view(np.uint32)
        choose_rows(
            quads, parameters, centres, bounds, halves, counts, enough, clusters, chosen, workspace
        )
        flat, no_words = chosen.rows.reshape(m * most), halves[:0]
        lists = Selection(ROWS, flat, chosen.starts, chosen.stops, no_words, most)
        if bits is None:
            held = (quads, codes.view(np.int32), scale, square, parameters)
            best_by_codes(held, lists, ties[:0], best, workspace)
        else:
            asked = (queries, metric, mean, quads, parameters)
            best_by_bits(*asked, bits, centres, lists, ties[:0], best, workspace)
        rerank(queries, vectors, norms, metric, best.rows, best.found, ties, *out, workspace)
        blocks = -(-m // workspace.threads)
        given = (bits is not None, limits, metric, parameters, chosen, best, out)
        workspace.launch(_settle, blocks, workspace.turn, *given)
