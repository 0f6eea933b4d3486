"""Scans of rows that are computed from an embedding table, on the device: the twin of `native`.

The CPU gives each row a key first and decodes only rows whose key may matter. Here every selected
row is decoded, value by value in registers (`stores_cuda`), and compared as `scan_cuda.scan_exact`
compares rows that are written out: the same sums in the same order, so the answers are the CPU's
bit for bit, and every one is proved exact.

Bound: float64 arithmetic, 2 d operations a row (4 under cosine) and what decoding takes: one
look-up for each table of QUOTIENT and CODED, the width of its block for a MIXED value. Tables are
read through the caches, of which an H200's L2 has 50 MB. Predicted for 10^6 rows of 64 dimensions:
10 to 40 us a query of QUOTIENT, three times as much of four columns of codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float64, int64

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.distance_cuda import STEP, distance_of, query_norms
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import WARP, DeviceArray, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import ROWS_AT_ONCE, Answers, best_of, best_of_bytes, scanner
from fanns.kernels.scan import FULL, ROWS
from fanns.kernels.selection_cuda import Selection, selection_of
from fanns.kernels.stores_cuda import Store, element, head_of, origin
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums


@inner
def _term(metric: int, x: float, q: float, total: float) -> Any:
    """A squared difference or a product more."""
    if metric == L2:
        x = x - q
        q = x
    return cuda.fma(x, q, total)


def _native_sums(rows_at_once: int) -> Callable[..., None]:
    """As `distance_cuda.pair_sums`, for rows of a store; under cosine squares of rows as well."""
    queries_at_once = SUMS // rows_at_once

    @inner
    def add(
        metric: int,
        store: Store,
        rows: Array,
        heads: Array,
        starts: Array,
        queries: Array,
        first: Integer,
        m: int,
        j: Integer,
        sums: Array,
        squares: Array,
    ) -> None:
        for r in range(rows_at_once):
            x = element(store, rows[r], heads[r], starts[r], j, queries.shape[1])
            for g in range(queries_at_once):
                place = r * queries_at_once + g
                q = np.float64(queries[min(first + g, m - 1), j])
                sums[place] = _term(metric, x, q, sums[place])
                if metric == COSINE:
                    squares[place] = cuda.fma(x, x, squares[place])

    @inner
    def sums_of(
        metric: int,
        store: Store,
        rows: Array,
        heads: Array,
        starts: Array,
        queries: Array,
        first: Integer,
        m: int,
        sums: Array,
        squares: Array,
    ) -> None:
        d, lane = queries.shape[1], cuda.laneid
        for i in range(SUMS):
            sums[i], squares[i] = 0.0, 0.0
        whole = d // WARP * WARP
        for j in range(lane, whole, WARP):
            add(metric, store, rows, heads, starts, queries, first, m, j, sums, squares)
        if lane < STEP:
            for j in range(whole + lane, d // STEP * STEP, STEP):
                add(metric, store, rows, heads, starts, queries, first, m, j, sums, squares)

    return sums_of


def _compare_native(rows_at_once: int) -> Any:
    """Compares decoded rows; held: queries, store, order, metric, lengths of queries."""
    queries_at_once = SUMS // rows_at_once
    sums_of = _native_sums(rows_at_once)

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        queries, store, order, metric, lengths = held
        rows, heads = cuda.local.array(rows_at_once, int64), cuda.local.array(rows_at_once, int64)
        starts = cuda.local.array(rows_at_once, int64)
        sums, squares = cuda.local.array(SUMS, float64), cuda.local.array(SUMS, float64)
        for r in range(rows_at_once):
            row = np.int64(picked[min(start + r, count - 1)])
            rows[r] = np.int64(order[row]) if order.shape[0] > 0 else row
            heads[r] = head_of(store, rows[r])
            starts[r] = origin(store, rows[r], heads[r])
        sums_of(metric, store, rows, heads, starts, queries, first, m, sums, squares)
        total, square, pair = warp_sums(sums), 0.0, sum_of_lane()
        if metric == COSINE:
            square = warp_sums(squares)
        r, number = pair // queries_at_once, first + pair % queries_at_once
        if start + r >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        d = queries.shape[1]
        for j in range(d // STEP * STEP, d):
            x = element(store, rows[r], heads[r], starts[r], j, d)
            total = _term(metric, x, np.float64(queries[number, j]), total)
            if metric == COSINE:
                square = cuda.fma(x, x, square)
        norm = lengths[number] if metric == COSINE else 1.0
        return picked[start + r], distance_of(metric, total, norm, math.sqrt(square))

    return compare


_SCANNERS = {rows: scanner("native", rows, _compare_native(rows)) for rows in ROWS_AT_ONCE}


def scan_native_bytes(m: int, k: int, n: int, one_selection: bool, workspace: Workspace) -> int:
    """What `scan_native` borrows from a workspace of these threads and blocks."""
    return bytes_of(((m,), np.float64)) + best_of_bytes(m, k, n, one_selection, workspace)


def _scan(
    queries: DeviceArray,
    selection: Selection,
    order: DeviceArray,
    store: Store,
    metric: int,
    ties: DeviceArray,
    answers: Answers,
    workspace: Workspace,
) -> None:
    with workspace.frame():
        lengths = workspace.take((queries.shape[0],), np.float64)
        if metric == COSINE:
            query_norms(queries, lengths, workspace)
        held = (queries, store, order, metric, lengths)
        best_of(_SCANNERS, held, selection, ties, FULL, answers, workspace)


def scan_native(
    queries: DeviceArray,
    form: int,
    rows: DeviceArray,
    offsets: DeviceArray,
    words: DeviceArray,
    n: int,
    order: DeviceArray,
    store: Store,
    metric: int,
    ties: DeviceArray,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Compare every selected row; the best by (distance, tie), as `native.scan_native` does.

    queries float32[m, d]; selections as `scan_cuda.scan_exact` has them. Row r is row order[r] of
    the store (order int32[n]; empty: r itself). ties int64[n], empty where they are the row
    numbers. Writes rows, distances, found, status (EXACT) and work, all of it decoded rows.
    ValueError for a k above MOST.
    """
    selection = selection_of(form, rows, offsets, words, n)
    answers = Answers(out_rows, out_distances, out_found, out_status, out_work)
    _scan(queries, selection, order, store, metric, ties, answers, workspace)


@kernel
def _ends_of_lists(width: int, counts: Array, starts: Array, stops: Array) -> None:
    """Where the first counts[i] of `width` places of each query start and stop."""
    number = cuda.grid(1)
    if number < counts.shape[0]:
        starts[number] = np.int64(number) * width
        stops[number] = np.int64(number) * width + counts[number]


def compare_native_bytes(m: int, k: int, width: int, workspace: Workspace) -> int:
    """What `compare_native` borrows from a workspace, for lists of so many places."""
    ends = bytes_of(((m,), np.int64), ((m,), np.int64))
    return ends + scan_native_bytes(m, k, width, False, workspace)


def compare_native(
    queries: DeviceArray,
    candidates: DeviceArray,
    counts: DeviceArray,
    order: DeviceArray,
    store: Store,
    metric: int,
    ties: DeviceArray,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best of a shortlist of each query, int32[m, w] of which the first counts[i] hold rows.

    Every one is decoded and compared; arguments and results as for `scan_native`.
    """
    m, width = candidates.shape
    with workspace.frame():
        starts, stops = (workspace.take((m,), np.int64) for _ in range(2))
        workspace.launch(_ends_of_lists, -(-m // workspace.threads), width, counts, starts, stops)
        flat, no_words = candidates.reshape(m * width), workspace.take((0, 0), np.uint32)
        selection = Selection(ROWS, flat, starts, stops, no_words, width)
        answers = Answers(out_rows, out_distances, out_found, out_status, out_work)
        _scan(queries, selection, order, store, metric, ties, answers, workspace)
