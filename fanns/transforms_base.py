"""What all transforms share: rows and queries moved the same way, to the bit, alone or in bulk.

A transform is fitted once and then never changes. Its arrays and its description are all there is
to write down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.distance import exact_view, row_norms
from fanns.kernels.jit import Array, frozen
from fanns.vectors import MAX_DIMENSIONS

Namer = Callable[[int], str]
"""How a message names a row by its number."""

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

ROW: Namer = "row {}".format
QUERY: Namer = "query {}".format


class Transform(ABC):
    """A map of vectors that rows and queries of an index go through.

    Attributes:
        kind: its name in files. metrics: the metric that distances are asked for and the one that
            held vectors are then compared by, None where these are the same.
        full_precision: whether rows must be held in float32.
        dimensions: of the vectors that go in; width: of those that come out.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, str] | None] = None
    full_precision: ClassVar[bool] = False
    dimensions: int
    width: int

    @abstractmethod
    def rows(self, rows: Float32, name: Namer = ROW) -> Float32:
        """Rows float32[n, dimensions] as they are held, float32[n, width].

        Raises:
            InputError: a row cannot be transformed; `name` says how the message names it.
        """

    def queries(self, queries: Float32) -> Float32:
        """Queries float32[m, dimensions] as they are compared with such rows, float32[m, width]."""
        return self.rows(queries, QUERY)

    def distances(self, query: Float32, found: Float64) -> Float64:
        """Distances as they were asked for, from those found: a rising map, float64[k].

        query: float32[dimensions], as it went in.
        """
        return found

    def stand_ins(self, rows: Float32) -> Float32:
        """Held rows float32[n, width], or mixtures of them, in the form of queries."""
        return rows

    def held_metric(self, asked: str) -> str:
        """The metric of the held vectors.

        Raises:
            InputError: distances of the metric asked for do not come from this transform.
        """
        if self.metrics is None:
            return asked
        if asked != self.metrics[0]:
            raise InputError(
                f'{self.kind} is for metric="{self.metrics[0]}", the metric is {asked!r}'
            )
        return self.metrics[1]

    def asked_metric(self, held: str) -> str:
        """The inverse of `held_metric`."""
        return held if self.metrics is None else self.metrics[0]

    def arrays(self) -> dict[str, Array]:
        """What to write down, by name."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What to write down beside the arrays, as JSON has it."""
        return {"kind": self.kind, "dimensions": self.dimensions, "width": self.width}

    @classmethod
    @abstractmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """What `describe` and `arrays` gave.

        Raises:
            InputError: it is no such transform.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.dimensions} -> {self.width} dimensions>"


def accept_sample(vectors: npt.ArrayLike, what: str = "vectors") -> Float32:
    """Vectors to fit to, as float32[n, d], finite, at least one row.

    Raises:
        InputError: they are not.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or not given.size or given.shape[1] > MAX_DIMENSIONS:
        raise InputError(f"{what}: expected an array [rows, dimensions], got {given.shape}")
    if given.dtype.kind not in "fiu":
        raise InputError(f"{what}: expected numbers, got {given.dtype}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(given, np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{what}: row {wrong[0]} holds NaN, infinity or a value beyond float32's range"
            f" ({len(wrong)} such); leave them out"
        )
    return rows


def lengths_of(rows: Float32) -> Float64:
    """Lengths of rows float32[n, d], each summed in one fixed order, float64[n]."""
    out = np.empty(len(rows))
    row_norms(frozen(exact_view(rows)), np.zeros(rows.shape[1], np.float32), out)
    return out


def refuse(wrong: Array, name: Namer, why: str) -> None:
    """Raises InputError for the first of the rows that are marked, bool[n]."""
    found = np.flatnonzero(wrong)
    if len(found):
        count = f" ({len(found)} such)" if len(found) > 1 else ""
        raise InputError(f"{name(int(found[0]))}{count}: {why}")


def restored_array(
    kind: str, arrays: Mapping[str, Array], name: str, shape: tuple[int, ...], dtype: str
) -> Array:
    """An array that was written down, of this shape and type and finite.

    Raises:
        InputError: there is none such.
    """
    found = arrays.get(name)
    if found is None or found.shape != shape or found.dtype.name != dtype:
        told = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
        raise InputError(f"{kind}: its {name} is {told}, expected {dtype}{list(shape)}")
    if not np.isfinite(found).all():
        raise InputError(f"{kind}: its {name} holds NaN or infinity")
    return found


def restored_whole(kind: str, description: Mapping[str, Any], name: str) -> int:
    """A number of dimensions that was written down; raises InputError for anything else."""
    value = description.get(name)
    if type(value) is not int or not 1 <= value <= MAX_DIMENSIONS:
        raise InputError(f"{kind}: its {name} is {value!r:.40}, expected 1 to {MAX_DIMENSIONS:,}")
    return value


def restored_number(kind: str, description: Mapping[str, Any], name: str) -> float:
    """A finite number above 0 that was written down; raises InputError for anything else."""
    value = description.get(name)
    if isinstance(value, int | float) and 0 < value < np.inf:
        return float(value)
    raise InputError(f"{kind}: its {name} is {value!r:.40}, expected a number above 0")
