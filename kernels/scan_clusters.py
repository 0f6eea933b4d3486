"""Scan of the passing rows of the clusters nearest to a query.

Clusters are taken in the order of their centres' distances until enough passing rows were seen
(inverted lists of Sivic and Zisserman 2003; a filter only thins the lists, so what decides about
recall is the number of *passing* rows). How many are enough follows from how densely the rows of
the clusters taken so far pass: a filter that follows the query needs more than one that ignores
it, and one that avoids it more again. Rows of several clusters fill one block, which
keeps memory busy where few rows of each pass. A block goes through three sieves: the lower bounds
of estimates by `bits`, keys by `int8` codes, and full precision for the best of these keys. The bar
of the first sieve is the worst int8 key kept, so that how many rows pass it adapts to the query.

Without estimates every row is compared by int8 codes. Then a cluster whose nearest possible row is
beyond the bar is left out for good reason, and the answer can be proved exact: |q - x| >= |q - c|
- max |x - c| (triangle inequality; under the inner product that of Cauchy and Schwarz).
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bits import PARAMETERS, PLANES, bits_key, prepare_bits
from fanns.kernels.centroids import center_gap, center_key
from fanns.kernels.distance import IP, L2
from fanns.kernels.int8 import LENGTH, code_key, key_error, prepare_query
from fanns.kernels.int8 import PARAMETERS as INT8_PARAMETERS
from fanns.kernels.intrinsics import prefetch_row, read_clock, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
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
    ROWS,
    WORDS,
    finish,
    refine,
)
from fanns.kernels.scan_bits import RECORDS_AHEAD
from fanns.kernels.shortlist import cut_back, make_heap, sink
from fanns.kernels.topk import push


@inner
def first_from(rows: Array, row: Integer) -> Integer:
    """The first place of a sorted list whose row is not below `row`."""
    low, high = np.int64(0), np.int64(rows.shape[0])
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def take_rows(
    form: int,
    rows: Array,
    words: Array,
    position: Integer,
    stop: Integer,
    block: Array,
    filled: Integer,
) -> tuple[Integer, Integer]:
    """Append selected rows of [position, stop) to a block; gives (filled, the position after).

    Positions are places of the list under ROWS, else rows.
    """
    if form != WORDS:
        last = min(stop, position + block.shape[0] - filled)
        for place in range(position, last):
            block[filled] = rows[place] if form == ROWS else place
            filled += 1
        return filled, last
    while position < stop and filled + 64 <= block.shape[0]:
        first = position & ~63
        word = (words[position >> 6] >> np.uint64(position & 63)) << np.uint64(position & 63)
        after = first + 64
        if after > stop:
            word &= ~(np.uint64(0xFFFFFFFFFFFFFFFF) << np.uint64(stop & 63))
            after = stop
        while word != np.uint64(0):
            block[filled] = first + trailing_zeros(word)
            filled += 1
            word &= word - np.uint64(1)
        position = after
    return filled, position


@inner
def nearest_possible(
    metric: int, key: float, error: float, length2: float, reach: float, parameters: Array
) -> float:
    """The least key that a row of a cluster can have; `key` of its centre is right to `error`."""
    if metric == IP:
        return key - error - parameters[LENGTH] * reach  # type: ignore[no-any-return]
    gap = center_gap(metric, key - error, length2, parameters) * (1.0 - 1e-9) - reach
    squared = gap * gap if gap > 0.0 else 0.0
    return squared if metric == L2 else 0.5 * squared - 1.0


@inner
def enough_rows(near: Array, passing: Integer, seen: Integer) -> float:
    """The passing rows that are enough when so many of the rows seen pass; infinite before any.

    near[i] belongs to a pass-rate of 2^-i; between, their logarithms are interpolated.
    """
    if passing == 0:
        return math.inf
    rate = -math.log2(passing / seen)
    last = near.shape[0] - 1
    if rate >= last:
        return near[last]  # type: ignore[no-any-return]
    below = int(rate)
    a, b = near[below], near[below + 1]
    if a == b:
        return a  # type: ignore[no-any-return]
    return a * math.exp((rate - below) * math.log(b / a))  # type: ignore[no-any-return]


@kernel
def scan_clusters(
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
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    bounds: Array,
    centre_codes: Array,
    centre_scale: Array,
    centre_square: Array,
    length2: Array,
    centre_limits: Array,
    reach: Array,
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
    """The best rows of the nearest clusters that hold enough passing rows.

    As `scan.scan_codes`, with the arrays of `BitCodes` and `Centroids`. near float64[g]: rows that
    are enough by the pass-rate so far (`enough_rows`); `far`: rows that are enough for a query of
    which the nearest `probe` clusters pass at a rate below `sparse`; infinity for all. `slack`:
    standard errors by which estimates are lowered to bounds; below 0 they are not used. The
    status is EXACT when every row left out is proved to be farther than the answer, which
    estimates never prove.
    """
    clusters = length2.shape[0]
    limit = np.int64(shortlist)
    if max_work > 0 and limit > max_work // 3:
        limit = np.int64(max_work // 3 + (max_work < 3))
    place = np.int64(2 * (signs.shape[1] // 64))
    estimated = slack >= 0.0
    block = np.empty(BLOCK, np.int32)
    base, spread = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    low, scratch = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    candidates, scratch_rows = np.empty(BLOCK + 1, np.int32), np.empty(BLOCK, np.int32)
    queue, numbers = np.empty(clusters, np.float64), np.empty(clusters, np.int32)
    keys, key_ties = np.empty(limit, np.float64), np.empty(limit, np.int64)
    key_rows = np.empty(limit, np.int32)
    best_ties = np.empty(out_rows.shape[1], np.int64)
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    code, int8 = np.empty(codes.shape[1], np.int8), np.empty(INT8_PARAMETERS, np.float64)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, int8)
        if estimated:
            prepare_bits(query, metric, mean, signs, planes, parameters)
        error = key_error(int8, limits[0], limits[1], limits[2])
        centre_error = key_error(int8, centre_limits[0], centre_limits[1], centre_limits[2])
        left = np.int64(clusters)
        for cluster in range(clusters):
            queue[cluster] = center_key(
                centre_codes, centre_scale, centre_square, np.int64(cluster), code, int8
            )
            numbers[cluster] = cluster
        make_heap(queue, numbers, left)
        size: Integer = np.int64(0)
        position: Integer = np.int64(0)
        stop: Integer = np.int64(0)
        passing: Integer = np.int64(0)
        key, gap, bar = 0.0, 0.0, math.inf
        work, visited, complete, more = np.int64(0), np.int64(0), True, bool(left > 0)
        taken, seen, avoided = np.int64(0), np.int64(0), False
        while more:
            filled: Integer = np.int64(0)
            while filled < BLOCK:
                if position >= stop:
                    if taken == probe:
                        avoided = bool(passing < sparse * seen)
                    if taken > 0:
                        enough = far if avoided else enough_rows(near, passing, seen)
                        more = bool(passing < enough)
                    if left == 0 or not more:
                        more = False
                        break
                    taken += 1
                    chosen, key = np.int64(numbers[0]), queue[0]
                    left -= 1
                    queue[0], numbers[0] = queue[left], numbers[left]
                    sink(queue, numbers, np.int64(0), left)
                    least = nearest_possible(
                        metric, key, centre_error, length2[chosen], reach[chosen], int8
                    )
                    if least > bar + error:
                        continue
                    position, stop = bounds[chosen], bounds[chosen + 1]
                    seen += stop - position
                    if form == ROWS:
                        position, stop = first_from(rows, position), first_from(rows, stop)
                    gap = slack * center_gap(metric, key, length2[chosen], int8)
                begun = filled
                filled, position = take_rows(form, rows, words, position, stop, block, filled)
                for i in range(begun, filled):
                    base[i], spread[i] = key, gap
                passing += filled - begun
                visited += filled > begun
                if position < stop:
                    break
            if filled == 0:
                break
            if deadline != 0 and read_clock() > deadline:
                complete = False
                break
            if max_work > 0 and work + 2 * filled > max_work - limit:
                filled = np.int64((max_work - limit - work) // 2)
                filled = np.int64(0) if filled < 0 else filled
                complete = False
            count = filled
            if estimated:
                for i in range(min(filled, RECORDS_AHEAD)):
                    prefetch_row(records, block[i])
                for i in range(filled):
                    if i + RECORDS_AHEAD < filled:
                        prefetch_row(records, block[i + RECORDS_AHEAD])
                    row = np.int64(block[i])
                    low[i] = base[i] + bits_key(
                        records, factors, place, row, planes, parameters, spread[i]
                    )
                if size < limit and filled > limit:
                    # The bar is not known yet: the best of this block by their bounds set it.
                    for i in range(filled):
                        scratch[i], scratch_rows[i] = low[i], block[i]
                    first = cut_back(scratch, scratch_rows, filled, limit)
                    for i in range(limit):
                        if i + CODES_AHEAD < limit:
                            prefetch_row(codes, scratch_rows[i + CODES_AHEAD])
                        row = np.int64(scratch_rows[i])
                        value = code_key(codes, scale, square, row, code, int8)
                        size = push(keys, key_ties, key_rows, size, value, row, row)
                    last = np.int64(-1)
                    for i in range(limit):
                        if scratch[i] == first and scratch_rows[i] > last:
                            last = np.int64(scratch_rows[i])
                    for i in range(filled):
                        if low[i] < first or (low[i] == first and block[i] <= last):
                            low[i] = math.inf
                    work += limit
                    bar = keys[0] if size == limit else bar
                count = np.int64(0)
                for i in range(filled):
                    candidates[count] = i
                    count += low[i] < bar
                work += filled
            else:
                for i in range(filled):
                    candidates[i], low[i] = i, -math.inf
            for i in range(count):
                if i + CODES_AHEAD < count:
                    prefetch_row(codes, block[candidates[i + CODES_AHEAD]])
                if low[candidates[i]] >= bar:
                    continue
                row = np.int64(block[candidates[i]])
                value = code_key(codes, scale, square, row, code, int8)
                work += 1
                if value < bar:
                    size = push(keys, key_ties, key_rows, size, value, row, row)
                    bar = keys[0] if size == limit else bar
            if not complete:
                break
        best_rows, best = out_rows[number], out_distances[number]
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
        out_status[number] = APPROXIMATE
        if not complete:
            out_status[number] = INCOMPLETE
        elif left == 0 and (passing <= limit or (proved and not estimated)):
            out_status[number] = EXACT
        out_work[number, CODES], out_work[number, FULL] = work, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, visited
