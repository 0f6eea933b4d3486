"""Product quantization: training, encoding, estimated keys, and the scans that use them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.clusters import cluster_order
from fanns.codebooks import train_codebooks
from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array
from fanns.kernels.pq import decode_pq
from fanns.opq import rotation_matrix, train_rotation
from fanns.pq_codes import ROTATIONS, PQCodes
from fanns.vectors import DenseVectors

METRICS = [COSINE, L2, IP]


def clustered(n: int, d: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d))
    return (centres[rng.integers(0, 40, n)] + rng.standard_normal((n, d))).astype(np.float32)


class Clusters:
    """Rows in cluster order, with their centres."""

    def __init__(self, array: Array, metric: int) -> None:
        vectors = DenseVectors.from_array(array, metric)
        order, self.offsets, self.centroids = cluster_order(vectors, metric, seed=1)
        self.vectors = vectors.take(order)
        self.mean = Int8Codes.build(self.vectors).mean
        self.labels = np.repeat(np.arange(len(self.centroids)), np.diff(self.offsets))

    def codes(self, bits: int, rotation: str = "none", threads: int = 1) -> PQCodes:
        return PQCodes.build(
            self.vectors,
            self.mean,
            3,
            bits,
            rotation=rotation,
            centroids=self.centroids,
            offsets=self.offsets,
            threads=threads,
        )

    def residuals(self) -> Array:
        return points(self.vectors) - self.centroids[self.labels]


def points(vectors: DenseVectors) -> Array:
    """x' in double precision."""
    wide: Array = vectors.vectors.astype(np.float64)
    if vectors.metric == COSINE:
        wide /= np.linalg.norm(wide, axis=1)[:, None]
    return wide


def every_row(n: int) -> Array:
    return pack_words(np.ones(n, bool))


def pack_words(chosen: Array) -> Array:
    padded = np.zeros(-(-len(chosen) // 64) * 64, bool)
    padded[: len(chosen)] = chosen
    words: Array = np.packbits(padded, bitorder="little").view(np.uint64)
    return words


def true_keys(queries: Array, wide: Array, metric: int) -> Array:
    """|q - x|^2, or -<q', x'>."""
    wide_queries = queries.astype(np.float64)
    if metric == COSINE:
        wide_queries /= np.linalg.norm(wide_queries, axis=1)[:, None]
    products: Array = wide_queries @ wide.T
    if metric != L2:
        return -products
    lengths: Array = (wide_queries**2).sum(axis=1)[:, None] + (wide**2).sum(axis=1)
    lengths -= 2 * products
    return lengths


def by_row(rows: Array, keys: Array) -> Array:
    result = np.empty_like(keys)
    np.put_along_axis(result, rows.astype(np.int64), keys, axis=1)
    return result


# --- training ------------------------------------------------------------------------------------


def plain_k_means(data: Array, centroids: Array, rounds: int) -> tuple[Array, Array]:
    """Lloyd's rounds without a cure for dead codewords: centroids and how many points each has."""
    for _ in range(rounds):
        labels = ((data[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
        for k in range(len(centroids)):
            if (labels == k).any():
                centroids[k] = data[labels == k].mean(axis=0)
    labels = ((data[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    return centroids, np.bincount(labels, minlength=len(centroids))


def distortion(data: Array, centroids: Array) -> float:
    gaps = ((data[:, None] - centroids[None]) ** 2).sum(axis=2).min(axis=1)
    return float(gaps.mean())


def test_dead_codewords_are_put_into_the_most_populated_cells() -> None:
    """Most points are one and the same, so codewords drawn by chance are too: they are dead."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2000, 2)).astype(np.float32)
    data[rng.random(2000) < 0.9] = 5.0
    books, counts = train_codebooks(data, 1, 16, seed=4)
    first = np.random.default_rng((4, 0)).choice(2000, 16, replace=False)
    plain, used = plain_k_means(data, data[first].astype(np.float64), 12)
    assert (used > 0).sum() <= 6
    assert (counts > 0).all() and counts.sum() == 2000
    assert distortion(data, books[0].T) < 0.4 * distortion(data, plain)


def test_codebooks_are_those_of_k_means() -> None:
    """Where no codeword dies, they are Lloyd's from the same points."""
    data = np.random.default_rng(1).standard_normal((800, 6)).astype(np.float32)
    books, counts = train_codebooks(data, 2, 16, seed=9)
    for j in range(2):
        part = data[:, 3 * j : 3 * j + 3]
        first = np.random.default_rng((9, j)).choice(800, 16, replace=False)
        plain, used = plain_k_means(part.astype(np.float64), part[first].astype(np.float64), 12)
        np.testing.assert_allclose(books[j].T, plain, atol=1e-4)
        np.testing.assert_array_equal(counts[j], used)


@pytest.mark.parametrize("distinct", [1, 2, 7])
def test_fewer_distinct_rows_than_codewords(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    array = rng.standard_normal((distinct, 8)).astype(np.float32)[rng.integers(0, distinct, 300)]
    vectors = DenseVectors.from_array(array, L2)
    for bits in (4, 8):
        codes = PQCodes.build(vectors, np.zeros(8, np.float32), 1, bits)
        np.testing.assert_allclose(codes.decode(np.arange(300)), array, atol=1e-5)
        np.testing.assert_allclose(codes.error, 0, atol=1e-5)
        _, keys = codes.nearest(array[:1], every_row(300), 1)
        assert abs(keys[0, 0]) < 0.1


# --- encoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_each_part_takes_the_nearest_codeword(bits: int, rotation: str) -> None:
    data = Clusters(clustered(500, 22, 3), COSINE)
    codes = data.codes(bits, rotation)
    z = data.residuals()
    m, s, _ = codes.books.shape
    turned = np.zeros((500, m * s))
    if rotation == "none":
        turned[:, :22] = z
    else:
        turned[:, : codes.rotation.shape[1]] = z @ rotation_matrix(codes.rotation)[:22]
    near = np.empty((500, m * s), np.float32)
    decode_pq(codes.codes, codes.books, np.arange(500, dtype=np.int32), near)
    for j in range(m):
        part, book = turned[:, j * s : (j + 1) * s], codes.books[j].T.astype(np.float64)
        best = ((part[:, None] - book[None]) ** 2).sum(axis=2).min(axis=1)
        found = ((part - near[:, j * s : (j + 1) * s]) ** 2).sum(axis=1)
        np.testing.assert_allclose(found, best, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_keeps_what_its_description_says(metric: int, bits: int) -> None:
    data = Clusters(clustered(700, 20, 5), metric)
    codes = data.codes(bits)
    rows, z, centres = np.arange(700), data.residuals(), data.centroids[data.labels]
    near = codes.decode(rows) - centres
    squared = (z**2).sum(axis=1)
    factor = squared / (z * near).sum(axis=1)
    assert (factor < 64).all()
    np.testing.assert_allclose(codes.factor(rows), factor, rtol=1e-4)
    beyond = factor * ((centres - data.mean) * near).sum(axis=1)
    second = squared + 2 * beyond if metric == L2 else beyond - (centres * z).sum(axis=1)
    np.testing.assert_allclose(codes.second(rows), second, rtol=1e-4, atol=1e-4)
    off = np.linalg.norm(factor[:, None] * near - z, axis=1)
    np.testing.assert_allclose(codes.error, off, rtol=1e-3, atol=1e-4)
    share = ((z - near) ** 2).sum() / ((points(data.vectors) - data.mean) ** 2).sum()
    assert codes.reconstruction_error(data.vectors, rows) == pytest.approx(share, rel=1e-4)
    assert np.isinf(codes.fields[-1, 700 % 64 : 64]).all()  # rows that are not there
    assert codes.usable


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_builds_are_the_same_whatever_the_threads(bits: int, rotation: str) -> None:
    data = Clusters(clustered(2500, 16, 1), COSINE)
    one, two = data.codes(bits, rotation, threads=1), data.codes(bits, rotation, threads=2)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name], err_msg=name)
    again = PQCodes.load(one.arrays(), one.mean, COSINE, data.centroids, data.offsets)
    queries = clustered(2, 16, 9)
    words = every_row(2500)
    for a, b in zip(
        one.nearest(queries, words, 20), again.nearest(queries, words, 20), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    other = PQCodes.build(data.vectors, data.mean, 4, bits, rotation=rotation)
    assert not np.array_equal(one.books, other.books)
    assert one.codes.ctypes.data % 64 == 0 or bits == 8


def test_sizes() -> None:
    vectors = DenseVectors.from_array(clustered(6400, 96, 1), L2)
    mean = np.zeros(96, np.float32)
    four, eight = PQCodes.build(vectors, mean, 1), PQCodes.build(vectors, mean, 1, 8)
    assert (four.subspaces, eight.subspaces) == (24, 12)
    assert four.bits_per_vector == 24 * 4 + 96 and eight.bits_per_vector == 12 * 8 + 96
    assert four.nbytes == sum(array.nbytes for array in four.arrays().values())
    with pytest.raises(ValueError, match="bits 5"):
        PQCodes.build(vectors, mean, 1, 5)
    with pytest.raises(ValueError, match="sub-spaces"):
        PQCodes.build(vectors, mean, 1, 4, 0)


# --- estimates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
def test_keys_are_near_true_distances(metric: int, bits: int) -> None:
    n, d = 3000, 64
    data = Clusters(clustered(n, d, 6), metric)
    noise = np.random.default_rng(7).standard_normal((6, d)).astype(np.float32)
    queries = data.vectors.vectors[::500][:6] + noise * np.float32(0.5)
    truth = true_keys(queries, points(data.vectors), metric)
    for rotation in ROTATIONS if bits == 4 else ROTATIONS[:1]:
        codes = data.codes(bits, rotation)
        keys = by_row(*codes.nearest(queries, every_row(n), n))
        shifted = queries.astype(np.float64)
        if metric == COSINE:
            shifted /= np.linalg.norm(shifted, axis=1)[:, None]
        gap = np.linalg.norm(shifted[:, None] - data.centroids[None], axis=2)[:, data.labels]
        size = gap * codes.error / np.sqrt(d) * (2 if metric == L2 else 1)
        off = codes.error > 1e-3  # not of rows that are a cluster of their own
        relative = ((keys - truth)[:, off]) / size[:, off]
        assert 0.7 < np.sqrt((relative**2).mean()) < 1.25  # the standard error that is promised
        assert abs(relative.mean()) < 0.1
        nearest = np.argsort(truth, axis=1)[:, :10]
        found = np.argsort(keys, axis=1)[:, :60]
        assert np.mean([np.isin(a, b).mean() for a, b in zip(nearest, found, strict=True)]) > 0.9


def test_four_bits_are_within_the_tables_error_of_plain_sums() -> None:
    data = Clusters(clustered(1000, 40, 8), IP)
    codes = data.codes(4)
    queries = clustered(5, 40, 10)  # one more than share a pass
    keys = by_row(*codes.nearest(queries, every_row(1000), 1000))
    rows = np.arange(1000)
    near = codes.decode(rows) - data.centroids[data.labels]
    y = queries.astype(np.float64) - data.mean
    factor, base = codes.factor(rows), -(queries @ data.centroids.T)[:, data.labels]
    plain = base + codes.second(rows) - factor * (y @ near.T)
    for number in range(5):
        parts = y[number].reshape(codes.subspaces, -1)
        tables = np.einsum("js,jsk->jk", parts, codes.books.astype(np.float64))
        step = np.ptp(tables, axis=1).max() / 255
        bound = factor * (0.501 * step * codes.subspaces + 1e-4) + 1e-4
        assert (np.abs(keys[number] - plain[number]) <= bound).all()
    alone = by_row(*codes.nearest(queries[3:4], every_row(1000), 1000))
    np.testing.assert_array_equal(alone[0], keys[3])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(METRICS),
    n=st.sampled_from([0, 1, 2, 63, 64, 65, 300]),
    d=st.sampled_from([1, 7, 65]),
    bits=st.sampled_from([4, 8]),
    subspaces=st.sampled_from([None, 1, 3]),
    limit=st.sampled_from([1, 5, 40]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    equal=st.booleans(),
)
def test_scans_give_the_best_selected_rows(
    seed: int,
    metric: int,
    n: int,
    d: int,
    bits: int,
    subspaces: int | None,
    limit: int,
    share: float,
    equal: bool,
) -> None:
    rng = np.random.default_rng(seed)
    array = np.full((n, d), 2.5, np.float32) if equal else clustered(n, d, seed)
    vectors = DenseVectors.from_array(array, metric)
    codes = PQCodes.build(vectors, Int8Codes.build(vectors).mean, 1, bits, subspaces)
    queries = rng.standard_normal((3, d)).astype(np.float32)
    chosen = rng.random(n) < share
    everything, all_keys = codes.nearest(queries, every_row(n), n)
    rows, keys = codes.nearest(queries, pack_words(chosen), limit)
    for number in range(3):
        passing = chosen[everything[number]]
        best = everything[number][passing][:limit]
        np.testing.assert_array_equal(rows[number, : len(best)], best)
        np.testing.assert_array_equal(keys[number, : len(best)], all_keys[number][passing][:limit])
        assert (rows[number, len(best) :] == -1).all() and np.isinf(keys[number, len(best) :]).all()
        order = np.lexsort((everything[number], all_keys[number]))
        np.testing.assert_array_equal(order, np.arange(n))


def test_huge_values_are_told_and_harm_nothing() -> None:
    array = clustered(300, 16, 9)
    huge = DenseVectors.from_array(array * np.float32(1e25), L2)
    for rotation in ROTATIONS:
        codes = PQCodes.build(huge, Int8Codes.build(huge).mean, 1, rotation=rotation)
        assert not codes.usable
    vectors = DenseVectors.from_array(array, L2)
    for bits in (4, 8):
        codes = PQCodes.build(vectors, Int8Codes.build(vectors).mean, 1, bits)
        query = np.full((1, 16), 1e37, np.float32)
        rows, _ = codes.nearest(query, every_row(300), 10)
        assert len(set(rows[0].tolist()) - {-1}) == 10


# --- rotations -----------------------------------------------------------------------------------


def test_the_optimized_rotation_is_one_and_lowers_the_error() -> None:
    """Ge et al. 2013: correlated dimensions in different parts cost most."""
    rng = np.random.default_rng(2)
    mixed = rng.standard_normal((3000, 6)) @ rng.standard_normal((6, 24))
    data = (mixed + 0.1 * rng.standard_normal((3000, 24))).astype(np.float32)
    rotation = train_rotation(data, 6, 16, seed=1)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(24), atol=1e-4)
    vectors = DenseVectors.from_array(data, L2)
    mean = data.mean(axis=0)
    errors = {
        name: PQCodes.build(vectors, mean, 1, rotation=name).reconstruction_error(
            vectors, np.arange(3000)
        )
        for name in ROTATIONS
    }
    assert errors["opq"] < 0.6 * min(errors["none"], errors["random"])
