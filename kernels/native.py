"""Scans of rows that are computed from an embedding table: nothing is decoded that cannot matter.

A query is prepared once (partial scores of table rows, or its product with each projection). Every
selected row then has a key: what it is ranked by, within a margin that rounding of decoded rows to
float32 leaves. Only a row whose key, less the margin, may be among the best is decoded and compared
as any row is, so that answers are those of the decoded table, ties included.

`prepared` float64[size] holds, by kind (see `stores`):

QUOTIENT  what the rows of the first table add to a key, then those of the second; under cosine
          then their squared lengths
MIXED     the query in each block's own dimensions, `size / blocks` places each (ip)
CODED     what each entry of each column adds, `size / columns` places each; under cosine then the
          squared lengths. Empty: rows are gathered instead
MASKED    nothing
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE, IP, L2, row_distance, widen
from fanns.kernels.intrinsics import (
    dot_float,
    read_clock,
    squared_l2_float,
    trailing_zeros,
)
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.scan import (
    BLOCK,
    CHECKS,
    CODES,
    EXACT,
    FULL,
    HOPS,
    INCOMPLETE,
    finish,
    next_block,
)
from fanns.kernels.stores import (
    BLOCK_HEAD,
    BLOCK_NUMBERS,
    CODED,
    COLUMN_HEAD,
    COLUMN_NUMBERS,
    CONCAT,
    MIXED,
    QUOTIENT,
    address,
    block_of,
    decode_row,
    start_of,
)
from fanns.kernels.topk import push

SUMS, ROUNDING = 1e-11, 6.1e-8
"""Errors of keys as shares of the largest that a score may be: of sums in double precision, and of
values that were rounded to float32."""


@inner
def entry_score(metric: int, values: Array, start: Integer, wide: Array) -> float:
    """What values from `start` on add to a key of the query part float64[width]."""
    part = values[start : start + wide.shape[0]]
    if metric == L2:
        return float(squared_l2_float(part, np.int64(0), wide))
    dot = float(dot_float(part, np.int64(0), wide))
    return -dot if metric == IP else dot


@inner
def entry_square(values: Array, start: Integer, width: Integer) -> float:
    """The squared length of values from `start` on."""
    total = 0.0
    for c in range(start, start + width):
        total += np.float64(values[c]) * np.float64(values[c])
    return total


@inner
def prepare_quotient(
    metric: int, numbers: Array, first: Array, second: Array, wide: Array, prepared: Array
) -> None:
    m, a, b = numbers[1], numbers[2], numbers[3]
    c = second.shape[0] // b
    left = wide[:a]
    right = wide[a:] if numbers[0] == CONCAT else wide
    for i in range(m):
        prepared[i] = entry_score(metric, first, i * a, left)
    for j in range(c):
        prepared[m + j] = entry_score(metric, second, j * b, right)
    if metric == COSINE:
        for i in range(m):
            prepared[m + c + i] = entry_square(first, i * a, a)
        for j in range(c):
            prepared[2 * m + c + j] = entry_square(second, j * b, b)


@inner
def prepare_mixed(numbers: Array, second: Array, wide: Array, prepared: Array) -> None:
    blocks, d = numbers[0], wide.shape[0]
    stride = prepared.shape[0] // blocks
    for block in range(blocks):
        at = BLOCK_HEAD + BLOCK_NUMBERS * block
        width, projection = numbers[at + 2], numbers[at + 3]
        for j in range(width):
            if projection < 0:
                prepared[block * stride + j] = wide[j]
            else:
                start = projection + j * d
                row = second[start : start + d]
                prepared[block * stride + j] = dot_float(row, np.int64(0), wide)


@inner
def prepare_coded(metric: int, numbers: Array, first: Array, wide: Array, prepared: Array) -> None:
    summed, width = numbers[2], numbers[3]
    columns = numbers[1] * summed
    half = prepared.shape[0] // 2 if metric == COSINE else prepared.shape[0]
    room = half // columns
    for column in range(columns):
        at = COLUMN_HEAD + COLUMN_NUMBERS * column
        base, stride, size = numbers[at], numbers[at + 1], numbers[at + 2]
        chunk = column // summed * width
        part = wide[chunk : chunk + width]
        for code in range(size):
            start = base + stride * code
            prepared[column * room + code] = entry_score(metric, first, start, part)
            if metric == COSINE:
                square = entry_square(first, start, width)
                prepared[half + column * room + code] = square


@inner
def cosine_key(dot: float, square: float, norm: float) -> float:
    """1 - cos of a query of length `norm` and a row of this product and squared length."""
    lengths = norm * math.sqrt(square)
    return 1.0 if lengths == 0.0 else 1.0 - dot / lengths


@inner
def quotient_keys(
    metric: int,
    numbers: Array,
    prepared: Array,
    norm: float,
    rows: Array,
    filled: Integer,
    keys: Array,
) -> None:
    m = numbers[1]
    squares = prepared.shape[0] // 2
    j = np.int64(rows[0]) // m
    i, before = np.int64(rows[0]) - j * m, np.int64(rows[0])
    for place in range(filled):
        row = np.int64(rows[place])
        i += row - before
        before = row
        if i >= m or i < 0:
            j = row // m
            i = row - j * m
        keys[place] = prepared[i] + prepared[m + j]
        if metric == COSINE:
            square = prepared[squares + i] + prepared[squares + m + j]
            keys[place] = cosine_key(keys[place], square, norm)


@inner
def mixed_keys(
    numbers: Array,
    first: Array,
    codes: Array,
    prepared: Array,
    rows: Array,
    filled: Integer,
    keys: Array,
) -> None:
    stride = prepared.shape[0] // numbers[0]
    block: Integer = np.int64(0)
    for at in range(filled):
        row = rows[at]
        place = np.int64(codes[row, 0]) if codes.shape[0] > 0 else np.int64(row)
        block = block_of(numbers, place, block)
        head = BLOCK_HEAD + BLOCK_NUMBERS * block
        width = numbers[head + 2]
        start = numbers[head + 1] + (place - numbers[head]) * width
        own = prepared[block * stride : block * stride + width]
        part = first[start : start + width]
        keys[at] = 0.0 - dot_float(part, np.int64(0), own)


@inner
def coded_keys(
    metric: int,
    numbers: Array,
    first: Array,
    codes: Array,
    words: Array,
    prepared: Array,
    wide: Array,
    norm: float,
    rows: Array,
    filled: Integer,
    keys: Array,
) -> None:
    summed, width = numbers[2], numbers[3]
    columns = numbers[1] * summed
    half = prepared.shape[0] // 2 if metric == COSINE else prepared.shape[0]
    room = half // columns
    for place in range(filled):
        row = np.int64(rows[place])
        total, square = 0.0, 0.0
        for column in range(columns):
            start = address(numbers, codes, words, row, np.int64(column))
            if half > 0:
                at = COLUMN_HEAD + COLUMN_NUMBERS * column
                code = column * room + (start - numbers[at]) // numbers[at + 1]
                total += prepared[code]
                if metric == COSINE:
                    square += prepared[half + code]
                continue
            chunk = column // summed * width
            for c in range(width):
                value, q = np.float64(first[start + c]), wide[chunk + c]
                if metric == L2:
                    total += (q - value) * (q - value)
                elif metric == IP:
                    total -= q * value
                else:
                    total += q * value
                    square += value * value
        keys[place] = cosine_key(total, square, norm) if metric == COSINE else total


@inner
def masked_keys(
    metric: int,
    numbers: Array,
    first: Array,
    codes: Array,
    words: Array,
    wide: Array,
    norm: float,
    rows: Array,
    filled: Integer,
    keys: Array,
) -> None:
    size = numbers[0]
    at: Integer = np.int64(0)
    before = np.int64(-2)
    for place in range(filled):
        row = np.int64(rows[place])
        if row != before + 1:  # the values of neighbours stand end to end
            at = start_of(numbers, codes, words, row)
        before = row
        total, square = norm * norm if metric == L2 else 0.0, 0.0
        for part in range(size):
            word = words[row * size + part]
            while word != np.uint64(0):
                q, value = wide[part * 64 + trailing_zeros(word)], np.float64(first[at])
                if metric == L2:
                    total += value * (value - 2.0 * q)
                else:
                    total += q * value
                    square += value * value
                at += 1
                word &= word - np.uint64(1)
        if metric == COSINE:
            total = cosine_key(total, square, norm)
        keys[place] = -total if metric == IP else total


@inner
def bar_of(metric: int, distance: float, margin: float) -> float:
    """No row with a key above it has a distance of at most this."""
    if metric == L2:
        return distance * distance * (1.0 + 1e-12) + margin
    return distance + margin


@inner
def margin_of(metric: int, norm: float, reach: float, rounds: bool) -> float:
    """How far a key may be from what the decoded row gives; see SUMS and ROUNDING."""
    if metric == COSINE:
        return 1e-10
    share = SUMS + (ROUNDING if rounds else 0.0)
    return share * (norm * reach if metric == IP else (norm + reach) * (norm + reach))


@kernel
def scan_native(
    queries: Array,
    form: int,
    selected: Array,
    mask: Array,
    n: int,
    order: Array,
    kind: int,
    numbers: Array,
    first: Array,
    second: Array,
    codes: Array,
    words: Array,
    keyed: bool,
    size: int,
    reach: float,
    rounds: bool,
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
    """Compare every selected row; the best by (distance, tie), as `scan_exact` gives them.

    queries float32[m, d]; selection in one of three forms of n rows. Row r is row order[r] of the
    store (order int32[n]; empty: r itself), which comes as in `stores`, with its `reach` and
    whether it `rounds`. `keyed`: rows have keys, from `size` prepared numbers; else each is
    decoded. ties int64[n], empty where they are the row numbers. The rest is as for `scan_exact`;
    work counts keys and decoded rows.
    """
    d, k = queries.shape[1], out_rows.shape[1]
    block, places = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    keys = np.empty(BLOCK, np.float64)
    prepared, sums = np.empty(size, np.float64), np.empty(d, np.float64)
    decoded, lengths = np.empty((1, d), np.float32), np.zeros(1, np.float64)
    zeros = np.zeros(d, np.float64)
    best_ties = np.empty(k, np.int64)
    for number in range(queries.shape[0]):
        query, wide = queries[number], widen(queries[number])
        norm = math.sqrt(dot_float(query, 0, query))
        if size > 0:
            if kind == QUOTIENT:
                prepare_quotient(metric, numbers, first, second, wide, prepared)
            elif kind == MIXED:
                prepare_mixed(numbers, second, wide, prepared)
            else:
                prepare_coded(metric, numbers, first, wide, prepared)
        margin = margin_of(metric, norm, reach, rounds)
        best_rows, best = out_rows[number], out_distances[number]
        found: Integer = np.int64(0)
        position: Integer = np.int64(0)
        work, full, status, bar = 0, 0, EXACT, math.inf
        filled, position = next_block(form, selected, mask, n, position, block)
        while filled > 0:
            if (deadline != 0 and read_clock() > deadline) or (max_work > 0 and work >= max_work):
                status = INCOMPLETE
                break
            if max_work > 0 and work + filled > max_work:
                filled = np.int64(max_work - work)
                position = np.int64(-1)
            for i in range(filled):
                places[i] = order[block[i]] if order.shape[0] > 0 else block[i]
            if keyed:
                if kind == QUOTIENT:
                    quotient_keys(metric, numbers, prepared, norm, places, filled, keys)
                elif kind == MIXED:
                    mixed_keys(numbers, first, codes, prepared, places, filled, keys)
                elif kind == CODED:
                    coded_keys(
                        metric, numbers, first, codes, words, prepared, wide, norm, places, filled,
                        keys,
                    )  # fmt: skip
                else:
                    masked_keys(
                        metric, numbers, first, codes, words, wide, norm, places, filled, keys
                    )
            for i in range(filled):
                if keyed and keys[i] > bar:
                    continue
                decode_row(
                    kind, numbers, first, second, codes, words, np.int64(places[i]), sums, decoded
                )
                if metric == COSINE:
                    lengths[0] = math.sqrt(squared_l2_float(decoded, np.int64(0), zeros))
                distance = row_distance(metric, decoded, lengths, np.int64(0), wide, norm)
                full += 1
                if found < k or distance <= best[0]:
                    row = np.int64(block[i])
                    tie = ties[row] if ties.shape[0] > 0 else row
                    found = push(best, best_ties, best_rows, found, distance, tie, row)
                    if found == k:
                        bar = bar_of(metric, best[0], margin)
            work += filled
            if position < 0:
                status = INCOMPLETE
                break
            filled, position = next_block(form, selected, mask, n, position, block)
        finish(best, best_ties, best_rows, found)
        out_found[number], out_status[number] = found, status
        out_work[number, CODES], out_work[number, FULL] = work if keyed else 0, full
        out_work[number, CHECKS], out_work[number, HOPS] = 0, 0


@kernel
def compare_native(
    queries: Array,
    candidates: Array,
    counts: Array,
    order: Array,
    kind: int,
    numbers: Array,
    first: Array,
    second: Array,
    codes: Array,
    words: Array,
    metric: int,
    ties: Array,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_work: Array,
) -> None:
    """The best of a shortlist of each query, int32[m, w] of which the first counts[i] hold rows.

    Every one is decoded and compared; arguments and results as for `scan_native`. Adds to work.
    """
    d, k = queries.shape[1], out_rows.shape[1]
    sums, zeros = np.empty(d, np.float64), np.zeros(d, np.float64)
    decoded, lengths = np.empty((1, d), np.float32), np.zeros(1, np.float64)
    best_ties = np.empty(k, np.int64)
    for number in range(queries.shape[0]):
        query, wide = queries[number], widen(queries[number])
        norm = math.sqrt(dot_float(query, 0, query))
        best_rows, best = out_rows[number], out_distances[number]
        found: Integer = np.int64(0)
        for place in range(counts[number]):
            row = np.int64(candidates[number, place])
            own = np.int64(order[row]) if order.shape[0] > 0 else row
            decode_row(kind, numbers, first, second, codes, words, own, sums, decoded)
            if metric == COSINE:
                lengths[0] = math.sqrt(squared_l2_float(decoded, np.int64(0), zeros))
            distance = row_distance(metric, decoded, lengths, np.int64(0), wide, norm)
            tie = ties[row] if ties.shape[0] > 0 else row
            found = push(best, best_ties, best_rows, found, distance, tie, row)
        finish(best, best_ties, best_rows, found)
        out_found[number] = found
        out_work[number, FULL] += counts[number]
