"""Training of product quantizers: a seeded sample of residuals, a codebook a sub-space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanns.kernels.jit import Array, frozen
from fanns.kernels.pq import residuals
from fanns.kernels.pq_train import train_codebook
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors

SAMPLE = 16_384
ROUNDS = 12
CHUNK = 1024


def no_rotation() -> npt.NDArray[np.float32]:
    """The array that stands for leaving residuals as they are."""
    return np.empty((0, 0), np.float32)


def sample_residuals(
    vectors: DenseVectors,
    centroids: Array,
    labels: Array,
    rotation: Array,
    width: int,
    seed: int,
    threads: int | None = 1,
) -> npt.NDArray[np.float32]:
    """Rotated residuals of SAMPLE rows drawn at random, float32[rows, width]."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(vectors.n, min(SAMPLE, vectors.n), replace=False)).astype(np.int32)
    chosen = frozen(labels[rows])
    out = np.empty((len(rows), width), np.float32)
    rows = frozen(rows)

    def task(start: int, stop: int) -> None:
        part = (rows[start:stop], chosen[start:stop])
        fixed = (vectors.exact, vectors.norms, vectors.metric)
        residuals(*fixed, *part, centroids, rotation, out[start:stop])

    run_chunks(task, len(rows), CHUNK, threads)
    return out


def train_codebooks(
    points: npt.NDArray[np.float32],
    subspaces: int,
    size: int,
    seed: int,
    threads: int | None = 1,
    rounds: int = ROUNDS,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """k-means in each sub-space: codebooks float32[m, s, K], and points a codeword int64[m, K].

    points float32[n, m s]. Sub-spaces start from points drawn by `seed`, each for itself; threads
    share them out, so the result does not depend on how many there are.
    """
    n, width = points.shape
    length = width // subspaces
    books = np.zeros((subspaces, length, size), np.float32)
    counts = np.zeros((subspaces, size), np.int64)
    if n == 0:
        return books, counts

    def task(start: int, stop: int) -> None:
        for j in range(start, stop):
            rng = np.random.default_rng((seed, j))
            first = rng.choice(n, size, replace=size > n)
            part = np.ascontiguousarray(points[:, j * length : (j + 1) * length])
            train_codebook(part, first, rounds, books[j], counts[j])

    run_chunks(task, subspaces, 1, threads)
    return books, counts
