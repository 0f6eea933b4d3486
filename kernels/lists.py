"""Queries with a short list of rows each: the scans of `scan.py` with next to nothing around them.

Where few rows pass, taking arguments apart and allocating answers costs more than comparing rows.
So there is one list a query, no limit, and one array of answers: a line int64[3 width + WORDS] has
places for `width` ties (ids, where ids are integers), distances (the bits of float64) and rows, and
tells the work. Answers, of which there are k =
min(width, rows of the list), are those of `scan_exact` and `scan_codes`. Lists may be in any order.

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
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, FULL, HOPS, refine
from fanns.kernels.shortlist import cut_back
from fanns.kernels.topk import push, sort_heap

UNUSABLE = -1
WORDS = 4
"""Words of a line behind its k answers: codes, full-precision distances, checks, hops."""

VECTORS_AHEAD = 4
CODES_AHEAD = 12
"""Rows asked for before they are needed."""
NEXT_AHEAD = 10
"""The same of the next query's list."""


@inner
def _hand_out(
    best: Array,
    ties: Array,
    rows: Array,
    found: Integer,
    width: Integer,
    line: Array,
    distances: Array,
) -> None:
    """Sort the answers and write them; `distances` float64 is the same memory as `line`."""
    sort_heap(best, ties, rows, found)
    for place in range(found):
        line[place] = ties[place]
        distances[width + place] = best[place]
        line[2 * width + place] = rows[place]


@inner
def _note(line: Array, width: Integer, codes: Integer, full: Integer) -> None:
    """Write down the work of a line."""
    line[3 * width + CODES], line[3 * width + FULL] = codes, full
    line[3 * width + CHECKS], line[3 * width + HOPS] = 0, 0


@inner
def _compare_all(
    query: Array,
    norm: float,
    rows: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    width: Integer,
    line: Array,
    distances: Array,
) -> Integer:
    """One query, every row in full precision; gives what the kernels give."""
    count = np.int64(rows.shape[0])
    k = min(width, count)
    for i in range(VECTORS_AHEAD if count > VECTORS_AHEAD else count):
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
    _hand_out(best, best_ties, best_rows, found, width, line, distances)
    _note(line, width, np.int64(0), count)
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
    width: Integer,
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
    k = min(width, count)
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
    _hand_out(best, best_ties, best_rows, found, width, line, distances)
    _note(line, width, count, full)
    return 4 * found + (EXACT if proved or count <= limit else APPROXIMATE)


@inner
def _length(query: Array, metric: int) -> float:
    """The length of a query that can be compared, else NaN."""
    norm = math.sqrt(dot_float(query, 0, query))
    return norm if norm < math.inf and (norm > 0.0 or metric != COSINE) else math.nan


@kernel
def line_of(
    rows: Array,
    distances: Array,
    found: Array,
    status: Array,
    work: Array,
    ties: Array,
    line: Array,
) -> int:
    """The line of one query's answers as every path gives them; see above.

    ties int64[n], empty where they are the row numbers.
    """
    width, count = rows.shape[1], np.int64(found[0])
    bits = line.view(np.float64)
    for place in range(count):
        row = np.int64(rows[0, place])
        line[place] = ties[row] if ties.shape[0] > 0 else row
        line[2 * width + place] = row
        bits[width + place] = distances[0, place]
    for i in range(WORDS):
        line[3 * width + i] = work[0, i]
    return int(4 * count + status[0])


@kernel
def list_exact(
    query: Array,
    rows: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    width: int,
    line: Array,
) -> int:
    """One query float32[d] over rows int32[count], all in full precision."""
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
            np.int64(width),
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
    width: int,
    line: Array,
) -> int:
    """One query float32[d] over rows int32[count] by int8 codes; `limit` >= width in full."""
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
            np.int64(width),
            line,
            line.view(np.float64),
        )
    )


@kernel
def many_lists(
    queries: Array,
    starts: Array,
    stops: Array,
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
    """Queries first..last - 1 of float32[m, d], each over rows[starts[i] : stops[i]].

    limits_of int64[m]: rows in full precision after the codes, 0 to compare all in full. Query i
    fills lines[i] of int64[m, 3 width + WORDS] and a word of told int64[m].
    """
    for number in range(first, last):
        if number + 1 < last:  # the next list, while this one is compared
            start = starts[number + 1]
            for i in range(start, min(stops[number + 1], start + NEXT_AHEAD)):
                if limits_of[number + 1] == 0:
                    prefetch_row(vectors, rows[i])
                else:
                    prefetch_row(codes, rows[i])
        query, own = queries[number], rows[starts[number] : stops[number]]
        norm = _length(query, metric)
        if norm != norm:
            told[number] = UNUSABLE
            continue
        line = lines[number]
        distances = line.view(np.float64)
        if limits_of[number] == 0:
            told[number] = _compare_all(
                query, norm, own, vectors, norms, metric, ties, np.int64(width), line, distances
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
                np.int64(width),
                line,
                distances,
            )
