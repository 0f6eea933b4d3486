"""Tables of product codes for queries on the device, and keys of rows. The twin of `pq`.

A warp turns a query; a block then fills its tables, an entry a thread, and cuts them to bytes where
the codes have 4 bits. Products that the CPU rounds before it adds are rounded here too (`rounded32`
and `rounded64`; NVVM would fuse them), so tables and the keys of 4-bit codes have the CPU's bits.
"""

from __future__ import annotations

from typing import Any

import numba.cuda.extending
import numpy as np
from llvmlite import ir
from numba import int32, types

from fanns.kernels.bits_cuda import rotate
from fanns.kernels.distance import L2
from fanns.kernels.distance_cuda import add_rest, pair_sums
from fanns.kernels.fastscan import CENTROIDS, GROUP_BYTES, LARGEST_SUM, LINE, ROWS
from fanns.kernels.int8_cuda import inverse_length, largest_value, query_value
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    SIMULATED,
    WARP,
    DeviceArray,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.pq import FACTOR, LONGEST, SECOND
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

# Places in a prepared query's parameters, float64[PARAMETERS]: as in `pq`.
BASE = 0
STEP = 1
PARAMETERS = 2

ENTRIES = 256
"""Of a table for codes of 8 bits."""

CENTRES_AT_ONCE = 4
_sums_of = pair_sums(CENTRES_AT_ONCE)


def _product(kind: str, place: str, number: Any, as_type: Any) -> Any:
    """`x y`, rounded, whatever it is added to afterwards."""

    def product(typingctx: Any, x: Any, y: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            function = ir.FunctionType(number, [number, number])
            text = ir.InlineAsm(function, f"mul.rn.{kind} $0, $1, $2;", f"={place},{place},{place}")
            return builder.call(text, list(args))

        return as_type(as_type, as_type), codegen

    return numba.cuda.extending.intrinsic(product)


def _rounded32(x: Any, y: Any) -> Any:
    return np.float32(x) * np.float32(y)


def _rounded64(x: Any, y: Any) -> Any:
    return np.float64(x) * np.float64(y)


if SIMULATED:
    rounded32, rounded64 = _rounded32, _rounded64
else:
    rounded32 = _product("f32", "f", ir.FloatType(), types.float32)
    rounded64 = _product("f64", "d", ir.DoubleType(), types.float64)


@inner
def _turn_by_matrix(
    queries: Array,
    number: Integer,
    mean: Array,
    inverse: float,
    unit: float,
    rotation: Array,
    turned: Array,
) -> None:
    """turned[i] = sum over j of y[j] rotation[j, i]; a lane an i."""
    for i in range(cuda.laneid, turned.shape[0], WARP):
        total = np.float32(0.0)
        for j in range(queries.shape[1] if i < rotation.shape[1] else 0):
            value = np.float32(query_value(queries, number, mean, j, inverse, 1.0) * unit)
            total += rounded32(value, rotation[j, i])
        turned[i] = total


@kernel
def _turn(
    queries: Array,
    metric: int,
    mean: Array,
    rotation: Array,
    turned: Array,
    wide: Array,
    largest: Array,
) -> None:
    """y in units of its largest value, rotated and padded, that value, and q'; a warp a query."""
    number = cuda.grid(1) // WARP
    if number >= queries.shape[0]:
        return
    d, lane, own = queries.shape[1], cuda.laneid, turned[number]
    inverse = inverse_length(queries, number, metric)
    most = largest_value(queries, number, mean, inverse, 1.0)
    unit = 1.0 / most if most > 0.0 else 1.0
    if lane == 0:
        largest[number] = most
    for j in range(lane, d, WARP):
        wide[number, j] = np.float64(queries[number, j]) * inverse
    if rotation.shape[0] > 0 and rotation.shape[0] == rotation.shape[1]:
        _turn_by_matrix(queries, number, mean, inverse, unit, rotation, own)
        return
    for j in range(lane, own.shape[0], WARP):
        own[j] = np.float32(0.0)
        if j < d:
            own[j] = np.float32(query_value(queries, number, mean, j, inverse, 1.0) * unit)
    cuda.syncwarp()
    if rotation.shape[0] > 0:
        rotate(own[: rotation.shape[1]], rotation)


@inner
def _fill(turned: Array, books: Array, tables: Array) -> None:
    """tables float32[m K]: <y_j, centroid k of j>, summed in float32, in order."""
    _, length, size = books.shape
    for place in range(cuda.threadIdx.x, tables.shape[0], cuda.blockDim.x):
        j, k, total = place // size, place % size, np.float32(0.0)
        for t in range(length):
            total += rounded32(turned[j * length + t], books[j, t, k])
        tables[place] = total


@inner
def _find_ranges(tables: Array, size: Integer, low: Array, high: Array) -> None:
    """The least and the largest entry of each table; a thread a table."""
    for j in range(cuda.threadIdx.x, low.shape[0], cuda.blockDim.x):
        least, most = tables[j * size], tables[j * size]
        for k in range(1, size):
            least, most = min(least, tables[j * size + k]), max(most, tables[j * size + k])
        low[j], high[j] = least, most


@kernel
def _fill_tables(
    metric: int,
    books: Array,
    turned: Array,
    largest: Array,
    tables: Array,
    low: Array,
    high: Array,
    bytes_: Array,
    parameters: Array,
) -> None:
    """One block a query; bytes of no length where the codes have 8 bits."""
    number, thread, size = cuda.blockIdx.x, cuda.threadIdx.x, books.shape[2]
    own, least, most = tables[number], low[number], high[number]
    _fill(turned[number], books, own)
    cuda.syncthreads()
    _find_ranges(own, size, least, most)
    cuda.syncthreads()
    highest, bias, widest, together = 0.0, 0.0, 0.0, 0.0
    for j in range(least.shape[0]):  # by every thread alike, in order
        a, b = np.float64(least[j]), np.float64(most[j])
        highest += max(abs(a), abs(b))
        bias += a
        together += b - a
        widest = max(widest, b - a)
    unit = (2.0 if metric == L2 else 1.0) * largest[number]
    if unit * highest > LONGEST:
        unit = LONGEST / highest
    if bytes_.shape[1] == 0:
        if thread == 0:
            parameters[number, BASE], parameters[number, STEP] = 0.0, unit
        return
    step = max(widest / 255.0, together / (LARGEST_SUM - least.shape[0]))
    inverse = 1.0 / step if step > 0.0 else 0.0
    for place in range(thread, bytes_.shape[1], cuda.blockDim.x):
        level = np.int64(0)
        if place < own.shape[0]:
            above = np.float64(own[place]) - np.float64(least[place // CENTROIDS])
            level = np.int64(rounded64(above, inverse) + 0.5)
        bytes_[number, place] = np.uint8(level)
    if thread == 0:
        parameters[number, BASE], parameters[number, STEP] = unit * bias, unit * step


@kernel
def _centre_bases(metric: int, wide: Array, centroids: Array, bases: Array) -> None:
    """A of every cluster for each query, in full precision; a warp 4 centres and 4 queries."""
    m, total = bases.shape
    groups = (total + CENTRES_AT_ONCE - 1) // CENTRES_AT_ONCE
    tile, each = cuda.grid(1) // WARP, SUMS // CENTRES_AT_ONCE
    start, first = tile % groups * CENTRES_AT_ONCE, tile // groups * each
    if first >= m:
        return
    rows, sums = cuda.local.array(CENTRES_AT_ONCE, int32), cuda.local.array(SUMS, types.float64)
    for i in range(CENTRES_AT_ONCE):
        rows[i] = min(start + i, total - 1)
    _sums_of(metric == L2, centroids, rows, wide, first, m, sums)
    value, pair = warp_sums(sums), sum_of_lane()
    centre, number = start + pair // each, first + pair % each
    if centre < total and number < m and cuda.laneid & 1 == 0:
        value = add_rest(metric == L2, centroids, centre, wide, number, value)
        bases[number, centre] = value if metric == L2 else -value


@inner
def fast_sum(codes: Array, row: Integer, tables: Array) -> Any:
    """The sum of a row's entries of tables uint8[128 G]; codes uint8[blocks, 256 G]."""
    block, place, total = row // ROWS, row % ROWS // 16 * LINE + row % 16, np.int32(0)
    for part in range(codes.shape[1] // LINE):
        # A byte holds the codes of two sub-quantizers whose numbers differ by 4.
        group, column = part >> 2, part & 3
        code = np.int64(codes[block, group * GROUP_BYTES + column * 16 + place])
        first = (group * 8 + column) * CENTROIDS
        total += np.int32(tables[first + (code & 15)])
        total += np.int32(tables[first + 4 * CENTROIDS + (code >> 4)])
    return total


@inner
def fast_key(total: Integer, fields: Array, row: Integer, parameters: Array) -> Any:
    """A row's key less its cluster's A, all float32 and without fused operations."""
    block, place = row // ROWS, row % ROWS
    step = rounded32(np.float32(parameters[STEP]), np.float32(total))
    dot = np.float32(parameters[BASE]) + step
    less = rounded32(fields[block, FACTOR + place], dot)
    return np.float64(fields[block, SECOND + place] - less)


@inner
def _entry(codes: Array, row: Integer, j: Integer, tables: Array) -> Any:
    return tables[j * ENTRIES + np.int64(codes[row, j])]


@inner
def table_sum(codes: Array, row: Integer, tables: Array) -> Any:
    """The sum of a row's entries: codes uint8[n, m], tables float32[256 m], in the CPU's order."""
    a, b, c, d = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    m = codes.shape[1]
    whole = m // 4 * 4
    for j in range(0, whole, 4):
        a += _entry(codes, row, j, tables)
        b += _entry(codes, row, j + 1, tables)
        c += _entry(codes, row, j + 2, tables)
        d += _entry(codes, row, j + 3, tables)
    for j in range(whole, m):
        a += _entry(codes, row, j, tables)
    return np.float64((a + b) + (c + d))


@inner
def table_key(total: float, fields: Array, row: Integer, parameters: Array, base: float) -> Any:
    """A row's key; `base` = A of its cluster."""
    block, place = row // ROWS, row % ROWS
    dot = rounded64(parameters[STEP], total)
    less = rounded64(np.float64(fields[block, FACTOR + place]), dot)
    return base + np.float64(fields[block, SECOND + place]) - less


def prepare_pq(
    queries: DeviceArray,
    metric: int,
    mean: DeviceArray,
    rotation: DeviceArray,
    books: DeviceArray,
    scratch: tuple[DeviceArray, ...],
    tables: DeviceArray,
    bytes_: DeviceArray,
    parameters: DeviceArray,
    workspace: Workspace,
) -> None:
    """Tables float32[q, m K] and parameters float64[q, PARAMETERS] of queries float32[q, d].

    The twin of `pq.prepare_pq`, and where bytes uint8[q, 128 G] have a length of `pq.prepare_fast`,
    for a whole batch. `scratch`: turned float32[q, m s], wide float64[q, d], which becomes q',
    largest float64[q], low and high float32[q, m].
    """
    turned, wide, largest, low, high = scratch
    blocks = -(-queries.shape[0] // (workspace.threads // WARP))
    given = (queries, metric, mean, rotation, turned, wide, largest)
    workspace.launch(_turn, blocks, *given)
    filled = (metric, books, turned, largest, tables, low, high, bytes_, parameters)
    workspace.launch(_fill_tables, queries.shape[0], *filled)


def centre_bases(
    metric: int, wide: DeviceArray, centroids: DeviceArray, bases: DeviceArray, workspace: Workspace
) -> None:
    """bases float64[q, c]: A of every cluster (`pq.center_base`) for q' float64[q, d]."""
    m, total = bases.shape
    tiles = -(-total // CENTRES_AT_ONCE) * -(-m // (SUMS // CENTRES_AT_ONCE))
    blocks = -(-tiles // (workspace.threads // WARP))
    workspace.launch(_centre_bases, blocks, metric, wide, centroids, bases)


def scratch_parts(m: int, d: int, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], Any]]:
    """Shapes and types of the scratch of `prepare_pq`, for books of a shape."""
    subspaces, length, _ = shape
    return [
        ((m, subspaces * length), np.float32),
        ((m, d), np.float64),
        ((m,), np.float64),
        ((m, subspaces), np.float32),
        ((m, subspaces), np.float32),
    ]
