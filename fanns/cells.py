"""Cells of an inverted multi-index: rows in the order of pairs of half centroids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from fanns.clusters import k_means
from fanns.errors import InputError
from fanns.kernels.distance import COSINE, IP, L2, METRICS
from fanns.kernels.jit import Array, frozen
from fanns.kernels.product_keys import COUNTERS, top_keys
from fanns.vectors import DenseVectors

MAX_HALF = 4096
ROWS_PER_CELL = 4
"""Mean rows of a cell by default: so few that rows of a cell are nearly equals for a query."""

CHUNK = 4096


class Cells:
    """Where the cells of a segment begin, and the half centroids that rank them.

    - `half_a` float32[c_a, d_a], `half_b` float32[c_b, d_b]: d_a = d // 2, d_b the rest
    - `offsets` int64[c_a * c_b + 1]: cell i * c_b + j holds rows offsets[it] .. offsets[it + 1],
      those whose halves are nearest to centroids i and j; many cells are empty

    Halves are those of x / |x| under cosine. Cells are ranked by |q' - centroids|^2, under the
    inner product by -<q, centroids>.
    """

    def __init__(self, arrays: Mapping[str, Array], metric: int) -> None:
        self.metric = metric
        self.half_a, self.half_b = frozen(arrays["half_a"]), frozen(arrays["half_b"])
        self.offsets = frozen(arrays["offsets"])

    def __len__(self) -> int:
        """All cells, the empty ones as well."""
        return len(self.half_a) * len(self.half_b)

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        seed: int,
        threads: int | None = 1,
        halves: tuple[int, int] | None = None,
    ) -> tuple[npt.NDArray[np.int32], Cells]:
        """Two codebooks by k-means on the halves of all rows, and the rows' order by cell.

        Args:
            vectors: n >= 1 rows of at least 2 dimensions.
            seed: of both k-means.
            threads: how many work; the result does not depend on it.
            halves: (c_a, c_b); by default equal, for about ROWS_PER_CELL rows a cell.

        Returns:
            order int32[n]: the rows cell by cell, in each cell as they were given; and the cells.

        Raises:
            InputError: no rows, fewer than 2 dimensions, or half centroids not within 1..n.
        """
        n, d = vectors.n, vectors.d
        if n == 0 or d < 2:
            raise InputError(f"cells need rows of at least 2 dimensions, got {n} of {d}")
        if halves is None:
            equal = min(max(1, math.isqrt(n // ROWS_PER_CELL)), MAX_HALF)
            halves = (equal, equal)
        if not all(1 <= c <= n for c in halves):
            raise InputError(f"halves: expected numbers within 1..{n}, got {halves}")
        parts = (slice(0, d // 2), slice(d // 2, d))
        labels, centroids = [], []
        for number, (part, c) in enumerate(zip(parts, halves, strict=True)):
            half = DenseVectors.from_array(_half(vectors, part), L2, threads)
            found, means = k_means(half, c, seed + number, threads)
            labels.append(found.astype(np.int64))
            centroids.append(means)
        cell = labels[0] * halves[1] + labels[1]
        order = np.argsort(cell, kind="stable").astype(np.int32)
        counts = np.bincount(cell, minlength=halves[0] * halves[1])
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        arrays: dict[str, Array] = {
            "half_a": centroids[0],
            "half_b": centroids[1],
            "offsets": offsets,
        }
        return order, cls(arrays, vectors.metric)

    def rank(self, query: npt.NDArray[np.float32]) -> Iterator[int]:
        """Numbers of all cells, nearest first, lower numbers first among equals; lazily in blocks.

        For looking at an index and for tests: the search ranks cells in its kernel.
        """
        length = np.linalg.norm(query) if self.metric == COSINE else 1.0
        asked = np.ascontiguousarray(query / length, np.float32).reshape(1, -1)
        given, wanted = 0, min(64, len(self))
        while given < len(self):
            numbers, sums = np.empty((1, wanted), np.int64), np.empty((1, wanted))
            work = np.empty((1, COUNTERS), np.int64)
            ranking = IP if self.metric == IP else L2
            top_keys(asked, ranking, self.half_a, self.half_b, numbers, sums, work)
            yield from numbers[0, given:].tolist()
            given, wanted = wanted, min(4 * wanted, len(self))

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down."""
        return {"half_a": self.half_a, "half_b": self.half_b, "offsets": self.offsets}

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays().values())

    def __repr__(self) -> str:
        used = int((np.diff(self.offsets) > 0).sum())
        metric = next(name for name, number in METRICS.items() if number == self.metric)
        return f"<Cells: {len(self.half_a)} x {len(self.half_b)}, {used} in use, {metric}>"


def _half(vectors: DenseVectors, part: slice) -> npt.NDArray[np.float32]:
    """Some dimensions of all rows, float32[n, d / 2], of rows of length 1 under cosine."""
    half = np.empty((vectors.n, part.stop - part.start), np.float32)
    for start in range(0, vectors.n, CHUNK):
        rows = vectors.vectors[start : start + CHUNK, part].astype(np.float64)
        if vectors.metric == COSINE:
            rows /= vectors.norms[start : start + CHUNK, None]
        half[start : start + CHUNK] = rows
    return half
