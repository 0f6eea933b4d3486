"""Queries with a short list of rows each: the scans of `scan.py` with next to nothing around them.

Where few rows pass, taking arguments apart and allocating answers costs more than comparing rows.
So there is one list a query, no limit, and one array of answers: a line int64[3 k + WORDS] holds k
ties (ids, where ids are integers), k distances (the bits of float64), k rows, and how many codes
and full-precision distances were compared. Answers are those of `scan_exact` and `scan_codes`.

A kernel gives 4 * found + status for each query, or UNUSABLE for one that cannot be compared: it
holds NaN or infinity, overflows, or is zero under cosine.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE, row_distance, widen
from fanns.kernels.int8 import PARAMETERS, code_key, key_error, prepare_query
from fanns.kernels.intrinsics import dot_float, prefetch_row
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.scan import APPROXIMATE, EXACT, refine
from fanns.kernels.shortlist import cut_back
from fanns.kernels.topk import push, sort_heap

UNUSABLE = -1
WORDS = 2
"""Words of a line behind its k answers: codes, full-precision distances."""

VECTORS_AHEAD = 4
CODES_AHEAD = 12
"""Rows asked for before they are needed."""
NEXT_AHEAD = 10
"""The same of the next query's list."""


@inner
def _hand_out(
    best: Array, ties: Array, rows: Array, found: Integer, line: Array, distances: Array
) -> None:
    """Sort the answers and write them; `distances` float64 is the same memory as `line`."""
    k = best.shape[0]
    sort_heap(best, ties, rows, found)
    for place in range(found):
        line[place], distances[k + place], line[2 * k + place] = (
            ties[place],
            best[place],
            rows[place],
        )


@inner
def _compare_all(
    query: Array,
    norm: float,
    rows: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    k: Integer,
    line: Array,
    distances: Array,
) -> Integer:
    """One query, every row in full precision; gives what the kernels give."""
    count = rows.shape[0]
    for i in range(min(count, VECTORS_AHEAD)):
        prefetch_row(vectors, rows[i])
    wide = widen(query)
    best, best_ties, best_rows = (
        np.empty(k, np.float64),
        np.empty(k, np.int64),
        np.empty(k, np.int32),
    )
    found: Integer = np.int64(0)
    for i in range(count):
        if i + VECTORS_AHEAD < count:
            prefetch_row(vectors, rows[i + VECTORS_AHEAD])
        row = np.int64(rows[i])
        distance = row_distance(metric, vectors, norms, row, wide, norm)
        if found < k or distance <= best[0]:
            found = push(best, best_ties, best_rows, found, distance, ties[row], row)
    _hand_out(best, best_ties, best_rows, found, line, distances)
    line[3 * k], line[3 * k + 1] = 0, count
    return 4 * found + EXACT


@inner
def _compare_codes(
    query: Array,
    rows: Array,
    limit: Integer,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    k: Integer,
    line: Array,
    distances: Array,
) -> Integer:
    """One query, the codes of every row, then the best `limit` in full precision."""
    count = np.int64(rows.shape[0])
    for i in range(CODES_AHEAD if count > CODES_AHEAD else count):
        prefetch_row(codes, rows[i])
    code, parameters = np.empty(codes.shape[1], np.int8), np.empty(PARAMETERS, np.float64)
    prepare_query(query, metric, mean, code, parameters)
    keys, key_rows = np.empty(count, np.float64), np.empty(count, np.int32)
    for i in range(count):
        if i + CODES_AHEAD < count:
            prefetch_row(codes, rows[i + CODES_AHEAD])
        row = np.int64(rows[i])
        keys[i], key_rows[i] = code_key(codes, scale, square, row, code, parameters), row
    size: Integer = count
    if count > limit:
        cut_back(keys, key_rows, count, limit)
        size = limit
    best, best_ties, best_rows = (
        np.empty(k, np.float64),
        np.empty(k, np.int64),
        np.empty(k, np.int32),
    )
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
    _hand_out(best, best_ties, best_rows, found, line, distances)
    line[3 * k], line[3 * k + 1] = count, full
    return 4 * found + (EXACT if proved or count <= limit else APPROXIMATE)


@inner
def _length(query: Array, metric: int) -> float:
    """The length of a query that can be compared, else NaN."""
    norm = math.sqrt(dot_float(query, 0, query))
    return norm if norm < math.inf and (norm > 0.0 or metric != COSINE) else math.nan


@kernel
def list_exact(
    query: Array,
    rows: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    k: int,
    line: Array,
) -> int:
    """One query float32[d] over rows int32[count >= k], all in full precision."""
    norm = _length(query, metric)
    if norm != norm:
        return UNUSABLE
    return int(
        _compare_all(
            query,
            norm,
            rows,
            vectors,
            norms,
            metric,
            ties,
            np.int64(k),
            line,
            line.view(np.float64),
        )
    )


@kernel
def list_codes(
    query: Array,
    rows: Array,
    limit: int,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    k: int,
    line: Array,
) -> int:
    """One query float32[d] over rows int32[count >= k] by int8 codes; `limit` >= k in full."""
    norm = _length(query, metric)
    if norm != norm:
        return UNUSABLE
    return int(
        _compare_codes(
            query,
            rows,
            np.int64(limit),
            vectors,
            norms,
            metric,
            ties,
            codes,
            scale,
            square,
            mean,
            limits,
            np.int64(k),
            line,
            line.view(np.float64),
        )
    )


@kernel
def many_lists(
    queries: Array,
    offsets: Array,
    rows: Array,
    limits_of: Array,
    first: int,
    last: int,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    width: int,
    lines: Array,
    told: Array,
) -> None:
    """Queries first..last - 1 of float32[m, d], each over rows[offsets[i] : offsets[i + 1]].

    limits_of int64[m]: rows in full precision after the codes, 0 to compare all in full. Query i
    gets k = min(width, its rows) answers in lines int64[m, 3 width + WORDS], laid out by its own k,
    and a word of told int64[m].
    """
    for number in range(first, last):
        if number + 1 < last:  # the next list, while this one is compared
            start = offsets[number + 1]
            for i in range(start, min(offsets[number + 2], start + NEXT_AHEAD)):
                if limits_of[number + 1] == 0:
                    prefetch_row(vectors, rows[i])
                else:
                    prefetch_row(codes, rows[i])
        query, own = queries[number], rows[offsets[number] : offsets[number + 1]]
        norm = _length(query, metric)
        if norm != norm:
            told[number] = UNUSABLE
            continue
        k = min(np.int64(width), np.int64(own.shape[0]))
        line = lines[number]
        distances = line.view(np.float64)
        if limits_of[number] == 0:
            told[number] = _compare_all(
                query, norm, own, vectors, norms, metric, ties, k, line, distances
            )
        else:
            told[number] = _compare_codes(
                query,
                own,
                np.int64(limits_of[number]),
                vectors,
                norms,
                metric,
                ties,
                codes,
                scale,
                square,
                mean,
                limits,
                k,
                line,
                distances,
            )
