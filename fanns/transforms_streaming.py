"""Fits in one pass over more vectors than memory holds: streaming PCA, and an oblivious sketch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.transforms_base import Float64, accept_sample
from fanns.transforms_linear import PCA
from fanns.transforms_moments import batches_of, check_width, signed

SPARE = 64
"""Directions kept beyond those asked for while vectors stream by. Without any the last of 128
directions of arXiv vectors were lost, 89 degrees off; with 64 the largest angle is 4 degrees."""

SKETCHED = 16
"""Rows of a sketch for each dimension, while it is taken; d / epsilon^2 in theory, 8 to 20 for each
in practice."""


class StreamingPCA:
    """Principal components in one pass, with (width + SPARE) x d numbers held.

    Each batch's deviations from its mean are stacked under the components so far, each as long as
    its singular value, with a row for the step from the old mean to the new one; the leading right
    singular vectors are the components then (Ross, Lim, Lin, Yang, IJCV 2008). `PCA.fit` is exact
    and quicker as long as d x d numbers are no burden.
    """

    kind: ClassVar[str] = "streaming pca"

    def __init__(self, dimensions: int, width: int) -> None:
        check_width(width, dimensions, self.kind)
        self.dimensions, self.width = dimensions, width
        self.count = 0
        self.mean = np.zeros(dimensions)
        self._kept = np.zeros((0, dimensions))

    @classmethod
    def fit(cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], width: int) -> PCA:
        """The components of vectors [n, d], or of batches.

        Raises:
            InputError: as `PCA.fit`.
        """
        made = None
        for batch in batches_of(vectors):
            made = made or cls(batch.shape[1], width)
            made.update(batch)
        assert made is not None  # batches_of raises where there is none
        return made.transform()

    def update(self, batch: npt.ArrayLike) -> None:
        """Take further vectors [n, d] into account."""
        wide = accept_sample(batch).astype(np.float64)
        if wide.shape[1] != self.dimensions:
            raise InputError(f"{self.kind}: {wide.shape[1]} dimensions, expected {self.dimensions}")
        own, before, now = wide.mean(axis=0), self.count, self.count + len(wide)
        step = np.sqrt(before * len(wide) / now) * (self.mean - own)
        stack = np.concatenate([self._kept, wide - own, step[None]])
        _, values, directions = np.linalg.svd(stack, full_matrices=False)
        keep = min(self.width + SPARE, self.dimensions)
        self._kept = values[:keep, None] * directions[:keep]
        self.mean = self.mean + (own - self.mean) * (len(wide) / now)
        self.count = now

    def transform(self) -> PCA:
        """The components of the vectors so far.

        Raises:
            InputError: there were none.
        """
        if not self.count:
            raise InputError(f"{self.kind}: no vectors to fit to")
        _, _, directions = np.linalg.svd(self._kept, full_matrices=True)
        return PCA.of_directions(signed(directions[: self.width]), self.mean)


class Sketch:
    """All that linear fits need of vectors, in d x d numbers, whatever their number; mergeable.

    Rows are added up with random signs in SKETCHED * d sums (CountSketch: Clarkson and Woodruff,
    STOC 2013). Of these only the triangular factor R is kept, with |R x| what the sums gave for
    every x: sketches of parts are merged by factorising one above the other. A last column of ones
    is sketched with the vectors, by which R can be moved to any mean.

    It stands for moments: `PCA.of_moments(sketch, width)`, `Whitening.of_moments(sketch, width)`.
    """

    def __init__(self, dimensions: int, seed: int = 0) -> None:
        check_width(dimensions, dimensions, "sketch")
        self.dimensions, self.count = dimensions, 0
        self._sum = np.zeros(dimensions)
        self._rng = np.random.default_rng(seed)
        self._sums = np.zeros((SKETCHED * dimensions, dimensions + 1))
        self._factor = np.zeros((0, dimensions + 1))

    @classmethod
    def fit(cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], seed: int = 0) -> Self:
        """Of vectors [n, d], or of batches."""
        made = None
        for batch in batches_of(vectors):
            made = made or cls(batch.shape[1], seed)
            made.update(batch)
        assert made is not None  # batches_of raises where there is none
        return made

    def update(self, batch: npt.ArrayLike) -> None:
        """Take further vectors [n, d] into account."""
        wide = accept_sample(batch).astype(np.float64)
        if wide.shape[1] != self.dimensions:
            raise InputError(f"sketch: {wide.shape[1]} dimensions, expected {self.dimensions}")
        places = self._rng.integers(0, len(self._sums), len(wide))
        signs = self._rng.choice(np.array([-1.0, 1.0]), (len(wide), 1))
        np.add.at(self._sums, places, signs * np.column_stack([wide, np.ones(len(wide))]))
        self._sum += wide.sum(axis=0)
        self.count += len(wide)

    def merge(self, other: Sketch) -> None:
        """Take all vectors of another sketch into account.

        Raises:
            InputError: it is of other dimensions.
        """
        if other.dimensions != self.dimensions:
            raise InputError(
                f"a sketch of {other.dimensions} dimensions cannot join one of {self.dimensions}"
            )
        self._factor = _triangle(np.concatenate([self._factor, other.factor]))
        self._sum += other._sum
        self.count += other.count

    @property
    def factor(self) -> Float64:
        """R, float64[d + 1, d + 1] at most: of the vectors with a one at their end."""
        return _triangle(np.concatenate([self._factor, self._sums]))

    @property
    def mean(self) -> Float64:
        """float64[d]; exact."""
        if not self.count:
            raise InputError("a sketch of no vectors has no mean")
        return self._sum / self.count

    def covariance(self, centre: bool) -> Float64:
        """The mean of (x - m) (x - m)^T as the sketch has it, float64[d, d]; m = 0 or the mean."""
        mean = self.mean if centre else np.zeros(self.dimensions)
        moved = self.factor @ np.concatenate([np.eye(self.dimensions), -mean[None]])
        covariance: Float64 = moved.T @ moved / self.count
        return covariance

    def leverage(self, rows: npt.ArrayLike) -> Float64:
        """How much each of some rows [m, d] counts for a linear fit, float64[m]: |a V S^-1|^2.

        Those of all rows sum up to their rank; large ones are outliers, or what a sample must have.
        """
        own = accept_sample(rows, "rows").astype(np.float64)
        _, values, directions = np.linalg.svd(self.factor[:, :-1], full_matrices=False)
        kept = values > 1e-12 * values.max(initial=0.0)
        scores = (own @ directions[kept].T) / values[kept]
        leverage: Float64 = (scores * scores).sum(axis=1)
        return leverage


def _triangle(rows: Float64) -> Float64:
    """R of rows = Q R."""
    return np.asarray(np.linalg.qr(rows, mode="r"))
