"""Rows in cluster order: a cluster is one contiguous run of vectors, codes and bitmaps."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fanns.codes import Int8Codes
from fanns.computing import Loops, loops_of
from fanns.kernels.distance import METRICS
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.jit import Array
from fanns.kernels.kmeans import prepare_centroids
from fanns.vectors import DenseVectors, check_vectors

MAX_CLUSTERS = 4096
SAMPLE_PER_CLUSTER = 64
ROUNDS = 8
"""Rounds of k-means; on the arXiv vectors rounds 9 to 20 lower the distortion by 0.2 %."""


def cluster_order(
    vectors: Array | DenseVectors,
    metric: str | int,
    seed: int,
    threads: int | None = 1,
    most: int = MAX_CLUSTERS,
    loops: Loops | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Group rows by k-means (Lloyd 1982) into about sqrt(n) clusters, at most `most`.

    Args:
        vectors: the rows, already checked: an array [n, d] or a store.
        metric: its name or number; under cosine rows count with length 1.
        seed: of the sample and the first centroids.
        threads: how many work; the result does not depend on it, nor on `loops`.

    Returns:
        order int32[n]: the rows cluster by cluster, in each cluster as they were given;
        offsets int64[c + 1]: where clusters begin in that order, none of them empty;
        centroids float32[c, d]: means of the members.
    """
    number = METRICS[metric] if isinstance(metric, str) else metric
    if not isinstance(vectors, DenseVectors):
        vectors = DenseVectors(vectors, check_vectors(vectors, number, threads), number)
    n, d = vectors.n, vectors.d
    if n == 0:
        return np.empty(0, np.int32), np.zeros(1, np.int64), np.empty((0, d), np.float32)
    clusters, loops = min(math.isqrt(n), most), loops_of(loops, threads)
    if clusters == 1:
        labels, centroids = np.zeros(n, np.int32), np.zeros((1, d), np.float32)
    else:
        labels, centroids = k_means(vectors, clusters, seed, threads, loops)
    counts = np.bincount(labels, minlength=len(centroids))
    order = np.argsort(labels, kind="stable").astype(np.int32)
    used = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[used])]).astype(np.int64)
    rows = np.arange(n, dtype=np.int32)
    return order, offsets, _means(vectors, rows, labels, centroids, loops)[0][used]


def k_means(
    vectors: DenseVectors,
    clusters: int,
    seed: int,
    threads: int | None = 1,
    loops: Loops | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The nearest of `clusters` centroids for each row, int32[n], and these, float32[clusters, d].

    Trained on a sample; 1 <= clusters <= n. The result does not depend on `threads`.
    """
    loops = loops_of(loops, threads)
    codes = Int8Codes.build(vectors, threads, loops=loops)
    centroids = _train(vectors, codes, clusters, seed, loops)
    return _nearest(codes, centroids, loops)[0], centroids


def _train(
    vectors: DenseVectors, codes: Int8Codes, clusters: int, seed: int, loops: Loops
) -> npt.NDArray[np.float32]:
    """k-means on a sample, from random rows; an empty cluster restarts at the worst-placed row."""
    rng = np.random.default_rng(seed)
    size = min(vectors.n, clusters * SAMPLE_PER_CLUSTER)
    rows = np.sort(rng.choice(vectors.n, size, replace=False)).astype(np.int32)
    sample = codes.take(rows)
    first = np.sort(rng.choice(size, clusters, replace=False))
    centroids = sample.decode(first).astype(np.float32)
    before = np.full(size, -1, np.int32)
    for _ in range(ROUNDS):
        labels, keys = _nearest(sample, centroids, loops)
        if np.array_equal(labels, before):
            break
        before = labels
        centroids, counts = _means(vectors, rows, labels, centroids, loops)
        empty = np.flatnonzero(counts == 0)
        worst = np.argsort(-keys, kind="stable")[: len(empty)]
        centroids[empty] = sample.decode(worst).astype(np.float32)
    return centroids


def _nearest(
    codes: Int8Codes, centroids: npt.NDArray[np.float32], loops: Loops
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """The nearest centroid of each coded row, and its squared distance."""
    centroid_codes = np.empty((len(centroids), codes.width), np.int8)
    parameters = np.empty((len(centroids), PARAMETERS), np.float64)
    prepare_centroids(np.ascontiguousarray(centroids), codes.mean, centroid_codes, parameters)
    return loops.nearest(codes.codes, codes.scale, codes.square, centroid_codes, parameters)


def _means(
    vectors: DenseVectors,
    rows: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    centroids: npt.NDArray[np.float32],
    loops: Loops,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Mean and size of each cluster; an empty one keeps its centroid. In the order of rows."""
    sums = loops.add_rows(vectors, rows, labels, len(centroids))
    counts = np.bincount(labels, minlength=len(centroids))
    means = sums / np.maximum(counts, 1)[:, None]
    return np.where(counts[:, None] > 0, means, centroids).astype(np.float32), counts
