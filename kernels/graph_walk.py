"""Walking the proximity graph for the nearest rows of a selection, on int8 codes.

Two walks, both from the clusters nearest to the query that hold rows to begin with:

- `walk_passing` (two-hop) meets passing rows only. A link to a failing row is replaced by that
  row's own links, as in ACORN-1 (Patel et al., SIGMOD 2024), the nearest first and until enough
  passing rows were met. With every row passing this is the plain beam search.
- `walk_all` (one-hop) walks over all rows and collects the passing ones; it ends when the nearest
  row to follow is behind the worst of a full collection (hnswlib's rule).

A walk whose links lead nowhere new before its beam is full begins again at the next clusters, so
it ends early only when every passing row was met. A row is met once: its bit in `left` is cleared.

Scoring failing rows to look through the nearest ones first (NaviX's directed two-hop) was tried:
at 10 % it costs twice the time at equal recall, because it compares ten rows for one that passes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fanns.kernels.distance import L2
from fanns.kernels.graph_keys import (
    FOLLOWED,
    heap_pop,
    heap_push,
    inlined,
    insert,
    pack,
    row_of,
)
from fanns.kernels.int8 import LENGTH, MULTIPLIER, OFFSET, PARAMETERS, prepare_query
from fanns.kernels.intrinsics import clock_ns, dot_u8i8, prefetch_row, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.rerank import rerank
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, EXHAUSTED, FULL, HOPS, INCOMPLETE

# Modes.
ONE_HOP, TWO_HOP = 0, 1

ENOUGH = 64
"""Passing rows met by following one row, after which no more failing rows are looked through.

Measured on 100,000 abstracts at 50 to 2 %: 24 takes a third longer at recall 0.95 and twice as long
at 0.99; no limit takes twice as long at 20 % and above."""

CLUSTERS = 4
"""Clusters whose rows a walk begins with."""

SEEDS = 8
"""Rows taken from each of them when there is a filter; without one, its entry row alone."""

AHEAD = 6
"""Code rows asked for before they are compared; all at once, as they are met, is 10 % slower."""

MOST_SEEDS = 512
"""The most rows of a cluster to go on with when the links lead nowhere new."""

MOST_FRESH = CLUSTERS * (MOST_SEEDS + 1)
"""Places for rows met and not yet compared."""

# Places of a walk's state, int64[STATE].
CODES_LIMIT = 0  # codes that the user's budget allows
WALK_LIMIT = 1  # codes and lists of links after which another path is cheaper
STATUS = 2
COMPARED = 3  # codes
LISTS = 4  # lists of links that were read
CHECKED = 5  # links that were looked at
STATE = 6

NO_LIMIT = np.int64(2**62)
ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def _is_set(words: Array, row: Integer) -> bool:
    return bool((words[row >> 6] >> np.uint64(row & 63)) & np.uint64(1))


@inlined
def _take(left: Array, row: Integer) -> Integer:
    """Clear a row's bit; gives what it was."""
    word, shift = left[row >> 6], np.uint64(row & 63)
    left[row >> 6] = word & ~(np.uint64(1) << shift)
    return np.int64((word >> shift) & np.uint64(1))


@inlined
def key_of(
    codes: Array, scale: Array, square: Array, row: Integer, code: Array, factors: Array
) -> Integer:
    """The key of a row for a prepared query.

    factors float64[4]: of the product, of the row's square (0 unless l2), the codes' offset, and
    a mask of row numbers (-1 under l2, else 0) that keeps squares out of the way when they do not
    count. A branch here would cost 30 ns: numba then counts references to the arrays.
    """
    product = dot_u8i8(codes, row, code) - np.int64(factors[2])
    needed = row & np.int64(factors[3])
    return pack(factors[0] * (scale[row] * product) + factors[1] * square[needed], row)


@inner
def _factors(parameters: Array, metric: int, longest: float, out: Array) -> None:
    """Factors of `key_of`, in units that keep keys within float32's range and precision."""
    unit = parameters[LENGTH] * longest
    if metric == L2:
        unit += longest * longest
    unit = unit if unit > 0.0 else 1.0
    out[0] = -parameters[MULTIPLIER] / unit
    out[1] = 1.0 / unit if metric == L2 else 0.0
    out[2] = parameters[OFFSET]
    out[3] = -1.0 if metric == L2 else 0.0


@inlined
def _bits(left: Array, place: Integer, low: Integer, high: Integer) -> Any:
    """Word `place` of a bitmap with the bits outside rows low..high-1 cleared."""
    skip = np.uint64(max(low - 64 * place, np.int64(0)))
    drop = np.uint64(64 - min(high - 64 * place, np.int64(64)))
    return (left[place] >> skip << skip) & (ONES >> drop)


@inner
def begin(
    bounds: Array,
    entries: Array,
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    code: Array,
    factors: Array,
    left: Array,
    most: Integer,
    near: Array,
    rows: Array,
) -> Integer:
    """Take rows to begin with, up to `most` of each of the nearest clusters that have any left.

    `near` int64[clusters] is scratch. The entry row, the middle of its cluster, comes first. Gives
    the number of rows.
    """
    size, count = np.int64(0), np.int64(0)
    cluster: Integer
    for cluster in range(entries.shape[0]):
        low, high = bounds[cluster], bounds[cluster + 1]
        some = np.uint64(0)
        for place in range(low >> 6, (high + 63) >> 6):
            some |= _bits(left, place, low, high)
        if some != np.uint64(0):
            number = np.int64(cluster)
            key = key_of(entry_codes, entry_scale, entry_square, number, code, factors)
            if insert(near, size, key) < near.shape[0]:
                size += size < near.shape[0]
    for rank in range(size):
        cluster = row_of(near[rank])
        low, high = np.int64(bounds[cluster]), np.int64(bounds[cluster + 1])
        stop = count + most
        entry = np.int64(entries[cluster])
        rows[count] = entry
        count += _take(left, entry)
        for place in range(low >> 6, (high + 63) >> 6):
            word = _bits(left, place, low, high)
            while word != np.uint64(0) and count < stop:
                rows[count] = 64 * place + trailing_zeros(word)
                left[place] &= ~(word & (~word + np.uint64(1)))
                word &= word - np.uint64(1)
                count += 1
    return count


@inner
def _within(state: Array, count: Integer) -> Integer:
    """Count codes to be compared, up to the limits, and note when one is reached; how many."""
    allowed = state[CODES_LIMIT] - state[COMPARED]
    worth = state[WALK_LIMIT] - state[COMPARED] - state[LISTS]
    if count > allowed:
        state[STATUS] = INCOMPLETE
        count = allowed
    elif count > worth:
        state[STATUS] = EXHAUSTED
        count = max(worth, np.int64(0))
    state[COMPARED] += count
    return count


@inner
def _out_of_time(deadline: Integer, state: Array) -> bool:
    if deadline == 0 or clock_ns() <= deadline:
        return False
    state[STATUS] = INCOMPLETE
    return True


@inner
def walk_passing(
    links: Array,
    bounds: Array,
    entries: Array,
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    code: Array,
    factors: Array,
    everything: bool,
    words: Array,
    count: Integer,
    deadline: Integer,
    left: Array,
    through: Array,
    pool: Array,
    rows: Array,
    failing: Array,
    state: Array,
) -> Integer:
    """Beam search over passing rows; the first rows of `pool` int64[beam], in order: how many.

    `left` holds the bits of the passing rows at first, `through` zeros (failing rows looked
    through). rows int32[MOST_FRESH] and failing int32[places of a row] are scratch.
    """
    beam, size, checked = pool.shape[0], np.int64(0), np.int64(0)
    current: Integer = np.int64(0)
    near = np.empty(CLUSTERS, np.int64)
    most: Integer = np.int64(1) if everything else np.int64(SEEDS)
    fresh = begin(
        bounds, entries, entry_codes, entry_scale, entry_square, code, factors, left, most, near,
        rows,
    )  # fmt: skip
    while True:
        fresh = _within(state, fresh)
        lowest: Integer = size
        for place in range(min(fresh, np.int64(AHEAD))):
            prefetch_row(codes, rows[place])
        for place in range(fresh):
            if place + AHEAD < fresh:
                prefetch_row(codes, rows[place + AHEAD])
            row = np.int64(rows[place])
            where = insert(pool, size, key_of(codes, scale, square, row, code, factors))
            if where < beam:
                size += size < beam
                lowest = where if where < lowest else lowest
        current = lowest if lowest < current else current
        while current < size and pool[current] & FOLLOWED:
            current += 1
        if state[STATUS] != APPROXIMATE or _out_of_time(deadline, state):
            break
        if current == size:
            if size == beam or state[COMPARED] >= count:
                break
            # The links lead nowhere new: begin again with what the nearest clusters have left.
            most = min(2 * most, np.int64(MOST_SEEDS))
            fresh = begin(
                bounds, entries, entry_codes, entry_scale, entry_square, code, factors, left, most,
                near, rows,
            )  # fmt: skip
            if fresh == 0:
                break
            continue
        here = row_of(np.int64(pool[current]))
        pool[current] |= FOLLOWED
        state[LISTS] += 1
        fresh, failed = np.int64(0), np.int64(0)
        for place in range(links.shape[1]):
            other = np.int64(links[here, place])
            if other < 0:
                break
            checked += 1
            rows[fresh] = other
            if _take(left, other):
                fresh += 1
            elif not everything and not _is_set(words, other) and not _is_set(through, other):
                failing[failed] = other
                failed += 1
                prefetch_row(links, other)
        if current + 1 < size:
            prefetch_row(links, row_of(np.int64(pool[current + 1])))
        number = np.int64(0)
        while number < failed and fresh < ENOUGH:
            middle = np.int64(failing[number])
            number += 1
            state[LISTS] += 1
            through[middle >> 6] |= np.uint64(1) << np.uint64(middle & 63)
            for place in range(links.shape[1]):
                other = np.int64(links[middle, place])
                if other < 0:
                    break
                checked += 1
                if _is_set(left, other):  # seldom: no store for the others
                    _take(left, other)
                    rows[fresh] = other
                    fresh += 1
    state[CHECKED] = checked
    return size


@inner
def walk_all(
    links: Array,
    bounds: Array,
    entries: Array,
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    code: Array,
    factors: Array,
    words: Array,
    count: Integer,
    deadline: Integer,
    left: Array,
    queue: Array,
    pool: Array,
    rows: Array,
    state: Array,
) -> Integer:
    """Best-first search over all rows; the first passing rows in `pool`, in order: how many.

    `left` holds all ones at first; `queue` int64[n] is scratch for the rows to follow.
    """
    beam, size, queued, passed = pool.shape[0], np.int64(0), np.int64(0), np.int64(0)
    near = np.empty(CLUSTERS, np.int64)
    fresh = begin(
        bounds, entries, entry_codes, entry_scale, entry_square, code, factors, left, np.int64(1),
        near, rows,
    )  # fmt: skip
    while True:
        fresh = _within(state, fresh)
        for place in range(min(fresh, np.int64(AHEAD))):
            prefetch_row(codes, rows[place])
        for place in range(fresh):
            if place + AHEAD < fresh:
                prefetch_row(codes, rows[place + AHEAD])
            row = np.int64(rows[place])
            key = key_of(codes, scale, square, row, code, factors)
            passes = _is_set(words, row)
            passed += passes
            if size < beam or key < pool[size - 1]:
                heap_push(queue, queued, key)
                queued += 1
                if passes:
                    insert(pool, size, key)
                    size += size < beam
        if state[STATUS] != APPROXIMATE or _out_of_time(deadline, state) or passed >= count:
            break
        if queued == 0:
            # The links lead nowhere new: begin again with what the nearest clusters have left.
            fresh = begin(
                bounds, entries, entry_codes, entry_scale, entry_square, code, factors, left,
                np.int64(MOST_SEEDS), near, rows,
            )  # fmt: skip
            if fresh == 0:
                break
            continue
        key = heap_pop(queue, queued)
        queued -= 1
        if size == beam and key > pool[size - 1]:
            break
        here = row_of(key)
        state[LISTS] += 1
        fresh = np.int64(0)
        for place in range(links.shape[1]):
            other = np.int64(links[here, place])
            if other < 0:
                break
            rows[fresh] = other
            fresh += _take(left, other)
        if queued > 0:
            prefetch_row(links, row_of(queue[0]))
    state[CHECKED] = state[COMPARED]
    return size


@kernel
def check_links(links: Array) -> Integer:
    """The first row with a link that is neither a row number nor -1, or -1 when there is none."""
    n = links.shape[0]
    for row in range(n):
        good = True
        for place in range(links.shape[1]):
            good &= -1 <= links[row, place] < n
        if not good:
            return row
    return -1


@kernel
def search_graph(
    queries: Array,
    everything: bool,
    words: Array,
    count: int,
    links: Array,
    bounds: Array,
    entries: Array,
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    mode: int,
    beam: int,
    shortlist: int,
    walk_limit: int,
    max_work: int,
    deadline: int,
    bits: Array,
    keys: Array,
    rows: Array,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """Walk the graph for each query and order the best of its beam in full precision.

    queries float32[m, d]; the selection: `everything`, or words uint64[(n + 63) // 64] with
    `count` bits set. Graph: links int32[n, places]; clusters of rows bounds[i]..bounds[i + 1] with
    their entry row's code. `Int8Codes`: codes, scale, square, mean, limits. At least k places in
    `beam`; `shortlist` rows are compared in full precision. `walk_limit` codes and lists of links
    end a walk as EXHAUSTED, `max_work` distances of both kinds or the `deadline` as INCOMPLETE (0:
    none). A walk that met every passing row and compared all in full precision is EXACT. Work
    counts codes, full-precision distances, links looked at and lists of links.

    Scratch: bits uint64[2 * words], keys int64[beam (+ n for one-hop)], rows int32[MOST_FRESH +
    places + beam].
    """
    n, places, k = codes.shape[0], links.shape[1], np.int64(out_rows.shape[1])
    size = (n + 63) >> 6
    left, through = bits[:size], bits[size : 2 * size]
    pool, queue = keys[:beam], keys[beam:]
    fresh, failing = rows[:MOST_FRESH], rows[MOST_FRESH : MOST_FRESH + places]
    best = rows[MOST_FRESH + places :]
    code = np.empty(codes.shape[1], np.int8)
    parameters, factors = np.empty(PARAMETERS, np.float64), np.empty(4, np.float64)
    state = np.empty(STATE, np.int64)
    full = np.int64(shortlist)
    if max_work > 0 and full > (max_work + 1) // 2:
        full = np.int64((max_work + 1) // 2)
    passing_only = everything or mode == TWO_HOP
    for number in range(queries.shape[0]):
        prepare_query(queries[number], metric, mean, code, parameters)
        _factors(parameters, metric, limits[0], factors)
        for place in range(size):
            left[place] = words[place] if passing_only and not everything else ONES
            through[place] = np.uint64(0)
        for place in range(STATE):
            state[place] = 0
        state[CODES_LIMIT] = max_work - full if max_work > 0 else NO_LIMIT
        state[WALK_LIMIT] = walk_limit if walk_limit > 0 else NO_LIMIT
        state[STATUS] = APPROXIMATE
        if passing_only:
            met = walk_passing(
                links,
                bounds,
                entries,
                entry_codes,
                entry_scale,
                entry_square,
                codes,
                scale,
                square,
                code,
                factors,
                everything,
                words,
                np.int64(count),
                np.int64(deadline),
                left,
                through,
                pool,
                fresh,
                failing,
                state,
            )
        else:
            met = walk_all(
                links,
                bounds,
                entries,
                entry_codes,
                entry_scale,
                entry_square,
                codes,
                scale,
                square,
                code,
                factors,
                words,
                np.int64(count),
                np.int64(deadline),
                left,
                queue,
                pool,
                fresh,
                state,
            )
        chosen = full if full < met else met
        for place in range(chosen):
            best[place] = row_of(pool[place])
        found = rerank(
            queries[number],
            vectors,
            norms,
            metric,
            best,
            chosen,
            ties,
            k,
            out_rows[number],
            out_distances[number],
        )
        for place in range(found, k):
            out_rows[number, place] = -1
            out_distances[number, place] = math.inf
        status = state[STATUS]
        if chosen == count:
            status = EXACT
        elif status == APPROXIMATE and found < k and found < count:
            status = EXHAUSTED
        out_found[number], out_status[number] = found, status
        out_work[number, CODES], out_work[number, FULL] = state[COMPARED], chosen
        out_work[number, CHECKS], out_work[number, HOPS] = state[CHECKED], state[LISTS]
