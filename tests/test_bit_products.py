"""Products of codes of a few bits with queries: equal integers in every form."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.kernels.bit_products import ONES, PLANES, code_product_intrinsic
from fanns.kernels.jit import Array
from tests.test_intrinsics import SUPPORTED


def compiled(form: str) -> Any:
    product = code_product_intrinsic(form)

    @numba.njit
    def products(records: Array, planes: Array, bits: float, out: Array) -> None:
        for row in range(records.shape[0]):
            out[row] = product(records, row, planes, bits)

    return products


PRODUCTS = {form: compiled(form) for form in SUPPORTED}


def fields(words: Array, bits: int) -> Array:
    """Fields of each byte in turn, int64[n, 8 / bits, bytes]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return ((words.view(np.uint8)[:, None, :] >> shifts) & ((1 << bits) - 1)).astype(np.int64)


@pytest.mark.parametrize("form", SUPPORTED)
@pytest.mark.parametrize("bits", [1, 2, 4])
@given(
    lines=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    extreme=st.sampled_from([None, 0, 2**64 - 1]),
)
def test_products_equal_integers(
    form: str, bits: int, lines: int, seed: int, extreme: int | None
) -> None:
    rng = np.random.default_rng(seed)
    width = 8 * lines
    records = rng.integers(0, 2**64, (3, width), np.uint64)
    planes = rng.integers(0, 2**64, (PLANES + 1, width), np.uint64)
    if extreme is not None:
        records[1], planes[:, ::2] = extreme, extreme
    out = np.empty(3, np.int64)
    PRODUCTS[form](records, planes, float(bits), out)
    if bits == 1:
        weights = [1 << j for j in range(PLANES)] + [1 << ONES]
        shared = fields(np.ascontiguousarray(records[:, None] & planes).reshape(-1, width), 1)
        expected = shared.sum(axis=(1, 2)).reshape(3, PLANES + 1) @ np.array(weights)
    else:
        query = planes[: 8 // bits].view(np.int8).astype(np.int64)
        expected = (fields(records, bits) * query).sum(axis=(1, 2))
    np.testing.assert_array_equal(out, expected)
