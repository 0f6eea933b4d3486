"""Mean and covariance of vectors in one pass, and the directions of most variance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.transforms_base import Float32, Float64, accept_sample

CHUNK = 4096


def batches_of(vectors: Any) -> Iterator[Float32]:
    """Batches float32[n, d] of one dimension, of an array or of batches.

    Raises:
        InputError: none, or one that cannot be used.
    """
    whole = isinstance(vectors, np.ndarray) or not isinstance(vectors, Iterable)
    dimensions = None
    for number, batch in enumerate([vectors] if whole else vectors):
        rows = accept_sample(batch, "vectors" if whole else f"batch {number}")
        dimensions = dimensions or rows.shape[1]
        if rows.shape[1] != dimensions:
            raise InputError(
                f"batch {number} has {rows.shape[1]} dimensions, those before it {dimensions}"
            )
        yield from (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    if dimensions is None:
        raise InputError("no vectors to fit to")


class Spread(Protocol):
    """Mean and covariance of vectors, exact (`Moments`) or sketched."""

    @property
    def dimensions(self) -> int: ...
    @property
    def mean(self) -> Float64: ...
    def covariance(self, centre: bool) -> Float64: ...


class Moments:
    """Count, mean and scatter of the vectors seen, float64; d x d numbers are held.

    Sums are about the first batch's mean, so that a mean far from the origin costs no digits
    (Chan, Golub, LeVeque 1983).
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.count = 0
        self._origin = np.zeros(dimensions)
        self._sum = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions))

    @classmethod
    def of(cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike]) -> Moments:
        """Those of an array [n, d], or of batches."""
        made = None
        for batch in batches_of(vectors):
            made = made or cls(batch.shape[1])
            made.update(batch)
        assert made is not None  # batches_of raises where there is none
        return made

    def update(self, batch: Float32) -> None:
        """Take further vectors into account."""
        wide = batch.astype(np.float64)
        if self.count == 0:
            self._origin = wide.mean(axis=0)
        wide -= self._origin
        self.count += len(wide)
        self._sum += wide.sum(axis=0)
        self._scatter += wide.T @ wide

    @property
    def mean(self) -> Float64:
        """float64[d]."""
        return self._origin + self._sum / self.count

    def covariance(self, centre: bool) -> Float64:
        """The mean of (x - m) (x - m)^T, float64[d, d]; with m = 0 unless `centre`."""
        away = self._sum / self.count
        covariance = self._scatter / self.count - np.outer(away, away)
        return covariance if centre else covariance + np.outer(self.mean, self.mean)


class NoSpreadError(InputError):
    """Vectors do not vary along as many directions as were asked for."""

    SHARE: ClassVar[float] = 1e-12
    """Of the whole variance, what a direction must have to be told from rounding."""

    def __init__(self, kind: str, width: int, rank: int) -> None:
        super().__init__(
            f"{kind}: {width} components asked for, but the vectors vary along {rank} only; ask "
            f"for at most {rank}" + ("" if rank else ": they are all alike")
        )


def leading(covariance: Float64, width: int, kind: str) -> tuple[Float64, Float64]:
    """The directions of most variance, float64[width, d], and their variances, largest first.

    Raises:
        InputError: there are not so many directions.
    """
    check_width(width, len(covariance), kind)
    values, vectors = np.linalg.eigh(covariance)
    return signed(vectors[:, ::-1][:, :width].T), values[::-1][:width].clip(0.0)


def signed(directions: Float64) -> Float64:
    """Directions float64[r, d], the largest value of each positive: equal data, equal signs."""
    signs = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return np.where(signs < 0, -directions, directions)


def check_width(width: int, dimensions: int, kind: str) -> None:
    """Raises InputError unless vectors can have so many components."""
    if type(width) is not int or not 1 <= width <= dimensions:
        raise InputError(f"{kind}: width is {width!r}, expected 1 to {dimensions} components")
