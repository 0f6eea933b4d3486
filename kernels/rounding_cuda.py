"""Products that are rounded before anything is added to them, as on the CPU.

NVVM fuses a product and the sum around it wherever it meets them, which rounds once instead of
twice. Where codes must have the CPU's bytes, products go through these: an instruction with its
rounding spelled out is never fused.
"""

from __future__ import annotations

from typing import Any

import numba.cuda.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.jit_cuda import SIMULATED


def _product(instruction: str, kind: Any, register: str, number: ir.Type) -> Any:
    """The instruction as a function of two numbers of one kind."""

    def times(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            form = ir.FunctionType(number, [number, number])
            text, places = f"{instruction} $0, $1, $2;", f"={register},{register},{register}"
            return builder.call(ir.InlineAsm(form, text, places), list(args))

        return kind(kind, kind), codegen

    return numba.cuda.extending.intrinsic(times)


def _simulated(kind: Any) -> Any:
    return lambda a, b: kind(a) * kind(b)


if SIMULATED:
    times, times32 = _simulated(np.float64), _simulated(np.float32)
else:
    times = _product("mul.rn.f64", types.float64, "d", ir.DoubleType())
    times32 = _product("mul.rn.f32", types.float32, "f", ir.FloatType())
