"""Product keys of a quotient-remainder table: pairs of half keys, best first, under a bitmap.

Row j * m + i of the table has the key first[i] + second[j], so that rows come in the order of their
keys by the multi-sequence walk (`multisequence`), without a look at the others. Half keys of which
no selected row is made are left out before. A pair that is no row, or none that is selected, is
stepped over; one that is, is decoded and compared, until no key that is left can matter.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bitset import FULL as ALL_BITS
from fanns.kernels.distance import IP, row_distance, widen
from fanns.kernels.intrinsics import dot_float, popcount, read_clock, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.multisequence import advance, open_frontier, sort_more, sort_smallest
from fanns.kernels.native import bar_of, entry_score, margin_of
from fanns.kernels.scan import (
    ALL,
    CHECKS,
    CODES,
    EXACT,
    EXHAUSTED,
    FULL,
    HOPS,
    INCOMPLETE,
    finish,
)
from fanns.kernels.stores import CONCAT, QUOTIENT, decode_row
from fanns.kernels.topk import push

CLOCK = 1024
"""Pairs between two looks at the clock."""


@inner
def bits_from(mask: Array, start: Integer, length: Integer) -> np.uint64:
    """At most 64 bits of a bitmap from bit `start` on, of which `length` count."""
    word, shift = start >> 6, np.uint64(start & 63)
    bits = mask[word] >> shift
    if shift != np.uint64(0) and word + 1 < mask.shape[0]:
        bits |= mask[word + 1] << (np.uint64(64) - shift)
    if length < 64:
        bits &= ALL_BITS >> np.uint64(64 - length)
    return bits  # type: ignore[no-any-return]


@inner
def used_halves(
    mask: Array, m: Integer, n: Integer, firsts: Array, seconds: Array
) -> tuple[Integer, Integer]:
    """The remainders and quotients of which some selected row is made; (how many, how many).

    A bitmap of n rows stands in runs of m, one for each quotient. Writes int64[m], int64[c].
    """
    seen = np.zeros((m + 63) >> 6, np.uint64)
    last: Integer = np.int64(0)
    full: Integer = np.int64(0)
    for j in range(seconds.shape[0]):
        start = np.int64(j) * m
        length = min(m, n - start)
        if length <= 0:
            break
        any_bits = np.uint64(0)
        for part in range((length + 63) >> 6):
            bits = bits_from(mask, start + 64 * part, length - 64 * part)
            any_bits |= bits
            if full < m and (bits & ~seen[part]) != np.uint64(0):
                full += popcount(bits & ~seen[part])
                seen[part] |= bits
            elif full == m and any_bits != np.uint64(0):
                break
        if any_bits != np.uint64(0):
            seconds[last] = j
            last += 1
    first: Integer = np.int64(0)
    for part in range(seen.shape[0]):
        word = seen[part]
        while word != np.uint64(0):
            firsts[first] = 64 * part + trailing_zeros(word)
            first += 1
            word &= word - np.uint64(1)
    return first, last


@kernel
def walk_native(
    queries: Array,
    form: int,
    mask: Array,
    n: int,
    order: Array,
    inverse: Array,
    numbers: Array,
    first: Array,
    second: Array,
    codes: Array,
    words: Array,
    reach: float,
    rounds: bool,
    metric: int,
    ties: Array,
    depth: int,
    most: int,
    max_work: int,
    deadline: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """The nearest selected rows of each query, exactly, by (distance, tie).

    Rows, store and results are as for `scan_native` (of a keyed quotient-remainder store, not under
    cosine); form ALL, or else a bitmap `mask`. `inverse` int32[n] is that of `order`. After `most`
    pairs a query is given up: status EXHAUSTED. `depth` half keys are sorted at first. Work counts
    pairs as codes, decoded rows, and bits looked at.
    """
    m, a, b = numbers[1], numbers[2], numbers[3]
    c = second.shape[0] // b
    d, k = queries.shape[1], out_rows.shape[1]
    firsts, seconds = np.arange(m), np.arange(c)
    used_a: Integer = np.int64(m)
    used_b: Integer = min(np.int64(c), (np.int64(n) + m - 1) // m)
    if form != ALL and order.shape[0] == 0:
        used_a, used_b = used_halves(mask, m, np.int64(n), firsts, seconds)
    left, right = np.empty(used_a, np.float64), np.empty(used_b, np.float64)
    sorted_a, places_a = np.empty(used_a, np.float64), np.empty(used_a, np.int64)
    sorted_b, places_b = np.empty(used_b, np.float64), np.empty(used_b, np.int64)
    room = max(used_a, used_b)
    spare, spare_places = np.empty(room, np.float64), np.empty(room, np.int64)
    heap = np.empty(used_a, np.float64)
    heap_a, heap_b = np.empty(used_a, np.int64), np.empty(used_a, np.int64)
    sums, decoded = np.empty(d, np.float64), np.empty((1, d), np.float32)
    lengths, best_ties = np.zeros(1, np.float64), np.empty(k, np.int64)
    for number in range(queries.shape[0]):
        query, wide = queries[number], widen(queries[number])
        norm = math.sqrt(dot_float(query, 0, query))
        part_a = wide[:a]
        part_b = wide[a:] if numbers[0] == CONCAT else wide
        for place in range(used_a):
            left[place] = entry_score(metric, first, firsts[place] * a, part_a)
        for place in range(used_b):
            right[place] = entry_score(metric, second, seconds[place] * b, part_b)
        end_a: Integer = np.int64(min(depth, used_a))
        end_b: Integer = np.int64(min(depth, used_b))
        sort_smallest(left, end_a, sorted_a, places_a, spare, spare_places)
        sort_smallest(right, end_b, sorted_b, places_b, spare, spare_places)
        # Keys are plain sums under either metric: squares under l2.
        size = open_frontier(IP, sorted_a, sorted_b, heap, heap_a, heap_b)
        margin = margin_of(metric, norm, reach, rounds)
        best_rows, best = out_rows[number], out_distances[number]
        found: Integer = np.int64(0)
        pairs, checks, full, status, bar = 0, 0, 0, EXACT, math.inf
        while size > 0 and heap[0] <= bar:
            if pairs >= most:
                status = EXHAUSTED
                break
            if max_work > 0 and pairs >= max_work:
                status = INCOMPLETE
                break
            if deadline != 0 and pairs % CLOCK == 0 and read_clock() > deadline:
                status = INCOMPLETE
                break
            one, two = heap_a[0], heap_b[0]
            own = seconds[places_b[two]] * m + firsts[places_a[one]]
            pairs += 1
            if own < n:
                row = np.int64(inverse[own]) if inverse.shape[0] > 0 else own
                passes = form == ALL
                if not passes:
                    checks += 1
                    bit = mask[row >> 6] >> np.uint64(row & 63) & np.uint64(1)
                    passes = bit != np.uint64(0)
                if passes:
                    decode_row(QUOTIENT, numbers, first, second, codes, words, own, sums, decoded)
                    distance = row_distance(metric, decoded, lengths, np.int64(0), wide, norm)
                    full += 1
                    tie = ties[row] if ties.shape[0] > 0 else row
                    found = push(best, best_ties, best_rows, found, distance, tie, row)
                    if found == k:
                        bar = bar_of(metric, best[0], margin)
            if one + 1 == end_a or two + 1 == end_b:
                end_a = sort_more(left, end_a, one, sorted_a, places_a, spare, spare_places)
                end_b = sort_more(right, end_b, two, sorted_b, places_b, spare, spare_places)
            size = advance(IP, sorted_a, sorted_b, end_a, end_b, heap, heap_a, heap_b, size)
        finish(best, best_ties, best_rows, found)
        out_found[number], out_status[number] = found, status
        out_work[number, CODES], out_work[number, FULL] = pairs, full
        out_work[number, CHECKS], out_work[number, HOPS] = checks, 0
