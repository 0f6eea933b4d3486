"""Integer products of a row's codes of 1, 2 or 4 bits a dimension with a query's.

A field is one dimension's bits. Fields lie in bytes so that no rearranging is needed to multiply:
byte p of a row holds dimensions p, L + p, 2 L + p, ... from its lowest bits on, L = D bits / 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba.extending
from llvmlite import ir
from numba import types

from fanns.kernels.intrinsics import (
    _FORMS,
    BYTE_DOT,
    F64,
    I8,
    I32,
    I64,
    _accumulate,
    _function,
    _load,
    _row,
    _sum_lanes,
    cgutils,
)

intrinsic: Any = numba.extending.intrinsic
PLANES = 4  # bits of a query's dimension, for codes of one bit
LANES = 8  # words in a register
ONES = 32  # where the count of a row's own bits starts in the product of one-bit codes


Lines = list[Any]


def _shared_bits(builder: Any, start: Any, words: Any, lines: Lines) -> Any:
    """sum over j < PLANES of 2^j |record & planes[j]|, + 2^ONES |record & planes[PLANES]|."""
    vector = ir.VectorType(I64, LANES)

    def shift(by: int) -> Any:
        return ir.Constant(vector, [by] * LANES)

    count = _function(builder, "llvm.ctpop.v8i64", vector, vector)
    total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * LANES))

    def term(place: Any, sum_: Any) -> Any:
        offset = builder.shl(place, ir.Constant(I64, 3))
        word = _load(builder, vector, builder.add(start, offset), 8)
        for j, line in enumerate(lines[: PLANES + 1]):
            plane = _load(builder, vector, builder.add(line, offset), 8)
            shared = builder.call(count, [builder.and_(word, plane)])
            by = j if j < PLANES else ONES
            sum_ = builder.add(sum_, builder.shl(shared, shift(by)) if by else shared)
        return sum_

    _accumulate(builder, words, LANES, [total], term)
    return _sum_lanes(builder, builder.load(total), "add")


def _field_dot(form: str, bits: int, builder: Any, start: Any, words: Any, lines: Lines) -> Any:
    """The sum of fields times the int8 values of a query, in the 8 / bits first lines."""
    step, lanes, combine = _FORMS[form]
    width, kind = ir.VectorType(I8, step), ir.VectorType(I32, lanes)

    def constant(number: int) -> Any:
        return ir.Constant(width, [number] * step)

    zero = ir.Constant(kind, [0] * lanes)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]

    def term(place: Any, sum_: Any) -> Any:
        code = _load(builder, width, builder.add(start, place), 8)
        for field, line in enumerate(lines[: 8 // bits]):
            x = builder.lshr(code, constant(field * bits)) if field else code
            x = builder.and_(x, constant((1 << bits) - 1))
            q = _load(builder, width, builder.add(line, place), 8)
            sum_ = combine(builder, x, q, sum_)
        return sum_

    _accumulate(builder, builder.shl(words, ir.Constant(I64, 3)), step, sums, term)
    both = builder.add(*(builder.load(total) for total in sums))
    return builder.sext(_sum_lanes(builder, both, "add"), I64)


def code_product_intrinsic(form: str) -> Callable[..., int]:
    """`product(records uint64[n, S], row, planes uint64[5, S], bits float64) -> int64`, in a form.

    S is a multiple of 8. At one bit: `_shared_bits`. At more: the sum of fields times int8 values
    of the query; row f of planes, seen as bytes, has those of field f of each byte, and 0 beside
    what is no code. One intrinsic with the branch inside it, as numba counts references to arrays
    at every row when it is outside: 80 ns instead of 10.
    """

    def code_product(typingctx, records, row, planes, bits):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args
            start, words = _row(context, builder, kinds[0], args[0], args[1])
            lines = [
                _row(context, builder, kinds[2], args[2], ir.Constant(I64, j))[0]
                for j in range(PLANES + 1)
            ]
            result = cgutils.alloca_once(builder, I64)

            def is_width(width: int) -> Any:
                return builder.fcmp_ordered("==", args[3], ir.Constant(F64, float(width)))

            with builder.if_else(is_width(1), likely=True) as (one, more):
                with one:
                    builder.store(_shared_bits(builder, start, words, lines), result)
                with more, builder.if_else(is_width(2)) as (two, four):
                    with two:
                        found = _field_dot(form, 2, builder, start, words, lines)
                        builder.store(found, result)
                    with four:
                        found = _field_dot(form, 4, builder, start, words, lines)
                        builder.store(found, result)
            return builder.load(result)

        return types.int64(records, types.int64, planes, types.float64), codegen

    return intrinsic(code_product)  # type: ignore[no-any-return]


code_product = code_product_intrinsic(BYTE_DOT)
