"""Codes that the device makes of rows have the CPU's bytes, of every kind."""

from typing import Any

import numpy as np
import pytest

from fanns.bit_codes import BitCodes
from fanns.codes import Int8Codes
from fanns.kernels import bit_encode_cuda, pq_encode_cuda
from fanns.kernels.bit_encode_cuda import STEPS, encode_bits, encode_bits_bytes
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.int8_encode_cuda import encode
from fanns.kernels.jit import Array
from fanns.kernels.pq_encode_cuda import encode_pq, encode_pq_bytes
from fanns.pq_codes import PQCodes, empty_codes
from fanns.vectors import DenseVectors
from tests.cuda_helpers import to_device, to_host, workspace

TYPES = [np.float32, np.float16, np.int8]


def rows(n: int, d: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Vectors with elements of equal size, one of equal ones, and an outlier."""
    rng = np.random.default_rng(seed)
    array = 5 * rng.standard_normal((n, d))
    array[n // 2] = 3.0
    array[-1] *= 20 if dtype == np.int8 else 1000
    return np.clip(array, -127, 127).astype(dtype) if dtype == np.int8 else array.astype(dtype)


def check_same(found: Any, expected: Array) -> None:
    (host,) = to_host(found)
    assert host.dtype == expected.dtype
    np.testing.assert_array_equal(host.view(np.uint8), expected.view(np.uint8))


def check_int8(array: Array, metric: int, threads: int = 32) -> None:
    store = DenseVectors.from_array(array, metric)
    codes = Int8Codes.build(store)
    names = ("codes", "scale", "square", "error")
    arrays = [codes.arrays()[name] for name in names]
    vectors, norms, mean = to_device(store.vectors, store.norms, codes.mean)
    out = to_device(*(np.ones_like(one) for one in arrays))
    rest: Any = (*out, workspace(threads))
    encode(vectors, norms, metric, mean, *rest)
    for made, expected in zip(out, arrays, strict=True):
        check_same(made, expected)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", [COSINE, IP, L2])
def test_int8(metric: int, dtype: Any) -> None:
    check_int8(rows(5, 70, dtype), metric, 64)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 8), (3, 7), (6, 33)])
def test_int8_of_awkward_shapes(n: int, d: int) -> None:
    check_int8(rows(n, d), L2)
    check_int8(np.ones((n, d), np.float32), L2)
    check_int8(rows(n, d) * np.float32(1e-30), L2)
    check_int8(np.clip(rows(n, d), -4, 4) * np.float32(1e37), IP)


def clusters(n: int, store: DenseVectors) -> tuple[Array, Array, Array]:
    """Three clusters: offsets, centres that are not quite means, and labels."""
    offsets = np.array([0, n // 3, n // 3 + 1, n], np.int64)
    centres = np.stack([store.decode(np.array([i])) for i in (0, n // 3, n - 1)])[:, 0] * 0.7
    labels = np.repeat(np.arange(3, dtype=np.int32), np.diff(offsets))
    return offsets, centres.astype(np.float32), labels


def check_bits(array: Array, metric: int, bits: int) -> None:
    store = DenseVectors.from_array(array, metric)
    mean = Int8Codes.build(store).mean
    offsets, centres, labels = clusters(store.n, store)
    codes = BitCodes.build(store, mean, 3, offsets, centres, bits=bits)
    size = codes.signs.shape[1]
    space = workspace(nbytes=encode_bits_bytes(3, size, workspace()))
    moved = to_device(store.vectors, store.norms, mean, codes.signs)
    given = to_device(labels, centres, STEPS, np.ones_like(codes.records))
    launch: Any = encode_bits
    factors = given[-1].view(np.float32)
    launch(*moved[:2], metric, *moved[2:], bits, *given, factors, space)
    check_same(given[-1], codes.records)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("metric", [COSINE, IP, L2])
def test_bits(metric: int, bits: int) -> None:
    check_bits(rows(4, 70, TYPES[bits % 3]), metric, bits)


@pytest.mark.parametrize(("n", "d"), [(3, 1), (4, 64), (2, 200)])
def test_bits_of_awkward_shapes(n: int, d: int) -> None:
    check_bits(rows(n, d), L2, 2)
    check_bits(np.ones((n, d), np.float32), IP, 4)


def check_products(array: Array, metric: int, subspaces: int | None = None) -> None:
    store = DenseVectors.from_array(array, metric)
    mean = Int8Codes.build(store).mean
    offsets, centres, labels = clusters(store.n, store)
    codes = PQCodes.build(store, mean, 3, subspaces=subspaces, centroids=centres, offsets=offsets)
    fresh = empty_codes(store.n, codes.subspaces, 16)
    given = to_device(store.vectors, store.norms, mean, centres, labels, codes.books)
    out = to_device(*(fresh[name] for name in ("codes", "fields", "error")))
    space = workspace(nbytes=encode_pq_bytes(codes.subspaces * codes.length, workspace()))
    launch: Any = encode_pq
    launch(*given[:2], metric, *given[2:], *out, space)
    for made, name in zip(out, ("codes", "fields", "error"), strict=True):
        check_same(made, codes.arrays()[name])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", [COSINE, IP, L2])
def test_products(metric: int, dtype: Any) -> None:
    check_products(rows(5, 38, dtype), metric)


@pytest.mark.parametrize(("n", "d", "m"), [(3, 1, 1), (66, 3, 1), (4, 17, 17)])
def test_products_of_awkward_shapes(n: int, d: int, m: int) -> None:
    check_products(rows(n, d), L2, m)
    check_products(np.ones((n, d), np.float32), IP, m)


def test_rows_too_wide_for_shared_memory_take_the_workspace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bit_encode_cuda, "SHARED_BYTES", 64)
    monkeypatch.setattr(pq_encode_cuda, "SHARED_BYTES", 64)
    check_bits(rows(5, 20), L2, 2)
    check_products(rows(5, 20), L2)
