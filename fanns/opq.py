"""Optimized product quantization: the rotation that lets sub-spaces be quantized best.

Ge, He, Ke and Sun 2013 ("Optimized product quantization for approximate nearest neighbor search"),
the non-parametric form: codebooks for the rotation, then the rotation for the codebooks
(orthogonal Procrustes: with U S V^T = Z^T Zhat it is U V^T), in turn. Products of matrices and the
decomposition are numpy's: always the same on one machine, but not to the last bit on all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanns.codebooks import train_codebooks
from fanns.kernels.pq import quantise_rows
from fanns.kernels.rotation import rotate_rows

ALTERNATIONS = 10
ROUNDS = 3
"""Rounds of k-means between two rotations: the codebooks are about to change anyway."""


def train_rotation(
    points: npt.NDArray[np.float32],
    subspaces: int,
    size: int,
    seed: int,
    threads: int | None = 1,
    alternations: int = ALTERNATIONS,
) -> npt.NDArray[np.float32]:
    """The rotation of points float32[n, w] whose columns are the new directions, float32[w, w].

    w is a multiple of `subspaces`. Points are compared as they are: scale them into a range whose
    squares float32 can hold.
    """
    width = points.shape[1]
    rotation = np.eye(width, dtype=np.float32)
    for _ in range(alternations):
        turned = np.ascontiguousarray(points @ rotation)
        books, _ = train_codebooks(turned, subspaces, size, seed, threads, ROUNDS)
        near = np.empty_like(turned)
        quantise_rows(turned, books, near)
        left, _, right = np.linalg.svd(points.T.astype(np.float64) @ near)
        rotation = (left @ right).astype(np.float32)
    return rotation


def rotation_matrix(rotation: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A rotation, flips or matrix, as the matrix that rows are multiplied by from the right."""
    if rotation.shape[0] == rotation.shape[1]:
        return rotation.astype(np.float64)
    rows = np.eye(rotation.shape[1], dtype=np.float32)
    rotate_rows(rows, rotation)
    return rows.astype(np.float64)
