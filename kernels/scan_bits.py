"""Scan of a selection by codes of a few bits, and full precision for the best of their estimates.

A record of one bit a dimension is a cache line at d <= 448, and lines asked for well ahead come ten
times faster than those of an int8 code. The estimates prove nothing, so the answer is approximate;
how many rows must be compared in full precision for a recall target is what calibration measures.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import PARAMETERS, bits_key, prepare_bits
from fanns.kernels.int8 import PARAMETERS as INT8_PARAMETERS
from fanns.kernels.int8 import code_key, key_error, prepare_query
from fanns.kernels.intrinsics import prefetch_row, read_clock
from fanns.kernels.jit import Array, Integer, kernel
from fanns.kernels.scan import (
    APPROXIMATE,
    BLOCK,
    CHECKS,
    CODES,
    CODES_AHEAD,
    EXACT,
    FULL,
    HOPS,
    INCOMPLETE,
    finish,
    next_block,
    refine,
)
from fanns.kernels.shortlist import SLACK, cut_back

RECORDS_AHEAD = 32
"""Records asked for before they are needed: 10 ns a row, not 18 (8 ahead) or 74 (none)."""


@kernel
def scan_bits(
    queries: Array,
    form: int,
    rows: Array,
    words: Array,
    n: int,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    records: Array,
    factors: Array,
    signs: Array,
    bits: int,
    bounds: Array,
    centre_codes: Array,
    centre_scale: Array,
    centre_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    shortlist: int,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """Estimate the distance of every selected row, then compare a shortlist in full precision.

    As `scan.scan_codes`, with the arrays of `BitCodes` and `Centroids`. The status is EXACT only
    when the shortlist held every selected row.
    """
    limit = np.int64(shortlist)
    if max_work > 0 and limit > max_work // 3:
        limit = np.int64(max_work // 3 + (max_work < 3))
    # The shortlist is compared twice more: by int8 codes and in full precision.
    codes_limit = np.int64(max_work - 2 * limit)
    block = np.empty(BLOCK, np.int32)
    keys = np.empty(2 * limit + SLACK + BLOCK + 1, np.float64)
    key_rows = np.empty(2 * limit + SLACK + BLOCK + 1, np.int32)
    best_ties = np.empty(out_rows.shape[1], np.int64)
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    code = np.empty(codes.shape[1], np.int8)
    int8 = np.empty(INT8_PARAMETERS, np.float64)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_bits(query, metric, mean, signs, bits, planes, parameters)
        prepare_query(query, metric, mean, code, int8)
        cluster, end, start = np.int64(-1), np.int64(0), 0.0
        size: Integer = np.int64(0)
        position: Integer = np.int64(0)
        work, complete, threshold = np.int64(0), True, math.inf
        filled, position = next_block(form, rows, words, n, position, block)
        while filled > 0:
            if (deadline != 0 and read_clock() > deadline) or (
                max_work > 0 and work >= codes_limit
            ):
                complete = False
                break
            if max_work > 0 and work + filled > codes_limit:
                filled = np.int64(codes_limit - work)
                complete = False
            for i in range(min(filled, RECORDS_AHEAD)):
                prefetch_row(records, block[i])
            for i in range(filled):
                if i + RECORDS_AHEAD < filled:
                    prefetch_row(records, block[i + RECORDS_AHEAD])
                row = np.int64(block[i])
                if row >= end:  # rows come in order, and so do the clusters they stand in
                    while row >= end:
                        cluster += 1
                        end = bounds[cluster + 1]
                    start = code_key(centre_codes, centre_scale, centre_square, cluster, code, int8)
                key = start + bits_key(records, factors, row, planes, parameters, 0.0)
                keys[size], key_rows[size] = key, row
                size += key < threshold
            work += filled
            if size >= 2 * limit + SLACK:
                threshold = cut_back(keys, key_rows, size, limit)
                size = limit
            if not complete:
                break
            filled, position = next_block(form, rows, words, n, position, block)
        if size > limit:
            cut_back(keys, key_rows, size, limit)
            size = limit
        best_rows, best = out_rows[number], out_distances[number]
        # The int8 codes order the shortlist, and tell when full precision can stop.
        for i in range(min(size, CODES_AHEAD)):
            prefetch_row(codes, key_rows[i])
        for i in range(size):
            if i + CODES_AHEAD < size:
                prefetch_row(codes, key_rows[i + CODES_AHEAD])
            keys[i] = code_key(codes, scale, square, np.int64(key_rows[i]), code, int8)
        error = key_error(int8, limits[0], limits[1], limits[2])
        found, full, _ = refine(
            query,
            vectors,
            norms,
            metric,
            ties,
            keys,
            key_rows,
            size,
            error,
            best,
            best_ties,
            best_rows,
        )
        finish(best, best_ties, best_rows, found)
        out_found[number] = found
        if not complete:
            out_status[number] = INCOMPLETE
        else:
            out_status[number] = EXACT if work <= limit else APPROXIMATE
        out_work[number, CODES], out_work[number, FULL] = work + size, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, 0
