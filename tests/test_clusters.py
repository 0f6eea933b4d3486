"""Cluster order: a partition, the same for any number of threads, and better than chance."""

import itertools

import numpy as np
import pytest

from fanns.clusters import cluster_order
from fanns.kernels.jit import Array


def distortion(array: Array, order: Array, offsets: Array, centroids: Array) -> float:
    labels = np.repeat(np.arange(len(centroids)), np.diff(offsets))
    return float(((array[order].astype(np.float64) - centroids[labels]) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("n", [1, 2, 10, 300, 2500])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_partition(metric: str, n: int, dtype: str) -> None:
    array = (np.random.default_rng(n).standard_normal((n, 9)) * 20 + 40).astype(dtype)
    order, offsets, centroids = cluster_order(array, metric, seed=1)
    assert order.dtype == np.int32 and offsets.dtype == np.int64 and centroids.dtype == np.float32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert offsets[0] == 0 and offsets[-1] == n
    assert (np.diff(offsets) > 0).all()
    assert centroids.shape == (len(offsets) - 1, 9)
    assert len(centroids) <= max(1, int(np.sqrt(n)))
    wide = array.astype(np.float64)
    if metric == "cosine":
        wide /= np.linalg.norm(wide, axis=1)[:, None]
    for start, stop, centroid in zip(offsets[:-1], offsets[1:], centroids, strict=True):
        assert (np.diff(order[start:stop]) > 0).all()  # as given, within a cluster
        np.testing.assert_allclose(wide[order[start:stop]].mean(axis=0), centroid, atol=1e-5)


def test_finds_separate_groups() -> None:
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((8, 16)) * 10
    labels = rng.integers(0, 8, 4000)
    array = (middles[labels] + rng.standard_normal((4000, 16)) * 0.1).astype(np.float32)
    order, offsets, centroids = cluster_order(array, "l2", seed=0)
    assert distortion(array, order, offsets, centroids) < 1.0  # one group a cluster gives 0.16
    pure = [len(np.unique(labels[order[a:b]])) for a, b in itertools.pairwise(offsets)]
    assert np.mean(np.array(pure) == 1) > 0.9


def test_same_for_any_number_of_threads_and_another_for_another_seed() -> None:
    array = np.random.default_rng(3).standard_normal((3000, 24)).astype(np.float32)
    one = cluster_order(array, "cosine", seed=5, threads=1)
    two = cluster_order(array, "cosine", seed=5, threads=2)
    other = cluster_order(array, "cosine", seed=6, threads=2)
    for number in range(3):
        np.testing.assert_array_equal(one[number], two[number])
    assert not np.array_equal(one[0], other[0])


def test_equal_rows_make_few_clusters() -> None:
    order, offsets, centroids = cluster_order(np.ones((500, 4), np.float32), "l2", seed=0)
    assert len(centroids) == 1
    np.testing.assert_array_equal(order, np.arange(500))
    np.testing.assert_array_equal(offsets, [0, 500])


def test_no_rows() -> None:
    order, offsets, centroids = cluster_order(np.empty((0, 4), np.float32), "cosine", seed=0)
    assert len(order) == 0
    assert offsets.tolist() == [0]
    assert centroids.shape == (0, 4)
