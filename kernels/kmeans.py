"""The two loops of k-means: the nearest centroid of each row, and the sums of each cluster.

Distances are those of int8 codes: exact integer products, so the clusters are the same on every
processor and for every number of threads (BLAS gives no such promise).
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.int8 import code_key, prepare_query
from fanns.kernels.intrinsics import element
from fanns.kernels.jit import Array, kernel


@kernel
def prepare_centroids(centroids: Array, mean: Array, codes: Array, parameters: Array) -> None:
    """Encode centroids float32[c, d] as l2 queries: codes int8[c, w], parameters float64[c, 6]."""
    for cluster in range(centroids.shape[0]):
        prepare_query(centroids[cluster], L2, mean, codes[cluster], parameters[cluster])


@kernel
def nearest_centroids(
    codes: Array,
    scale: Array,
    square: Array,
    centroid_codes: Array,
    parameters: Array,
    start: int,
    stop: int,
    labels: Array,
    keys: Array,
) -> None:
    """The nearest centroid of rows start..stop: labels int32[n], squared distances float64[n].

    The lower number wins a tie.
    """
    for row in range(start, stop):
        label, best = np.int64(0), math.inf
        for cluster in range(centroid_codes.shape[0]):
            code, places = centroid_codes[cluster], parameters[cluster]
            key = code_key(codes, scale, square, np.int64(row), code, places)
            if key < best:
                label, best = np.int64(cluster), key
        labels[row] = label
        keys[row] = best


@kernel
def add_rows(
    vectors: Array,
    norms: Array,
    metric: int,
    rows: Array,
    labels: Array,
    sums: Array,
    counts: Array,
) -> None:
    """Add row `rows[i]`, of length 1 under cosine, to sums[labels[i]] float64[c, d]; count it."""
    for i in range(rows.shape[0]):
        row, label = np.int64(rows[i]), labels[i]
        length = norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
        counts[label] += 1
        for j in range(vectors.shape[1]):
            sums[label, j] += element(vectors, row, np.int64(j)) / length
