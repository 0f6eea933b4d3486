"""Scans of a selection on the device: the twin of `scan`, with the top-k in the same kernel.

`masked_scan_cuda` tells how rows and queries are laid out. Bound: the bytes of the selected rows,
once for each group of queries: a copy on an H200 moves 4.3 TB/s, so that 10^6 rows of 384 float32
take a third of a millisecond, of int8 codes a tenth. From about 8 queries on a scan in full
precision waits for float64 arithmetic instead (`distance_cuda`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32

from fanns.kernels.exact_scan_cuda import scan_full, scan_full_bytes
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.int8_cuda import code_key, pair_products, prepare_queries, proves
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import (
    MOST,
    ROWS_AT_ONCE,
    Answers,
    best_of,
    best_of_bytes,
    scanner,
)
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import APPROXIMATE, CODES, EXACT, FULL
from fanns.kernels.selection_cuda import Selection, selection_of
from fanns.kernels.turns_cuda import skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

__all__ = ["MOST", "scan_codes", "scan_codes_bytes", "scan_exact", "scan_exact_bytes"]

scan_exact_bytes = scan_full_bytes


def _compare_codes(rows_at_once: int) -> Any:
    """Compares int8 codes; held: query codes, codes, scale, square, parameters of queries."""
    queries_at_once = SUMS // rows_at_once
    products_of = pair_products(rows_at_once)

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        queries, codes, scale, square, parameters = held
        rows = cuda.local.array(rows_at_once, int32)
        sums = cuda.local.array(SUMS, int32)
        for r in range(rows_at_once):
            rows[r] = picked[min(start + r, count - 1)]
        products_of(codes, rows, queries, first, m, sums)
        product, pair = warp_sums(sums), sum_of_lane()
        place, number = start + pair // queries_at_once, first + pair % queries_at_once
        if place >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        return row, code_key(product, scale[row], square[row], parameters[number])

    return compare


_SCANNERS = {rows: scanner("codes", rows, _compare_codes(rows)) for rows in ROWS_AT_ONCE}


def best_by_codes(
    held: tuple[DeviceArray, ...],
    selection: Selection,
    ties: DeviceArray,
    best: Answers,
    workspace: Workspace,
) -> None:
    """The rows with the least keys, for prepared queries.

    held: query codes int32[m, w / 4], codes int32[n, w / 4], scale, square, parameters; no `ties`
    (int64[0]) order equal keys by row.
    """
    best_of(_SCANNERS, held, selection, ties, CODES, best, workspace)


def scan_exact(
    queries: DeviceArray,
    form: int,
    rows: DeviceArray,
    offsets: DeviceArray,
    words: DeviceArray,
    n: int,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Compare every selected row in full precision; the best by (distance, tie).

    As `scan.scan_exact`, without a budget: queries float32[m, d]; vectors [n, d] float32, float16
    or int8; norms float64[n]; ties int64[n]. The selection is shared by all queries, or there is
    one for each: rows int32 with offsets int64[2] or int64[m + 1], or words uint64[1, w] or
    uint64[m, w]; other forms have no rows, offsets [0] and words [0, 0]. Writes rows int32[m, k]
    (-1 where there is none), distances float64[m, k], found int32[m], status int8[m] (EXACT) and
    work int64[m, 4]. ValueError for a k above MOST.
    """
    selection = selection_of(form, rows, offsets, words, n)
    answers = Answers(out_rows, out_distances, out_found, out_status, out_work)
    scan_full(queries, selection, vectors, norms, metric, ties, answers, workspace)


@kernel
def _judge(
    turn: Turn,
    limit: int,
    limits: Array,
    metric: int,
    parameters: Array,
    shortlist: Answers,
    answers: Answers,
) -> None:
    """The status of answers from codes and a shortlist, and their work; a thread a query.

    EXACT when the shortlist held every row, or the bound on the keys' error proves that no row
    behind the last of the shortlist belongs to the answer.
    """
    number = cuda.grid(1)
    if number < answers.rows.shape[0] and not skipped(turn, number):
        k, size = answers.rows.shape[1], shortlist.found[number]
        compared = shortlist.work[number, CODES]
        exact = compared <= limit
        if not exact and answers.found[number] == k:
            last, worst = shortlist.distances[number, size - 1], answers.distances[number, k - 1]
            exact = proves(parameters[number], limits, metric, last, worst)
        answers.status[number] = EXACT if exact else APPROXIMATE
        answers.work[number, CODES], answers.work[number, FULL] = compared, size


def _shortlist(m: int, limit: int, width: int) -> list[tuple[tuple[int, ...], Any]]:
    """Query codes and parameters, and the answers of the codes alone."""
    prepared: list[tuple[tuple[int, ...], Any]] = [
        ((m, width), np.int8),
        ((m, PARAMETERS), np.float64),
    ]
    return [
        *prepared,
        ((m, limit), np.int32),
        ((m, limit), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def scan_codes_bytes(
    m: int, k: int, n: int, width: int, shortlist: int, one_selection: bool, workspace: Workspace
) -> int:
    """What `scan_codes` borrows from a workspace, for codes of so many bytes."""
    codes = best_of_bytes(m, shortlist, n, one_selection, workspace)
    full = rerank_bytes(m, k, shortlist, workspace)
    return bytes_of(*_shortlist(m, shortlist, width)) + max(codes, full)


def scan_codes(
    queries: DeviceArray,
    form: int,
    rows: DeviceArray,
    offsets: DeviceArray,
    words: DeviceArray,
    n: int,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    mean: DeviceArray,
    limits: DeviceArray,
    shortlist: int,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Compare the codes of every selected row, then a shortlist in full precision.

    As `scan.scan_codes`, without a budget, with the arrays of `Int8Codes` and selections as
    `scan_exact` has them. All of the shortlist, at least k and at most MOST rows, is compared in
    full precision, where the CPU stops as soon as the rest cannot matter: answers and statuses are
    the same, the work is not.
    """
    m, width = queries.shape[0], codes.shape[1]
    selection = selection_of(form, rows, offsets, words, n)
    out = Answers(out_rows, out_distances, out_found, out_status, out_work)
    with workspace.frame():
        taken = [workspace.take(*part) for part in _shortlist(m, shortlist, width)]
        code, parameters, best = taken[0], taken[1], Answers(*taken[2:])
        prepare_queries(queries, metric, mean, code, parameters, workspace)
        quads = (code.view(np.int32), codes.view(np.int32))
        held = (*quads, scale, square, parameters)
        best_by_codes(held, selection, ties[:0], best, workspace)
        rerank(queries, vectors, norms, metric, best.rows, best.found, ties, *out, workspace)
        blocks = -(-m // workspace.threads)
        given = (shortlist, limits, metric, parameters, best, out)
        workspace.launch(_judge, blocks, workspace.turn, *given)
