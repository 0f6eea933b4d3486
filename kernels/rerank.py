"""Full-precision distances of a shortlist, and the best of it by (distance, tie)."""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import row_distance, widen
from fanns.kernels.intrinsics import dot_float, prefetch_row
from fanns.kernels.jit import Array, Integer, kernel
from fanns.kernels.topk import push, sort_heap

AHEAD = 2
"""Rows asked for before they are needed. 40 rows of 1.5 kB from 150 MB took 13 to 14 microseconds
with 1 to 3, 16 with none, and 18 with 16."""


@kernel
def rerank(
    query: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    rows: Array,
    count: Integer,
    ties: Array,
    k: Integer,
    out_rows: Array,
    out_distances: Array,
) -> Integer:
    """Order the first `count` of `rows` by distance to the query, then by tie; keep the best k.

    query float32[d]; vectors [n, d]; norms float64[n]; rows int32; ties int64[n]. Writes
    out_rows int32[>= k] and out_distances float64[>= k] and gives the number found, min(k, count).
    """
    k = k if k < count else count
    norm = math.sqrt(dot_float(query, 0, query))
    wide = widen(query)
    distances = np.empty(k, np.float64)
    places = np.empty(k, np.int64)
    best = np.empty(k, np.int32)
    size: Integer = np.int64(0)
    for number in range(AHEAD if count > AHEAD else count):
        prefetch_row(vectors, rows[number])
    for number in range(count):
        if number + AHEAD < count:
            prefetch_row(vectors, rows[number + AHEAD])
        row = np.int64(rows[number])
        distance = row_distance(metric, vectors, norms, row, wide, norm)
        if size < k or distance <= distances[0]:
            size = push(distances, places, best, size, distance, ties[row], row)
    sort_heap(distances, places, best, size)
    for place in range(size):
        out_rows[place] = best[place]
        out_distances[place] = distances[place]
    return size
