"""The rows of one word of a bitmap, in order: 16 at a time by AVX-512, else one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.intrinsics import FEATURES, I1, I16, I32, I64, _data, _function, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner

intrinsic: Any = numba.extending.intrinsic

LANES = 16
FORM = "compress512" if "avx512f" in FEATURES else "portable"


@inner
def _one_by_one(word: Any, first: Integer, out: Array, place: Integer) -> Integer:
    while word != np.uint64(0):
        out[place] = first + trailing_zeros(word)
        place += 1
        word &= word - np.uint64(1)
    return place


def rows_of_word_form(form: str) -> Callable[..., Any]:
    """`rows_of_word(word uint64, first, out int32[...], place)` in one of the forms.

    Writes first + r for each bit r that is set to out[place:], and gives the place behind them.
    `first` and `place` are int64; out needs 64 places from `place` on, of which those behind the
    rows hold anything afterwards.
    """
    if form == "portable":
        return _one_by_one

    def rows_of_word(typingctx, word, first, out, place):  # type: ignore[no-untyped-def]
        lanes, bits = ir.VectorType(I32, LANES), ir.VectorType(I1, LANES)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, first, out, place = args
            compress = _function(
                builder, "llvm.x86.avx512.mask.compress.v16i32", lanes, lanes, lanes, bits
            )
            count = _function(builder, "llvm.ctpop.i16", I16, I16)
            start = _data(context, builder, signature.args[2], out)
            base = builder.insert_element(
                ir.Constant(lanes, ir.Undefined), builder.trunc(first, I32), ir.Constant(I32, 0)
            )
            base = builder.shuffle_vector(base, base, ir.Constant(lanes, [0] * LANES))
            for part in range(64 // LANES):
                numbers = ir.Constant(lanes, [part * LANES + i for i in range(LANES)])
                some = builder.trunc(builder.lshr(word, ir.Constant(I64, part * LANES)), I16)
                found = builder.call(
                    compress, [builder.add(base, numbers), base, builder.bitcast(some, bits)]
                )
                address = builder.add(start, builder.mul(place, ir.Constant(I64, 4)))
                builder.store(found, builder.inttoptr(address, lanes.as_pointer()), align=4)
                place = builder.add(place, builder.zext(builder.call(count, [some]), I64))
            return place

        return types.int64(types.uint64, types.int64, out, types.int64), codegen

    return intrinsic(rows_of_word)  # type: ignore[no-any-return]


rows_of_word = rows_of_word_form(FORM)
