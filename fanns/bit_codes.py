"""Codes of a few bits a dimension: at one bit a cache line a row, for estimates that pick rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from fanns.codes import unit_rows
from fanns.computing import Loops, loops_of
from fanns.kernels.bit_encode import encode_bits
from fanns.kernels.bits import estimate, record_words
from fanns.kernels.distance import IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.kernels.rotation import random_signs
from fanns.vectors import DenseVectors

LINE = 64  # bytes of a cache line, at which records start


class BitCodes:
    """The direction of each row from its cluster's centre, rotated, and two numbers (RaBitQ).

    - `records` uint64[n, S]: see `kernels/bits.py`; `factors` float32[n, 2 S]: the same memory
    - `signs` float32[rounds, D]: the rotation; D = d rounded up to 64
    - `mean` float32[d]: what queries are relative to, that of `Int8Codes`
    - `bits`: of a dimension; 1, 2 or 4
    - `offsets` int64[c + 1], `centroids` float32[c, d]: the clusters, in whose order rows stand
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        mean: Array,
        metric: int,
        bits: int,
        offsets: Array,
        centroids: Array,
    ) -> None:
        self.metric, self.bits = metric, bits
        self.records = frozen(arrays["records"])
        self.signs = frozen(arrays["signs"])
        self.mean = frozen(mean)
        self.offsets, self.centroids = frozen(offsets), frozen(centroids)
        self.factors = self.records.view(np.float32)
        self.n = len(self.records)

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        mean: Array,
        seed: int,
        offsets: Array,
        centroids: Array,
        threads: int | None = 1,
        progress: Callable[[int], None] | None = None,
        bits: int = 1,
        loops: Loops | None = None,
    ) -> BitCodes:
        """Encode all rows, which stand in cluster order; the same records for any threads or loops.

        offsets int64[c + 1]: where clusters begin, none of them empty; centroids float32[c, d].
        """
        signs = frozen(random_signs(vectors.d, seed))
        records = _aligned(vectors.n, record_words(vectors.d, bits)[1])
        around = (frozen(mean), signs, bits, offsets, centroids)
        loops_of(loops, threads).encode_bits(vectors, *around, records, progress)
        arrays = {"records": records, "signs": signs}
        return cls(arrays, mean, vectors.metric, bits, offsets, centroids)

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, Array],
        mean: Array,
        metric: int,
        bits: int,
        offsets: Array,
        centroids: Array,
    ) -> BitCodes:
        """Hold what `arrays` gave, in memory or mapped; nothing is read."""
        return cls(arrays, mean, metric, bits, offsets, centroids)

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down; mean and clusters are the segment's."""
        return {"records": self.records, "signs": self.signs}

    def encode_points(self, points: npt.NDArray[np.float32]) -> Array:
        """Records uint64[c, S] of other points, float32[c, d], around `mean`; never normalised.

        Against a query that is prepared for the rows, `bits_key` estimates |q' - point|^2 (l2) or
        -<q', point>, less the same number for all of them.
        """
        count, d = points.shape
        records = _aligned(count, record_words(d, self.bits)[1])
        around = (frozen(np.array([0, count])), frozen(self.mean[None]))
        metric = L2 if self.metric == L2 else IP
        given = (frozen(points), frozen(np.zeros(count)), metric, self.mean, self.signs, self.bits)
        encode_bits(*given, *around, 0, count, records, records.view(np.float32))
        return frozen(records)

    @property
    def nbytes(self) -> int:
        return self.records.nbytes + self.signs.nbytes

    @property
    def usable(self) -> bool:
        """Whether every factor is finite: lengths from 1e19 on are beyond float32's squares."""
        return bool(np.isfinite(self.factors[:, -2:]).all())

    @property
    def bits_per_vector(self) -> float:
        """Bits a row takes, its two numbers and padding included; the rotation is shared by all."""
        return float(64 * self.records.shape[1])

    def levels(self, rows: Array) -> npt.NDArray[np.int64]:
        """s of `kernels/bits.py`: odd integers, int64[len(rows), D]."""
        words, _ = record_words(len(self.mean), self.bits)
        taken = self.records[rows, :words].view(np.uint8)[:, None, :]
        shifts = np.arange(0, 8, self.bits, dtype=np.uint8)[:, None]
        most = (1 << self.bits) - 1
        return (
            2
            * ((taken >> shifts) & most)
            .astype(np.int64)
            .reshape(len(rows), 64 * words // self.bits)
            - most
        )

    def reconstruction_error(self, vectors: DenseVectors, rows: Array) -> float:
        """Squared error as a share of the rows' variance around the mean, |x' - mean|^2.

        s stands for c + R's inverse of a s, at its best length a = <Rz, s> / |s|^2; what is left is
        |z|^2 - <Rz, s>^2 / |s|^2, with <Rz, s> = |z|^2 / f.
        """
        exact = unit_rows(vectors, rows)
        owners = np.searchsorted(self.offsets, rows, side="right") - 1
        squared = ((exact - self.centroids[owners]) ** 2).sum(axis=1)
        f = self.factors[rows, -2].astype(np.float64)
        along = np.divide(squared, f, out=np.zeros(len(f)), where=f > 0)
        left = squared - along**2 / (self.levels(rows) ** 2).sum(axis=1)
        total = ((exact - self.mean) ** 2).sum()
        return float(left.sum() / total) if total > 0 else 0.0

    def estimates(
        self,
        query: npt.NDArray[np.float32],
        starts: npt.NDArray[np.float64],
        slack: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.float64]:
        """The estimated keys of all rows, float64[n]: see `kernels/bits.py`.

        starts float64[c]: the key of each cluster's centre; slack float64[c]: what makes a bound
        from below of the estimates of a cluster.
        """
        keys = np.empty(self.n, np.float64)
        slack = np.zeros(len(starts)) if slack is None else slack
        rest = (self.mean, self.signs, self.bits, self.records, self.factors, self.offsets)
        estimate(query, self.metric, *rest, frozen(starts), frozen(slack), keys)
        return keys


def _aligned(rows: int, width: int) -> npt.NDArray[np.uint64]:
    """uint64[rows, width] that starts at a cache line; numpy itself promises 16 bytes only."""
    raw = np.empty(rows * width * 8 + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + rows * width * 8].view(np.uint64).reshape(rows, width)
