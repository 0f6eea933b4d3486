"""k-means on the device: labels, keys and sums have the CPU's bits."""

from typing import Any

import numpy as np
import pytest

from fanns.codes import Int8Codes
from fanns.kernels import kmeans, kmeans_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.jit import Array, frozen
from fanns.vectors import DenseVectors
from tests.cuda_helpers import to_device, to_host, workspace


def prepared(codes: Int8Codes, centroids: Array) -> tuple[Array, Array]:
    out = np.empty((len(centroids), codes.width), np.int8), np.empty((len(centroids), PARAMETERS))
    kmeans.prepare_centroids(np.ascontiguousarray(centroids, np.float32), codes.mean, *out)
    return out


def check_nearest(codes: Int8Codes, centroids: Array, threads: int = 32) -> Array:
    near = prepared(codes, centroids)
    labels, keys = np.full(codes.n, -7, np.int32), np.full(codes.n, np.nan)
    rows = (codes.codes, codes.scale, codes.square)
    kmeans.nearest_centroids(*rows, *near, 0, codes.n, labels, keys)
    out = to_device(np.full(codes.n, -7, np.int32), np.full(codes.n, np.nan))
    given = to_device(*rows, *near)
    rest: Any = (*given, *out, workspace(threads))
    kmeans_cuda.nearest_centroids(*rest)
    found = to_host(*out)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1].view(np.int64), keys.view(np.int64))
    return labels


@pytest.mark.parametrize(("n", "c", "d"), [(1, 1, 1), (33, 5, 65), (17, 66, 3)])
def test_nearest_centroids(n: int, c: int, d: int) -> None:
    rng = np.random.default_rng(n)
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    codes = Int8Codes.build(DenseVectors.from_array(vectors, L2))
    check_nearest(codes, rng.standard_normal((c, d)), 64 if n == 33 else 32)


def test_the_lower_number_wins_a_tie_and_long_vectors_have_a_centroid() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20, 4)).astype(np.float32)
    centroids = np.repeat(rng.standard_normal((2, 4)), 20, axis=0)
    labels = check_nearest(Int8Codes.build(DenseVectors.from_array(vectors, IP)), centroids)
    assert set(labels) <= {0, 20}
    long = DenseVectors.from_array(vectors * np.float32(1e38), L2)
    check_nearest(Int8Codes.build(long), 1e38 * centroids[18:22])


def check_sums(array: Array, metric: int) -> None:
    rng = np.random.default_rng(1)
    (n, d), c = array.shape, 4
    store = DenseVectors.from_array(array, metric)
    labels = np.asarray(rng.integers(0, c - 1, n), np.int32)  # the last one is empty
    sums, counts = rng.standard_normal((c, d)), np.zeros(c, np.int64)
    begun, rows = sums.copy(), np.arange(n, dtype=np.int32)
    kmeans.add_rows(store.exact, store.norms, metric, frozen(rows), labels, sums, counts)
    order: Array = np.argsort(labels, kind="stable").astype(np.int32)
    bounds = np.searchsorted(labels[order], np.arange(c + 1)).astype(np.int64)
    given = to_device(store.vectors, store.norms, order, bounds, begun)
    moved: Any = (given[0], given[1], metric, *given[2:], workspace())
    kmeans_cuda.add_rows(*moved)
    np.testing.assert_array_equal(to_host(given[4])[0].view(np.int64), sums.view(np.int64))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("metric", [COSINE, L2])
def test_add_rows(metric: int, dtype: type) -> None:
    rng = np.random.default_rng(2)
    check_sums((10 * rng.standard_normal((50, 35))).astype(dtype), metric)
