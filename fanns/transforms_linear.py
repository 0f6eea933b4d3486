"""Linear transforms: principal components, whitening, ordered heads, and an affine adapter.

A product with the matrix is summed in double precision in one fixed order (`kernels/projection.py`)
and rounded once, so a row gets the same coordinates alone or among a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array, frozen
from fanns.kernels.projection import packed
from fanns.reduction import product
from fanns.transforms_base import (
    ROW,
    Float32,
    Float64,
    Namer,
    Transform,
    accept_sample,
    restored_array,
    restored_whole,
)
from fanns.transforms_moments import Moments, NoSpreadError, Spread, leading
from fanns.vectors import MAX_DIMENSIONS


class Linear(Transform):
    """x W - c, with W float32[dimensions, width] and c float64[width]."""

    def __init__(self, matrix: npt.ArrayLike, offset: npt.ArrayLike) -> None:
        """matrix [dimensions, width], rounded to float32; offset [width]."""
        self.matrix = frozen(accept_sample(matrix, f"{self.kind}: matrix"))
        self.offset = frozen(np.ascontiguousarray(offset, np.float64))
        self.dimensions, self.width = self.matrix.shape
        if self.width > MAX_DIMENSIONS or self.offset.shape != (self.width,):
            raise InputError(
                f"{self.kind}: a matrix {list(self.matrix.shape)} and {list(self.offset.shape)}"
                " offsets do not fit each other"
            )
        self._panels = frozen(packed(self.matrix))

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        with np.errstate(over="ignore"):  # infinity is found by whoever holds the rows
            sums = product(rows, self._panels)[:, : self.width] - self.offset
            return sums.astype(np.float32)

    def arrays(self) -> dict[str, Array]:
        return {"matrix": self.matrix, "offset": self.offset}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        d, r = (restored_whole(cls.kind, description, n) for n in ("dimensions", "width"))
        matrix = restored_array(cls.kind, arrays, "matrix", (d, r), "float32")
        return cls(matrix, restored_array(cls.kind, arrays, "offset", (r,), "float64"))


class PCA(Linear):
    """The coordinates along the directions of most variance, largest first.

    Distances are those between projections, at most those between the vectors. The first b
    coordinates are those of `truncated(b)`.
    """

    kind = "pca"

    @classmethod
    def fit(
        cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], width: int, *, centre: bool = True
    ) -> Self:
        """The exact components of all vectors, in one pass.

        Args:
            vectors: [n, d], or batches of such; d x d sums are held.
            width: components to keep, at most d.
            centre: about the mean; False for directions about the origin, which keep inner
                products.

        Raises:
            InputError: vectors that cannot be used, or fewer dimensions than components.
        """
        return cls.of_moments(Moments.of(vectors), width, centre=centre)

    @classmethod
    def of_moments(cls, moments: Spread, width: int, *, centre: bool = True) -> Self:
        """The components of vectors whose sums were taken."""
        directions, _ = leading(moments.covariance(centre), width, cls.kind)
        mean = moments.mean if centre else np.zeros(moments.dimensions)
        return cls.of_directions(directions, mean)

    @classmethod
    def of_directions(cls, directions: Float64, mean: Float64) -> Self:
        """Coordinates along directions float64[width, d] about a point float64[d]."""
        matrix = np.ascontiguousarray(directions.T, np.float32)
        return cls(matrix, mean @ matrix.astype(np.float64))

    def truncated(self, width: int) -> Self:
        """The first so many components."""
        return type(self)(self.matrix[:, :width], self.offset[:width])

    def held_metric(self, asked: str) -> str:
        if asked == "ip" and self.offset.any():
            raise InputError(
                f"{self.kind}: inner products about the mean are not those of the vectors; fit "
                "with centre=False"
            )
        return asked


class Whitening(Linear):
    """Principal components, each divided by its standard deviation: all are of variance 1."""

    kind = "whitening"

    @classmethod
    def fit(
        cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], width: int, *, centre: bool = True
    ) -> Self:
        """As `PCA.fit`; refuses components along which the vectors do not vary.

        Raises:
            InputError: as `PCA.fit`, or the vectors vary along fewer directions.
        """
        return cls.of_moments(Moments.of(vectors), width, centre=centre)

    @classmethod
    def of_moments(cls, moments: Spread, width: int, *, centre: bool = True) -> Self:
        """The whitening of vectors whose sums were taken."""
        covariance = moments.covariance(centre)
        directions, variances = leading(covariance, width, cls.kind)
        rank = int((variances > NoSpreadError.SHARE * max(np.trace(covariance), 0.0)).sum())
        if rank < width:
            raise NoSpreadError(cls.kind, width, rank)
        mean = moments.mean if centre else np.zeros(moments.dimensions)
        matrix = np.ascontiguousarray((directions / np.sqrt(variances)[:, None]).T, np.float32)
        return cls(matrix, mean @ matrix.astype(np.float64))


class OrderedHead(Linear):
    """A learned linear map whose first coordinates are a shorter vector of their own.

    Trained on prefixes (`datasets/recsys_ordered_head.py`), so that `prefixes` of its coordinates
    are valid vectors (Maestro: Horvath et al., ICML 2024; Matryoshka: Kusupati et al., NeurIPS
    2022).
    """

    kind = "ordered head"

    def __init__(
        self, matrix: npt.ArrayLike, offset: npt.ArrayLike, prefixes: Sequence[int] = ()
    ) -> None:
        """matrix, offset: as for `Linear`. prefixes: valid lengths, rising; the whole is one."""
        super().__init__(matrix, offset)
        self.prefixes = tuple(prefixes) or (self.width,)
        good = all(type(one) is int and 0 < one <= self.width for one in self.prefixes)
        if not good or list(self.prefixes) != sorted(set(self.prefixes)):
            raise InputError(
                f"{self.kind}: prefixes {list(prefixes)!r:.60}, expected rising numbers from 1 to "
                f"{self.width}"
            )

    def truncated(self, width: int) -> OrderedHead:
        """The map to the first coordinates; raises InputError where they are no valid prefix."""
        if width not in self.prefixes:
            raise InputError(
                f"{self.kind}: no prefix of {width!r} was trained; there are {self.prefixes}"
            )
        kept = [one for one in self.prefixes if one <= width]
        return OrderedHead(self.matrix[:, :width], self.offset[:width], kept)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "prefixes": list(self.prefixes)}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        plain = super().restore(description, arrays)
        prefixes = description.get("prefixes")
        if not isinstance(prefixes, list) or not prefixes:
            raise InputError(f"{cls.kind}: its prefixes are {prefixes!r:.40}")
        return cls(plain.matrix, plain.offset, prefixes)


class AffineAdapter(Transform):
    """scale * x + shift, value by value: a learned metric on vectors that stay as they are.

    Several adapters can share one index of the plain vectors under ip, because

        <g q + b, g x + b> = <g (g q + b), x> + <g q + b, b>,

    where only the first term depends on the row: search with `fold(q)`, and `unfolded` gives the
    distances of the adapted vectors (Adapters Strike Back's affine layer on frozen features).
    """

    kind: ClassVar[str] = "affine adapter"

    def __init__(self, scale: npt.ArrayLike, shift: npt.ArrayLike) -> None:
        """scale, shift: float32[d]."""
        parts = [accept_sample(np.atleast_2d(one), self.kind)[0] for one in (scale, shift)]
        if len(parts[0]) != len(parts[1]):
            raise InputError(f"{self.kind}: {len(parts[0])} scales, but {len(parts[1])} shifts")
        self.scale, self.shift = (frozen(one) for one in parts)
        self.dimensions = self.width = len(parts[0])

    def _moved(self, vectors: npt.NDArray[Any]) -> Float64:
        """The adapted vectors, not rounded."""
        return vectors.astype(np.float64) * self.scale + self.shift

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        with np.errstate(over="ignore"):
            return self._moved(rows).astype(np.float32)

    def fold(self, queries: npt.NDArray[np.float32]) -> Float32:
        """Queries float32[..., d] to be asked, under ip, of an index of vectors not adapted."""
        folded: Float32 = (self._moved(queries) * self.scale).astype(np.float32)
        return folded

    def unfolded(self, query: Float32, found: Float64) -> Float64:
        """Distances -<g q + b, g x + b> from those that `fold(query)` found, float64[k]."""
        return found - self._moved(query) @ self.shift.astype(np.float64)

    def arrays(self) -> dict[str, Array]:
        return {"scale": self.scale, "shift": self.shift}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        d = restored_whole(cls.kind, description, "dimensions")
        scale, shift = (
            restored_array(cls.kind, arrays, n, (d,), "float32") for n in ("scale", "shift")
        )
        return cls(scale, shift)
