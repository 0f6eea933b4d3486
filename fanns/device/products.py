"""Products of matrices by cuBLAS, on a workspace's stream; by numpy where kernels are simulated.

Single precision, and nothing less: tensor cores would round the factors (TF32 to 10 bits), and what
scans prove with these products rests on their error (`product_scan_cuda`).
"""

from __future__ import annotations

import importlib.util
import weakref
from typing import Any

import numpy as np

from fanns.kernels.jit_cuda import SIMULATED, DeviceArray, Workspace

FLOAT32 = 0
"""CUDA_R_32F."""


def has_products() -> bool:
    """Whether cuBLAS can be called: through nvmath-python."""
    return SIMULATED or importlib.util.find_spec("nvmath") is not None


class Products:
    """cuBLAS for the launches of one workspace. Making one synchronises, using it does not."""

    def __init__(self, workspace: Workspace) -> None:
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        self._blas: Any = None
        if not SIMULATED:
            from nvmath.bindings import cublas

            self._blas, self._handle = cublas, cublas.create()
            # Not at exit: the device may be gone by then.
            weakref.finalize(self, cublas.destroy, self._handle).atexit = False
            stream = workspace.stream
            cublas.set_stream(self._handle, int(stream) if stream else 0)

    def multiply(self, queries: DeviceArray, vectors: DeviceArray, out: DeviceArray) -> None:
        """out float32[m, n] = the products of queries float32[m, d] and vectors float32[n, d]."""
        (m, d), n = queries.shape, vectors.shape[0]
        if self._blas is None:
            with np.errstate(over="ignore", invalid="ignore"):  # as a device has it
                product = queries.copy_to_host() @ vectors.copy_to_host().T
            out.copy_to_device(np.ascontiguousarray(product))
            return
        # cuBLAS goes by columns: rows of d numbers are columns to it, and out is [n, m].
        blas, vector, query, product = self._blas, *map(_address, (vectors, queries, out))
        blas.gemm_ex(
            self._handle, blas.Operation.T, blas.Operation.N, n, m, d,
            self._one.ctypes.data, vector, FLOAT32, d, query, FLOAT32, d,
            self._zero.ctypes.data, product, FLOAT32, n,
            blas.ComputeType.COMPUTE_32F_PEDANTIC, blas.GemmAlgo.DEFAULT,
        )  # fmt: skip


def _address(array: DeviceArray) -> int:
    return int(array.__cuda_array_interface__["data"][0])
