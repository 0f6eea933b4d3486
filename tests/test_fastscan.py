"""Sums of 4-bit codes: equal integers in every form, no overflow, and the keys made of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.kernels.fastscan import (
    FORM,
    GROUP_BYTES,
    GROUP_TABLES,
    LARGEST_SUM,
    MANY,
    block_keys,
    block_sums_form,
    fast_scan_form,
    groups_of,
)
from fanns.kernels.intrinsics import FEATURES
from fanns.kernels.jit import Array, kernel
from fanns.kernels.pq import get_code, put_code, quantise_tables

SUPPORTED = [
    form
    for form, needed in {
        "permute512": {"avx512bw", "avx512vbmi", "avx512vnni"},
        "shuffle512": {"avx512bw"},
        "shuffle256": {"avx2"},
        "portable": set[str](),
    }.items()
    if needed <= FEATURES
]


def compiled(form: str, queries: int) -> Any:
    sums_of = block_sums_form(form, queries)

    @numba.njit
    def run(codes: Array, tables: Array, sums: Array) -> None:
        for block in range(codes.shape[0]):
            ahead = min(block + 1, codes.shape[0] - 1)
            sums_of(codes, block, ahead, tables, sums[block])

    return run


FORMS = {(form, queries): compiled(form, queries) for form in SUPPORTED for queries in (1, MANY)}


@kernel
def pack(numbers: Array, codes: Array) -> None:
    for row in range(numbers.shape[0]):
        for j in range(numbers.shape[1]):
            put_code(codes, np.int64(row), np.int64(j), np.int64(numbers[row, j]))


@kernel
def unpack(codes: Array, numbers: Array) -> None:
    for row in range(numbers.shape[0]):
        for j in range(numbers.shape[1]):
            numbers[row, j] = get_code(codes, np.int64(row), np.int64(j))


@kernel
def quantise(tables: Array, bytes_: Array) -> tuple[float, float, float]:
    return quantise_tables(tables, bytes_)


@kernel
def keys_of(
    sums: Array, query: int, fields: Array, step: float, bound: float, words: Array, keys: Array
) -> None:
    for block in range(fields.shape[0]):
        low, steps, under = np.float32(-0.5), np.float32(step), np.float32(bound)
        words[block] = block_keys(sums[block], query, fields, block, low, steps, under, keys[block])


def blocks_of(numbers: Array) -> Array:
    codes = np.zeros((-(-len(numbers) // 64), groups_of(numbers.shape[1]) * GROUP_BYTES), np.uint8)
    pack(numbers, codes)
    return codes


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 63, 64, 65, 200]),
    m=st.sampled_from([1, 2, 7, 8, 9, 48, 96, 257, 300]),
    extremes=st.booleans(),
)
def test_all_forms_add_the_same_integers(seed: int, n: int, m: int, extremes: bool) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 16, (n, m))
    largest = min(255, LARGEST_SUM // m)
    tables = rng.integers(0, largest + 1, (MANY, m, 16))
    if extremes:
        tables = np.where(tables > largest // 2, largest, 0)
        tables[0] = largest
    entries = np.zeros((MANY, groups_of(m) * GROUP_TABLES), np.uint8)
    entries[:, : m * 16] = tables.reshape(MANY, -1)
    truth = tables[:, np.arange(m), numbers].sum(axis=2)
    codes = blocks_of(numbers)
    for (form, queries), run in FORMS.items():
        sums = np.full((len(codes), MANY, 64), -1, np.int32)
        run(codes, entries, sums)
        for query in range(queries):
            flat = sums[:, query].reshape(-1)
            np.testing.assert_array_equal(flat[:n], truth[query], err_msg=form)
            padding = tables[query, :, 0].sum()  # rows that are not there have codes of zero
            assert (flat[n:] == padding).all()
        assert (sums[:, queries:] == -1).all()


def test_codes_come_back_and_lie_where_the_layout_says() -> None:
    numbers = np.random.default_rng(1).integers(0, 16, (150, 21))
    codes = blocks_of(numbers)
    assert codes.shape == (3, 3 * 256)
    again = np.zeros_like(numbers)
    unpack(codes, again)
    np.testing.assert_array_equal(again, numbers)
    for row, j in ((0, 0), (149, 20), (77, 5), (63, 12)):
        place = 256 * (j // 8) + 64 * (row % 64 // 16) + 16 * (j % 4) + row % 16
        half = codes[row // 64, place] >> (0 if j % 8 < 4 else 4)
        assert half & 15 == numbers[row, j]


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.sampled_from([1, 3, 96, 257, 258, 700, 4096]),
    shape=st.sampled_from(["normal", "steps", "equal", "one wide", "large", "tiny"]),
)
def test_no_sum_of_quantised_tables_exceeds_16_bits(seed: int, m: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    tables = rng.standard_normal((m, 16)).astype(np.float32)
    if shape == "steps":
        tables = np.where(rng.random((m, 16)) < 0.5, -1, 1).astype(np.float32)
    elif shape == "equal":
        tables[:] = -3.25
    elif shape == "one wide":
        tables[0] *= 1e6
    elif shape in ("large", "tiny"):
        tables *= np.float32(1e30 if shape == "large" else 1e-38)
    entries = np.full(groups_of(m) * GROUP_TABLES, 99, np.uint8)
    bias, step, error = quantise(tables, entries)
    levels = entries[: m * 16].reshape(m, 16).astype(np.int64)
    assert levels.max(axis=1).sum() <= LARGEST_SUM and not entries[m * 16 :].any()
    assert (levels.min(axis=1) == 0).all()
    wide = tables.astype(np.float64)
    # The worst row: each sub-quantizer's entry that is rounded most, up or down.
    off = step * levels + wide.min(axis=1)[:, None] - wide
    assert max(off.max(axis=1).sum(), -off.min(axis=1).sum()) <= error
    picked = rng.integers(0, 16, (50, m))
    sums = levels[np.arange(m), picked].sum(axis=1)
    truth = wide[np.arange(m), picked].sum(axis=1)
    assert np.abs(bias + step * sums - truth).max() <= error
    assert error <= 0.51 * m * step + 1e-9 * np.abs(wide).sum()


def test_keys_and_the_word_of_those_below_a_bound() -> None:
    rng = np.random.default_rng(2)
    sums = rng.integers(0, 65_536, (3, MANY, 64)).astype(np.int32)
    fields = rng.standard_normal((3, 128)).astype(np.float32)
    fields[1, 5] = np.inf  # a row that is not there
    fields[2, 9] = np.nan
    words, keys = np.zeros(3, np.uint64), np.zeros((3, 64), np.float32)
    keys_of(sums, 2, fields, 0.01, 100.0, words, keys)
    dot = np.float32(-0.5) + np.float32(0.01) * sums[:, 2].astype(np.float32)
    truth = fields[:, :64] - fields[:, 64:] * dot
    np.testing.assert_array_equal(keys, truth)
    below = np.packbits(truth < np.float32(100), axis=1, bitorder="little").view(np.uint64)[:, 0]
    np.testing.assert_array_equal(words, below)


def test_the_form_follows_the_processor() -> None:
    assert fast_scan_form(frozenset()) == "portable"
    assert fast_scan_form(frozenset({"avx2"})) == "shuffle256"
    assert fast_scan_form(frozenset({"avx2", "avx512bw"})) == "shuffle512"
    assert fast_scan_form(FEATURES) == FORM == SUPPORTED[0]


def test_the_portable_form_can_be_asked_for() -> None:
    command = "from fanns.kernels.fastscan import FORM; print(FORM)"
    environment = {**os.environ, "FANNS_CPU": "portable"}
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "portable"
