"""One bit a dimension: encoding rows and queries, and the estimated distance between them.

RaBitQ (Gao and Long 2024, section 3): with z = x' - c, where c is the centre of the row's cluster,
rotated at random by R, a row keeps the signs s of Rz and two numbers. Notation as in `int8`:
x' = x / |x| under cosine, else x; y = q' - mean. For any vector v that is fixed before R is drawn,

    <v, z> ~ f <Rv, s>      with f = |z|^2 / <Rz, s>

is unbiased over rotations; its error is near a normal one (theorem 3.2) of standard deviation

    |v| |z| tan(angle of Rz and s) / sqrt(D - 1) ~ f |v| sin(angle),      sin(angle) ~ 0.6.

Here v = q' - c, and Rv = Ry - R(c - mean): the query is rotated once, and what R(c - mean) adds
does not depend on it. So keys (smaller is better) are

    l2           |q - x|^2  = |q - c|^2  + |z|^2   - 2 <q - c, z>
    ip, cosine   -<q', x'>  = -<q', c>   - <c, z>  - <q' - c, z>

    key(row) = A(cluster) + second[row] - m f[row] <Ry, s>,      m = 2 (l2) or 1
    second   = |z|^2 + 2 f <R(c - mean), s>  (l2)      or      -<c, z> + f <R(c - mean), s>

with A(cluster) as `centroids` gives it. The rotated query is cut to 4 bits a dimension,
low + step u, so that <Ry, s> needs the number of bits that s and each plane of u share, and of
those of s.

A record is one row of uint64[n, S]: the D / 64 words of signs, one word with two float32 (f and
`second`), and zeros up to a multiple of 8 words, so that at d <= 448 a row is one cache line.
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
SUM = 2  # of the rotated query's values, as they were cut
MULTIPLIER = 3  # 2 under l2, else 1
PARAMETERS = 4

SPREAD = 0.6
"""sin(angle) above, over rotations: sqrt(1 - 2 / pi) = 0.603 in many dimensions."""


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
def _narrow(wide: Array, padded: Array) -> float:
    """Copy float64[d], padded by zeros, to float32[D] in units of the largest value.

    Gives that value: sums of large ones would overflow.
    """
    largest = 0.0
    for j in range(wide.shape[0]):
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
    bounds: Array,
    centres: Array,
    start: int,
    stop: int,
    records: Array,
    factors: Array,
) -> None:
    """Write the records of rows start..stop.

    Cluster i, with centre centres[i] of float32[c, d], holds rows bounds[i] .. bounds[i + 1] of
    int64[c + 1]. `factors` float32[n, 2 S] is the same memory as records uint64[n, S].
    """
    d, size = vectors.shape[1], signs.shape[1]
    z = np.empty(d, np.float64)
    turned = np.empty(size, np.float32)
    shift, reach = np.empty(size, np.float32), 0.0  # R(c - mean) and its unit
    place = size // 64
    times = 2.0 if metric == L2 else 1.0
    cluster = np.searchsorted(bounds, start, side="right") - 1
    entered = False
    for row in range(start, stop):
        while row >= bounds[cluster + 1]:
            cluster += 1
            entered = False
        centre = centres[cluster]
        if not entered:
            for j in range(d):
                z[j] = np.float64(centre[j]) - mean[j]
            reach = _narrow(z, shift)
            rotate(shift, signs)
            entered = True
        inverse = 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
        for j in range(d):
            z[j] = element(vectors, np.int64(row), j) * inverse - centre[j]
        squared = dot_float(z, 0, z)
        second = squared if metric == L2 else -dot_float(z, 0, centre)
        largest = _narrow(z, turned)
        rotate(turned, signs)
        record = records[row]
        for word in range(record.shape[0]):
            record[word] = np.uint64(0)
        length, shifted = 0.0, 0.0
        for j in range(size):
            positive = turned[j] > 0.0
            length += abs(np.float64(turned[j]))
            shifted += np.float64(shift[j]) if positive else -np.float64(shift[j])
            record[j >> 6] |= np.uint64(positive) << np.uint64(j & 63)
        length *= largest
        factor = squared / length if length > 0.0 else 0.0
        factors[row, 2 * place] = np.float32(factor)
        factors[row, 2 * place + 1] = np.float32(second + times * factor * shifted * reach)


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
    turned = np.empty(size, np.float32)
    inverse = 1.0
    if metric == COSINE:
        norm = math.sqrt(dot_float(query, 0, query))
        inverse = 1.0 / norm if norm > 0.0 else 1.0
    for j in range(d):
        y[j] = query[j] * inverse - mean[j]
    largest = _narrow(y, turned)
    rotate(turned, signs)
    low, high = np.float64(turned[0]), np.float64(turned[0])
    for j in range(size):
        value = np.float64(turned[j])
        low = min(low, value)
        high = max(high, value)
    step = (high - low) / ((1 << PLANES) - 1)
    inverse = 1.0 / step if step > 0.0 else 0.0
    for plane in range(PLANES + 1):
        for word in range(planes.shape[1]):
            planes[plane, word] = np.uint64(0)
    levels = np.int64(0)
    for j in range(size):
        level = np.uint64((np.float64(turned[j]) - low) * inverse + 0.5)
        levels += np.int64(level)
        word, bit = j >> 6, np.uint64(j & 63)
        for plane in range(PLANES):
            planes[plane, word] |= ((level >> np.uint64(plane)) & np.uint64(1)) << bit
        planes[PLANES, word] |= np.uint64(1) << bit
    parameters[LOW], parameters[STEP] = 2.0 * low * largest, 2.0 * step * largest
    # Of the values as they were cut: their errors then meet s, not 2 (s > 0), half the variance.
    parameters[SUM] = (low * size + step * levels) * largest
    parameters[MULTIPLIER] = 2.0 if metric == L2 else 1.0


@inner
def bits_key(
    records: Array,
    factors: Array,
    place: Integer,
    row: Integer,
    planes: Array,
    parameters: Array,
    slack: float,
) -> float:
    """A row's key less its cluster's A (module docstring), for a prepared query; place = 2 D / 64.

    `slack` = 0 gives the estimate. SPREAD |q' - c| times the number of standard errors wanted
    gives a lower bound: with 1.9 of them about 3 % of rows lie below it, with 3 about 0.2 %.
    """
    shared = _shared_bits(records, row, planes)
    ones, steps = shared >> ONES, shared & ((1 << ONES) - 1)
    dot = parameters[LOW] * ones + parameters[STEP] * steps - parameters[SUM] + slack
    weight = parameters[MULTIPLIER] * factors[row, place]
    return factors[row, place + 1] - weight * dot  # type: ignore[no-any-return]


@kernel
def estimate(
    query: Array,
    metric: int,
    mean: Array,
    signs: Array,
    records: Array,
    factors: Array,
    bounds: Array,
    starts: Array,
    slack: Array,
    keys: Array,
) -> None:
    """The keys float64[n] of all rows for one query, for tests and measurements.

    `starts` float64[c] holds each cluster's A, `slack` float64[c] what `bits_key` calls so.
    """
    planes = np.empty((PLANES + 1, records.shape[1]), np.uint64)
    parameters = np.empty(PARAMETERS, np.float64)
    prepare_bits(query, metric, mean, signs, planes, parameters)
    place = np.int64(2 * (signs.shape[1] // 64))
    for cluster in range(starts.shape[0]):
        less = slack[cluster]
        for row in range(bounds[cluster], bounds[cluster + 1]):
            key = bits_key(records, factors, place, np.int64(row), planes, parameters, less)
            keys[row] = starts[cluster] + key
