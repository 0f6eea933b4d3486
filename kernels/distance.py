"""Full-precision distances of rows to a query: smaller is better, summed in double precision.

Vectors are float32, int8, or float16 seen as uint16 (`exact_view`); the query is float32.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.intrinsics import dot_float, squared_l2_float
from fanns.kernels.jit import Array, Integer, inner, kernel

COSINE = 0
L2 = 1
IP = 2
METRICS = {"cosine": COSINE, "l2": L2, "ip": IP}
"""Metric names of the public interface and their numbers in kernels."""


def exact_view(vectors: Array) -> Array:
    """The array as kernels take it: float16 as uint16, anything else as it is."""
    return vectors.view(np.uint16) if vectors.dtype == np.float16 else vectors


@kernel
def query_norm(query: Array) -> float:
    """Length of a query in float64."""
    return math.sqrt(dot_float(query, 0, query))


@inner
def widen(query: Array) -> Array:
    """The query as float64, so that it is not converted again for each row."""
    wide = np.empty(query.shape[0], np.float64)
    for j in range(query.shape[0]):
        wide[j] = query[j]
    return wide


@inner
def row_distance(
    metric: int, vectors: Array, norms: Array, row: Integer, query: Array, norm: float
) -> float:
    """Distance of `vectors[row]` to a query (float32, or float64 by `widen`) of length `norm`.

    l2: Euclidean; ip: -<q, x>; cosine: 1 - <q, x> / (|q| |x|), cut to [0, 2], and 1 when a length
    is zero. `norms` are the rows' lengths as `row_norms` gives them.
    """
    if metric == L2:
        return math.sqrt(squared_l2_float(vectors, row, query))
    dot: float = dot_float(vectors, row, query)
    if metric == IP:
        return -dot
    lengths = norm * norms[row]
    if lengths == 0.0:
        return 1.0
    distance = 1.0 - dot / lengths
    if distance < 0.0:
        return 0.0
    return 2.0 if distance > 2.0 else distance


@kernel
def row_norms(vectors: Array, query: Array, out: Array) -> None:
    """Lengths of all rows: |x| into out[n] float64. `query` is scratch float32[d], all zeros."""
    for row in range(vectors.shape[0]):
        out[row] = math.sqrt(squared_l2_float(vectors, row, query))
