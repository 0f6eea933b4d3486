"""Transforms of a vector by itself: to length 1, by a signed power of its values, cut short.

With `Whitening` they make the usual recipe for image and text descriptors, [Normalise(d),
Whitening.fit(...), Normalise(r), SignedPower(r)] (Jegou and Chum, ECCV 2012; Perronnin, Sanchez,
Mensink, ECCV 2010).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fanns.errors import InputError
from fanns.kernels.jit import Array
from fanns.transforms_base import (
    ROW,
    Float32,
    Namer,
    Transform,
    lengths_of,
    refuse,
    restored_number,
    restored_whole,
)
from fanns.transforms_moments import check_width
from fanns.vectors import MAX_DIMENSIONS


class Normalise(Transform):
    """x / |x|."""

    kind = "normalise"

    def __init__(self, dimensions: int) -> None:
        check_width(dimensions, MAX_DIMENSIONS, self.kind)
        self.dimensions = self.width = dimensions

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        lengths = lengths_of(rows)
        refuse(lengths == 0.0, name, "is zero and has no direction; leave it out")
        scaled: Float32 = (rows / lengths[:, None]).astype(np.float32)
        return scaled

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        return cls(restored_whole(cls.kind, description, "dimensions"))


class SignedPower(Transform):
    """sign(x) |x|^power, value by value: few large values no longer outweigh the others."""

    kind = "signed power"

    def __init__(self, dimensions: int, power: float = 0.5) -> None:
        check_width(dimensions, MAX_DIMENSIONS, self.kind)
        if not 0.0 < power <= 1.0:
            raise InputError(f"{self.kind}: power is {power!r}, expected above 0, at most 1")
        self.dimensions = self.width = dimensions
        self.power = float(power)

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        sizes = np.abs(rows.astype(np.float64))
        # A root is rounded rightly on any processor; a power is not.
        sizes = np.sqrt(sizes) if self.power == 0.5 else sizes**self.power
        moved: Float32 = np.copysign(sizes, rows).astype(np.float32)
        return moved

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "power": self.power}

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        return cls(
            restored_whole(cls.kind, description, "dimensions"),
            restored_number(cls.kind, description, "power"),
        )


class Truncate(Transform):
    """The first coordinates: of vectors whose prefixes are valid (PCA, ordered heads)."""

    kind = "truncate"

    def __init__(self, dimensions: int, width: int) -> None:
        check_width(dimensions, MAX_DIMENSIONS, self.kind)
        check_width(width, dimensions, self.kind)
        self.dimensions, self.width = dimensions, width

    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        return np.ascontiguousarray(rows[:, : self.width])

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        d, r = (restored_whole(cls.kind, description, name) for name in ("dimensions", "width"))
        return cls(d, r)
