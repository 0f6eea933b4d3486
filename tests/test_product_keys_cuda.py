"""Product keys on the device: bit for bit the CPU kernel's answers, ties and masks among them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.kernels import passing_keys_cuda, product_keys, product_keys_cuda
from fanns.kernels.distance import IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.kernels.product_keys import COUNTERS, PRODUCTS
from tests.cuda_helpers import to_device, to_host, workspace

METRICS = [IP, L2]
SHAPES = [(1, 1, 1, 1), (1, 7, 3, 2), (9, 1, 1, 5), (5, 13, 17, 4), (40, 33, 8, 19)]


def tables(seed: int, shape: tuple[int, int, int, int], whole: bool = False) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    c_a, c_b, d_a, d_b = shape
    if whole:
        return (
            rng.integers(-1, 2, (c_a, d_a)).astype(np.float32),
            rng.integers(-1, 2, (c_b, d_b)).astype(np.float32),
        )
    return (
        rng.standard_normal((c_a, d_a)).astype(np.float32),
        rng.standard_normal((c_b, d_b)).astype(np.float32),
    )


def asked(keys: tuple[Array, Array], m: int, whole: bool = False) -> Array:
    d = keys[0].shape[1] + keys[1].shape[1]
    rng = np.random.default_rng(9)
    drawn = rng.integers(-1, 2, (m, d)) if whole else rng.standard_normal((m, d))
    return drawn.astype(np.float32)


def no_answers(m: int, k: int) -> list[Array]:
    return [np.full((m, k), -7, np.int64), np.full((m, k), np.nan), np.full((m, COUNTERS), -7)]


def on_cpu(queries: Array, metric: int, keys: Any, k: int, *way: Any) -> list[Array]:
    out = no_answers(len(queries), k)
    function: Any = product_keys.top_keys_masked if way else product_keys.top_keys
    function(frozen(queries), metric, *map(frozen, keys), *way, *out)
    return out


def on_device(
    queries: Array, metric: int, keys: Any, k: int, *way: Any, threads: int = 32
) -> list[Array]:
    out = to_device(*no_answers(len(queries), k))
    given: Any = (*to_device(queries), metric, *to_device(*keys))
    c_a, c_b, d = len(keys[0]), len(keys[1]), queries.shape[1]
    sizes = (len(queries), k, c_a, c_b, d)
    needed = product_keys_cuda.top_keys_bytes(*sizes)
    if way:
        needed = product_keys_cuda.top_keys_masked_bytes(*sizes, workspace(threads))
    space = workspace(threads, nbytes=needed)
    if way:
        words, passing, depth, most = way
        rest: Any = (*to_device(words, passing), depth, most, *out, space)
        product_keys_cuda.top_keys_masked(*given, *rest)
    else:
        everything: Any = (*given, *out, space)
        product_keys_cuda.top_keys(*everything)
    return to_host(*out)


def same(found: list[Array], wanted: list[Array], keys: Any) -> None:
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    assert (found[2][:, PRODUCTS] == len(keys[0]) + len(keys[1])).all()
    assert (found[2] >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_keys(shape: tuple[int, int, int, int], metric: int) -> None:
    keys = tables(1, shape)
    queries = asked(keys, 3)
    for k in {1, min(3, shape[0] * shape[1]), min(70, shape[0] * shape[1])}:
        found = on_device(queries, metric, keys, k)
        same(found, on_cpu(queries, metric, keys, k), keys)


def mask_of(seed: int, size: int, share: float) -> Array:
    mask = np.random.default_rng(seed).random(size) < share
    mask[seed % size] = True
    return mask


def bits_of(mask: Array) -> Array:
    padded = np.pad(mask, (0, -len(mask) % 64))
    return np.packbits(padded, bitorder="little").view(np.uint64)


NO_WORDS, NO_KEYS = np.empty(0, np.uint64), np.empty(0, np.int64)


def ways(mask: Array) -> list[Any]:
    """A bitmap that is scanned, with a bar first, and a list."""
    words, keys = frozen(bits_of(mask)), frozen(np.flatnonzero(mask))
    return [(words, NO_KEYS, 0, 0), (words, NO_KEYS, 3, 40), (NO_WORDS, keys, 0, 0)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.6, 1.0])
def test_keys_that_pass(share: float, metric: int) -> None:
    shape = (23, 19, 5, 9)
    keys, mask = tables(3, shape), mask_of(4, 23 * 19, share)
    queries = asked(keys, 2)
    for k in {1, min(6, int(mask.sum()))}:
        for way in ways(mask):
            found = on_device(queries, metric, keys, k, *way)
            same(found, on_cpu(queries, metric, keys, k, *way), keys)


@pytest.mark.parametrize("metric", METRICS)
def test_shares_of_a_table_are_merged(metric: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_keys_cuda, "LEAST", 64)
    keys, mask = tables(5, (31, 17, 4, 4), whole=True), mask_of(6, 31 * 17, 0.3)
    queries = asked(keys, 1, whole=True)
    for way in ways(mask):
        found = on_device(queries, metric, keys, 9, *way)
        same(found, on_cpu(queries, metric, keys, 9, *way), keys)


@settings(max_examples=12)
@given(
    st.tuples(*[st.integers(1, 9)] * 2, *[st.integers(1, 3)] * 2),
    st.sampled_from(METRICS),
    st.integers(0, 10**6),
    st.floats(0.0, 1.0),
    st.data(),
)
def test_ties_go_to_the_lowest_numbers(
    shape: Any, metric: int, seed: int, share: float, data: Any
) -> None:
    """Whole numbers: nearly all sums are ties."""
    keys = tables(seed, shape, whole=True)
    queries, size = asked(keys, 1, whole=True), shape[0] * shape[1]
    k = data.draw(st.integers(1, size))
    same(on_device(queries, metric, keys, k), on_cpu(queries, metric, keys, k), keys)
    mask = mask_of(seed, size, share)
    k = data.draw(st.integers(1, int(mask.sum())))
    for way in ways(mask):
        found = on_device(queries, metric, keys, k, *way)
        same(found, on_cpu(queries, metric, keys, k, *way), keys)


def test_all_equal_and_more_than_one_warp() -> None:
    keys = (np.ones((50, 2), np.float32), np.ones((70, 3), np.float32))
    queries = asked(keys, 1)
    found = on_device(queries, IP, keys, 80, threads=64)
    same(found, on_cpu(queries, IP, keys, 80), keys)
    np.testing.assert_array_equal(found[0][0], np.arange(80))


def test_what_does_not_fit_is_refused() -> None:
    keys = tables(1, (40, 40, 2, 2))
    with pytest.raises(ValueError, match="keep 1 to 1024"):
        on_device(asked(keys, 1), IP, keys, 1024)
    assert on_device(asked(keys, 0), IP, keys, 2)[0].shape == (0, 2)
