"""Compiles kernels to PTX for compute capability 9.0, which takes NVVM but no GPU.

A child process of test_cuda_types.py, because numba's simulator cannot be switched off once numba
is imported. Reads JSON, [[module, name, key of a table of kernels or null, argument types], ...],
from standard input; prints a line for each kernel that compiled. Argument types: ["array", dtype,
dimensions], ["tuple", [module, name] of a NamedTuple or null, types], or a numba scalar's name.
"""

import importlib
import json
import sys
from typing import Any

import numba.core.types
import numba.cuda
import numba.cuda.dispatcher
import numba.np.numpy_support
import numpy as np

as_numba: Any = numba.np.numpy_support.from_dtype
cuda: Any = numba.cuda
types: Any = numba.core.types
COMPUTE = (9, 0)


class Device:
    """Stands for the device that device functions are compiled for."""

    compute_capability = COMPUTE


def type_of(told: Any) -> Any:
    if isinstance(told, str):
        return getattr(types, told)
    if told[0] == "array":
        return types.Array(as_numba(np.dtype(told[1])), told[2], "C")
    parts = [type_of(part) for part in told[2]]
    if told[1] is None:
        return types.Tuple(parts)
    module, name = told[1]
    return types.NamedTuple(parts, getattr(importlib.import_module(module), name))


def main() -> None:
    cuda.dispatcher.get_current_device = lambda: Device
    for module, name, key, told in json.load(sys.stdin):
        found = getattr(importlib.import_module(module), name)
        kernel = found if key is None else found[key]
        signature = types.void(*map(type_of, told))
        ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=COMPUTE)
        assert ".visible .entry" in ptx
        print(module, name, key, flush=True)


if __name__ == "__main__":
    main()
