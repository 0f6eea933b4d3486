"""Codes of one, two or four bits on the device: queries, products, estimates. The twin of `bits`.

A query is prepared by a warp: rotated in place in global memory, which the L1 cache holds, one
butterfly of the Hadamard transform a lane and step, in float32 and in the CPU's order; then it is
cut to planes of bits or to bytes, a byte of codes a lane. So planes are the CPU's, but for levels
that lie within a rounding of the next where NVVM fuses a multiplication and an addition.

Records are read as words of 32 bits, a word a lane. One bit: a word of codes and 5 of planes are
ANDed and counted, which a multiprocessor does for 16 lanes a cycle: 60 counts a row of 384
dimensions. More bits: fields are moved to the low end of their bytes and multiplied 4 at a time
with the query's bytes (dp4a), as many products as int8 codes take, on a third (2 bits) of the
bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import int32

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import LOW, MULTIPLIER, STEP, SUM, WIDTH
from fanns.kernels.distance import L2
from fanns.kernels.int8_cuda import (
    code_key,
    dp4a,
    inverse_length,
    largest_value,
    pair_products,
    query_value,
)
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    ALL_LANES,
    WARP,
    DeviceArray,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sum, warp_sums

ONE_BIT = 1

_CENTRES_AT_ONCE = 4
_products = pair_products(_CENTRES_AT_ONCE)


@inner
def rotate(turned: Array, signs: Array) -> None:
    """Rotate float32[D] in place (`rotation.rotate`); one warp."""
    size, lane = turned.shape[0], cuda.laneid
    part = np.int64(64)
    while 2 * part <= size:
        part *= 2
    scale = np.float32(1.0 / math.sqrt(part))
    for turn in range(signs.shape[0]):
        for j in range(lane, size, WARP):
            turned[j] *= signs[turn, j]
        start = 0 if turn % 2 == 0 else size - part
        half = 1
        while half < part:
            cuda.syncwarp()
            for i in range(lane, part >> 1, WARP):
                low = start + 2 * i - (i & (half - 1))
                a, b = turned[low], turned[low + half]
                turned[low], turned[low + half] = a + b, a - b
            half *= 2
        cuda.syncwarp()
        for j in range(start + lane, start + part, WARP):
            turned[j] *= scale
        cuda.syncwarp()


@inner
def _ends(turned: Array) -> tuple[Any, Any]:
    """The least and the largest value, in all lanes."""
    low, high = math.inf, -math.inf
    for j in range(cuda.laneid, turned.shape[0], WARP):
        low, high = min(low, np.float64(turned[j])), max(high, np.float64(turned[j]))
    step = WARP // 2
    while step > 0:
        low = min(low, cuda.shfl_xor_sync(ALL_LANES, low, step))
        high = max(high, cuda.shfl_xor_sync(ALL_LANES, high, step))
        step >>= 1
    return low, high


@inner
def _cut_to_planes(turned: Array, low: float, step: float, planes: Array) -> Any:
    """Levels of PLANES bits as bytes of planes uint8[PLANES + 1, bytes]; gives their sum."""
    inverse = 1.0 / step if step > 0.0 else 0.0
    length = turned.shape[0] // 8
    levels: Any = np.int64(0)
    for p in range(cuda.laneid, planes.shape[1], WARP):
        spread = np.int64(0)  # a byte of each plane, side by side
        for field in range(8 if p < length else 0):
            value = np.float64(turned[field * length + p])
            level = np.int64((value - low) * inverse + 0.5)
            levels += level
            for plane in range(PLANES):
                spread |= (level >> plane & 1) << 8 * plane + field
        for plane in range(PLANES):
            planes[plane, p] = np.uint8(spread >> 8 * plane & 255)
        planes[PLANES, p] = 255 if p < length else 0
    return warp_sum(levels)


@inner
def _cut_to_bytes(turned: Array, bits: int, step: float, planes: Array) -> Any:
    """Levels within +-127 as bytes, a row of planes for each field of a byte of codes."""
    inverse = 1.0 / step if step > 0.0 else 0.0
    length = turned.shape[0] * bits // 8
    levels: Any = np.int64(0)
    for p in range(cuda.laneid, planes.shape[1], WARP):
        for field in range(PLANES + 1):
            level = np.int64(0)
            if p < length and field < 8 // bits:
                value = np.float64(turned[field * length + p])
                level = np.int64(math.floor(value * inverse + 0.5))
            levels += level
            planes[field, p] = np.uint8(level & 255)
    return warp_sum(levels)


@kernel
def _prepare(
    queries: Array,
    metric: int,
    mean: Array,
    signs: Array,
    bits: int,
    turned: Array,
    planes: Array,
    parameters: Array,
) -> None:
    """One warp a query."""
    number = cuda.grid(1) // WARP
    if number >= queries.shape[0]:
        return
    d, size = queries.shape[1], signs.shape[1]
    own, inverse = turned[number], inverse_length(queries, number, metric)
    largest = largest_value(queries, number, mean, inverse, 1.0)
    unit = 1.0 / largest if largest > 0.0 else 1.0
    for j in range(cuda.laneid, size, WARP):
        own[j] = np.float32(0.0)
        if j < d:
            own[j] = np.float32(query_value(queries, number, mean, j, inverse, 1.0) * unit)
    cuda.syncwarp()
    rotate(own, signs)
    low, high = _ends(own)
    if bits == ONE_BIT:
        step = (high - low) / ((1 << PLANES) - 1)
        levels = _cut_to_planes(own, low, step, planes[number])
        total = low * size + step * levels
    else:
        step = max(-low, high) / 127.0
        levels, low = _cut_to_bytes(own, bits, step, planes[number]), 0.0
        total = step * levels * ((1 << bits) - 1)
    if cuda.laneid == 0:
        parameters[number, LOW] = 2.0 * low * largest
        parameters[number, STEP] = 2.0 * step * largest
        parameters[number, SUM] = total * largest
        parameters[number, MULTIPLIER] = 2.0 if metric == L2 else 1.0
        parameters[number, WIDTH] = bits


def prepare_bits(
    queries: DeviceArray,
    metric: int,
    mean: DeviceArray,
    signs: DeviceArray,
    bits: int,
    turned: DeviceArray,
    planes: DeviceArray,
    parameters: DeviceArray,
    workspace: Workspace,
) -> None:
    """Encode queries float32[m, d] into planes and parameters float64[m, PARAMETERS].

    The twin of `bits.prepare_bits`, for a whole batch: planes uint8[m, PLANES + 1, 8 S] are the
    bytes of its words. `turned` float32[m, D] is scratch.
    """
    blocks = -(-queries.shape[0] // (workspace.threads // WARP))
    given = (queries, metric, mean, signs, bits, turned, planes, parameters)
    workspace.launch(_prepare, blocks, *given)


def bit_products(bits: int, rows_at_once: int) -> Any:
    """`products_of(records, words, rows, planes, first, m, sums)` for codes of so many bits.

    As `int8_cuda.pair_products`, of records uint32[n, 2 S], whose first `words` hold codes, and
    planes uint32[m, PLANES + 1, 2 S]; sums int64[SUMS] hold what `bit_products.code_product` gives,
    with `ones` from bit 32 on where there is one bit.
    """
    queries_at_once, fields = SUMS // rows_at_once, 8 // bits
    mask = np.uint32(0x01010101 * ((1 << bits) - 1))

    @inner
    def shared_bits(word: Any, planes: Array, number: Integer, j: Integer) -> Any:
        total = np.int64(cuda.popc(word & planes[number, PLANES, j])) << 32
        for plane in range(PLANES):
            total += np.int64(cuda.popc(word & planes[number, plane, j])) << plane
        return total

    @inner
    def field_dot(word: Any, planes: Array, number: Integer, j: Integer) -> Any:
        total = np.int32(0)
        for field in range(fields):
            codes = np.int32(word >> np.uint32(field * bits) & mask)
            total = dp4a(codes, np.int32(planes[number, field, j]), total)
        return np.int64(total)

    term = shared_bits if bits == ONE_BIT else field_dot

    @inner
    def products_of(
        records: Array,
        words: Integer,
        rows: Array,
        planes: Array,
        first: Integer,
        m: int,
        sums: Array,
    ) -> None:
        for i in range(SUMS):
            sums[i] = 0
        for j in range(cuda.laneid, words, WARP):
            for r in range(rows_at_once):
                word = records[rows[r], j]
                for g in range(queries_at_once):
                    number = min(first + g, m - 1)
                    sums[r * queries_at_once + g] += term(word, planes, number, j)

    return products_of


@inner
def bits_key(product: Integer, factors: Array, row: Integer, parameters: Array) -> Any:
    """A row's key less its cluster's A (`bits`), for a prepared query, from their product."""
    dot = parameters[STEP] * product
    if parameters[WIDTH] == ONE_BIT:
        ones, steps = product >> 32, product & 0xFFFFFFFF
        dot = parameters[LOW] * ones + parameters[STEP] * steps
    place = factors.shape[1] - 2
    weight = parameters[MULTIPLIER] * np.float64(factors[row, place])
    return np.float64(factors[row, place + 1]) - weight * (dot - parameters[SUM])


@kernel
def _centre_keys(
    queries: Array, parameters: Array, codes: Array, scale: Array, square: Array, keys: Array
) -> None:
    """A warp compares 4 centres with 4 queries."""
    m, total = keys.shape
    groups = (total + _CENTRES_AT_ONCE - 1) // _CENTRES_AT_ONCE
    tile, each = cuda.grid(1) // WARP, SUMS // _CENTRES_AT_ONCE
    start, first = tile % groups * _CENTRES_AT_ONCE, tile // groups * each
    if first >= m:
        return
    rows, sums = cuda.local.array(_CENTRES_AT_ONCE, int32), cuda.local.array(SUMS, int32)
    for i in range(_CENTRES_AT_ONCE):
        rows[i] = min(start + i, total - 1)
    _products(codes, rows, queries, first, m, sums)
    product, pair = warp_sums(sums), sum_of_lane()
    centre, number = start + pair // each, first + pair % each
    if centre < total and number < m and cuda.laneid & 1 == 0:
        keys[number, centre] = code_key(product, scale[centre], square[centre], parameters[number])


def centre_keys(
    queries: DeviceArray,
    parameters: DeviceArray,
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    keys: DeviceArray,
    workspace: Workspace,
) -> None:
    """keys float64[m, c] of all centres for prepared queries int32[m, w / 4] (see `centroids`)."""
    m, total = keys.shape
    tiles = -(-total // _CENTRES_AT_ONCE) * -(-m // (SUMS // _CENTRES_AT_ONCE))
    blocks = -(-tiles // (workspace.threads // WARP))
    workspace.launch(_centre_keys, blocks, queries, parameters, codes, scale, square, keys)
