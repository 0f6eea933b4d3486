"""The scan in full precision that `scan_cuda` and `rerank_cuda` run (`masked_scan_cuda`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int32

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.distance_cuda import add_rest, distance_of, pair_sums, query_norms
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of, cuda, inner
from fanns.kernels.masked_scan_cuda import ROWS_AT_ONCE, Answers, best_of, best_of_bytes, scanner
from fanns.kernels.scan import FULL
from fanns.kernels.selection_cuda import Selection
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums


def _compare_exact(rows_at_once: int) -> Any:
    """Compares in full precision; held: queries, vectors, norms, metric, lengths of queries."""
    queries_at_once = SUMS // rows_at_once
    sums_of = pair_sums(rows_at_once)

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        queries, vectors, norms, metric, lengths = held
        rows = cuda.local.array(rows_at_once, int32)
        sums = cuda.local.array(SUMS, float64)
        for r in range(rows_at_once):
            rows[r] = picked[min(start + r, count - 1)]
        sums_of(metric == L2, vectors, rows, queries, first, m, sums)
        total, pair = warp_sums(sums), sum_of_lane()
        place, number = start + pair // queries_at_once, first + pair % queries_at_once
        if place >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        total = add_rest(metric == L2, vectors, row, queries, number, total)
        length = norms[row] if metric == COSINE else 1.0
        norm = lengths[number] if metric == COSINE else 1.0
        return row, distance_of(metric, total, norm, length)

    return compare


_SCANNERS = {rows: scanner("exact", rows, _compare_exact(rows)) for rows in ROWS_AT_ONCE}


def scan_full_bytes(m: int, k: int, n: int, one_selection: bool, workspace: Workspace) -> int:
    """What `scan_full` borrows from a workspace of these threads and blocks."""
    return bytes_of(((m,), np.float64)) + best_of_bytes(m, k, n, one_selection, workspace)


def scan_full(
    queries: DeviceArray,
    selection: Selection,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    answers: Answers,
    workspace: Workspace,
) -> None:
    """The best selected rows of queries float32[m, d] by (distance, tie), in full precision.

    vectors [n, d] float32, float16 or int8; norms float64[n]; ties int64[n].
    """
    with workspace.frame():
        lengths = workspace.take((queries.shape[0],), np.float64)
        if metric == COSINE:
            query_norms(queries, lengths, workspace)
        held = (queries, vectors, norms, metric, lengths)
        best_of(_SCANNERS, held, selection, ties, FULL, answers, workspace)
