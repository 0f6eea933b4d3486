"""The k best of all sums of two half tables, exactly, with or without a mask.

A key is a pair of half keys (i, j) with number i * c_b + j. Its value, smaller is better, is
-(<q_a, a_i> + <q_b, b_j>) or, under l2, the root of |q_a - a_i|^2 + |q_b - b_j|^2: one rounded sum
of two half values in double precision. Order is by (value, number).

Values come in multi-sequence order (`multisequence`), so that only the best k + 1 half keys of
each side matter (Lample et al. 2019, section 3.2). Rounding asks for care: two half values that
differ can have equal sums, and then the lower number may stand behind the higher one in both
lists. The k smallest *values* are right all the same; who ties with the last one is settled over
the whole table by binary search, without forming all sums.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bitset import FULL
from fanns.kernels.distance import L2, widen
from fanns.kernels.intrinsics import dot_float, squared_l2_float, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.multisequence import (
    advance,
    open_frontier,
    pair_value,
    sort_candidates,
    sort_more,
    sort_smallest,
)
from fanns.kernels.shortlist import SLACK, cut_back

# Columns of the work counters.
PRODUCTS, SUMS, CHECKS = 0, 1, 2
COUNTERS = 3


@inner
def half_values(metric: Integer, keys: Array, query: Array, out: Array) -> None:
    """What each half key float32[c, d] adds to a sum: -<q, key> or |q - key|^2, float64[c]."""
    wide = widen(query)
    if metric == L2:
        for i in range(keys.shape[0]):
            out[i] = squared_l2_float(keys, np.int64(i), wide)
    else:
        for i in range(keys.shape[0]):
            out[i] = 0.0 - dot_float(keys, np.int64(i), wide)


@inner
def first_place(metric: Integer, half: float, b: Array, bar: float, above: bool) -> Integer:
    """The first place of a sorted list whose pair with `half` is >= bar, or > bar if `above`."""
    low, high = np.int64(0), np.int64(b.shape[0])
    while low < high:
        middle = (low + high) >> 1
        value = pair_value(metric, half, b[middle])
        if value < bar or (above and value == bar):
            low = middle + 1
        else:
            high = middle
    return low


@inner
def settle_ties(
    metric: Integer,
    a: Array,
    b: Array,
    places: Array,
    spare: Array,
    spare_places: Array,
    values: Array,
    numbers: Array,
) -> None:
    """Give the places of the last value to the lowest numbers of all keys that have it.

    a float64[c_a] in the order of numbers; b float64[c_b] sorted, with places int64[c_b]; `values`
    sorted, with numbers, are rewritten from the first of the last value on. Each half key of a has
    a run of equal sums in b, so this takes O(c_a log c_b + c_b + k).
    """
    k = values.shape[0]
    last, kept = values[k - 1], np.int64(k - 1)
    while kept > 0 and values[kept - 1] == last:
        kept -= 1
    for i in range(a.shape[0]):
        start = first_place(metric, a[i], b, last, False)
        stop = first_place(metric, a[i], b, last, True)
        need = k - kept
        for place in range(start, stop):
            spare[place - start] = places[place]
            spare_places[place - start] = places[place]
        count = stop - start
        if count > need:
            cut_back(spare, spare_places, count, need)
            count = need
        for place in range(count):
            numbers[kept + place] = i * b.shape[0] + spare_places[place]
            values[kept + place] = last
        kept += count
        if kept == k:
            return


@inner
def is_sorted(values: Array, numbers: Array) -> bool:
    """Whether values are in the order of (value, number), given that they ascend."""
    for place in range(1, values.shape[0]):
        if values[place] == values[place - 1] and numbers[place] < numbers[place - 1]:
            return False
    return True


@kernel
def top_keys(
    queries: Array,
    metric: int,
    keys_a: Array,
    keys_b: Array,
    out_numbers: Array,
    out_values: Array,
    out_work: Array,
) -> None:
    """The best keys of each query among all pairs, by (value, number).

    queries float32[m, d_a + d_b]; keys_a float32[c_a, d_a], keys_b float32[c_b, d_b]. Writes
    numbers int64[m, k], values float64[m, k], k <= c_a * c_b, and work int64[m, COUNTERS].
    """
    c_a, c_b = keys_a.shape[0], keys_b.shape[0]
    d_a, k = keys_a.shape[1], out_numbers.shape[1]
    width_a, width_b = np.int64(min(k + 1, c_a)), np.int64(min(k + 1, c_b))
    a, b = np.empty(c_a, np.float64), np.empty(c_b, np.float64)
    sorted_a, places_a = np.empty(c_a, np.float64), np.empty(c_a, np.int64)
    sorted_b, places_b = np.empty(c_b, np.float64), np.empty(c_b, np.int64)
    room = max(c_a, c_b, k)
    spare, spare_places = np.empty(room, np.float64), np.empty(room, np.int64)
    heap = np.empty(width_a, np.float64)
    firsts, seconds = np.empty(width_a, np.int64), np.empty(width_a, np.int64)
    for number in range(queries.shape[0]):
        query, numbers, values = queries[number], out_numbers[number], out_values[number]
        half_values(metric, keys_a, query[:d_a], a)
        half_values(metric, keys_b, query[d_a:], b)
        sort_smallest(a, width_a, sorted_a, places_a, spare, spare_places)
        sort_smallest(b, width_b, sorted_b, places_b, spare, spare_places)
        size = open_frontier(metric, sorted_a, sorted_b, heap, firsts, seconds)
        for place in range(k):
            values[place] = heap[0]
            numbers[place] = places_a[firsts[0]] * c_b + places_b[seconds[0]]
            size = advance(
                metric, sorted_a, sorted_b, width_a, width_b, heap, firsts, seconds, size
            )
        out_work[number, PRODUCTS], out_work[number, SUMS] = c_a + c_b, k
        out_work[number, CHECKS] = 0
        if size > 0 and heap[0] == values[k - 1]:
            sort_smallest(b, np.int64(c_b), sorted_b, places_b, spare, spare_places)
            settle_ties(metric, a, sorted_b, places_b, spare, spare_places, values, numbers)
            out_work[number, SUMS] += c_a
        if not is_sorted(values, numbers):
            sort_candidates(values, numbers, np.int64(k), spare, spare_places)


@inner
def reach(metric: Integer, bar: float) -> float:
    """A sum that no sum with a value of at most `bar` exceeds."""
    return bar * bar * (1.0 + 1e-15) if metric == L2 else bar


@inner
def scan_bitmap(
    metric: Integer, a: Array, b: Array, words: Array, limit: Integer, values: Array, numbers: Array
) -> tuple[Integer, Integer]:
    """Candidates for the `limit` best among the set bits of a bitmap; (how many, sums formed).

    A half key of a whose best sum is beyond the bar is passed over with all its pairs.
    """
    c_b, best, bar = np.int64(b.shape[0]), b.min(), math.inf
    size: Integer = np.int64(0)
    i, end, sums, furthest = np.int64(-1), np.int64(0), np.int64(0), math.inf
    place = np.int64(0)
    while place < words.shape[0]:
        word = words[place]
        while word != np.uint64(0):
            number = place * 64 + trailing_zeros(word)
            word &= word - np.uint64(1)
            if number >= end:
                i = number // c_b
                end = (i + 1) * c_b
                furthest = reach(metric, bar)
                if a[i] + best > furthest:
                    place = end >> 6
                    if place == words.shape[0]:
                        break
                    word = words[place] & FULL << np.uint64(end & 63)
                    continue
            half = b[number - end + c_b]
            sums += 1
            if a[i] + half <= furthest:
                values[size], numbers[size] = pair_value(metric, a[i], half), number
                size += 1
                if size == values.shape[0]:
                    bar, size = cut_back(values, numbers, size, limit), limit
        place += 1
    return size, sums


@inner
def scan_list(
    metric: Integer, a: Array, b: Array, keys: Array, limit: Integer, values: Array, numbers: Array
) -> tuple[Integer, Integer]:
    """The same among a sorted list of key numbers."""
    c_b, bar = np.int64(b.shape[0]), math.inf
    size: Integer = np.int64(0)
    i, end, furthest = np.int64(-1), np.int64(0), math.inf
    for place in range(keys.shape[0]):
        number = keys[place]
        if number >= end:
            i = number // c_b
            end = (i + 1) * c_b
            furthest = reach(metric, bar)
        half = b[number - end + c_b]
        if a[i] + half <= furthest:
            values[size], numbers[size] = pair_value(metric, a[i], half), number
            size += 1
            if size == values.shape[0]:
                bar, size = cut_back(values, numbers, size, limit), limit
    return size, np.int64(keys.shape[0])


@kernel
def top_keys_masked(
    queries: Array,
    metric: int,
    keys_a: Array,
    keys_b: Array,
    words: Array,
    passing: Array,
    depth: int,
    max_sums: int,
    out_numbers: Array,
    out_values: Array,
    out_work: Array,
) -> None:
    """The best of the passing keys of each query, by (value, number).

    As `top_keys`, with k at most the number of passing keys. They come as the `words` of a bitmap
    of c_a * c_b bits or, where it is empty, as `passing`, sorted int64 key numbers. Sums are taken
    in multi-sequence order until k pass, but at most `max_sums` of them (0 for a list); then the
    passing keys are scanned instead. `depth` half keys are sorted at first, all when that many do
    not suffice.
    """
    c_a, c_b = keys_a.shape[0], keys_b.shape[0]
    d_a, k = keys_a.shape[1], np.int64(out_numbers.shape[1])
    a, b = np.empty(c_a, np.float64), np.empty(c_b, np.float64)
    sorted_a, places_a = np.empty(c_a, np.float64), np.empty(c_a, np.int64)
    sorted_b, places_b = np.empty(c_b, np.float64), np.empty(c_b, np.int64)
    room = max(c_a, c_b, k)
    spare, spare_places = np.empty(room, np.float64), np.empty(room, np.int64)
    heap = np.empty(c_a, np.float64)
    firsts, seconds = np.empty(c_a, np.int64), np.empty(c_a, np.int64)
    values, numbers = np.empty(2 * k + SLACK, np.float64), np.empty(2 * k + SLACK, np.int64)
    for number in range(queries.shape[0]):
        query = queries[number]
        half_values(metric, keys_a, query[:d_a], a)
        half_values(metric, keys_b, query[d_a:], b)
        found: Integer = np.int64(0)
        sums: Integer = np.int64(0)
        checks, complete = 0, False
        if max_sums > 0:
            bar = math.inf
            width_a: Integer = np.int64(min(depth, c_a))
            width_b: Integer = np.int64(min(depth, c_b))
            sort_smallest(a, width_a, sorted_a, places_a, spare, spare_places)
            sort_smallest(b, width_b, sorted_b, places_b, spare, spare_places)
            size = open_frontier(metric, sorted_a, sorted_b, heap, firsts, seconds)
            while sums < max_sums:
                if size == 0 or heap[0] > bar:
                    complete = True
                    break
                first, second = firsts[0], seconds[0]
                place = places_a[first] * c_b + places_b[second]
                checks += 1
                if words[place >> 6] >> np.uint64(place & 63) & np.uint64(1) != np.uint64(0):
                    values[found], numbers[found] = heap[0], place
                    found += 1
                    if found == k:
                        bar = heap[0]
                    if found == values.shape[0]:
                        bar = cut_back(values, numbers, found, k)
                        found = k
                if first + 1 == width_a or second + 1 == width_b:
                    width_a = sort_more(a, width_a, first, sorted_a, places_a, spare, spare_places)
                    width_b = sort_more(b, width_b, second, sorted_b, places_b, spare, spare_places)
                size = advance(
                    metric, sorted_a, sorted_b, width_a, width_b, heap, firsts, seconds, size
                )
                sums += 1
        if not complete:
            if words.shape[0] > 0:
                found, more = scan_bitmap(metric, a, b, words, k, values, numbers)
            else:
                found, more = scan_list(metric, a, b, passing, k, values, numbers)
            sums += more
        if found > k:
            cut_back(values, numbers, found, k)
        sort_candidates(values, numbers, k, spare, spare_places)
        for place in range(k):
            out_numbers[number, place] = numbers[place]
            out_values[number, place] = values[place]
        out_work[number, PRODUCTS], out_work[number, SUMS] = c_a + c_b, sums
        out_work[number, CHECKS] = checks
