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
from typing import Any

import numpy as np

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import PARAMETERS, bits_key, prepare_bits
from fanns.kernels.bitset import count_range
from fanns.kernels.centroids import center_gap
from fanns.kernels.distance import IP, L2
from fanns.kernels.fastscan import (
    CENTROIDS,
    GROUP,
    GROUP_TABLES,
    block_keys,
    block_sums,
)
from fanns.kernels.int8 import LENGTH, code_key, key_error, prepare_query
from fanns.kernels.int8 import PARAMETERS as INT8_PARAMETERS
from fanns.kernels.intrinsics import popcount, prefetch_row, read_clock, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.pq import BASE, MULTIPLIER, STEP, prepare_fast, prepare_pq
from fanns.kernels.pq import PARAMETERS as PQ_PARAMETERS
from fanns.kernels.scan import (
    ALL,
    APPROXIMATE,
    BLOCK,
    CHECKS,
    CODES,
    CODES_AHEAD,
    EXACT,
    EXHAUSTED,
    FULL,
    HOPS,
    INCOMPLETE,
    ROWS,
    finish,
    refine,
)
from fanns.kernels.scan_bits import RECORDS_AHEAD
from fanns.kernels.shortlist import cut_back, make_heap, sink
from fanns.kernels.topk import push
from fanns.kernels.words import rows_of_word

DENSE = 20
"""Passing rows of 64 neighbours from which on all are estimated at once."""

ENOUGH = 96
"""Candidates that are compared together."""

TURN = 16 * BLOCK
"""Rows between two looks at the clock."""

ROOM = ENOUGH + BLOCK + 128
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


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
def next_word(form: int, words: Array, position: Integer, stop: Integer) -> tuple[Any, Integer]:
    """The bits of [position, stop) in the first word that holds any; gives them and where it ends.

    Bit r % 64 stands for row r. Under ALL every row passes.
    """
    first = position & 63
    word = ALL_BITS if form == ALL else words[position >> 6]
    word = (word >> np.uint64(first)) << np.uint64(first)
    end = position - first + 64
    if end > stop:
        word &= ~(ALL_BITS << np.uint64(stop & 63))
        end = stop
    return word, end


@inner
def drop_empty(
    form: int,
    rows: Array,
    words: Array,
    bounds: Array,
    queue: Array,
    numbers: Array,
    left: Integer,
) -> Integer:
    """Take clusters in which no row passes off the heap; gives how many are left.

    Where a filter avoids a query most of the near ones are, and each would cost its place in the
    heap, a key and a look at its words. There is no form ALL here: that avoids no query.
    """
    counts = np.empty(bounds.shape[0] - 1, np.int64)
    place = np.int64(0)
    for cluster in range(counts.shape[0]):
        start, stop = bounds[cluster], bounds[cluster + 1]
        if form == ROWS:
            first = place
            while place < rows.shape[0] and rows[place] < stop:
                place += 1
            counts[cluster] = place - first
        else:
            counts[cluster] = count_range(words, start, stop)
    kept = np.int64(0)
    for i in range(left):
        key, cluster = queue[i], numbers[i]
        queue[kept], numbers[kept] = key, cluster
        kept += counts[cluster] > 0
    make_heap(queue, numbers, kept)
    return kept


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


@inner
def compare(
    codes: Array,
    scale: Array,
    square: Array,
    code: Array,
    int8: Array,
    low: Array,
    rows: Array,
    count: Integer,
    scratch: Array,
    scratch_rows: Array,
    keys: Array,
    key_ties: Array,
    key_rows: Array,
    size: Integer,
) -> tuple[Integer, Integer]:
    """Compare candidates by int8 codes; gives (keys kept, codes compared).

    low float64[count] are bounds below which a key is unlikely. `keys` is a heap, worst first.
    While it is not full there is no bar: the candidates that look best fill it and set one.
    """
    limit, compared = keys.shape[0], np.int64(0)
    if size < limit and count > limit:
        for i in range(count):
            scratch[i], scratch_rows[i] = low[i], i
        cut_back(scratch, scratch_rows, count, limit)
        for i in range(limit):
            if i + CODES_AHEAD < limit:
                prefetch_row(codes, rows[scratch_rows[i + CODES_AHEAD]])
            place = scratch_rows[i]
            row = np.int64(rows[place])
            value = code_key(codes, scale, square, row, code, int8)
            size = push(keys, key_ties, key_rows, size, value, row, row)
            low[place] = math.inf
        compared += limit
    bar = keys[0] if size == limit else math.inf
    left = np.int64(0)
    for i in range(count):
        scratch[left], scratch_rows[left] = low[i], rows[i]
        left += low[i] < bar
    for i in range(left):
        if i + CODES_AHEAD < left:
            prefetch_row(codes, scratch_rows[i + CODES_AHEAD])
        if scratch[i] >= bar:
            continue
        row = np.int64(scratch_rows[i])
        value = code_key(codes, scale, square, row, code, int8)
        compared += 1
        if value < bar:
            size = push(keys, key_ties, key_rows, size, value, row, row)
            bar = keys[0] if size == limit else bar
    return size, compared


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
    bits: int,
    centre_records: Array,
    centre_factors: Array,
    products: Array,
    fields: Array,
    books: Array,
    rotation: Array,
    share: float,
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
    abandon: bool,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """The best rows of the nearest clusters that hold enough passing rows.

    As `scan.scan_codes`, with the arrays of `BitCodes`, of 4-bit `PQCodes` (`products` are their
    codes; no blocks where there are none; `share`: see `ClustersPath`) and of `Centroids`, whose
    centres' records are as `BitCodes.encode_points` gives them and rank them with estimates, and
    reach float64[c] >= |x' - c| of each cluster's rows. near float64[g]: rows that are enough by
    the pass-rate so far (`enough_rows`); `far`: rows that are enough for a query of which the
    nearest `probe` clusters pass at a rate below `sparse`; infinity for all. `slack`: standard
    errors by which estimates are lowered to bounds; below 0 they are not used. With `abandon` a
    query that the filter avoids gets no answer but EXHAUSTED. The status is EXACT when every row
    left out is proved to be farther than the answer, which estimates never prove.
    """
    clusters = length2.shape[0]
    limit = np.int64(shortlist)
    if max_work > 0 and limit > max_work // 3:
        limit = np.int64(max_work // 3 + (max_work < 3))
    estimated = slack >= 0.0
    fast = estimated and products.shape[0] > 0 and max_work == 0  # words cannot be cut
    block, low, found_rows = np.empty(BLOCK, np.int32), np.empty(ROOM), np.empty(ROOM, np.int32)
    base, spread = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float64)
    scratch, scratch_rows = np.empty(ROOM, np.float64), np.empty(ROOM + 1, np.int32)
    queue, numbers = np.empty(clusters, np.float64), np.empty(clusters, np.int32)
    keys, key_ties = np.empty(limit, np.float64), np.empty(limit, np.int64)
    key_rows = np.empty(limit, np.int32)
    best_ties = np.empty(out_rows.shape[1], np.int64)
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    tables = np.empty((books.shape[0], CENTROIDS), np.float32)
    groups = (books.shape[0] + GROUP - 1) // GROUP
    quantised = np.empty((1, groups * GROUP_TABLES), np.uint8)
    sums, estimates = np.empty((1, 64), np.int32), np.empty(64, np.float32)
    product = np.empty(PQ_PARAMETERS, np.float64)
    code, int8 = np.empty(codes.shape[1], np.int8), np.empty(INT8_PARAMETERS, np.float64)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, int8)
        if estimated:
            prepare_bits(query, metric, mean, signs, bits, planes, parameters)
        prepared = False
        error = key_error(int8, limits[0], limits[1], limits[2])
        centre_error = key_error(int8, centre_limits[0], centre_limits[1], centre_limits[2])
        left: Integer = np.int64(clusters)
        for cluster in range(clusters):
            which = np.int64(cluster)
            if estimated:
                queue[cluster] = bits_key(
                    centre_records, centre_factors, which, planes, parameters, 0.0
                )
            else:
                queue[cluster] = code_key(
                    centre_codes, centre_scale, centre_square, which, code, int8
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
            filled: Integer = np.int64(0)  # rows that wait for an estimate
            count: Integer = np.int64(0)  # candidates
            fresh: Integer = np.int64(0)  # rows met in this turn
            while filled < BLOCK and count < ENOUGH:
                if position >= stop:
                    if taken == probe:
                        avoided = bool(passing < sparse * seen)
                        if avoided and abandon:
                            more = False
                            break
                        if avoided:
                            left = drop_empty(form, rows, words, bounds, queue, numbers, left)
                    if taken > 0:
                        enough = far if avoided else enough_rows(near, passing, seen)
                        more = bool(passing < enough)
                    if left == 0 or not more:
                        more = False
                        break
                    taken += 1
                    chosen = np.int64(numbers[0])
                    key = code_key(centre_codes, centre_scale, centre_square, chosen, code, int8)
                    left -= 1
                    queue[0], numbers[0] = queue[left], numbers[left]
                    sink(queue, numbers, np.int64(0), left)
                    prefetch_row(centre_codes, numbers[0])
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
                    visited += position < stop
                begun, met = filled, 0 * filled
                if form == ROWS:
                    last = min(stop, position + BLOCK - filled)
                    for at in range(position, last):
                        block[filled] = rows[at]
                        filled += 1
                    position, met = last, filled - begun
                else:
                    word, end = next_word(form, words, position, stop)
                    met, first = popcount(word), (end - 1) & ~63
                    if fast and met >= DENSE:
                        if not prepared:
                            prepare_pq(query, metric, mean, rotation, books, tables, product)
                            prepare_fast(tables, product, quantised[0])
                            prepared = True
                        group = first >> 6
                        block_sums(products, group, group + 2, quantised, sums)
                        lowered = product[BASE] + product[MULTIPLIER] * share * gap
                        word &= block_keys(
                            sums,
                            np.int64(0),
                            fields,
                            group,
                            np.float32(lowered),
                            np.float32(product[STEP]),
                            np.float32(bar - key),
                            estimates,
                        )
                        while word != np.uint64(0):
                            at = trailing_zeros(word)
                            low[count], found_rows[count] = key + estimates[at], first + at
                            count += 1
                            word &= word - np.uint64(1)
                        work += met
                    else:
                        filled = rows_of_word(word, np.int64(first), block, np.int64(filled))
                    position = end
                for i in range(begun, filled):
                    base[i], spread[i] = key, gap
                passing += met
                fresh += met
                if filled + 64 > BLOCK or fresh > TURN:
                    break
            if deadline != 0 and read_clock() > deadline:
                complete = False
                break
            if max_work > 0 and work + 2 * filled > max_work - limit:
                filled = np.int64((max_work - limit - work) // 2)
                filled = np.int64(0) if filled < 0 else filled
                complete = False
            if estimated:
                for i in range(min(filled, RECORDS_AHEAD)):
                    prefetch_row(records, block[i])
                for i in range(filled):
                    if i + RECORDS_AHEAD < filled:
                        prefetch_row(records, block[i + RECORDS_AHEAD])
                    row = np.int64(block[i])
                    value = base[i] + bits_key(records, factors, row, planes, parameters, spread[i])
                    low[count], found_rows[count] = value, row
                    count += value < bar
                work += filled
            else:
                for i in range(filled):
                    low[i], found_rows[i] = -math.inf, block[i]
                count = filled
            size, compared = compare(
                codes,
                scale,
                square,
                code,
                int8,
                low,
                found_rows,
                count,
                scratch,
                scratch_rows,
                keys,
                key_ties,
                key_rows,
                size,
            )
            work += compared
            bar = keys[0] if size == limit else bar
            if not complete:
                break
        if avoided and abandon:
            out_found[number], out_status[number] = 0, EXHAUSTED
            out_work[number, CODES], out_work[number, FULL] = work, 0
            out_work[number, CHECKS], out_work[number, HOPS] = 0, visited
            continue
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
