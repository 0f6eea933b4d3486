"""Scan of the nearest blocks of 64 rows of an interval, or of a value, of a column.

The rows of a part of a column's order (a value, or a run of neighbouring ranks) are cut into blocks
of 64 near rows (`balance`), each with its centre. Blocks are taken from the nearest centre on until
enough passing rows were seen (inverted lists of Sivic and Zisserman 2003, one set for each part),
through the sieves of `scan_clusters`: estimates by 4-bit product codes of a whole block at once
(fast scan), int8 keys of rows that could be among the best, full precision for the best of these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fanns.kernels.centroids import center_gap
from fanns.kernels.fastscan import (
    CENTROIDS,
    GROUP,
    GROUP_TABLES,
    ROWS,
    block_keys,
    block_sums,
)
from fanns.kernels.graph_steps import is_set
from fanns.kernels.int8 import PARAMETERS as INT8_PARAMETERS
from fanns.kernels.int8 import code_key, key_error, prepare_query
from fanns.kernels.intrinsics import popcount, prefetch_row, read_clock, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.pq import BASE, MULTIPLIER, STEP, prepare_fast, prepare_pq
from fanns.kernels.pq import PARAMETERS as PQ_PARAMETERS
from fanns.kernels.scan import (
    APPROXIMATE,
    CHECKS,
    CODES,
    EXACT,
    FULL,
    HOPS,
    INCOMPLETE,
    finish,
    refine,
)
from fanns.kernels.scan_clusters import ENOUGH, compare, enough_rows
from fanns.kernels.shortlist import make_heap, sink

# A run of blocks, int64[FIELDS]: its first block, the one behind its last, and the ranks that
# count: from LOW on, below HIGH.
FIRST, STOP, LOW, HIGH = 0, 1, 2, 3
FIELDS = 4

ROOM = ENOUGH + ROWS

TURN = 64
"""Blocks between two looks at the clock."""


@inner
def within(ranks: Array, block: Integer, low: Integer, high: Integer) -> Any:
    """The bits of a block's rows with a rank in low..high-1; ranks int32[blocks, 64]."""
    word = np.uint64(0)
    for at in range(ROWS):
        rank = np.int64(ranks[block, at])
        word |= np.uint64((rank >= low) & (rank < high)) << np.uint64(at)
    return word


@inner
def selected(word: Any, ranks: Array, block: Integer, rows: Array, words: Array) -> Any:
    """Those bits of a block's word whose rows are selected; rows int32 by rank."""
    kept = np.uint64(0)
    while word != np.uint64(0):
        at = trailing_zeros(word)
        row = np.int64(rows[ranks[block, at]])
        kept |= np.uint64(is_set(words, row)) << np.uint64(at)
        word &= word - np.uint64(1)
    return kept


@inner
def run_of(runs: Array, block: Integer) -> Integer:
    """The run that a block belongs to."""
    run = np.int64(0)
    while not runs[run, FIRST] <= block < runs[run, STOP]:
        run += 1
    return run


@kernel
def scan_blocks(
    queries: Array,
    everything: bool,
    words: Array,
    runs: Array,
    rows: Array,
    ranks: Array,
    products: Array,
    fields: Array,
    centre_codes: Array,
    centre_scale: Array,
    centre_square: Array,
    length2: Array,
    books: Array,
    rotation: Array,
    share: float,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    near: Array,
    far: float,
    sparse: float,
    probe: int,
    shortlist: int,
    slack: float,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """The best rows of the nearest blocks that hold enough passing rows, for float32[m, d].

    Runs of blocks int64[r, FIELDS], which share no block; ranks int32[blocks, 64]: places of each
    block's rows in the column's order, -1 for none; rows int32 by rank. All rows of the runs' ranks
    pass with `everything`, else those with a bit in `words`; no row has two of the ranks. products,
    fields, books, rotation: as in `PQCodes`, around the blocks' centres, which are coded as in
    `Centroids`. share, slack, near, far, sparse, probe: as `scan_clusters` has them, rates being
    those among the rows of the runs' ranks.
    """
    limit = np.int64(shortlist)
    if max_work > 0 and limit > max_work // 3:
        limit = np.int64(max_work // 3 + (max_work < 3))
    total = np.int64(0)
    for run in range(runs.shape[0]):
        total += runs[run, STOP] - runs[run, FIRST]
    tables = np.empty((books.shape[0], CENTROIDS), np.float32)
    groups = (books.shape[0] + GROUP - 1) // GROUP
    quantised = np.empty((1, groups * GROUP_TABLES), np.uint8)
    sums, estimates = np.empty((1, ROWS), np.int32), np.empty(ROWS, np.float32)
    product, int8 = np.empty(PQ_PARAMETERS, np.float64), np.empty(INT8_PARAMETERS, np.float64)
    code = np.empty(codes.shape[1], np.int8)
    queue, numbers = np.empty(total, np.float64), np.empty(total, np.int32)
    low, found_rows = np.empty(ROOM, np.float64), np.empty(ROOM, np.int32)
    scratch, scratch_rows = np.empty(ROOM, np.float64), np.empty(ROOM + 1, np.int32)
    keys, key_ties = np.empty(limit, np.float64), np.empty(limit, np.int64)
    key_rows, best_ties = np.empty(limit, np.int32), np.empty(out_rows.shape[1], np.int64)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, int8)
        error = key_error(int8, limits[0], limits[1], limits[2])
        prepare_pq(query, metric, mean, rotation, books, tables, product)
        prepare_fast(tables, product, quantised[0])
        step = np.float32(product[STEP])
        left: Integer = np.int64(0)
        for run in range(runs.shape[0]):
            for block in range(runs[run, FIRST], runs[run, STOP]):
                which = np.int64(block)
                queue[left] = code_key(centre_codes, centre_scale, centre_square, which, code, int8)
                numbers[left] = block
                left += 1
        make_heap(queue, numbers, left)
        size: Integer = np.int64(0)
        waiting: Integer = np.int64(0)
        passing: Integer = np.int64(0)
        seen: Integer = np.int64(0)
        work: Integer = np.int64(0)
        taken, whole, more, bar = np.int64(0), True, True, math.inf
        enough, avoided = math.inf, False
        while more:
            while more and waiting < ENOUGH:
                if taken == probe and passing < sparse * seen:
                    avoided = True
                if taken > 0:
                    enough = far if avoided else enough_rows(near, passing, seen)
                more = bool(left > 0 and passing < enough)
                if more and max_work > 0 and work + ROWS > max_work - limit:
                    more, whole = False, False
                if more and deadline != 0 and taken % TURN == TURN - 1 and read_clock() > deadline:
                    more, whole = False, False
                if not more:
                    break
                key, nearest = queue[0], np.int64(numbers[0])
                left -= 1
                queue[0], numbers[0] = queue[left], numbers[left]
                sink(queue, numbers, np.int64(0), left)
                ahead = np.int64(numbers[0])
                prefetch_row(fields, ahead)
                prefetch_row(ranks, ahead)
                own = runs[run_of(runs, nearest)]
                word = within(ranks, nearest, own[LOW], own[HIGH])
                seen += popcount(word)
                if not everything:
                    word = selected(word, ranks, nearest, rows, words)
                met = popcount(word)
                passing, taken = passing + met, taken + 1
                if met == 0:
                    continue
                block_sums(products, nearest, ahead, quantised, sums)
                gap = slack * center_gap(metric, key, length2[nearest], int8)
                lowered = product[BASE] + product[MULTIPLIER] * share * gap
                word &= block_keys(
                    sums, np.int64(0), fields, nearest, np.float32(lowered), step,
                    np.float32(bar - key), estimates,
                )  # fmt: skip
                work += met
                while word != np.uint64(0):
                    at = trailing_zeros(word)
                    low[waiting] = key + estimates[at]
                    found_rows[waiting] = rows[ranks[nearest, at]]
                    waiting += 1
                    word &= word - np.uint64(1)
            size, compared = compare(
                codes, scale, square, code, int8, low, found_rows, waiting, scratch,
                scratch_rows, keys, key_ties, key_rows, size,
            )  # fmt: skip
            work, waiting = work + compared, np.int64(0)
            bar = keys[0] if size == limit else bar
        found, full, _ = refine(
            query, vectors, norms, metric, ties, keys, key_rows, size, error,
            out_distances[number], best_ties, out_rows[number],
        )  # fmt: skip
        finish(out_distances[number], best_ties, out_rows[number], found)
        out_found[number] = found
        out_status[number] = APPROXIMATE
        if not whole:
            out_status[number] = INCOMPLETE
        elif left == 0 and passing <= limit:
            out_status[number] = EXACT
        out_work[number, CODES], out_work[number, FULL] = work, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, taken
