"""How variance spreads over directions: eigenvalues of a sample, ranks, and a spectrum's formula.

The spectrum of a set of vectors is the eigenvalues of their covariance, largest first, as shares of
the total variance. It tells how compressible vectors are and, with their grouping, how hard they
are to search; `arxiv_like` makes vectors of a spectrum that was measured here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError

from .parquet_files import streamed

SAMPLE = 50_000  # rows that a spectrum is measured on, where memory allows
SAMPLE_BYTES = 400 << 20  # of float32: 25,600 rows of 4,096 dimensions
# What float32 sums of a few thousand products leave in a direction that should be empty, in units
# of the last place; measured: 4 for rank 1,025 in 4,096 dimensions.
ROUNDING = 64.0
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of some vectors.

    Attributes:
        shares: float64[d], shares of the variance about the mean, largest first, sum 1.
        mean: length of the mean vector, as a share of the root mean square length.
        variance: mean squared distance from the mean.
        rank: numerical rank of the vectors themselves, about the origin; see `numerical_rank`.
        rows: how many rows it was measured on.
    """

    shares: Shares
    mean: float
    variance: float
    rank: int
    rows: int

    @property
    def dimensions(self) -> int:
        return len(self.shares)

    @property
    def effective_rank(self) -> float:
        """The exponential of the shares' entropy (Roy and Vetterli, EUSIPCO 2007)."""
        positive = self.shares[self.shares > 0]
        return float(np.exp(-(positive * np.log(positive)).sum()))

    @property
    def participation(self) -> float:
        """The participation ratio: 1 / sum of squared shares."""
        return float(1.0 / (self.shares * self.shares).sum())

    def directions(self, share: float) -> int:
        """How many leading directions hold this share of the variance."""
        return int(np.searchsorted(np.cumsum(self.shares), share - 1e-12) + 1)


def measure(vectors: NDArray[np.floating]) -> Spectrum:
    """The spectrum of vectors [n, d]. Raises InputError without two unlike rows, or for NaN."""
    rows, dimensions = vectors.shape
    if rows < 2 or dimensions < 1:
        raise InputError(f"a spectrum needs two vectors at least, got {rows} x {dimensions}")
    moment, mean = _moments(vectors)
    energy = float(np.trace(moment))
    if not np.isfinite(energy):
        raise InputError("vectors with NaN or infinity have no spectrum")
    centred = np.linalg.eigvalsh(moment - np.outer(mean, mean))[::-1].clip(0.0)
    variance = float(centred.sum())
    if variance <= 1e-14 * energy or energy == 0.0:
        raise InputError("a spectrum needs vectors that differ, got equal ones")
    length = float(np.sqrt((mean * mean).sum() / energy))
    return Spectrum(centred / variance, length, variance, numerical_rank(moment), rows)


def _moments(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of x x^T, float64[d, d], and of x, float64[d]."""
    rows, dimensions = vectors.shape
    total, products = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    step = max(1, (32 << 20) // (8 * dimensions))
    with np.errstate(invalid="ignore", over="ignore"):  # the caller looks for NaN
        for start in range(0, rows, step):
            part = np.asarray(vectors[start : start + step], np.float64)
            total += part.sum(axis=0)
            products += part.T @ part
    return products / rows, total / rows


def numerical_rank(moment: NDArray[np.float64]) -> int:
    """Directions that hold more than float32 rounding can leave there.

    `moment` float64[d, d] is the mean of x x^T. Rounding leaves a variance of about eps^2 times the
    mean square of a coordinate in every direction, more for vectors that are sums of products.
    """
    energy = float(np.trace(moment))
    floor = (ROUNDING * float(np.finfo(np.float32).eps)) ** 2 * energy / len(moment)
    # A float64 matrix of products knows its eigenvalues to about eps times the largest.
    floor = max(floor, 8 * float(np.finfo(np.float64).eps) * energy)
    return int((np.linalg.eigvalsh(moment) > floor).sum())


def of_file(
    path: str | os.PathLike[str], column: str = "embedding", *, rows: int = SAMPLE, seed: int = 0
) -> Spectrum:
    """The spectrum of a Parquet file's vectors, from a seeded sample of its rows."""
    return measure(sample(path, column, rows=rows, seed=seed))


def sample(
    path: str | os.PathLike[str], column: str = "embedding", *, rows: int = SAMPLE, seed: int = 0
) -> NDArray[np.float32]:
    """A seeded sample of a file's vectors, float32[rows, d], in the file's order.

    The file is read in batches: memory holds the sample, of 400 MB at most. Raises InputError where
    the file has no such column of fixed-size lists.
    """
    try:
        with streamed(path) as file:
            return _sample(file, Path(path), column, rows, seed)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def most_rows(file: pq.ParquetFile, column: str) -> int:
    """How many of a file's rows a sample can have."""
    dimensions = int(file.schema_arrow.field(column).type.list_size)
    return min(int(file.metadata.num_rows), max(1, SAMPLE_BYTES // (4 * dimensions)))


def sample_rows(total: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Sorted row numbers int64[min(total, wanted)], drawn without replacement."""
    if wanted >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng([seed, 11]).choice(total, wanted, replace=False))


def _sample(
    file: pq.ParquetFile, path: Path, column: str, rows: int, seed: int
) -> NDArray[np.float32]:
    schema = file.schema_arrow
    if column not in schema.names or not pa.types.is_fixed_size_list(schema.field(column).type):
        raise InputError(f"{path} has no column {column!r} of vectors (fixed-size lists)")
    dimensions = schema.field(column).type.list_size
    chosen = sample_rows(file.metadata.num_rows, min(rows, most_rows(file, column)), seed)
    found = np.empty((len(chosen), dimensions), np.float32)
    done = start = 0
    for batch in file.iter_batches(batch_size=8192, columns=[column]):
        end = int(np.searchsorted(chosen, start + len(batch)))
        if end > done:
            flat = np.asarray(batch.column(0).flatten()).reshape(-1, dimensions)
            found[done:end] = flat[chosen[done:end] - start]
        done, start = end, start + len(batch)
    return found


def model_shares(rank: int) -> Shares:
    """A spectrum float64[rank] as sentence embeddings have it, for when none was measured.

    i^-0.6 exp(-(i / 0.66 rank)^2.9): a power law that falls off in its last third. Fitted to
    all-MiniLM-L6-v2 (384 dimensions) on 100,000 arXiv abstracts: within 16 % from the 3rd
    eigenvalue to the 370th.
    """
    place = np.arange(1, rank + 1)
    shares = place**-0.6 * np.exp(-((place / (0.66 * rank)) ** 2.9))
    return np.asarray(shares / shares.sum())
