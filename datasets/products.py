"""Inner products of blocks of queries and rows in float32, on the processor or through faiss-gpu.

A product of d terms in float32 is off by at most d * 2^-24 * |x| * |q|, to first order, in whatever
order it was summed (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fanns.errors import MissingDependencyError

Floats = NDArray[np.float32]
_SPARE = 16  # terms, for roundings before and after the sum


class Products(Protocol):
    """Something that multiplies blocks. name: for people."""

    name: str

    def error(self, dimensions: int) -> float:
        """The most that a product can be off, as a share of |x| * |q|."""

    def __call__(self, queries: Floats, rows: Floats) -> Floats:
        """Inner products float32[q, r] of queries [q, d] and rows [r, d]; may be written to."""


class OnProcessor:
    """numpy's matrix product, by the BLAS that it comes with."""

    name = "processor"

    def error(self, dimensions: int) -> float:
        return (dimensions + _SPARE) * 2.0**-24

    def __call__(self, queries: Floats, rows: Floats) -> Floats:
        return queries @ rows.T


class OnGpu:
    """faiss-gpu's products, on the first device."""

    name = "GPU"

    def __init__(self) -> None:
        import faiss

        self._faiss = faiss
        self._resources = faiss.StandardGpuResources()

    def error(self, dimensions: int) -> float:
        """faiss multiplies in plain float32. Allowed for is a device that rounds factors to 11 bits
        (TF32): the bound stays true, and costs a few more candidates.
        """
        return 2.0**-9 + (dimensions + _SPARE) * 2.0**-24

    def __call__(self, queries: Floats, rows: Floats) -> Floats:
        found: Floats = self._faiss.pairwise_distance_gpu(
            self._resources, queries, rows, metric=self._faiss.METRIC_INNER_PRODUCT
        )
        return found


def engine(gpu: bool | None = None) -> Products:
    """What multiplies. gpu: None takes a GPU where faiss sees one, True insists on it.

    Raises MissingDependencyError when it insists and there is none.
    """
    if gpu is False:
        return OnProcessor()
    lacking = _lacking()
    if lacking is None:
        return OnGpu()
    if gpu:
        raise MissingDependencyError(f"no GPU for exact answers: {lacking}")
    return OnProcessor()


def _lacking() -> str | None:
    """What is missing to multiply on a GPU, and what to do; None: nothing."""
    if find_spec("faiss") is None:
        return "faiss is not installed: pip install 'fanns[gpu]'"
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        return "this faiss is for processors only: replace faiss-cpu by 'fanns[gpu]'"
    if not faiss.get_num_gpus():
        return "faiss sees no CUDA device: look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return None
