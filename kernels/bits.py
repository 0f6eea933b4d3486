"""One bit a dimension: encoding rows and queries, and the estimated distance between them.

RaBitQ (Gao and Long 2024, section 3): with z = x' - mean rotated at random, a row keeps the signs
of z and two numbers. Notation as in `int8`: x' = x / |x| under cosine, else x; y = q' - mean. For
s = the signs of z, the estimate

    <y, z> ~ <y, s> |z|^2 / <z, s>

is unbiased over rotations, with an error of about |y| |z| / sqrt(D) times the tangent of the angle
between z and s. The query's rotated y is cut to 4 bits a dimension, low + step u, so that <y, s>
needs the number of bits that s and each plane of u share, and of those of s. Keys (smaller is
better) are those of `int8` with the estimate in the place of <y, z>:

    l2           |q - x|^2  = |z|^2 + |y|^2 - 2 <y, z>
    ip, cosine   -<q', x'>  = -<q', mean> - <z, mean> - <y, z>

A record is one row of uint64[n, S]: the D / 64 words of signs, one word with two float32 (the
factor |z|^2 / <z, s>; |z|^2 under l2, else <z, mean>), and zeros up to a multiple of 8 words, so
that at d <= 448 a row is one cache line.
"""

from __future__ import annotations

import math
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.intrinsics import (
    I64,
    _accumulate,
    _function,
    _load,
    _row,
    _sum_lanes,
    cgutils,
    dot_float,
    element,
)
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.rotation import rotate

intrinsic: Any = numba.extending.intrinsic
PLANES = 4  # bits of a query's dimension
LANES = 8  # words in a register
ONES = 32  # where the count of a row's own bits starts in what `_shared_bits` gives

# Places in a prepared query's parameters, float64[PARAMETERS].
LOW = 0  # of the query's steps, times two
STEP = 1  # times two
SUM = 2  # of the rotated query's values
CONSTANT = 3  # |y|^2 under l2, else -<q', mean>
MULTIPLIER = 4  # 2 under l2, else 1
WEIGHT = 5  # of the row's second number: 1 under l2, else -1
PARAMETERS = 6


def record_words(dimensions: int) -> tuple[int, int]:
    """Words of signs, and words of a record."""
    signs = max(1, -(-dimensions // 64))
    return signs, -(-(signs + 1) // LANES) * LANES


@intrinsic
def _shared_bits(typingctx, records, row, planes):  # type: ignore[no-untyped-def]
    """sum over j < PLANES of 2^j |records[row] & planes[j]|, + 2^ONES |records[row] & planes[-1]|.

    records uint64[n, S], planes uint64[PLANES + 1, S], S a multiple of 8.
    """
    vector = ir.VectorType(I64, LANES)

    def shift(by: int) -> Any:
        return ir.Constant(vector, [by] * LANES)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        start, length = _row(context, builder, kinds[0], args[0], args[1])
        lines = [
            _row(context, builder, kinds[2], args[2], ir.Constant(I64, j))[0]
            for j in range(PLANES + 1)
        ]
        count = _function(builder, "llvm.ctpop.v8i64", vector, vector)
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * LANES))

        def term(place: Any, sum_: Any) -> Any:
            offset = builder.shl(place, ir.Constant(I64, 3))
            word = _load(builder, vector, builder.add(start, offset), 8)
            for j, line in enumerate(lines):
                plane = _load(builder, vector, builder.add(line, offset), 8)
                shared = builder.call(count, [builder.and_(word, plane)])
                by = j if j < PLANES else ONES
                sum_ = builder.add(sum_, builder.shl(shared, shift(by)) if by else shared)
            return sum_

        _accumulate(builder, length, LANES, [total], term)
        return _sum_lanes(builder, builder.load(total), "add")

    return types.int64(records, types.int64, planes), codegen


@inner
def _centred(
    vectors: Array, row: Integer, inverse: float, mean: Array, wide: Array, padded: Array
) -> float:
    """x' - mean as float64[d] and, padded by zeros, as float32[D] in units of the largest value.

    Gives that value: sums of large ones would overflow.
    """
    largest = 0.0
    for j in range(wide.shape[0]):
        wide[j] = element(vectors, row, j) * inverse - mean[j]
        largest = max(largest, abs(wide[j]))
    unit = 1.0 / largest if largest > 0.0 else 1.0
    for j in range(wide.shape[0]):
        padded[j] = np.float32(wide[j] * unit)
    for j in range(wide.shape[0], padded.shape[0]):
        padded[j] = np.float32(0.0)
    return largest


@kernel
def encode_bits(
    vectors: Array,
    norms: Array,
    metric: int,
    mean: Array,
    signs: Array,
    start: int,
    stop: int,
    records: Array,
    factors: Array,
) -> None:
    """Write the records of rows start..stop.

    `factors` float32[n, 2 S] is the same memory as records uint64[n, S].
    """
    d, size = vectors.shape[1], signs.shape[1]
    z = np.empty(d, np.float64)
    turned = np.empty(size, np.float32)
    place = size // 64
    for row in range(start, stop):
        inverse = 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
        largest = _centred(vectors, np.int64(row), inverse, mean, z, turned)
        squared = dot_float(z, 0, z)
        second = squared if metric == L2 else dot_float(z, 0, mean)
        rotate(turned, signs)
        record = records[row]
        for word in range(record.shape[0]):
            record[word] = np.uint64(0)
        length = 0.0
        for j in range(size):
            length += abs(np.float64(turned[j]))
            record[j >> 6] |= np.uint64(turned[j] > 0.0) << np.uint64(j & 63)
        length *= largest
        factors[row, 2 * place] = np.float32(squared / length if length > 0.0 else 0.0)
        factors[row, 2 * place + 1] = np.float32(second)


@inner
def prepare_bits(
    query: Array,
    metric: int,
    mean: Array,
    signs: Array,
    planes: Array,
    parameters: Array,
) -> None:
    """Encode a query float32[d] into planes uint64[PLANES + 1, S] and float64[PARAMETERS]."""
    d, size = query.shape[0], signs.shape[1]
    y = np.empty(d, np.float64)
    turned = np.zeros(size, np.float32)
    inverse = 1.0
    if metric == COSINE:
        norm = math.sqrt(dot_float(query, 0, query))
        inverse = 1.0 / norm if norm > 0.0 else 1.0
    for j in range(d):
        y[j] = query[j] * inverse
    inner_mean = dot_float(y, 0, mean)
    largest = 0.0
    for j in range(d):
        y[j] -= mean[j]
        largest = max(largest, abs(y[j]))
    unit = 1.0 / largest if largest > 0.0 else 1.0
    for j in range(d):
        turned[j] = np.float32(y[j] * unit)  # else sums of large values would overflow
    rotate(turned, signs)
    low, high, total = np.float64(turned[0]), np.float64(turned[0]), 0.0
    for j in range(size):
        value = np.float64(turned[j])
        low = min(low, value)
        high = max(high, value)
        total += value
    step = (high - low) / ((1 << PLANES) - 1)
    inverse = 1.0 / step if step > 0.0 else 0.0
    for plane in range(PLANES + 1):
        for word in range(planes.shape[1]):
            planes[plane, word] = np.uint64(0)
    for j in range(size):
        level = np.uint64((np.float64(turned[j]) - low) * inverse + 0.5)
        word, bit = j >> 6, np.uint64(j & 63)
        for plane in range(PLANES):
            planes[plane, word] |= ((level >> np.uint64(plane)) & np.uint64(1)) << bit
        planes[PLANES, word] |= np.uint64(1) << bit
    parameters[LOW], parameters[STEP] = 2.0 * low * largest, 2.0 * step * largest
    parameters[SUM] = total * largest
    if metric == L2:
        parameters[CONSTANT] = dot_float(y, 0, y)
        parameters[MULTIPLIER], parameters[WEIGHT] = 2.0, 1.0
    else:
        parameters[CONSTANT] = -inner_mean
        parameters[MULTIPLIER], parameters[WEIGHT] = 1.0, -1.0


@inner
def bits_key(
    records: Array, factors: Array, place: Integer, row: Integer, planes: Array, parameters: Array
) -> float:
    """The estimated distance to rank a row by, for a prepared query; place = 2 D / 64."""
    shared = _shared_bits(records, row, planes)
    ones, steps = shared >> ONES, shared & ((1 << ONES) - 1)
    dot = parameters[LOW] * ones + parameters[STEP] * steps - parameters[SUM]
    return (  # type: ignore[no-any-return]
        parameters[CONSTANT]
        + parameters[WEIGHT] * factors[row, place + 1]
        - parameters[MULTIPLIER] * factors[row, place] * dot
    )


@kernel
def estimate(
    query: Array,
    metric: int,
    mean: Array,
    signs: Array,
    records: Array,
    factors: Array,
    keys: Array,
) -> None:
    """The keys float64[n] of all rows for one query, for tests and measurements."""
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    prepare_bits(query, metric, mean, signs, planes, parameters)
    place = np.int64(2 * (signs.shape[1] // 64))
    for row in range(records.shape[0]):
        keys[row] = bits_key(records, factors, place, np.int64(row), planes, parameters)
