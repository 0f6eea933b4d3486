"""How far a query is from the centres of clusters: by int8 codes of the centres.

The centres c are coded as rows are (`int8`), around the same mean and never normalised: under
cosine a centre is a mean of unit rows. With the query prepared for the segment's metric,
`int8.code_key` of a centre is

    l2           |q - c|^2
    ip, cosine   -<q', c>

which is what an estimate relative to the centre starts from, to within the codes' error. Where rows
have codes of few bits, so have the centres: ranking all of them by a third of the bytes costs less
than the few more rows that an order which is a little off must look at.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import PARAMETERS, bits_key, prepare_bits
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.int8 import LENGTH
from fanns.kernels.intrinsics import element
from fanns.kernels.jit import Array, inner, kernel


@inner
def center_gap(metric: int, key: float, length2: float, parameters: Array) -> float:
    """|q' - c| from the key of a centre; `length2` = |c|^2."""
    squared = key
    if metric != L2:
        squared = parameters[LENGTH] * parameters[LENGTH] + 2.0 * key + length2
    return math.sqrt(squared) if squared > 0.0 else 0.0


@kernel
def rank_centres(
    queries: Array,
    metric: int,
    mean: Array,
    signs: Array,
    bits: int,
    records: Array,
    factors: Array,
    keys: Array,
) -> None:
    """keys float64[m, c] by which the scan of clusters ranks centres, for float32[m, d].

    The arrays are those of `BitCodes`, the records those of the centres.
    """
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    for number in range(queries.shape[0]):
        prepare_bits(queries[number], metric, mean, signs, bits, planes, parameters)
        for centre in range(records.shape[0]):
            key = bits_key(records, factors, np.int64(centre), planes, parameters, 0.0)
            keys[number, centre] = key


@kernel
def measure_reach(
    vectors: Array,
    norms: Array,
    metric: int,
    bounds: Array,
    centres: Array,
    start: int,
    stop: int,
    reach: Array,
) -> None:
    """reach[i] >= |x' - c| of every row of clusters start <= i < stop; float64[c].

    centres float32[c, d]; rows bounds[i] .. bounds[i + 1] are those of cluster i.
    """
    for cluster in range(start, stop):
        centre, most = centres[cluster], 0.0
        for row in range(bounds[cluster], bounds[cluster + 1]):
            inverse = 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
            squared = 0.0
            for j in range(centre.shape[0]):
                gap = element(vectors, np.int64(row), np.int64(j)) * inverse - centre[j]
                squared += gap * gap
            most = max(most, squared)
        reach[cluster] = math.sqrt(most) * (1.0 + 1e-9)
