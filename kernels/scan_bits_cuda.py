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

from typing import Any, NamedTuple

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
from fanns.kernels.masked_scan_cuda import (
    ROWS_AT_ONCE,
    Answers,
    Parts,
    best_of,
    best_of_bytes,
    scanner,
)
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, FULL, HOPS
from fanns.kernels.selection_cuda import Selection, selection_of
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


class BitRows(NamedTuple):
    """The arrays of `BitCodes`: records uint64[n, S], signs float32[rounds, D], `bits` a dimension;
    and the cluster of each row, labels int32[n].
    """

    records: DeviceArray
    signs: DeviceArray
    bits: int
    labels: DeviceArray


def estimates_bytes(m: int, d: int, record: int, clusters: int) -> int:
    """What `best_by_bits` borrows beside `best_of`, for records of so many words."""
    return bytes_of(*_prepared(m, -(-d // 64) * 64, record, clusters))


def _prepared(m: int, size: int, record: int, clusters: int) -> Parts:
    """Queries prepared for bits, and the keys of centres."""
    return [
        ((m, size), np.float32),
        ((m, PLANES + 1, 8 * record), np.uint8),
        ((m, BIT_PARAMETERS), np.float64),
        ((m, clusters), np.float64),
    ]


def best_by_bits(
    queries: DeviceArray,
    metric: int,
    mean: DeviceArray,
    code: DeviceArray,
    int8: DeviceArray,
    rows: BitRows,
    centres: tuple[DeviceArray, DeviceArray, DeviceArray],
    selection: Selection,
    ties: DeviceArray,
    best: Answers,
    workspace: Workspace,
) -> None:
    """The rows with the least estimates, for queries float32[m, d] prepared for int8 codes.

    code int32[m, w / 4], int8: their parameters; centres: codes int32[c, w / 4], scale, square; no
    `ties` (int64[0]) order equal estimates by row.
    """
    (m, _), size, record = queries.shape, rows.signs.shape[1], rows.records.shape[1]
    with workspace.frame():
        parts = _prepared(m, size, record, centres[1].shape[0])
        turned, planes, parameters, starts = (workspace.take(*part) for part in parts)
        given = (queries, metric, mean, rows.signs, rows.bits, turned, planes, parameters)
        prepare_bits(*given, workspace)
        centre_keys(code, int8, *centres, starts, workspace)
        codes, factors = rows.records.view(np.uint32), rows.records.view(np.float32)
        words, quads = size * rows.bits // 32, planes.view(np.uint32)
        held = (quads, codes, words, factors, parameters, rows.labels, starts)
        scanners = {at_once: _SCANNERS[f"{rows.bits}-{at_once}"] for at_once in ROWS_AT_ONCE}
        best_of(scanners, held, selection, ties, CODES, best, workspace)


def _scratch(m: int, d: int, shortlist: int) -> Parts:
    """Queries prepared for int8 codes, which centres have, and the answers of estimates."""
    return [
        ((m, -(-d // 64) * 64), np.int8),
        ((m, PARAMETERS), np.float64),
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
    estimates += estimates_bytes(m, d, record, clusters)
    full = rerank_bytes(m, k, shortlist, workspace)
    return bytes_of(*_scratch(m, d, shortlist)) + max(estimates, full)


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
    selection = selection_of(form, rows, offsets, words, n)
    out = Answers(out_rows, out_distances, out_found, out_status, out_work)
    with workspace.frame():
        code, int8, *rest = (workspace.take(*part) for part in _scratch(m, d, shortlist))
        best, quads = Answers(*rest), code.view(np.int32)
        prepare_queries(queries, metric, mean, code, int8, workspace)
        held = BitRows(records, signs, bits, labels)
        centres = (centre_codes.view(np.int32), centre_scale, centre_square)
        given = (queries, metric, mean, quads, int8, held, centres, selection)
        best_by_bits(*given, ties[:0], best, workspace)
        rerank(queries, vectors, norms, metric, best.rows, best.found, ties, *out, workspace)
        blocks = -(-m // workspace.threads)
        workspace.launch(_settle, blocks, workspace.turn, best, out)
