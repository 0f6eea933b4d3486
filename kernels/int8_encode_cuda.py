"""Encoding rows into int8 codes on the device: the twin of `int8.encode`, with its bytes.

A warp encodes a row: it reads it three times, for its length and largest value, for the codes, and
for what they leave, of which all but the first find it in the L1 cache. Sums are taken in the CPU's
order (`warp_cuda`), and each product that is added to is rounded first (`rounding_cuda`).

Bound: memory, which gives a row's vector and takes its code; arithmetic is some 20 operations in
double precision for an element, half of what the device does while it reads float32 at 4.8 TB/s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fanns.kernels.distance import COSINE
from fanns.kernels.distance_cuda import STEP, ordered_place, ordered_turns
from fanns.kernels.int8 import ROUND
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import ALL_LANES, WARP, DeviceArray, Workspace, cuda, inner, kernel
from fanns.kernels.rounding_cuda import times
from fanns.kernels.warp_cuda import warp_sum

ZERO = 128  # the byte of zero


@inner
def inverse_length(norms: Array, metric: int, row: Integer) -> Any:
    """What a row is multiplied by to become x'."""
    return 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0


@inner
def moved(vectors: Array, row: Integer, j: Integer, inverse: float, around: Array) -> Any:
    """Element j of x' - around, which is float32[d]."""
    return times(np.float64(vectors[row, j]), inverse) - np.float64(around[j])


@inner
def warp_largest(value: float) -> Any:
    """The largest value of all lanes, in every lane."""
    step = WARP // 2
    while step > 0:
        value = max(value, cuda.shfl_xor_sync(ALL_LANES, value, step))
        step >>= 1
    return value


@inner
def largest_moved(vectors: Array, row: Integer, inverse: float, around: Array) -> Any:
    """The largest magnitude of x' - around, in every lane."""
    most = 0.0
    for j in range(cuda.laneid, around.shape[0], WARP):
        most = max(most, abs(moved(vectors, row, j, inverse, around)))
    return warp_largest(most)


@inner
def squared_moved(vectors: Array, row: Integer, inverse: float, around: Array) -> Any:
    """|x' - around|^2, in every lane."""
    d, total = around.shape[0], 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            z = moved(vectors, row, j, inverse, around)
            total = cuda.fma(z, z, total)
    total = warp_sum(total)
    for j in range(d // STEP * STEP, d):
        z = moved(vectors, row, j, inverse, around)
        total = cuda.fma(z, z, total)
    return total


@inner
def product_with_moved(vectors: Array, row: Integer, inverse: float, centre: Array) -> Any:
    """<x' - c, c>, in every lane."""
    d, total = centre.shape[0], 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            z = moved(vectors, row, j, inverse, centre)
            total = cuda.fma(z, np.float64(centre[j]), total)
    total = warp_sum(total)
    for j in range(d // STEP * STEP, d):
        z = moved(vectors, row, j, inverse, centre)
        total = cuda.fma(z, np.float64(centre[j]), total)
    return total


@inner
def _rounded(value: float, inverse: float) -> Any:
    """round(value * inverse), ties to even, cut to -127..127."""
    code = (times(value, inverse) + ROUND) - ROUND
    return min(max(code, -127.0), 127.0)


@inner
def _left(
    vectors: Array, row: Integer, j: Integer, inverse: float, mean: Array, step: float, by: float
) -> Any:
    """What the code leaves of an element; `by` is 1 / step."""
    z = moved(vectors, row, j, inverse, mean)
    return z - times(_rounded(z, by), step)


@inner
def _residual(
    vectors: Array, row: Integer, inverse: float, mean: Array, step: float, by: float
) -> Any:
    """The length of what the codes leave, in every lane."""
    d, total = mean.shape[0], 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            left = _left(vectors, row, j, inverse, mean, step, by)
            total = cuda.fma(left, left, total)
    total = warp_sum(total)
    for j in range(d // STEP * STEP, d):
        left = _left(vectors, row, j, inverse, mean, step, by)
        total = cuda.fma(left, left, total)
    return math.sqrt(total)


@kernel
def _encode(
    vectors: Array,
    norms: Array,
    metric: int,
    mean: Array,
    codes: Array,
    scale: Array,
    square: Array,
    error: Array,
) -> None:
    """One warp a row."""
    row = cuda.grid(1) // WARP
    if row >= vectors.shape[0]:
        return
    inverse = inverse_length(norms, metric, row)
    squared = squared_moved(vectors, row, inverse, mean)
    own = np.float32(largest_moved(vectors, row, inverse, mean) / 127.0)
    step = np.float64(own)
    by = 1.0 / step if step > 0.0 else 0.0
    for j in range(cuda.laneid, codes.shape[1], WARP):
        code: Any = ZERO
        if j < mean.shape[0]:
            code += np.int64(_rounded(moved(vectors, row, j, inverse, mean), by))
        codes[row, j] = np.uint8(code)
    left = _residual(vectors, row, inverse, mean, step, by)
    if cuda.laneid == 0:
        scale[row], square[row] = own, squared
        wide = np.float32(left * 1.000001)  # float32 must not round it below the true length
        error[row] = wide + np.float32(1.5e-45) if np.float64(wide) < left else wide


def encode(
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    mean: DeviceArray,
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    error: DeviceArray,
    workspace: Workspace,
) -> None:
    """Encode all rows: codes uint8[n, w], scale float32, square float64, error float32.

    As `int8.encode`; vectors [n, d] are float32, float16 or int8, norms float64[n], mean
    float32[d].
    """
    blocks = -(-vectors.shape[0] // (workspace.threads // WARP))
    coded = (codes, scale, square, error)
    workspace.launch(_encode, blocks, vectors, norms, metric, mean, *coded)
