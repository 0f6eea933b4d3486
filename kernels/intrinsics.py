"""What numba cannot say by itself: byte dots, exact float sums, prefetch, bit counts, the clock.

Each operation takes arrays and a row number, so that the array stays alive while its memory is
read. The dot product of bytes has three forms with equal integers: AVX-512 or AVX VNNI, AVX2, and
plain vector code for any processor, which FANNS_CPU=portable forces. Sums of floats add in one
fixed order on every processor and in every caller, so equal vectors have equal distances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import llvmlite.binding
import numba.core.cgutils
import numba.extending
from llvmlite import ir
from numba import types

from fanns.kernels.jit import PORTABLE, kernel

# numba is only partly typed: what it gives is Any here.
cgutils: Any = numba.core.cgutils
intrinsic: Any = numba.extending.intrinsic
Type = Any

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
LANES = 8
"""Partial sums of a float dot product are kept in 4 x LANES places."""


def _cpu_features() -> frozenset[str]:
    if PORTABLE:
        return frozenset()
    return frozenset(name for name, on in llvmlite.binding.get_host_cpu_features().items() if on)


FEATURES = _cpu_features()
"""Features of this processor that the kernels may use; empty under FANNS_CPU=portable."""


def byte_dot_form(features: frozenset[str]) -> str:
    """The fastest form of the byte dot product for a processor with these features."""
    if {"avx512f", "avx512bw", "avx512vnni"} <= features:
        return "vnni512"
    if "avxvnni" in features:
        return "vnni256"
    return "avx2" if "avx2" in features else "portable"


BYTE_DOT = byte_dot_form(FEATURES)


def _function(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type) -> Any:
    kind = ir.FunctionType(result, list(arguments))
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _load(builder: ir.IRBuilder, kind: ir.Type, address: ir.Value, align: int) -> ir.Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def _data(context: Any, builder: ir.IRBuilder, kind: Type, array: ir.Value) -> ir.Value:
    return builder.ptrtoint(context.make_array(kind)(context, builder, array).data, I64)


def _row(context: Any, builder: ir.IRBuilder, kind: Type, array: ir.Value, row: ir.Value) -> Any:
    """Address and length of a row of a 2-D array with contiguous rows; of a 1-D array, itself."""
    view = context.make_array(kind)(context, builder, array)
    if kind.ndim == 1:
        return builder.ptrtoint(view.data, I64), cgutils.unpack_tuple(builder, view.shape)[0]
    step = cgutils.unpack_tuple(builder, view.strides)[0]
    length = cgutils.unpack_tuple(builder, view.shape)[1]
    address = builder.add(builder.ptrtoint(view.data, I64), builder.mul(row, step))
    return address, length


def _sum_lanes(builder: ir.IRBuilder, vector: ir.Value, add: str) -> ir.Value:
    """Add the lanes of a vector pairwise: halves, quarters, ... (a fixed order for floats)."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        order = ir.VectorType(I32, lanes)
        nothing = ir.Constant(vector.type, ir.Undefined)
        halves = (ir.Constant(order, [*range(start, start + lanes)]) for start in (0, lanes))
        parts = [builder.shuffle_vector(vector, nothing, half) for half in halves]
        vector = getattr(builder, add)(*parts)
    return builder.extract_element(vector, ir.Constant(I32, 0))


def _accumulate(
    builder: ir.IRBuilder,
    length: ir.Value,
    step: int,
    sums: list[Any],
    term: Callable[[ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """Run `sum = term(position, sum)` over [0, length) in whole steps; gives where it stopped.

    Steps go round all sums while they last, then into the first one.
    """
    block = step * len(sums)
    whole = builder.and_(length, ir.Constant(I64, -block))
    zero = ir.Constant(I64, 0)
    blocks = cgutils.for_range_slice(builder, zero, whole, ir.Constant(I64, block), intp=I64)
    with blocks as (position, _):
        for number, total in enumerate(sums):
            place = builder.add(position, ir.Constant(I64, number * step))
            builder.store(term(place, builder.load(total)), total)
    end = builder.and_(length, ir.Constant(I64, -step))
    rest = cgutils.for_range_slice(builder, whole, end, ir.Constant(I64, step), intp=I64)
    with rest as (position, _):
        builder.store(term(position, builder.load(sums[0])), sums[0])
    return end


# --- dot product of bytes ------------------------------------------------------------------------


def _vnni_term(builder: ir.IRBuilder, bits: int, x: Any, q: Any, total: Any) -> Any:
    """vpdpbusd: 4 products of u8 and i8 added to each int32 lane, without saturation."""
    kind = ir.VectorType(I32, bits // 32)
    words = ir.VectorType(I8, bits // 8)
    name = f"llvm.x86.avx512.vpdpbusd.{bits}"
    return builder.call(_function(builder, name, kind, kind, words, words), [total, x, q])


def _avx2_term(builder: ir.IRBuilder, x: Any, q: Any, total: Any) -> Any:
    """vpmaddwd on widened bytes; vpmaddubsw would saturate at 16 bits."""
    half, result = ir.VectorType(I16, 16), ir.VectorType(I32, 8)
    madd = _function(builder, "llvm.x86.avx2.pmadd.wd", result, half, half)
    return builder.add(total, builder.call(madd, [builder.zext(x, half), builder.sext(q, half)]))


def _portable_term(builder: ir.IRBuilder, x: Any, q: Any, total: Any) -> Any:
    """A product of u8 and i8 fits 16 bits: -32640 .. 32385."""
    half, full = ir.VectorType(I16, 16), ir.VectorType(I32, 16)
    product = builder.mul(builder.zext(x, half), builder.sext(q, half))
    return builder.add(total, builder.sext(product, full))


# form: bytes a step, int32 lanes of a sum, term
_FORMS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "vnni512": (64, 16, lambda b, x, q, t: _vnni_term(b, 512, x, q, t)),
    "vnni256": (32, 8, lambda b, x, q, t: _vnni_term(b, 256, x, q, t)),
    "avx2": (16, 8, _avx2_term),
    "portable": (16, 16, _portable_term),
}


def _byte_dot(form: str, typingctx: Any, codes: Type, row: Type, query: Type) -> Any:
    step, lanes, combine = _FORMS[form]
    width, kind = ir.VectorType(I8, step), ir.VectorType(I32, lanes)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        start, length = _row(context, builder, signature.args[0], args[0], args[1])
        other = _data(context, builder, signature.args[2], args[2])
        zero = ir.Constant(kind, [0] * lanes)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(4)]

        def term(position: ir.Value, total: ir.Value) -> ir.Value:
            x = _load(builder, width, builder.add(start, position), 1)
            q = _load(builder, width, builder.add(other, position), 1)
            return combine(builder, x, q, total)

        _accumulate(builder, length, step, sums, term)
        a, b, c, d = (builder.load(total) for total in sums)
        return _sum_lanes(builder, builder.add(builder.add(a, b), builder.add(c, d)), "add")

    return types.int32(codes, types.int64, query), codegen


def byte_dot_intrinsic(form: str) -> Callable[..., int]:
    """The dot product of a u8 row and an i8 query in one of the forms (tests compare them).

    `dot(codes u8[n, w], row, query i8[w]) -> int32`; w is a multiple of 64, at most 65,536.
    """

    def dot_u8i8(typingctx, codes, row, query):  # type: ignore[no-untyped-def]
        return _byte_dot(form, typingctx, codes, row, query)

    return intrinsic(dot_u8i8)  # type: ignore[no-any-return]


dot_u8i8 = byte_dot_intrinsic(BYTE_DOT)


# --- sums of floats in double precision ----------------------------------------------------------


def _widen(builder: ir.IRBuilder, kind: Type, value: ir.Value, lanes: int) -> ir.Value:
    """Elements as doubles, exactly: float32, float64, int8, or float16 held as uint16."""

    def of(scalar: ir.Type) -> ir.Type:
        return ir.VectorType(scalar, lanes) if lanes > 1 else scalar

    def constant(scalar: ir.Type, number: float) -> ir.Constant:
        return ir.Constant(of(scalar), [number] * lanes if lanes > 1 else number)

    if kind == types.float64:
        return value
    if kind == types.float32:
        return builder.fpext(value, of(F64))
    if kind == types.int8:
        return builder.sitofp(value, of(F64))
    # IEEE half without infinities: move the exponent's bits over and rescale, exactly.
    bits = builder.zext(value, of(I32))
    magnitude = builder.shl(builder.and_(bits, constant(I32, 0x7FFF)), constant(I32, 13))
    scaled = builder.fmul(builder.bitcast(magnitude, of(F32)), constant(F32, 2.0**112))
    sign = builder.shl(builder.and_(bits, constant(I32, 0x8000)), constant(I32, 16))
    whole = builder.or_(builder.bitcast(scaled, of(I32)), sign)
    return builder.fpext(builder.bitcast(whole, of(F32)), of(F64))


_SCALARS = {types.float32: F32, types.float64: F64, types.int8: I8, types.uint16: I16}


def _float_sum(squared: bool, vectors: Type, query: Type) -> Any:
    """Code of sum(x * q) or sum((x - q)^2): products of float32 are exact in double precision."""
    kinds = (vectors.dtype, query.dtype)
    if any(kind not in _SCALARS for kind in kinds):
        return None

    def add(builder: ir.IRBuilder, x: ir.Value, q: ir.Value, total: ir.Value) -> ir.Value:
        if squared:
            x = q = builder.fsub(x, q)
        # Fused where the processor can; for dot products that changes nothing, they are exact.
        name = (
            f"llvm.fmuladd.v{LANES}f64" if isinstance(x.type, ir.VectorType) else "llvm.fmuladd.f64"
        )
        fused = _function(builder, name, x.type, x.type, x.type, x.type)
        return builder.call(fused, [x, q, total])

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        start, length = _row(context, builder, signature.args[0], args[0], args[1])
        other = _data(context, builder, signature.args[2], args[2])

        def read(kind: Type, base: ir.Value, position: ir.Value, lanes: int) -> ir.Value:
            scalar = _SCALARS[kind]
            size = kind.bitwidth // 8
            address = builder.add(base, builder.mul(position, ir.Constant(I64, size)))
            shape = ir.VectorType(scalar, lanes) if lanes > 1 else scalar
            return _widen(builder, kind, _load(builder, shape, address, size), lanes)

        def term(lanes: int, position: ir.Value, total: ir.Value) -> ir.Value:
            x, q = read(kinds[0], start, position, lanes), read(kinds[1], other, position, lanes)
            return add(builder, x, q, total)

        zero = ir.Constant(ir.VectorType(F64, LANES), [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(4)]
        end = _accumulate(builder, length, LANES, sums, partial(term, LANES))
        a, b, c, d = (builder.load(total) for total in sums)
        together = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
        result = cgutils.alloca_once_value(builder, _sum_lanes(builder, together, "fadd"))
        tail = cgutils.for_range_slice(builder, end, length, ir.Constant(I64, 1), intp=I64)
        with tail as (position, _):
            builder.store(term(1, position, builder.load(result)), result)
        return builder.load(result)

    return types.float64(vectors, types.int64, query), codegen


@intrinsic
def dot_float(typingctx, vectors, row, query):  # type: ignore[no-untyped-def]
    """`sum(vectors[row] * query)` in float64; vectors float32/float64/int8/uint16 (= float16).

    A 1-D array in the place of `vectors` is one row, whatever the row number.
    """
    return _float_sum(False, vectors, query)


@intrinsic
def squared_l2_float(typingctx, vectors, row, query):  # type: ignore[no-untyped-def]
    """`sum((vectors[row] - query) ** 2)` in float64; types as for `dot_float`."""
    return _float_sum(True, vectors, query)


@intrinsic
def element(typingctx, vectors, row, column):  # type: ignore[no-untyped-def]
    """`vectors[row, column]` as float64, of a C-contiguous array; types as for `dot_float`."""
    kind = vectors.dtype

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        width = cgutils.unpack_tuple(builder, view.shape)[1]
        # A typed pointer, unlike an address, lets LLVM vectorise the caller's loop.
        place = builder.gep(view.data, [builder.add(builder.mul(args[1], width), args[2])])
        return _widen(builder, kind, builder.load(place, align=kind.bitwidth // 8), 1)

    return types.float64(vectors, types.int64, types.int64), codegen


# --- memory, bits, time --------------------------------------------------------------------------


@intrinsic
def prefetch(typingctx, array, row):  # type: ignore[no-untyped-def]
    """Ask for the first cache line of `array[row]` (1-D or 2-D); any row number is harmless."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        step = cgutils.unpack_tuple(builder, view.strides)[0]
        address = builder.add(builder.ptrtoint(view.data, I64), builder.mul(args[1], step))
        _prefetch_line(builder, address)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def prefetch_row(typingctx, array, row):  # type: ignore[no-untyped-def]
    """Ask for every cache line of `array[row]` of a 2-D array."""
    size = array.dtype.bitwidth // 8

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        start, length = _row(context, builder, signature.args[0], args[0], args[1])
        end = builder.add(start, builder.mul(length, ir.Constant(I64, size)))
        lines = cgutils.for_range_slice(builder, start, end, ir.Constant(I64, 64), intp=I64)
        with lines as (address, _):
            _prefetch_line(builder, address)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _prefetch_line(builder: ir.IRBuilder, address: ir.Value) -> None:
    pointer = I8.as_pointer()
    hint = _function(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, I32, I32, I32)
    # read, keep in all cache levels, data cache
    read, locality, data = (ir.Constant(I32, number) for number in (0, 3, 1))
    builder.call(hint, [builder.inttoptr(address, pointer), read, locality, data])


@intrinsic
def popcount(typingctx, word):  # type: ignore[no-untyped-def]
    """Number of set bits of a uint64, as int64."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def trailing_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit of a uint64, as int64; 64 for zero."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


# The clock that time.monotonic_ns() reads on Linux.
_MONOTONIC = 6 if sys.platform == "darwin" else 1


@intrinsic
def read_clock(typingctx):  # type: ignore[no-untyped-def]
    """Nanoseconds of the monotonic clock, inside kernels."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if sys.platform == "win32":
            ticks = builder.call(_function(builder, "GetTickCount64", I64), [])
            return builder.mul(ticks, ir.Constant(I64, 10**6))
        now = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
        pointer = I8.as_pointer()
        clock = _function(builder, "clock_gettime", I32, I32, pointer)
        builder.call(clock, [ir.Constant(I32, _MONOTONIC), builder.bitcast(now, pointer)])
        seconds, nanoseconds = (builder.extract_value(builder.load(now), part) for part in (0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(I64, 10**9)), nanoseconds)

    return types.int64(), codegen


@kernel
def clock_ns() -> int:
    """Nanoseconds of the monotonic clock; deadlines are set by calling this from Python as well."""
    return read_clock()  # type: ignore[no-any-return]
