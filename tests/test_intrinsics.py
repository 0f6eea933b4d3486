"""Intrinsics against plain numpy: equal integers in every form, exact float16, fixed sums."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.kernels import intrinsics
from fanns.kernels.jit import Array, frozen, kernel


def _compiled(form: str) -> Any:
    dot = intrinsics.byte_dot_intrinsic(form)

    @numba.njit
    def dots(codes: Array, query: Array, out: Array) -> None:
        for row in range(codes.shape[0]):
            out[row] = dot(codes, row, query)

    return dots


SUPPORTED = [
    form
    for form, needed in {
        "vnni512": {"avx512f", "avx512bw", "avx512vnni"},
        "vnni256": {"avx512vl", "avx512vnni"},
        "avx2": {"avx2"},
        "portable": set[str](),
    }.items()
    if needed <= intrinsics.FEATURES
]
DOTS = {form: _compiled(form) for form in SUPPORTED}


@pytest.mark.parametrize("form", SUPPORTED)
@given(
    width=st.integers(0, 12).map(lambda blocks: 64 * blocks),
    seed=st.integers(0, 2**32 - 1),
    extremes=st.booleans(),
)
def test_byte_dot_equals_integers(form: str, width: int, seed: int, extremes: bool) -> None:
    rng = np.random.default_rng(seed)
    if extremes:  # 255 * 127 twice would saturate 16 bits
        codes = rng.choice(np.array([0, 1, 255], np.uint8), (3, width))
        query = rng.choice(np.array([-128, -127, 127], np.int8), width)
    else:
        codes = rng.integers(0, 256, (3, width)).astype(np.uint8)
        query = rng.integers(-128, 128, width).astype(np.int8)
    out = np.empty(3, np.int32)
    DOTS[form](frozen(codes), query, out)
    np.testing.assert_array_equal(out, codes.astype(np.int64) @ query.astype(np.int64))


def test_byte_dot_at_the_largest_width() -> None:
    codes = frozen(np.full((1, 65_536), 255, np.uint8))
    query = np.full(65_536, -128, np.int8)
    for dots in DOTS.values():
        out = np.empty(1, np.int32)
        dots(codes, query, out)
        assert out[0] == -128 * 255 * 65_536


def test_forms_by_processor() -> None:
    form = intrinsics.byte_dot_form
    assert form(frozenset({"avx2", "avx512f", "avx512bw", "avx512vnni"})) == "vnni512"
    assert form(frozenset({"avx2", "avx512f", "avx512bw"})) == "avx2"
    assert form(frozenset({"avx2", "avxvnni"})) == "vnni256"
    assert form(frozenset()) == "portable"


def test_portable_process_gives_equal_integers_and_sums() -> None:
    script = (
        "import numpy as np\n"
        "from fanns.kernels import intrinsics\n"
        "from tests.test_intrinsics import dots, sums\n"
        "rng = np.random.default_rng(7)\n"
        "codes = rng.integers(0, 256, (5, 192)).astype(np.uint8)\n"
        "query = rng.integers(-128, 128, 192).astype(np.int8)\n"
        "vectors = rng.standard_normal((5, 131)).astype(np.float32)\n"
        "print(intrinsics.BYTE_DOT, dots(codes, query), sums(vectors, vectors[0])[:, 0].tolist())"
    )
    answers = {}
    for cpu in ("", "portable"):
        environment = {**os.environ, "FANNS_CPU": cpu}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[1],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        form, answers[cpu] = done.stdout.split(maxsplit=1)
        assert cpu == "" or form == "portable"
    assert answers[""] == answers["portable"]


@kernel
def _dots(codes: Array, query: Array, out: Array) -> None:
    for row in range(codes.shape[0]):
        out[row] = intrinsics.dot_u8i8(codes, row, query)


def dots(codes: Array, query: Array) -> list[int]:
    """Dot products by this process's form."""
    out = np.empty(len(codes), np.int32)
    _dots(frozen(codes), query, out)
    return [int(value) for value in out]


@kernel
def _sums(vectors: Array, query: Array, out: Array) -> None:
    for row in range(vectors.shape[0]):
        out[row, 0] = intrinsics.dot_float(vectors, row, query)
        out[row, 1] = intrinsics.squared_l2_float(vectors, row, query)
        out[row, 2] = intrinsics.element(vectors, row, 0)


def sums(vectors: Array, query: Array) -> Array:
    """dot, squared l2 and first element of each row."""
    out = np.empty((len(vectors), 3))
    view = vectors.view(np.uint16) if vectors.dtype == np.float16 else vectors
    _sums(frozen(view), query, out)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "float64"])
@pytest.mark.parametrize("d", [1, 7, 8, 31, 32, 33, 63, 64, 65, 384])
def test_float_sums(dtype: str, d: int) -> None:
    rng = np.random.default_rng(d)
    vectors = (rng.standard_normal((6, d)) * 50).astype(dtype)
    query = rng.standard_normal(d).astype(np.float32)
    wide, exact = vectors.astype(np.float64), query.astype(np.float64)
    out = sums(vectors, query)
    scale = np.abs(wide) @ np.abs(exact)
    assert (np.abs(out[:, 0] - wide @ exact) <= 1e-14 * scale).all()
    np.testing.assert_allclose(out[:, 1], ((wide - exact) ** 2).sum(1), rtol=1e-13)
    np.testing.assert_array_equal(out[:, 2], wide[:, 0])
    np.testing.assert_array_equal(out, sums(vectors, exact))  # a widened query changes nothing


def test_every_half_precision_number_is_read_exactly() -> None:
    every = np.arange(65_536, dtype=np.uint16).view(np.float16)
    numbers = every[np.isfinite(every)].reshape(-1, 1)
    out = sums(numbers, np.ones(1, np.float32))
    np.testing.assert_array_equal(out[:, 2], numbers[:, 0].astype(np.float64))
    np.testing.assert_array_equal(out[:, 0], numbers[:, 0].astype(np.float64))


def test_sums_of_extreme_values_stay_finite_and_positive() -> None:
    query = np.zeros(40, np.float32)
    largest = np.full((1, 40), np.finfo(np.float32).max)
    smallest = np.full((1, 40), np.finfo(np.float32).smallest_subnormal)
    assert np.isfinite(sums(largest, query)).all()
    assert sums(smallest, query)[0, 1] > 0


@kernel
def _bits(word: int) -> tuple[int, int]:
    return intrinsics.popcount(word), intrinsics.trailing_zeros(word)


@kernel
def _prefetch(array: Array, row: int) -> None:
    intrinsics.prefetch(array, row)
    intrinsics.prefetch_row(array, row)


@given(st.integers(0, 2**64 - 1))
def test_bit_counts(word: int) -> None:
    ones, zeros = _bits(np.uint64(word))  # type: ignore[arg-type]
    assert ones == word.bit_count()
    assert zeros == ((word & -word).bit_length() - 1 if word else 64)


def test_prefetch_of_any_row_is_harmless() -> None:
    array = np.zeros((4, 100), np.float32)
    for row in (0, 3, 10_000, -1):
        _prefetch(array, row)


def test_clock_is_the_monotonic_one() -> None:
    before, now, after = time.monotonic_ns(), intrinsics.clock_ns(), time.monotonic_ns()
    assert before <= now <= after
