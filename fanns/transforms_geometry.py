"""Other geometries, searched by inner products or Euclidean distances: no kernels of their own.

Inner products as l2: every row gets another coordinate that brings it to the same length M, so that
the nearest row is that of the largest inner product (Bachrach et al., RecSys 2014).

Hyperbolic distances as inner products: on the hyperboloid <x, x> = -k, x0 > 0, with <x, y> = -x0 y0
+ x1 y1 + ..., the distance sqrt(k) arcosh(-<x, y> / k) falls as <x, y> rises. With a = x0 - sqrt(k)
and b of the query likewise,

    -<q, x> - k = a q0 - (q1 x1 + ...) + sqrt(k) b,

so that rows (a, x1, ...) are searched by the inner product with (-q0, q1, ...), and nothing is lost
near the origin, where x0 is 1 and a is small (Nickel and Kiela, ICML 2018, for the model; Kochurov,
Karimov, Kozlukov, geoopt 2020, for its conventions).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array
from fanns.transforms_base import (
    QUERY,
    ROW,
    Float32,
    Float64,
    Namer,
    Transform,
    lengths_of,
    refuse,
    restored_number,
    restored_whole,
)
from fanns.transforms_moments import batches_of, check_width
from fanns.vectors import MAX_DIMENSIONS

PARTS = 3
"""Numbers by which a coordinate is held that float32 is too coarse for."""

EVEN = np.float32(4096.0)
"""Half of float32's digits: between a number's high and low part."""

FARTHEST = 1e7
"""Largest time coordinate, in units of sqrt(k): double precision tells neighbours there no closer
than a distance of 1, because -<x, y> is a difference of numbers of its square."""

OFF_SHEET = 1e-3
"""Most that a given time coordinate may differ from that of its point, as a share of it."""


class InnerProductToL2(Transform):
    """(x, u, v) with |x|^2 + u^2 + v^2 = M^2, and queries (q, 0, 0).

    u is float32 rounded down and v makes up for it, so that inner products come back within 1e-13
    M^2. Rows longer than M cannot be held.
    """

    kind = "inner product to l2"
    metrics = ("ip", "l2")
    full_precision = True

    def __init__(self, dimensions: int, bound: float) -> None:
        """bound: M, at least the length of every row there will ever be."""
        check_width(dimensions, MAX_DIMENSIONS - 2, self.kind)
        if not 0.0 < bound < math.inf:
            raise InputError(f"{self.kind}: bound is {bound!r}, expected a length above 0")
        self.dimensions, self.width, self.bound = dimensions, dimensions + 2, float(bound)

    @classmethod
    def fit(cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], *, slack: float = 0.0) -> Self:
        """For vectors [n, d], or batches: M is the largest length, and a share `slack` more.

        Raises:
            InputError: vectors that cannot be used, or all are zero.
        """
        if not 0.0 <= slack < math.inf:
            raise InputError(f"{cls.kind}: slack is {slack!r}, expected a share of at least 0")
        most, dimensions = 0.0, 0
        for batch in batches_of(vectors):
            most, dimensions = max(most, float(lengths_of(batch).max())), batch.shape[1]
        if most == 0.0:
            raise InputError(f"{cls.kind}: all vectors are zero; give a bound")
        return cls(dimensions, most * (1.0 + slack))

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        lengths = lengths_of(rows)
        refuse(
            lengths > self.bound,
            name,
            f"is longer than the bound of the transform, {self.bound:g}: fit it anew with slack, "
            "or with a larger bound, and build anew",
        )
        rest = np.maximum(self.bound**2 - lengths**2, 0.0)
        first = np.sqrt(rest).astype(np.float32)
        first = np.where(first.astype(np.float64) ** 2 > rest, _below(first), first)
        second = np.sqrt(np.maximum(rest - first.astype(np.float64) ** 2, 0.0))
        return np.column_stack([rows, first, second.astype(np.float32)])

    def queries(self, queries: Float32) -> Float32:
        return np.pad(queries, ((0, 0), (0, 2)))

    def distances(self, query: Float32, found: Float64) -> Float64:
        own = float(lengths_of(query[None])[0])
        return (found**2 - own**2 - self.bound**2) / 2.0

    def stand_ins(self, rows: Float32) -> Float32:
        return self.queries(rows[:, : self.dimensions])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "bound": self.bound}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        return cls(
            restored_whole(cls.kind, description, "dimensions"),
            restored_number(cls.kind, description, "bound"),
        )


class Hyperbolic(Transform):
    """What the two models of hyperbolic space share: points of the sheet, split and searched."""

    full_precision = True
    curvature: float
    space: int
    """Coordinates of a point besides time."""

    def __init__(self, dimensions: int, k: float = 1.0, *, stretch: float = 1.0) -> None:
        """dimensions: of a vector as it is given. k: the curvature is -1 / k.

        stretch: a power of two that held time coordinates are multiplied by, and those of queries
        divided: for points so near the origin that time would outweigh the others; see `fit`.
        """
        if not 0.0 < k < math.inf:
            raise InputError(f"{self.kind}: k is {k!r}, expected a number above 0")
        if not 0.0 < stretch < math.inf or math.frexp(stretch)[0] != 0.5:
            raise InputError(f"{self.kind}: stretch is {stretch!r}, expected a power of two")
        check_width(dimensions - self.times, MAX_DIMENSIONS // PARTS - 1, self.kind)
        self.dimensions, self.space = dimensions, dimensions - self.times
        self.width = PARTS + self.space * self.parts
        self.curvature, self.stretch = float(k), float(stretch)
        self._root = math.sqrt(self.curvature)

    times: ClassVar[int]
    """Time coordinates of a vector as it is given."""
    parts: ClassVar[int]
    """Numbers that any other coordinate is held by."""

    @classmethod
    def fit(cls, vectors: npt.ArrayLike | Iterable[npt.ArrayLike], k: float = 1.0) -> Self:
        """For points of about this distance from the origin, [n, dimensions], or batches.

        Raises:
            InputError: one is no point.
        """
        made, count, total = None, 0, 0.0
        for batch in batches_of(vectors):
            made = made or cls(batch.shape[1], k)
            points, _ = made.points(batch, ROW)
            count, total = count + len(points), total + float((points * points).sum())
        assert made is not None  # batches_of raises where there is none
        mean = total / count
        stretch = math.sqrt((k + mean) / mean) if mean > 0.0 else 1.0
        return cls(made.dimensions, k, stretch=2.0 ** round(math.log2(stretch)))

    @abstractmethod
    def points(self, vectors: Float32, name: Namer) -> tuple[Float64, Float64]:
        """Coordinates but time, float64[n, space], and time less sqrt(k), float64[n].

        Raises:
            InputError: a vector is no point, or too far away.
        """

    def _refuse_far(self, above: Float64, name: Namer) -> None:
        refuse(
            ~(above < FARTHEST * self._root),
            name,
            f"is farther from the origin than a time coordinate of {FARTHEST:g} sqrt(k), where "
            "double precision tells no neighbours apart; bring it nearer",
        )

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        space, above = self.points(rows, name)
        held = _held(above[:, None] * self.stretch), _held(space)[: self.parts]
        return np.column_stack([*held[0], *held[1]])

    def queries(self, queries: Float32) -> Float32:
        return self._asking(*self.points(queries, QUERY))

    def _asking(self, space: Float64, above: Float64) -> Float32:
        time = -(above + self._root)[:, None] / self.stretch
        return np.column_stack([*_asked(time), *_asked(space)[: self.parts]])

    def distances(self, query: Float32, found: Float64) -> Float64:
        _, above = self.points(query[None], QUERY)
        beyond = np.maximum(found + self._root * above[0], 0.0) / self.curvature
        arcosh: Float64 = np.log1p(beyond + np.sqrt(beyond * (beyond + 2.0)))
        return self._root * arcosh

    def stand_ins(self, rows: Float32) -> Float32:
        space = rows[:, PARTS : PARTS + self.space].astype(np.float64)
        return self._asking(space, self._above((space * space).sum(axis=1)))

    def _above(self, squares: Float64) -> Float64:
        """Time less sqrt(k) of points whose other coordinates have these squared lengths."""
        return squares / (self._root + np.sqrt(self.curvature + squares))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "k": self.curvature, "stretch": self.stretch}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        return cls(
            restored_whole(cls.kind, description, "dimensions"),
            restored_number(cls.kind, description, "k"),
            stretch=restored_number(cls.kind, description, "stretch"),
        )


class Lorentz(Hyperbolic):
    """Points of the hyperboloid, (x0, x1, ..., xd) with x0 = sqrt(k + x1^2 + ...): time first.

    x0 is computed anew from the others in double precision; those are held as they are given.
    """

    kind = "lorentz"
    metrics = ("lorentz", "ip")
    times, parts = 1, 1

    def points(self, vectors: Float32, name: Namer) -> tuple[Float64, Float64]:
        squares = lengths_of(np.ascontiguousarray(vectors[:, 1:])) ** 2
        time = np.sqrt(self.curvature + squares)
        off = np.abs(vectors[:, 0] - time) > OFF_SHEET * time
        refuse(
            off | ~np.isfinite(time),
            name,
            f"is no point of the hyperboloid with k = {self.curvature:g}: its first value must be "
            "sqrt(k + the squares of the others)",
        )
        above = self._above(squares)
        self._refuse_far(above, name)
        return vectors[:, 1:].astype(np.float64), above


class Poincare(Hyperbolic):
    """Points of the open ball |p|^2 < k, of the same geometry: x = 2 p / (1 - |p|^2 / k).

    Near the boundary rounding x to float32 would swap neighbours, so each coordinate is held by
    three numbers, as time is: `Lorentz` takes a third of the memory where points may be rounded.
    """

    kind = "poincare"
    metrics = ("poincare", "ip")
    times, parts = 0, PARTS

    def points(self, vectors: Float32, name: Namer) -> tuple[Float64, Float64]:
        share = lengths_of(vectors) ** 2 / self.curvature
        outside = f"is not within the ball of radius {self._root:g}; bring it inside"
        refuse(~(share < 1.0), name, outside)
        above = 2.0 * self._root * share / (1.0 - share)
        self._refuse_far(above, name)
        return 2.0 * vectors / (1.0 - share)[:, None], above


def _held(values: Float64) -> list[Float32]:
    """Numbers as rows have them, in three parts: their products with those of `_asked` sum up to
    the product of the numbers, within 2^-48 of it. Factors make both sides' small parts alike."""
    high, low = _split(values)
    return [high, low * EVEN, high / EVEN]


def _asked(values: Float64) -> list[Float32]:
    """Numbers as queries have them; see `_held`."""
    high, low = _split(values)
    return [high, high / EVEN, low * EVEN]


def _split(values: Float64) -> tuple[Float32, Float32]:
    """Numbers as sums of two float32."""
    high = values.astype(np.float32)
    return high, (values - high).astype(np.float32)


def _below(values: Float32) -> Float32:
    """The next smaller float32."""
    return np.nextafter(values, np.float32(0.0))
