"""Clustered vectors, graphs over them, and brute force to compare with."""

from itertools import pairwise
from typing import Any

import numpy as np

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.codes import Int8Codes, unit_rows
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.jit import Array
from fanns.paths.graph import GraphPath
from fanns.vectors import DenseVectors


def clustered(n: int, d: int, clusters: int, seed: int = 0) -> tuple[Array, Array]:
    """float32[n, d] around random centres, in cluster order, and the clusters' offsets."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, d))
    label = np.sort(rng.integers(0, clusters, n))
    vectors = centres[label] + 0.6 * rng.standard_normal((n, d))
    offsets = np.searchsorted(label, np.arange(clusters + 1)).astype(np.int64)
    return vectors.astype(np.float32), offsets


def queries_near(vectors: Array, m: int, seed: int = 1) -> Array:
    """float32[m, d]: rows moved by as much as rows of a cluster differ."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(vectors), m)
    moved = vectors[rows] + 0.4 * rng.standard_normal((m, vectors.shape[1]))
    return np.ascontiguousarray(moved, np.float32)


def graph_of(
    vectors: Array,
    offsets: Array,
    metric: int = COSINE,
    threads: int = 1,
    bits: int = 0,
    **options: Any,
) -> GraphPath:
    """A graph; with `bits`, one whose walks go by codes of so many bits a dimension."""
    store = DenseVectors.from_array(vectors, metric)
    ties, codes = np.arange(len(vectors), dtype=np.int64), Int8Codes.build(store)
    path = GraphPath.build(store, codes, ties, offsets, np.empty(0), threads=threads, **options)
    if not bits:
        return path
    means = np.zeros((len(offsets) - 1, store.d), np.float32)
    unit = unit_rows(store, np.arange(store.n))
    for number, (low, high) in enumerate(pairwise(offsets)):
        means[number] = unit[low:high].mean(axis=0) if high > low else 0.0
    around = (np.unique(offsets), means[np.diff(offsets) > 0])
    coarse = BitCodes.build(store, codes.mean, 0, *around, bits=bits)
    centres = Centroids(*around, np.zeros(len(around[1])), codes.mean)
    return GraphPath.load(
        path.arrays(), store, codes, ties, offsets, np.empty(0), (coarse, centres)
    )


def load(
    path: GraphPath, vectors: Array, offsets: Array, metric: int = COSINE, **other: Any
) -> Any:
    """The graph again from its arrays, some of them replaced."""
    store = DenseVectors.from_array(vectors, metric)
    ties = np.arange(len(vectors), dtype=np.int64)
    arrays = {**path.arrays(), **other}
    return GraphPath.load(arrays, store, Int8Codes.build(store), ties, offsets, np.empty(0))


def distances(vectors: Array, query: Array, metric: int) -> Array:
    """Distances of all rows in float64."""
    wide, q = vectors.astype(np.float64), query.astype(np.float64)
    if metric == L2:
        return np.asarray(np.sqrt(((wide - q) ** 2).sum(axis=1)))
    dots = wide @ q
    if metric == COSINE:
        return np.asarray(1.0 - dots / (np.linalg.norm(wide, axis=1) * np.linalg.norm(q)))
    return np.asarray(-dots)


def recall(
    answers: Any, vectors: Array, queries: Array, metric: int, chosen: Array, k: int
) -> float:
    """Share of the min(k, matches) places filled by a chosen row no farther than the k-th best."""
    good = places = 0
    for number, query in enumerate(queries):
        away = distances(vectors, query, metric)
        expected = min(k, int(chosen.sum()))
        limit = np.sort(away[chosen])[expected - 1] if expected else -np.inf
        rows = answers.rows[number, : answers.found[number]]
        assert chosen[rows].all()
        assert len(set(rows.tolist())) == len(rows)
        good += int((away[rows] <= limit + 1e-6).sum())
        places += expected
    return good / places if places else 1.0
