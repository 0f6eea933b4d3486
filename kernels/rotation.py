"""A seeded random rotation in place: sign flips and Hadamard transforms in turn.

A vector's length D is a multiple of 64. Each round flips signs at random and applies the Hadamard
transform, scaled to keep lengths, to a power-of-two part: the first in even rounds, the last in
odd ones, which overlap (after Ailon and Chazelle 2006; the overlapping parts as in RaBitQ's
library). It is exactly orthogonal up to rounding, costs O(D log D), and needs no matrix.
"""

from __future__ import annotations

import math
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.intrinsics import F32, I32, I64, _load, _row
from fanns.kernels.jit import Array, Integer, inner, kernel

intrinsic: Any = numba.extending.intrinsic
WIDTH = 16  # floats that are transformed in one register
ROUNDS = 4
VECTOR = ir.VectorType(F32, WIDTH)


def random_signs(dimensions: int, seed: int) -> np.ndarray:
    """The flips of a rotation, float32[ROUNDS, D] of -1 and 1; D = dimensions rounded up to 64."""
    padded = max(64, -(-dimensions // 64) * 64)
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([-1, 1], np.float32), (ROUNDS, padded))


def _address(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    start, _ = _row(context, builder, kind, array, ir.Constant(I64, 0))
    return builder.add(start, builder.shl(place, ir.Constant(I64, 2)))


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, VECTOR.as_pointer()), align=4)


@intrinsic
def _transform_register(typingctx, values, place):  # type: ignore[no-untyped-def]
    """The Hadamard transform of values[place : place + 16], float32, in place."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        vector = _load(builder, VECTOR, address, 4)
        for level in (1, 2, 4, 8):
            order = [lane ^ level for lane in range(WIDTH)]
            signs = [-1.0 if lane & level else 1.0 for lane in range(WIDTH)]
            other = builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(I32, WIDTH), order)
            )
            vector = builder.fadd(other, builder.fmul(vector, ir.Constant(VECTOR, signs)))
        _store(builder, vector, address)
        return context.get_dummy_value()

    return types.void(values, types.int64), codegen


@intrinsic
def _butterfly(typingctx, values, first, second):  # type: ignore[no-untyped-def]
    """Sums and differences of two runs of 16 floats, in place."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [_address(context, builder, signature.args[0], args[0], at) for at in args[1:]]
        a, b = (_load(builder, VECTOR, place, 4) for place in places)
        _store(builder, builder.fadd(a, b), places[0])
        _store(builder, builder.fsub(a, b), places[1])
        return context.get_dummy_value()

    return types.void(values, types.int64, types.int64), codegen


@inner
def _hadamard(values: Array, start: Integer, size: Integer) -> None:
    """The unscaled transform of values[start : start + size]; size a power of two from 64 on."""
    for place in range(start, start + size, WIDTH):
        _transform_register(values, np.int64(place))
    half = np.int64(WIDTH)
    while half < size:
        for block in range(start, start + size, 2 * half):
            for place in range(block, block + half, WIDTH):
                _butterfly(values, np.int64(place), np.int64(place + half))
        half *= 2


@inner
def rotate(values: Array, signs: Array) -> None:
    """Rotate values float32[D] in place; signs float32[rounds, D] of -1 and 1."""
    size = values.shape[0]
    part = np.int64(64)
    while 2 * part <= size:
        part *= 2
    scale = np.float32(1.0 / math.sqrt(part))
    for turn in range(signs.shape[0]):
        flips = signs[turn]
        for j in range(size):
            values[j] *= flips[j]
        start = np.int64(0) if turn % 2 == 0 else np.int64(size - part)
        _hadamard(values, start, part)
        moved = values[start : start + part]
        for j in range(moved.shape[0]):
            moved[j] *= scale


@kernel
def rotate_rows(rows: Array, signs: Array) -> None:
    """Rotate each of rows float32[n, D] in place."""
    for row in range(rows.shape[0]):
        rotate(rows[row], signs)
