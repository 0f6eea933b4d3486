"""The user-item graph as a matrix to propagate embeddings with.

Nodes are the users, then the items. The product of a fixed sparse matrix with embeddings has the
transposed product as its gradient, so that two matrices are all that is kept; for a symmetric one,
they are the same.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fanns.errors import InputError

from .recsys_interactions import Interactions
from .recsys_torch import torch

# Powers of the degrees that divide an edge, on the side that receives and on the side that sends.
NORMS = {
    "symmetric": (0.5, 0.5),
    "left": (1.0, 0.0),
    "right": (0.0, 1.0),
    "both": (1.0, 1.0),
    "sqrt-left": (0.5, 0.0),
    "sqrt-right": (0.0, 0.5),
}


class Operator:
    """A sparse matrix [n, n] that multiplies embeddings [n, d] within torch's differentiation."""

    def __init__(self, matrix: Any) -> None:
        """matrix: scipy sparse, float32."""
        self._forward = _tensor(matrix)
        symmetric = abs(matrix - matrix.T).sum() == 0
        self._backward = self._forward if symmetric else _tensor(matrix.T)

    def __call__(self, embeddings: Any) -> Any:
        return _Product.apply(embeddings, self._forward, self._backward)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, embeddings: Any, forward: Any, backward: Any) -> Any:
        context.backward_matrix = backward
        return forward @ embeddings

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        return context.backward_matrix @ gradient.contiguous(), None, None


def adjacency(data: Interactions, norm: str = "symmetric", *, loops: bool = False) -> Any:
    """The matrix of the graph, each edge divided by powers of its nodes' degrees (see NORMS).

    loops: join every node to itself as well, before the division (NGCF's official code). Nodes
    without edges have empty rows. A scipy.sparse.csr_array float32[n, n].
    """
    from scipy.sparse import block_array, csr_array, dia_array, eye_array

    if norm not in NORMS:
        raise InputError(f"unknown norm {norm!r}; expected one of {', '.join(NORMS)}")
    edges = data.matrix()
    whole = csr_array(block_array([[None, edges], [edges.T, None]]))
    if loops:
        whole = csr_array(whole + eye_array(whole.shape[0], dtype=np.float32))
    degrees = np.asarray(whole.sum(axis=1), np.float64)
    sides = []
    for power in NORMS[norm]:
        scale = np.zeros_like(degrees)
        np.power(degrees, -power, out=scale, where=degrees > 0)
        sides.append(dia_array((scale[None], [0]), shape=whole.shape))
    return csr_array(sides[0] @ whole @ sides[1]).astype(np.float32)


def _tensor(matrix: Any) -> Any:
    """A torch CSR tensor; with indices of 32 bits the product would run on one core."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data),
            matrix.shape,
            check_invariants=True,
        )
