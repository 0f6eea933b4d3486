"""Rows times a matrix in double precision, each sum in one fixed order.

The matrix [d, w] is held in panels of 64 columns: [ceil(w / 64), d, 64], zeros beyond w. A panel's
sums stay in registers while its rows stream by. Every value is the sum over d in order, and
products of float32 are exact in double precision, so that fused and separate additions agree: a row
gives the same bits alone or among others, on any processor and for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.intrinsics import (
    _SCALARS,
    F64,
    I64,
    LANES,
    _data,
    _function,
    _load,
    _prefetch_line,
    _row,
    _widen,
    cgutils,
    dot_float,
)
from fanns.kernels.jit import Array, kernel

intrinsic: Any = numba.extending.intrinsic

PANEL = 64
"""Columns of a panel: 8 registers of sums, which hide the time of a fused addition."""

TOGETHER = 2
"""Rows that share one reading of a panel; with more the sums no longer fit the registers."""

AHEAD = 8192
"""Bytes ahead of which a panel is asked for: 225 instead of 296 microseconds for 2,048 x 256 that
are in no near cache."""

NEARLY_INSIDE = 1e-3
"""Share of a query's squared length outside the basis from which on the basis' rounding, some 1e-9
of it, no longer shows in float32."""


def packed(matrix: Array) -> Array:
    """A matrix [d, w] in panels, [ceil(w / 64), d, 64], C-contiguous."""
    d, w = matrix.shape
    panels = np.zeros((-(-w // PANEL), d, PANEL), matrix.dtype)
    for number, panel in enumerate(panels):
        part = matrix[:, number * PANEL : (number + 1) * PANEL]
        panel[:, : part.shape[1]] = part
    return panels


def unpacked(panels: Array, width: int) -> Array:
    """The matrix [d, width] of which these are the panels."""
    return np.ascontiguousarray(np.concatenate(list(panels), axis=1)[:, :width])


def _panel_sums(together: int) -> Callable[..., None]:
    """An intrinsic for so many rows: (rows [n, d], first row, panel [d, 64], out [n, w], column)
    writes the float64 sums of `rows[first + i] @ panel` to `out[first + i, column:][:64]`."""

    def panel_sums(typingctx, rows, row, panel, out, column):  # type: ignore[no-untyped-def]
        sizes = [rows.dtype.bitwidth // 8, panel.dtype.bitwidth // 8]

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            kinds = signature.args
            vector = ir.VectorType(F64, LANES)
            fused = _function(builder, f"llvm.fmuladd.v{LANES}f64", vector, vector, vector, vector)
            places = [builder.add(args[1], ir.Constant(I64, i)) for i in range(together)]
            starts = [_row(context, builder, kinds[0], args[0], place) for place in places]
            base = _data(context, builder, kinds[2], args[2])
            zero = ir.Constant(vector, [0.0] * LANES)
            sums = [
                [cgutils.alloca_once_value(builder, zero) for _ in range(PANEL // LANES)]
                for _ in range(together)
            ]
            steps = cgutils.for_range_slice(
                builder, ir.Constant(I64, 0), starts[0][1], ir.Constant(I64, 1), intp=I64
            )
            with steps as (k, _):
                values = []
                for start, _length in starts:
                    at = builder.add(start, builder.mul(k, ir.Constant(I64, sizes[0])))
                    value = _load(builder, _SCALARS[rows.dtype], at, sizes[0])
                    values.append(_spread(builder, _widen(builder, rows.dtype, value, 1), vector))
                line = builder.add(base, builder.mul(k, ir.Constant(I64, sizes[1] * PANEL)))
                for ahead in range(0, PANEL * sizes[1], 64):
                    _prefetch_line(builder, builder.add(line, ir.Constant(I64, AHEAD + ahead)))
                for part in range(PANEL // LANES):
                    at = builder.add(line, ir.Constant(I64, sizes[1] * LANES * part))
                    shape = ir.VectorType(_SCALARS[panel.dtype], LANES)
                    entries = _load(builder, shape, at, sizes[1])
                    entries = _widen(builder, panel.dtype, entries, LANES)
                    for value, totals in zip(values, sums, strict=True):
                        total = builder.load(totals[part])
                        builder.store(builder.call(fused, [value, entries, total]), totals[part])
            for place, totals in zip(places, sums, strict=True):
                target, _ = _row(context, builder, kinds[3], args[3], place)
                target = builder.add(target, builder.mul(args[4], ir.Constant(I64, 8)))
                for part, total in enumerate(totals):
                    at = builder.add(target, ir.Constant(I64, 8 * LANES * part))
                    pointer = builder.inttoptr(at, vector.as_pointer())
                    builder.store(builder.load(total), pointer, align=8)
            return context.get_dummy_value()

        return types.void(rows, types.int64, panel, out, types.int64), codegen

    return intrinsic(panel_sums)  # type: ignore[no-any-return]


def _spread(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    """The vector that holds one value in every lane."""
    zero = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, zero)
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, order)


_one_row = _panel_sums(1)
_two_rows = _panel_sums(TOGETHER)


@kernel
def multiply(rows: Array, panels: Array, start: int, stop: int, out: Array) -> None:
    """out[i] = rows[i] @ matrix for start <= i < stop; rows [n, d] and panels of one float type.

    out float64[n, 64 p] holds the columns that fill the last panel up as well, all zeros.
    """
    for number in range(panels.shape[0]):
        panel = panels[number]
        column = np.int64(number * PANEL)
        row = np.int64(start)
        while row + TOGETHER <= stop:
            _two_rows(rows, row, panel, out, column)
            row += TOGETHER
        if row < stop:
            _one_row(rows, row, panel, out, column)


@kernel
def project(
    queries: Array,
    basis: Array,
    gram: Array,
    tolerance: float,
    start: int,
    stop: int,
    out: Array,
    lengths: Array,
    outside: Array,
) -> None:
    """Coordinates of queries float32[m, d] in a basis, and the length of what it does not hold.

    basis: panels of B float32[d, r], orthonormal but for its rounding; gram: panels of B^T B - I,
    float32[r, r]. Writes z = B^T q to out float32[m, r], |q| and |q - B z| to lengths and outside,
    float64[m], for start <= query < stop; outside is 0 where it is at most tolerance * |q|.

    |q - B z|^2 = |q|^2 - |z|^2 + z^T (B^T B - I) z. The last term is some 1e-9 |q|^2, and read
    only where it could matter.
    """
    r = out.shape[1]
    wide = np.empty((stop - start, basis.shape[0] * PANEL), np.float64)
    multiply(queries[start:stop], basis, 0, stop - start, wide)
    moved = np.empty((1, gram.shape[0] * PANEL), np.float64)
    for query in range(start, stop):
        z = wide[query - start, :r]
        for j in range(r):
            out[query, j] = z[j]
        squared = dot_float(queries, query, queries[query])
        rest = squared - dot_float(z, 0, z)
        if rest < NEARLY_INSIDE * squared:
            multiply(out[query : query + 1], gram, 0, 1, moved)
            rest += dot_float(z, 0, moved[0, :r])
        lengths[query] = math.sqrt(squared)
        outside[query] = math.sqrt(rest) if rest > 0.0 else 0.0
        if outside[query] <= tolerance * lengths[query]:
            outside[query] = 0.0
