"""How densely the rows near a query pass, from the popcounts of the nearest clusters."""

from __future__ import annotations

import numpy as np

from fanns.kernels.bitset import count_range
from fanns.kernels.int8 import PARAMETERS, code_key, prepare_query
from fanns.kernels.jit import Array, kernel


@kernel
def local_shares(
    queries: Array,
    words: Array,
    bounds: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    metric: int,
    nearest: int,
    out: Array,
) -> None:
    """out[i] = share of the rows of the clusters nearest to query i that pass, float64[m].

    queries float32[m, d]; words, the bitmap of the selection; bounds int64[c + 1], where clusters
    begin; codes, scale, square: of one row of each cluster, which stands for it; nearest: clusters
    to look at, at least 1.
    """
    code = np.empty(codes.shape[1], np.int8)
    parameters = np.empty(PARAMETERS, np.float64)
    clusters = codes.shape[0]
    nearest = min(nearest, clusters)
    keys = np.empty(nearest, np.float64)
    chosen = np.empty(nearest, np.int64)
    for number in range(queries.shape[0]):
        prepare_query(queries[number], metric, mean, code, parameters)
        size = 0
        for cluster in range(clusters):
            key = code_key(codes, scale, square, np.int64(cluster), code, parameters)
            if size == nearest and key >= keys[size - 1]:
                continue
            place = size if size < nearest else nearest - 1
            while place > 0 and keys[place - 1] > key:
                keys[place] = keys[place - 1]
                chosen[place] = chosen[place - 1]
                place -= 1
            keys[place] = key
            chosen[place] = cluster
            if size < nearest:
                size += 1
        passing = 0
        rows = 0
        for place in range(size):
            start, stop = bounds[chosen[place]], bounds[chosen[place] + 1]
            passing += count_range(words, start, stop)
            rows += stop - start
        out[number] = passing / rows if rows > 0 else 0.0
