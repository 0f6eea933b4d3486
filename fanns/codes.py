"""Int8 codes of a segment's vectors: a quarter of float32, compared by exact integer products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fanns.computing import Loops, loops_of
from fanns.kernels.distance import COSINE
from fanns.kernels.jit import Array, frozen
from fanns.vectors import DenseVectors

ALIGNMENT = 64
"""Rows of codes are padded to whole cache lines, which are also whole vector registers."""

CHUNK = 1024
SAMPLE = 16_384
"""Rows whose mean is subtracted: any mean is correct, a good one makes the codes finer."""


REPORTED = 1024
"""Rows whose reconstruction error is told."""


class Int8Codes:
    """One byte a dimension and row, around a common mean, with a scale per row.

    With x' = x / |x| under cosine, else x:

    - `codes` uint8[n, w]: round((x' - mean) / scale) + 128 within 1..255; w = d rounded up to 64,
      padding bytes are 128
    - `mean` float32[d], of x' over a sample
    - `scale` float32[n]: max |x' - mean| / 127
    - `square` float64[n]: |x' - mean|^2 (double, because float32 overflows from lengths of 2e19)
    - `error` float32[n]: at least |x' - decoded|
    - `limits` float64[3]: largest |x' - mean| + error, largest error, |mean|

    `kernels/int8.py` holds the approximate distance and the bound on its error.
    """

    def __init__(self, arrays: Mapping[str, Array], metric: int) -> None:
        self.metric = metric
        self.codes = frozen(arrays["codes"])
        self.mean = frozen(arrays["mean"])
        self.scale = frozen(arrays["scale"])
        self.square = frozen(arrays["square"])
        self.error = frozen(arrays["error"])
        self.limits = frozen(arrays["limits"])
        self.n, self.width = self.codes.shape

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        threads: int | None = 1,
        progress: Callable[[int], None] | None = None,
        loops: Loops | None = None,
    ) -> Int8Codes:
        """Encode all rows; the same codes for any number of threads, and by any loops."""
        n, d = vectors.n, vectors.d
        width = -(-d // ALIGNMENT) * ALIGNMENT
        mean = frozen(_sample_mean(vectors))
        arrays: dict[str, Array] = {
            "codes": np.empty((n, width), np.uint8),
            "mean": mean,
            "scale": np.empty(n, np.float32),
            "square": np.empty(n, np.float64),
            "error": np.empty(n, np.float32),
        }
        loops_of(loops, threads).encode(vectors, mean, arrays, progress)
        arrays["limits"] = code_limits(arrays["square"], arrays["error"], arrays["mean"])
        return cls(arrays, vectors.metric)

    @classmethod
    def load(cls, arrays: Mapping[str, Array], metric: int) -> Int8Codes:
        """Hold what `arrays` gave, in memory or mapped; nothing is read."""
        return cls(arrays, metric)

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down."""
        names = ("codes", "mean", "scale", "square", "error", "limits")
        return {name: getattr(self, name) for name in names}

    def take(self, order: Array) -> Int8Codes:
        """Codes of the same rows in another order."""
        arrays = self.arrays()
        moved = {name: arrays[name][order] for name in ("codes", "scale", "square", "error")}
        return Int8Codes({**arrays, **moved}, self.metric)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays().values())

    @property
    def bits_per_vector(self) -> float:
        """Bits a row takes, its scale, length and error included; mean and limits are shared."""
        rows = (self.codes, self.scale, self.square, self.error)
        return float(8 * sum(array.nbytes for array in rows) / max(self.n, 1))

    def reconstruction_error(self, vectors: DenseVectors, rows: Array) -> float:
        """Squared error as a share of the rows' variance around the mean, |x' - mean|^2."""
        exact = unit_rows(vectors, rows)
        left = ((exact - self.decode(rows)) ** 2).sum()
        total = ((exact - self.mean) ** 2).sum()
        return float(left / total) if total > 0 else 0.0

    def decode(self, rows: Array) -> npt.NDArray[np.float64]:
        """What the codes stand for: approximations of x', float64[len(rows), d]."""
        d = len(self.mean)
        steps = self.codes[rows, :d].astype(np.float64) - 128.0
        return steps * self.scale[rows, None].astype(np.float64) + self.mean


class Codes(Protocol):
    """What every kind of codes tells of itself."""

    @property
    def bits_per_vector(self) -> float: ...

    def reconstruction_error(self, vectors: DenseVectors, rows: Array) -> float: ...


def report(codes: Codes, vectors: DenseVectors) -> dict[str, float]:
    """What `info` shows of a segment's codes; the error is that of a sample of its rows."""
    rows = _sample_rows(vectors.n, REPORTED)
    return {
        "bits_per_vector": codes.bits_per_vector,
        "reconstruction_error": codes.reconstruction_error(vectors, rows),
    }


def unit_rows(vectors: DenseVectors, rows: Array) -> npt.NDArray[np.float64]:
    """x' of rows, float64[len(rows), d]: of length 1 under cosine, else as they are."""
    exact = vectors.decode(rows).astype(np.float64)
    if vectors.metric == COSINE:
        norms = vectors.norms[rows]
        exact /= np.where(norms > 0, norms, 1.0)[:, None]
    return exact


def _sample_rows(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many rows, spread evenly over the segment."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(most, n)).astype(np.int64))


def _sample_mean(vectors: DenseVectors) -> npt.NDArray[np.float32]:
    """Mean of x' over rows spread evenly over the segment."""
    if vectors.n == 0:
        return np.zeros(vectors.d, np.float32)
    rows = _sample_rows(vectors.n, SAMPLE)
    total = np.zeros(vectors.d, np.float64)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        sample = unit_rows(vectors, part)
        total += sample.sum(axis=0)
    return (total / len(rows)).astype(np.float32)


def code_limits(square: Array, error: Array, mean: Array) -> npt.NDArray[np.float64]:
    """`limits` of codes (see `Int8Codes`) from their squares, errors and mean."""
    wide = error.astype(np.float64)
    longest = float((np.sqrt(square) + wide).max(initial=0.0)) * (1 + 1e-12)
    length = float(np.linalg.norm(mean.astype(np.float64))) * (1 + 1e-12)
    return np.array([longest, wide.max(initial=0.0), length], np.float64)
