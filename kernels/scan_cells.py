"""Scan of the passing rows of the cells nearest to a query, cells being pairs of half centroids.

The inverted multi-index (Babenko and Lempitsky 2012): c_a * c_b cells cost only c_a + c_b
comparisons, and cells come in multi-sequence order (`multisequence`), by the sum of their halves'
distances. Cells without passing rows cost a step and no look at a code. Rows stand in the order
of cells. From there on it is the scan of codes: keys by int8 codes, full precision for the best.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.int8 import PARAMETERS, code_key, key_error, prepare_query
from fanns.kernels.intrinsics import dot_float, prefetch_row, read_clock, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.multisequence import advance, open_frontier, sort_more, sort_smallest
from fanns.kernels.product_keys import half_values
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
    WORDS,
    finish,
    next_block,
    refine,
)
from fanns.kernels.shortlist import SLACK, cut_back


@inner
def ranked_query(query: Array, metric: int) -> Array:
    """The query as cells are ranked by it: of length 1 under cosine."""
    ranked = query.copy()
    if metric == COSINE:
        length = math.sqrt(dot_float(query, 0, query))
        for j in range(ranked.shape[0]):
            ranked[j] = query[j] / length
    return ranked


@inner
def take_cell(
    form: int, words: Array, position: Integer, stop: Integer, block: Array, filled: Integer
) -> tuple[Integer, Integer]:
    """Append the selected rows of [position, stop) to a block; gives (filled, where it stopped)."""
    while position < stop and filled + 64 <= block.shape[0]:
        first = (position >> 6) << 6
        after = min(first + 64, stop)
        if form == WORDS:
            word = words[position >> 6] >> np.uint64(position & 63)
            while word != np.uint64(0):
                row = position + trailing_zeros(word)
                if row >= after:
                    break
                block[filled] = row
                filled += 1
                word &= word - np.uint64(1)
        else:
            for row in range(position, after):
                block[filled] = row
                filled += 1
        position = after
    return filled, position


@kernel
def search_cells(
    queries: Array,
    form: int,
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
    half_a: Array,
    half_b: Array,
    offsets: Array,
    enough: int,
    max_cells: int,
    depth: int,
    shortlist: int,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """The best rows of the nearest cells that hold `enough` passing rows.

    As `scan.scan_codes`, for the forms ALL and WORDS. half_a float32[c_a, d_a], half_b
    float32[c_b, d_b], offsets int64[c_a * c_b + 1]: cell i * c_b + j holds the rows between its
    offset and the next. After `max_cells` cells without enough rows the whole selection is scanned.
    `depth` half centroids are sorted at first. The status is EXACT when all passing rows were
    compared and the bound on the keys' error proves that no other belongs to the answer.
    """
    c_a, c_b, d_a = half_a.shape[0], half_b.shape[0], half_a.shape[1]
    ranking = IP if metric == IP else L2
    limit = np.int64(shortlist)
    if max_work > 0 and limit > (max_work + 1) // 2:
        limit = np.int64((max_work + 1) // 2)
    codes_limit = max_work - limit
    block = np.empty(BLOCK, np.int32)
    keys = np.empty(2 * limit + SLACK + BLOCK + 1, np.float64)
    key_rows = np.empty(2 * limit + SLACK + BLOCK + 1, np.int32)
    best_ties = np.empty(out_rows.shape[1], np.int64)
    code, parameters = np.empty(codes.shape[1], np.int8), np.empty(PARAMETERS, np.float64)
    a, b, room = np.empty(c_a, np.float64), np.empty(c_b, np.float64), max(c_a, c_b)
    sorted_a, places_a = np.empty(c_a, np.float64), np.empty(c_a, np.int64)
    sorted_b, places_b = np.empty(c_b, np.float64), np.empty(c_b, np.int64)
    spare, spare_places = np.empty(room, np.float64), np.empty(room, np.int64)
    heap = np.empty(c_a, np.float64)
    firsts, seconds = np.empty(c_a, np.int64), np.empty(c_a, np.int64)
    no_rows = np.empty(0, np.int32)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, parameters)
        ranked = ranked_query(query, metric)
        half_values(ranking, half_a, ranked[:d_a], a)
        half_values(ranking, half_b, ranked[d_a:], b)
        width_a: Integer = np.int64(min(depth, c_a))
        width_b: Integer = np.int64(min(depth, c_b))
        sort_smallest(a, width_a, sorted_a, places_a, spare, spare_places)
        sort_smallest(b, width_b, sorted_b, places_b, spare, spare_places)
        front = open_frontier(ranking, sorted_a, sorted_b, heap, firsts, seconds)
        size: Integer = np.int64(0)
        position: Integer = np.int64(0)
        stop: Integer = np.int64(0)
        passing: Integer = np.int64(0)
        cells, work, threshold = np.int64(0), np.int64(0), math.inf
        ranked_cells, complete, more = True, True, True
        while more:
            filled: Integer = np.int64(0)
            if ranked_cells:
                steps = 0
                while filled + 64 <= BLOCK and steps < BLOCK:
                    if position >= stop:
                        if passing >= enough or front == 0:
                            more = False
                            break
                        if cells == max_cells:
                            break
                        first, second = firsts[0], seconds[0]
                        cell = places_a[first] * c_b + places_b[second]
                        if first + 1 == width_a or second + 1 == width_b:
                            width_a = sort_more(
                                a, width_a, first, sorted_a, places_a, spare, spare_places
                            )
                            width_b = sort_more(
                                b, width_b, second, sorted_b, places_b, spare, spare_places
                            )
                        front = advance(
                            ranking,
                            sorted_a,
                            sorted_b,
                            width_a,
                            width_b,
                            heap,
                            firsts,
                            seconds,
                            front,
                        )
                        cells, steps = cells + 1, steps + 1
                        position, stop = offsets[cell], offsets[cell + 1]
                    before = filled
                    filled, position = take_cell(form, words, position, stop, block, filled)
                    passing += filled - before
                if more and cells == max_cells and position >= stop:
                    # The nearest cells hold too few: all of the selection, from its beginning.
                    ranked_cells, size, threshold = False, np.int64(0), math.inf
                    position, filled, passing = np.int64(0), np.int64(0), np.int64(n)
                    continue
            else:
                filled, position = next_block(form, no_rows, words, n, position, block)
                more = bool(filled > 0)
            if (deadline != 0 and read_clock() > deadline) or (
                max_work > 0 and filled > 0 and work >= codes_limit
            ):
                complete = False
                break
            if max_work > 0 and work + filled > codes_limit:
                filled = np.int64(codes_limit - work)
                complete = False
            for i in range(min(filled, CODES_AHEAD)):
                prefetch_row(codes, block[i])
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
        if size > limit:
            cut_back(keys, key_rows, size, limit)
            size = limit
        best_rows, best = out_rows[number], out_distances[number]
        error = key_error(parameters, limits[0], limits[1], limits[2])
        found, full, proved = refine(
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
        everything = not ranked_cells or front == 0
        if not complete:
            out_status[number] = INCOMPLETE
        elif everything and (proved or work <= limit):
            out_status[number] = EXACT
        else:
            out_status[number] = APPROXIMATE
        out_work[number, CODES], out_work[number, FULL] = work, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, cells
