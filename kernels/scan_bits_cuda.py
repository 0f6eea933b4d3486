"""Scan by codes of one, two or four bits on the device: the twin of `scan_bits`.

Every selected row is estimated from its record (`bits_cuda`) and the key of its cluster's centre,
which is computed once for each query and cluster; the best estimates are compared in full precision
at once. The CPU orders them by int8 codes first, to stop as soon as the rest cannot matter; here
all of a shortlist of 100 rows take less than a launch.

Bound: the bytes of the records. Those of 2 bits take 128 bytes a row at 384 dimensions against
some 400 of int8 codes, so that queries with a filter each, which share no row, should take a third
of the time of the scan of codes; with 1 bit 64 bytes, and counting bits is what takes longest.
Where a batch shares its filter rows are read once for many queries, products bound both scans, and
int8 codes, which need no shifts, do better: use these there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32, int64

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import BITS
from fanns.kernels.bits import PARAMETERS as BIT_PARAMETERS
from fanns.kernels.bits_cuda import bit_products, bits_key, centre_keys, prepare_bits
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.int8_cuda import prepare_queries
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import ROWS_AT_ONCE, Answers, best_of, best_of_bytes, scanner
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, FULL, HOPS
from fanns.kernels.selection_cuda import selection_of
from fanns.kernels.turns_cuda import skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums


def _compare_bits(bits: int, rows_at_once: int) -> Any:
    """Compares estimates; held: planes, records, their words of codes, factors, parameters, the
    cluster of each row, and the keys of all centres.
    """
    queries_at_once = SUMS // rows_at_once
    products_of = bit_products(bits, rows_at_once)

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        planes, records, words, factors, parameters, labels, starts = held
        rows = cuda.local.array(rows_at_once, int32)
        sums = cuda.local.array(SUMS, int64)
        for r in range(rows_at_once):
            rows[r] = picked[min(start + r, count - 1)]
        products_of(records, words, rows, planes, first, m, sums)
        product, pair = warp_sums(sums), sum_of_lane()
        place, number = start + pair // queries_at_once, first + pair % queries_at_once
        if place >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        base = starts[number, labels[row]]
        return row, base + bits_key(product, factors, row, parameters[number])

    return compare


_SCANNERS = {
    f"{bits}-{rows}": scanner(f"bits-{bits}", rows, _compare_bits(bits, rows))
    for bits in BITS
    for rows in ROWS_AT_ONCE
}


@kernel
def _settle(turn: Turn, shortlist: Answers, answers: Answers) -> None:
    """The status of answers, and their work: EXACT when the shortlist held every row."""
    number = cuda.grid(1)
    if number < answers.rows.shape[0] and not skipped(turn, number):
        size, estimated = shortlist.found[number], shortlist.work[number, CODES]
        answers.status[number] = EXACT if estimated <= size else APPROXIMATE
        answers.work[number, CODES], answers.work[number, FULL] = estimated, size
        answers.work[number, CHECKS], answers.work[number, HOPS] = 0, 0


def _scratch(
    m: int, d: int, size: int, record: int, clusters: int, shortlist: int
) -> list[tuple[tuple[int, ...], Any]]:
    """Prepared queries (int8, then bits), the keys of centres, and the answers of estimates."""
    return [
        ((m, -(-d // 64) * 64), np.int8),
        ((m, PARAMETERS), np.float64),
        ((m, size), np.float32),
        ((m, PLANES + 1, 8 * record), np.uint8),
        ((m, BIT_PARAMETERS), np.float64),
        ((m, clusters), np.float64),
        ((m, shortlist), np.int32),
        ((m, shortlist), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def scan_bits_bytes(
    m: int,
    k: int,
    n: int,
    d: int,
    record: int,
    clusters: int,
    shortlist: int,
    one_selection: bool,
    workspace: Workspace,
) -> int:
    """What `scan_bits` borrows from a workspace, for records of so many words."""
    estimates = best_of_bytes(m, shortlist, n, one_selection, workspace)
    full = rerank_bytes(m, k, shortlist, workspace)
    size = -(-d // 64) * 64
    return bytes_of(*_scratch(m, d, size, record, clusters, shortlist)) + max(estimates, full)


def scan_bits(
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
    records: DeviceArray,
    signs: DeviceArray,
    bits: int,
    labels: DeviceArray,
    centre_codes: DeviceArray,
    centre_scale: DeviceArray,
    centre_square: DeviceArray,
    mean: DeviceArray,
    shortlist: int,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Estimate the distance of every selected row, then compare a shortlist in full precision.

    As `scan_bits.scan_bits`, without a budget, with selections as `scan_cuda.scan_exact` has them,
    the arrays of `BitCodes`, labels int32[n], the cluster of each row, and the codes of centres of
    `Centroids`. All of the shortlist, at least k and at most MOST rows, is compared in full
    precision, where the CPU stops as soon as the rest cannot matter: answers are the same. The
    status is EXACT only when the shortlist held every selected row.
    """
    m, d = queries.shape
    record, size = records.shape[1], signs.shape[1]
    selection = selection_of(form, rows, offsets, words, n)
    out = Answers(out_rows, out_distances, out_found, out_status, out_work)
    with workspace.frame():
        parts = _scratch(m, d, size, record, centre_scale.shape[0], shortlist)
        code, int8, turned, planes, parameters, starts, *best = (
            workspace.take(*part) for part in parts
        )
        prepare_queries(queries, metric, mean, code, int8, workspace)
        prepare_bits(queries, metric, mean, signs, bits, turned, planes, parameters, workspace)
        centres = (centre_codes.view(np.int32), centre_scale, centre_square)
        centre_keys(code.view(np.int32), int8, *centres, starts, workspace)
        quads = planes.view(np.uint32)
        codes, factors = records.view(np.uint32), records.view(np.float32)
        held = (quads, codes, size * bits // 32, factors, parameters, labels, starts)
        scanners = {rows: _SCANNERS[f"{bits}-{rows}"] for rows in ROWS_AT_ONCE}
        found = Answers(*best)
        best_of(scanners, held, selection, ties[:0], CODES, found, workspace)
        rerank(queries, vectors, norms, metric, found.rows, found.found, ties, *out, workspace)
        blocks = -(-m // workspace.threads)
        workspace.launch(_settle, blocks, workspace.turn, found, out)
