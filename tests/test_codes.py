"""Int8 codes: what they hold, and that the bounds on their error are true for nasty data."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.codes import Int8Codes
from fanns.kernels import int8
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, kernel
from fanns.vectors import DenseVectors

METRICS = [COSINE, L2, IP]


@kernel
def _measure(query: Array, metric: int, codes: Any, limits: Array, parameters: Array) -> Any:
    array, scale, square, mean = codes
    code = np.empty(array.shape[1], np.int8)
    int8.prepare_query(query, metric, mean, code, parameters)
    keys = np.empty(array.shape[0], np.float64)
    for row in range(array.shape[0]):
        keys[row] = int8.code_key(array, scale, square, np.int64(row), code, parameters)
    return keys, int8.key_error(parameters, limits[0], limits[1], limits[2])


def measure(codes: Int8Codes, query: Array) -> tuple[Array, float, Array]:
    """Keys of all rows, the bound on their error, and the query's parameters."""
    parameters = np.empty(int8.PARAMETERS)
    arrays = (codes.codes, codes.scale, codes.square, codes.mean)
    keys, bound = _measure(query, codes.metric, arrays, codes.limits, parameters)
    return keys, bound, parameters


def nasty(seed: int, kind: str, n: int, d: int) -> Array:
    """Rows that strain float32: extreme scales, equal rows, zeros, one outlier."""
    rng = np.random.default_rng(seed)
    array = rng.standard_normal((n, d))
    if kind == "scales":
        array *= 10.0 ** rng.integers(-44, 37, (n, 1))
    elif kind == "huge":
        array *= 1e37
    elif kind == "subnormal":
        array *= 1e-43
    elif kind == "constant":
        array[:] = array[0]
    elif kind == "outlier":
        array[0] *= 1e6
    elif kind == "far":
        array += 1e4
    elif kind == "sparse":
        array *= rng.random((n, d)) < 0.05
    with np.errstate(over="ignore"):
        result = np.clip(array, -3e38, 3e38).astype(np.float32)
    empty = ~result.any(axis=1)
    result[empty, 0] = np.float32(1e-3)
    return result


KINDS = ["plain", "scales", "huge", "subnormal", "constant", "outlier", "far", "sparse"]


def centred(store: DenseVectors, codes: Int8Codes) -> Array:
    """x' - mean in float64."""
    wide = store.vectors.astype(np.float64)
    if store.metric == COSINE:
        wide = wide / store.norms[:, None]
    return wide - codes.mean.astype(np.float64)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 40),
    d=st.sampled_from([1, 2, 63, 64, 65, 130]),
)
def test_codes_hold_what_they_promise(seed: int, kind: str, metric: int, n: int, d: int) -> None:
    store = DenseVectors.from_array(nasty(seed, kind, n, d), metric)
    codes = Int8Codes.build(store)
    assert codes.codes.shape == (n, -(-d // 64) * 64)
    assert (codes.codes >= 1).all()
    assert (codes.codes[:, d:] == 128).all()
    z = centred(store, codes)
    lengths = np.linalg.norm(z, axis=1)
    largest = lengths + np.linalg.norm(codes.mean.astype(np.float64))
    assert (
        np.abs(codes.square - lengths**2) <= 1e-14 * largest * (lengths + 1e-14 * largest)
    ).all()
    left = np.linalg.norm(centred(store, codes) - (codes.decode(np.arange(n)) - codes.mean), axis=1)
    assert (left <= codes.error + 1e-14 * largest).all()
    # half a step a dimension, apart from scales so small that float32 holds them badly
    assert (codes.error <= 0.5001 * codes.scale * np.sqrt(d) + 1e-42 * np.sqrt(d)).all()
    assert codes.limits[1] == codes.error.max()
    assert codes.limits[0] >= (lengths - 1e-14 * largest).max()


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    query_kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    d=st.sampled_from([1, 2, 63, 64, 65, 130]),
)
def test_keys_are_within_their_bound(
    seed: int, kind: str, query_kind: str, metric: int, d: int
) -> None:
    store = DenseVectors.from_array(nasty(seed, kind, 30, d), metric)
    codes = Int8Codes.build(store)
    query = nasty(seed + 1, query_kind, 1, d)[0]
    keys, bound, _ = measure(codes, query)
    # long double, so that the truth is better than what is tested
    wide, q = store.vectors.astype(np.longdouble), query.astype(np.longdouble)
    if metric == L2:
        truth = ((wide - q) ** 2).sum(axis=1)
    elif metric == IP:
        truth = -(wide @ q)
    else:
        truth = -(wide @ q) / np.sqrt((wide**2).sum(axis=1)) / np.sqrt((q**2).sum())
    assert np.isfinite(keys).all()
    assert (np.abs(keys - truth) <= bound).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_bound_is_of_use(metric: int) -> None:
    """On ordinary data the bound is a few times the largest error seen, not thousands of times."""
    store = DenseVectors.from_array(nasty(3, "plain", 500, 130), metric)
    codes = Int8Codes.build(store)
    query = nasty(4, "plain", 1, 130)[0]
    _, bound, parameters = measure(codes, query)
    spread = codes.limits[0] * parameters[int8.LENGTH] * (2 if metric == L2 else 1)
    assert bound < 0.03 * spread


def test_rows_equal_to_the_mean_have_no_error() -> None:
    store = DenseVectors.from_array(np.full((5, 3), 0.5, np.float32), L2)
    codes = Int8Codes.build(store)
    assert (codes.scale == 0).all()
    assert (codes.codes == 128).all()
    assert (codes.error == 0).all()


def test_no_rows() -> None:
    codes = Int8Codes.build(DenseVectors.from_array(np.empty((0, 70), np.float32), COSINE))
    assert codes.codes.shape == (0, 128)
    assert codes.limits.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_same_codes_for_any_number_of_threads(dtype: str) -> None:
    array = (np.random.default_rng(5).standard_normal((5000, 20)) * 30 + 5).astype(dtype)
    store = DenseVectors.from_array(array, COSINE)
    heard: list[int] = []
    one = Int8Codes.build(store, threads=1, progress=heard.append).arrays()
    two = Int8Codes.build(store, threads=2).arrays()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert heard[-1] == 5000 and heard == sorted(heard)


def test_float16_and_float32_of_equal_values_have_equal_codes() -> None:
    array = np.random.default_rng(6).standard_normal((50, 66)).astype(np.float16)
    half = Int8Codes.build(DenseVectors.from_array(array, L2)).arrays()
    single = Int8Codes.build(DenseVectors.from_array(array.astype(np.float32), L2)).arrays()
    assert all(np.array_equal(half[name], single[name]) for name in half)


def test_arrays_come_back() -> None:
    store = DenseVectors.from_array(nasty(1, "plain", 40, 65), L2)
    codes = Int8Codes.build(store)
    loaded = Int8Codes.load(codes.arrays(), L2)
    order = np.array([3, 1, 39])
    moved = loaded.take(order)
    np.testing.assert_array_equal(moved.codes, codes.codes[order])
    np.testing.assert_array_equal(moved.decode(np.arange(3)), codes.decode(order))
    assert codes.nbytes == sum(array.nbytes for array in codes.arrays().values())
    assert not any(array.flags.writeable for array in loaded.arrays().values())
