"""Scans of a selection: full precision, or int8 codes and then full precision on a shortlist.

A selection comes in one of three forms: every row, a sorted list of rows, or the words of a bitmap
(bit r % 64 of word r // 64). All forms are turned into blocks of row numbers. The distances of a
whole block are computed before any is compared with the worst kept, which keeps the heap out of
the loop that waits for memory.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import row_distance, widen
from fanns.kernels.int8 import PARAMETERS, code_key, exact_key, key_error, prepare_query
from fanns.kernels.intrinsics import dot_float, prefetch_row, read_clock
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.shortlist import SLACK, cut_back, make_heap, sink
from fanns.kernels.topk import push, sort_heap
from fanns.kernels.words import rows_of_word

# Forms of a selection.
ALL, ROWS, WORDS = 0, 1, 2

# Status of an answer.
EXACT, APPROXIMATE, INCOMPLETE, EXHAUSTED = 0, 1, 2, 3

# Columns of the work counters.
CODES, FULL, CHECKS, HOPS = 0, 1, 2, 3

BLOCK = 1024
"""Rows between two looks at the clock: 15 to 40 microseconds of codes at d = 384."""

CODES_AHEAD = 8
"""Code rows asked for before they are needed, for lists and bitmaps."""

VECTORS_AHEAD = 2
"""The same for full vectors, which are four times as long."""


@inner
def next_block(
    form: int, rows: Array, words: Array, n: int, position: Integer, block: Array
) -> tuple[Integer, Integer]:
    """Fill `block` with the next selected rows; gives (how many, the position after them).

    A position counts rows (ALL), places of the list (ROWS) or words of the bitmap (WORDS); the
    first is 0. A block shorter than 64 rows cannot hold a word.
    """
    filled = np.int64(0)
    if form == WORDS:
        while position < words.shape[0] and filled + 64 <= block.shape[0]:
            filled = rows_of_word(words[position], np.int64(position * 64), block, filled)
            position += 1
        return filled, position
    stop = rows.shape[0] if form == ROWS else n
    while position < stop and filled < block.shape[0]:
        block[filled] = rows[position] if form == ROWS else position
        filled += 1
        position += 1
    return filled, position


@inner
def finish(distances: Array, ties: Array, rows: Array, found: Integer) -> None:
    """Sort the answers of one query, and mark the places that stay empty: row -1, infinity."""
    sort_heap(distances, ties, rows, found)
    for place in range(found, rows.shape[0]):
        rows[place] = -1
        distances[place] = math.inf


@kernel
def scan_exact(
    queries: Array,
    form: int,
    rows: Array,
    words: Array,
    n: int,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """Compare every selected row in full precision; the best by (distance, tie).

    queries float32[m, d]; selection in one of three forms of n rows; vectors [n, d], norms
    float64[n], ties int64[n]. At most `max_work` distances a query (0: no limit); `deadline` in
    nanoseconds of `clock_ns` (0: none). Writes rows int32[m, k] (-1 where there is none),
    distances float64[m, k], found int32[m], status int8[m] and work int64[m, 4].
    """
    block = np.empty(BLOCK, np.int32)
    values = np.empty(BLOCK, np.float64)
    k = out_rows.shape[1]
    best_ties = np.empty(k, np.int64)
    for number in range(queries.shape[0]):
        query, wide = queries[number], widen(queries[number])
        norm = math.sqrt(dot_float(query, 0, query))
        best_rows, best = out_rows[number], out_distances[number]
        found: Integer = np.int64(0)
        position: Integer = np.int64(0)
        work, status = 0, EXACT
        filled, position = next_block(form, rows, words, n, position, block)
        while filled > 0:
            if (deadline != 0 and read_clock() > deadline) or (max_work > 0 and work == max_work):
                status = INCOMPLETE
                break
            if max_work > 0 and work + filled > max_work:
                filled = np.int64(max_work - work)
                position = np.int64(-1)
            for i in range(filled):
                if i + VECTORS_AHEAD < filled:
                    prefetch_row(vectors, block[i + VECTORS_AHEAD])
                row = np.int64(block[i])
                values[i] = row_distance(metric, vectors, norms, row, wide, norm)
            for i in range(filled):
                if found < k or values[i] <= best[0]:
                    row = np.int64(block[i])
                    found = push(best, best_ties, best_rows, found, values[i], ties[row], row)
            work += filled
            if position < 0:
                status = INCOMPLETE
                break
            filled, position = next_block(form, rows, words, n, position, block)
        finish(best, best_ties, best_rows, found)
        out_found[number], out_status[number] = found, status
        out_work[number, CODES], out_work[number, FULL] = 0, work
        out_work[number, CHECKS], out_work[number, HOPS] = 0, 0


@inner
def refine(
    query: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    keys: Array,
    rows: Array,
    size: Integer,
    error: float,
    best: Array,
    best_ties: Array,
    best_rows: Array,
) -> tuple[Integer, Integer, bool]:
    """Full-precision distances of a shortlist in the order of its keys, until no more can matter.

    A row whose key, less its greatest error, is above the k-th best distance cannot enter, and
    neither can any row behind it, in the shortlist or outside. Gives (found, distances computed,
    whether it came to that).
    """
    norm, wide = math.sqrt(dot_float(query, 0, query)), widen(query)
    found: Integer = np.int64(0)
    k, full, key = best.shape[0], np.int64(0), -math.inf
    make_heap(keys, rows, size)
    while size > 0:
        key, row = keys[0], np.int64(rows[0])
        if found == k and key - error > exact_key(metric, best[0]):
            return found, full, True
        size -= 1
        keys[0], rows[0] = keys[size], rows[size]
        sink(keys, rows, np.int64(0), size)
        prefetch_row(vectors, rows[0])
        distance = row_distance(metric, vectors, norms, row, wide, norm)
        full += 1
        if found < k or distance <= best[0]:
            found = push(best, best_ties, best_rows, found, distance, ties[row], row)
    return found, full, bool(found == k and key - error > exact_key(metric, best[0]))


@kernel
def scan_codes(
    queries: Array,
    form: int,
    rows: Array,
    words: Array,
    n: int,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
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
    """Compare the codes of every selected row, then a shortlist in full precision.

    As `scan_exact`, with the arrays of `Int8Codes`. The shortlist holds the `shortlist` (at least
    k) best keys. The status is EXACT when the bound on the keys' error proves that no other row
    belongs to the answer, else APPROXIMATE. This is the filter-and-refine search of the VA-file
    (Weber, Schek and Blott 1998) with a limit on the depth.
    """
    limit = np.int64(shortlist)
    if max_work > 0 and limit > (max_work + 1) // 2:
        limit = np.int64((max_work + 1) // 2)
    codes_limit = max_work - limit
    block = np.empty(BLOCK, np.int32)
    # Every candidate is written, and counted when it is below the threshold: hence one place more.
    keys = np.empty(2 * limit + SLACK + BLOCK + 1, np.float64)
    key_rows = np.empty(2 * limit + SLACK + BLOCK + 1, np.int32)
    best_ties = np.empty(out_rows.shape[1], np.int64)
    code = np.empty(codes.shape[1], np.int8)
    parameters = np.empty(PARAMETERS, np.float64)
    for number in range(queries.shape[0]):
        prepare_query(queries[number], metric, mean, code, parameters)
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
            for i in range(filled):
                if i + CODES_AHEAD < filled:
                    prefetch_row(codes, block[i + CODES_AHEAD])
                row = np.int64(block[i])
                key = code_key(codes, scale, square, row, code, parameters)
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
        error = key_error(parameters, limits[0], limits[1], limits[2])
        found, full, proved = refine(
            queries[number],
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
            out_status[number] = EXACT if proved or work <= limit else APPROXIMATE
        out_work[number, CODES], out_work[number, FULL] = work, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, 0
