"""One, two or four bits a dimension: preparing queries, and the estimated distance to a row.

RaBitQ (Gao and Long 2024, section 3; more bits after Gao et al. 2024, arXiv 2409.09913): with
z = x' - c, where c is the centre of the row's cluster, rotated at random by R, a row keeps the
vector s of odd integers, within +-(2^bits - 1), nearest to Rz in direction, and two numbers. One
bit keeps signs. Notation as in `int8`: x' = x / |x| under cosine, else x; y = q' - mean. For any
vector v that is fixed before R is drawn,

    <v, z> ~ f <Rv, s>      with f = |z|^2 / <Rz, s>

is unbiased over rotations; its error is near a normal one (theorem 3.2) of standard deviation

    |v| |z| tan(angle of Rz and s) / sqrt(D - 1) ~ f |v| |s| sin(angle) / sqrt(D) ~ 0.6 f |v|,

whatever the number of bits: |s| sin(angle) is how far s lies from the line through Rz, and the
grid's step is 2, so that each dimension is off by about 2 / sqrt(12) = 0.58. (For signs alone it is
sqrt(1 - 2 / pi) = 0.603.) It is f that is halved by a bit.

Here v = q' - c, and Rv = Ry - R(c - mean): the query is rotated once, and what R(c - mean) adds
does not depend on it. So keys (smaller is better) are

    l2           |q - x|^2  = |q - c|^2  + |z|^2   - 2 <q - c, z>
    ip, cosine   -<q', x'>  = -<q', c>   - <c, z>  - <q' - c, z>

    key(row) = A(cluster) + second[row] - m f[row] <Ry, s>,      m = 2 (l2) or 1
    second   = |z|^2 + 2 f <R(c - mean), s>  (l2)      or      -<c, z> + f <R(c - mean), s>

with A(cluster) as `centroids` gives it. Against one bit the rotated query is cut to PLANES bits a
dimension, low + step u, so that <Ry, s> needs the number of bits that s and each plane of u share,
and of those of s; against more, to int8, for byte dot products.

A record is one row of uint64[n, S]: the D bits / 64 words of (s + 2^bits - 1) / 2, in the order
that `bit_products` tells, zeros up to a multiple of 8 words, and as the last word two float32, f
and `second`. At one bit and d <= 448 a row is one cache line.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bit_products import LANES, ONES, PLANES, code_product
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.intrinsics import dot_float
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.rotation import rotate

BITS = (1, 2, 4)
"""Bits a dimension that there are codes of."""

SPREAD = 0.6
"""Standard error of an estimate in units of f |q' - c| (module docstring)."""

inlined = kernel(forceinline=True, no_cpython_wrapper=True)
"""A call that passes arrays costs more than the row it is for."""

# Places in a prepared query's parameters, float64[PARAMETERS].
LOW = 0  # of the query's steps, times two; 0 where codes have more bits than one
STEP = 1  # times two
SUM = 2  # of the rotated query's values, as they were cut, times the largest of s
MULTIPLIER = 3  # 2 under l2, else 1
WIDTH = 4  # bits a dimension of the codes
PARAMETERS = 5


def record_words(dimensions: int, bits: int = 1) -> tuple[int, int]:
    """Words of codes, and words of a record."""
    codes = max(1, -(-dimensions // 64)) * bits
    return codes, -(-(codes + 1) // LANES) * LANES


@inner
def narrow(wide: Array, padded: Array) -> float:
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


@inner
def prepare_bits(
    query: Array,
    metric: int,
    mean: Array,
    signs: Array,
    bits: int,
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
    largest = narrow(y, turned)
    rotate(turned, signs)
    for plane in range(planes.shape[0]):
        for word in range(planes.shape[1]):
            planes[plane, word] = np.uint64(0)
    if bits == 1:
        _cut_to_planes(turned, planes, parameters)
    else:
        _cut_to_bytes(turned, bits, planes, parameters)
    for place in (LOW, STEP, SUM):
        parameters[place] *= largest
    parameters[MULTIPLIER] = 2.0 if metric == L2 else 1.0
    parameters[WIDTH] = bits


@inner
def _cut_to_planes(turned: Array, planes: Array, parameters: Array) -> None:
    """Levels of PLANES bits, bit by bit; the last plane has a one for each dimension."""
    size = turned.shape[0]
    low, high = np.float64(turned[0]), np.float64(turned[0])
    for j in range(size):
        value = np.float64(turned[j])
        low = min(low, value)
        high = max(high, value)
    step = (high - low) / ((1 << PLANES) - 1)
    inverse = 1.0 / step if step > 0.0 else 0.0
    levels, length = np.int64(0), size // 8
    for field in range(8):
        for p in range(length):
            value = np.float64(turned[field * length + p])
            level = np.uint64((value - low) * inverse + 0.5)
            levels += np.int64(level)
            word, bit = p >> 3, np.uint64(8 * (p & 7) + field)
            for plane in range(PLANES):
                planes[plane, word] |= ((level >> np.uint64(plane)) & np.uint64(1)) << bit
            planes[PLANES, word] |= np.uint64(1) << bit
    parameters[LOW], parameters[STEP] = 2.0 * low, 2.0 * step
    # Of the values as they were cut: their errors then meet s, not 2 (s > 0), half the variance.
    parameters[SUM] = low * size + step * levels


@inner
def _cut_to_bytes(turned: Array, bits: int, planes: Array, parameters: Array) -> None:
    """Levels within +-127, a row of planes for each field of a byte of codes."""
    size = turned.shape[0]
    largest = 0.0
    for j in range(size):
        largest = max(largest, abs(np.float64(turned[j])))
    step = largest / 127.0
    inverse = 1.0 / step if step > 0.0 else 0.0
    levels, length = np.int64(0), size * bits // 8
    for field in range(8 // bits):
        for p in range(length):
            level = np.int64(math.floor(np.float64(turned[field * length + p]) * inverse + 0.5))
            levels += level
            planes[field, p >> 3] |= np.uint64(level & 255) << np.uint64(8 * (p & 7))
    parameters[LOW], parameters[STEP] = 0.0, 2.0 * step
    parameters[SUM] = step * levels * ((1 << bits) - 1)


@inlined
def bits_key(
    records: Array,
    factors: Array,
    row: Integer,
    planes: Array,
    parameters: Array,
    slack: float,
) -> float:
    """A row's key less its cluster's A (module docstring), for a prepared query.

    `factors` float32[n, 2 S] is the same memory as records uint64[n, S]. `slack` = 0 gives the
    estimate; SPREAD |q' - c| times the number of standard errors wanted gives a lower bound: with
    1.9 of them about 3 % of rows lie below it, with 3 about 0.2 %.
    """
    width = parameters[WIDTH]
    product = code_product(records, row, planes, width)
    if width == 1.0:
        ones, steps = product >> ONES, product & ((1 << ONES) - 1)
        dot = parameters[LOW] * ones + parameters[STEP] * steps
    else:
        dot = parameters[STEP] * product
    dot += slack - parameters[SUM]
    place = factors.shape[1] - 2
    weight = parameters[MULTIPLIER] * factors[row, place]
    return factors[row, place + 1] - weight * dot  # type: ignore[no-any-return]


@kernel
def estimate(
    query: Array,
    metric: int,
    mean: Array,
    signs: Array,
    bits: int,
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
    prepare_bits(query, metric, mean, signs, bits, planes, parameters)
    for cluster in range(starts.shape[0]):
        less = slack[cluster]
        for row in range(bounds[cluster], bounds[cluster + 1]):
            key = bits_key(records, factors, np.int64(row), planes, parameters, less)
            keys[row] = starts[cluster] + key
