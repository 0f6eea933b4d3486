"""How densely the rows near a query pass, from the popcounts of the nearest clusters."""

from __future__ import annotations

import numpy as np

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import PARAMETERS as BIT_PARAMETERS
from fanns.kernels.bits import bits_key, prepare_bits
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
    signs: Array,
    bits: int,
    records: Array,
    factors: Array,
    mean: Array,
    metric: int,
    nearest: int,
    out: Array,
) -> None:
    """out[i] = share of the rows of the clusters nearest to query i that pass, float64[m].

    queries float32[m, d]; words, the bitmap of the selection; bounds int64[c + 1], where clusters
    begin; codes, scale, square: of one row of each cluster, which stands for it, unless there are
    records of the centres (see `BitCodes.encode_points`); nearest: clusters to look at, at least 1.
    """
    ranked = records.shape[0] > 0
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    turned = np.empty(BIT_PARAMETERS, np.float64)
    code = np.empty(codes.shape[1], np.int8)
    parameters = np.empty(PARAMETERS, np.float64)
    clusters = codes.shape[0]
    nearest = min(nearest, clusters)
    keys = np.empty(nearest, np.float64)
    chosen = np.empty(nearest, np.int64)
    for number in range(queries.shape[0]):
        if ranked:
            prepare_bits(queries[number], metric, mean, signs, bits, planes, turned)
        else:
            prepare_query(queries[number], metric, mean, code, parameters)
        size = 0
        for cluster in range(clusters):
            key = 0.0
            if ranked:
                key = bits_key(records, factors, np.int64(cluster), planes, turned, 0.0)
            else:
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
