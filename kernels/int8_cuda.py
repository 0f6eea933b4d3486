"""Int8 codes on the device: preparing queries, products of bytes, keys. The twin of `int8`.

A query is prepared by a warp, in the CPU's order of sums; each lane keeps the elements that it
wrote. Products of codes are integers, and the same in any order: a lane multiplies 4 bytes at a
time (dp4a), a warp reads 128 bytes side by side of each row. Keys may differ from the CPU's by a
rounding, where NVVM fuses what the CPU multiplies and adds in two steps; the bound allows for it.
"""

from __future__ import annotations

import math
from typing import Any

import numba.cuda.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.distance_cuda import STEP, ordered_place, ordered_turns, query_length
from fanns.kernels.int8 import (
    CONSTANT,
    LENGTH,
    MULTIPLIER,
    OFFSET,
    RESIDUAL,
    ROUND,
    WEIGHT,
)
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    ALL_LANES,
    SIMULATED,
    WARP,
    DeviceArray,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.warp_cuda import SUMS, warp_sum


def _dp4a_simulated(codes: Any, query: Any, total: Any) -> Any:
    """The instruction dp4a.u32.s32: 4 products of unsigned and signed bytes added to a total."""
    left = np.frombuffer(np.int32(codes).tobytes(), np.uint8).astype(np.int32)
    right = np.frombuffer(np.int32(query).tobytes(), np.int8).astype(np.int32)
    return np.int32(int(total) + int((left * right).sum()))


def _dp4a(typingctx: Any, codes: Any, query: Any, total: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        kind = ir.FunctionType(word, [word, word, word])
        text = "dp4a.u32.s32 $0, $1, $2, $3;"
        return builder.call(ir.InlineAsm(kind, text, "=r,r,r,r"), list(args))

    return types.int32(types.int32, types.int32, types.int32), codegen


if SIMULATED:
    dp4a: Any = _dp4a_simulated
else:
    dp4a = numba.cuda.extending.intrinsic(_dp4a)


def pair_products(rows_at_once: int) -> Any:
    """`products_of(codes, rows, queries, first, m, sums)` for so many rows.

    As `distance_cuda.pair_sums`, of codes int32[n, w / 4] and query codes int32[m, w / 4], 4 bytes
    in each; sums int32[SUMS].
    """
    queries_at_once = SUMS // rows_at_once

    @inner
    def products_of(
        codes: Array, rows: Array, queries: Array, first: Integer, m: int, sums: Array
    ) -> None:
        for i in range(SUMS):
            sums[i] = 0
        for j in range(cuda.laneid, codes.shape[1], WARP):
            for g in range(queries_at_once):
                q = queries[min(first + g, m - 1), j]
                for r in range(rows_at_once):
                    place = r * queries_at_once + g
                    sums[place] = dp4a(codes[rows[r], j], q, sums[place])

    return products_of


@inner
def code_key(product: Integer, scale: float, square: float, parameters: Array) -> float:
    """The approximate distance to rank a row by (`int8`), for a prepared query."""
    exact = product - parameters[OFFSET]
    return (  # type: ignore[no-any-return]
        parameters[WEIGHT] * square + parameters[CONSTANT] - parameters[MULTIPLIER] * scale * exact
    )


@inner
def key_error(parameters: Array, limits: Array) -> float:
    """Most that a key can differ from the value it stands for: see `int8.key_error`."""
    times = 1.0 + parameters[WEIGHT]
    length = parameters[LENGTH]
    bound = times * (parameters[RESIDUAL] * limits[0] + length * limits[1])
    largest = length + limits[0] + limits[2]
    return bound + 1e-12 * largest * largest  # type: ignore[no-any-return]


@inner
def exact_key(metric: int, distance: float) -> float:
    """A full-precision distance in the units of keys."""
    if metric == L2:
        return distance * distance
    return distance - 1.0 if metric == COSINE else distance


@inner
def proves(parameters: Array, limits: Array, metric: int, last: float, distance: float) -> Any:
    """Whether no row with a key above `last` can be nearer than `distance`."""
    return last - key_error(parameters, limits) > exact_key(metric, distance)


@inner
def query_value(
    queries: Array, number: Integer, mean: Array, j: Integer, inverse: float, shift: float
) -> Any:
    """Element j of y: q' - mean under l2, else q'."""
    return np.float64(queries[number, j]) * inverse - np.float64(mean[j]) * shift


@inner
def inverse_length(queries: Array, number: Integer, metric: int) -> Any:
    """1 / |q| under cosine, else 1."""
    norm = query_length(queries, number) if metric == COSINE else 1.0
    return 1.0 / norm if norm > 0.0 else 1.0


@inner
def largest_value(
    queries: Array, number: Integer, mean: Array, inverse: float, shift: float
) -> Any:
    """The largest magnitude of y's elements, in all lanes."""
    most = 0.0
    for j in range(cuda.laneid, queries.shape[1], WARP):
        most = max(most, abs(query_value(queries, number, mean, j, inverse, shift)))
    step = WARP // 2
    while step > 0:
        most = max(most, cuda.shfl_xor_sync(ALL_LANES, most, step))
        step >>= 1
    return most


@inner
def _squares(queries: Array, number: Integer, mean: Array, inverse: float, shift: float) -> Any:
    """|y|^2 and <y, mean>, in all lanes."""
    d, squared, along = queries.shape[1], 0.0, 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            y = query_value(queries, number, mean, j, inverse, shift)
            squared = cuda.fma(y, y, squared)
            along = cuda.fma(y, np.float64(mean[j]), along)
    squared, along = warp_sum(squared), warp_sum(along)
    for j in range(d // STEP * STEP, d):
        y = query_value(queries, number, mean, j, inverse, shift)
        squared = cuda.fma(y, y, squared)
        along = cuda.fma(y, np.float64(mean[j]), along)
    return squared, along


@inner
def _rounded(value: float, scale: float) -> Any:
    """The code of a value: round(value / scale), ties to even, cut to -127..127."""
    code = (value * (1.0 / scale if scale > 0.0 else 0.0) + ROUND) - ROUND
    return min(max(code, -127.0), 127.0)


@inner
def _residual(
    queries: Array, number: Integer, mean: Array, inverse: float, shift: float, scale: float
) -> Any:
    """What the codes leave of y: its length, in all lanes."""
    d, total = queries.shape[1], 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            y = query_value(queries, number, mean, j, inverse, shift)
            left = y - _rounded(y, scale) * scale
            total = cuda.fma(left, left, total)
    total = warp_sum(total)
    for j in range(d // STEP * STEP, d):
        y = query_value(queries, number, mean, j, inverse, shift)
        left = y - _rounded(y, scale) * scale
        total = cuda.fma(left, left, total)
    return math.sqrt(total)


@kernel
def _prepare(queries: Array, metric: int, mean: Array, codes: Array, parameters: Array) -> None:
    """One warp a query."""
    number = cuda.grid(1) // WARP
    if number >= queries.shape[0]:
        return
    lane, d = cuda.laneid, queries.shape[1]
    shift = 1.0 if metric == L2 else 0.0
    inverse = inverse_length(queries, number, metric)
    squared, along = _squares(queries, number, mean, inverse, shift)
    scale = largest_value(queries, number, mean, inverse, shift) / 127.0
    total: Any = 0
    for j in range(lane, codes.shape[1], WARP):
        code = 0.0
        if j < d:
            code = _rounded(query_value(queries, number, mean, j, inverse, shift), scale)
        codes[number, j] = np.int8(code)
        total += np.int64(code)
    total = warp_sum(total)
    residual = _residual(queries, number, mean, inverse, shift, scale)
    if lane == 0:
        parameters[number, WEIGHT] = shift
        parameters[number, MULTIPLIER] = 2.0 * scale if metric == L2 else scale
        parameters[number, CONSTANT] = squared if metric == L2 else -along
        parameters[number, LENGTH] = math.sqrt(squared)
        parameters[number, RESIDUAL] = residual
        parameters[number, OFFSET] = 128.0 * total


def prepare_queries(
    queries: DeviceArray,
    metric: int,
    mean: DeviceArray,
    codes: DeviceArray,
    parameters: DeviceArray,
    workspace: Workspace,
) -> None:
    """Encode queries float32[m, d] into codes int8[m, w] and parameters float64[m, PARAMETERS].

    The twin of `int8.prepare_query`, for a whole batch.
    """
    warps = workspace.threads // WARP
    blocks = -(-queries.shape[0] // warps)
    workspace.launch(_prepare, blocks, queries, metric, mean, codes, parameters)
