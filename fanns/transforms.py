"""Transforms fitted once and applied to both sides, stored in the index.

    transforms = [fanns.transforms.PCA.fit(vectors, 128)]
    index = fanns.Index.build(table, metric="l2", transforms=transforms)

Rows go through them when the index is built and whenever rows are added, queries whenever they are
asked, and hits have distances of the metric that was asked for. What an index finds, and how exact
it is, is about the transformed vectors. A chain is saved to a folder and loaded from it without
executing anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fanns.bundles import Bundle, read_bundle, write_bundle
from fanns.errors import CorruptIndexError, InputError
from fanns.threads import run_chunks
from fanns.transforms_base import QUERY, ROW, Float32, Float64, Namer, Transform, refuse
from fanns.transforms_geometry import InnerProductToL2, Lorentz, Poincare
from fanns.transforms_lengths import Normalise, SignedPower, Truncate
from fanns.transforms_linear import PCA, AffineAdapter, Linear, OrderedHead, Whitening
from fanns.transforms_streaming import Sketch, StreamingPCA

__all__ = [
    "NONE",
    "PCA",
    "AffineAdapter",
    "InnerProductToL2",
    "Linear",
    "Lorentz",
    "Normalise",
    "OrderedHead",
    "Poincare",
    "SignedPower",
    "Sketch",
    "StreamingPCA",
    "Transform",
    "Transforms",
    "Truncate",
    "Whitening",
]

STEM = "transforms"
"""Of the names of the files of a chain, and the folder that an index has it in."""

CHUNK = 1024
"""Rows that go through the whole chain at a time."""

MOST_STEPS = 64

KINDS: dict[str, type[Transform]] = {
    kind.kind: kind
    for kind in (
        PCA,
        Whitening,
        OrderedHead,
        AffineAdapter,
        Normalise,
        SignedPower,
        Truncate,
        InnerProductToL2,
        Lorentz,
        Poincare,
    )
}


class Transforms:
    """Transforms one after another; false where there are none.

    Attributes:
        steps: in the order in which vectors go through them.
        digest: a checksum of all that they are, "" where there are none.
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        """Raises InputError unless each takes vectors of as many dimensions as come to it."""
        self.steps = tuple(steps)
        if wrong := [one for one in self.steps if type(one) not in KINDS.values()]:
            raise InputError(
                f"transforms: {wrong[0]!r:.60} is none; give transforms of fanns.transforms"
            )
        for before, after in zip(self.steps, self.steps[1:], strict=False):
            if before.width != after.dimensions:
                raise InputError(
                    f"transforms: {after.kind} takes vectors of {after.dimensions} dimensions, but"
                    f" {before.kind} before it gives {before.width}"
                )
        if early := [one for one in self.steps[:-1] if one.metrics is not None]:
            raise InputError(f"transforms: {early[0].kind} must be the last of them")
        self.digest = self.bundle().digest if self.steps else ""

    @classmethod
    def of(cls, given: Any) -> Transforms:
        """A chain that was given as one, as a transform, as several or as None."""
        if isinstance(given, Transforms):
            return given
        if given is None or isinstance(given, Transform):
            return cls([given] if given is not None else [])
        if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
            raise InputError(
                f"transforms is {given!r:.60}, expected a list of transforms of fanns.transforms "
                "(fanns.transforms.Transforms.load reads a saved one)"
            )
        return cls(given)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transforms) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def dimensions(self) -> int:
        """Of the vectors that users give."""
        return self.steps[0].dimensions

    @property
    def width(self) -> int:
        """Dimensions of the vectors that are held."""
        return self.steps[-1].width

    @property
    def full_precision(self) -> bool:
        """Whether rows must be held in float32."""
        return any(step.full_precision for step in self.steps)

    def held_metric(self, asked: str) -> str:
        """The metric of held vectors; raises InputError as the transforms do."""
        for step in self.steps:
            asked = step.held_metric(asked)
        return asked

    def asked_metric(self, held: str) -> str:
        """The metric that distances are of."""
        for step in reversed(self.steps):
            held = step.asked_metric(held)
        return held

    def rows(self, rows: Float32, name: Namer = ROW, threads: int | None = 1) -> Float32:
        """Rows float32[n, dimensions] as they are held, float32[n, width]; to the bit the same
        for any number of threads, and for a row alone.

        Raises:
            InputError: a row cannot be transformed.
        """
        out = np.empty((len(rows), self.width), np.float32)

        def move(start: int, stop: int) -> None:
            part = np.ascontiguousarray(rows[start:stop], np.float32)
            for step in self.steps:
                part = step.rows(part, lambda row: name(start + row))
            out[start:stop] = part

        run_chunks(move, len(rows), CHUNK, threads)
        return out

    def queries(self, queries: Float32) -> Float32:
        """Queries float32[m, dimensions] as they are compared with held rows, float32[m, width].

        Raises:
            InputError: a query cannot be transformed.
        """
        for step in self.steps:
            queries = step.queries(queries)
        good = np.isfinite(queries).all(axis=1)
        refuse(np.logical_not(good), QUERY, "its transform is beyond float32's range")
        return np.ascontiguousarray(queries)

    def distances(self, query: Float32, found: Float64) -> Float64:
        """Distances float64[k] of the metric asked for, from those between held vectors.

        query: float32[dimensions], as it was given.
        """
        seen = [query[None]]
        for step in self.steps[:-1]:
            seen.append(step.queries(seen[-1]))
        for step, own in zip(reversed(self.steps), reversed(seen), strict=True):
            found = step.distances(own[0], found)
        return found

    def stand_ins(self, rows: Float32) -> Float32:
        """Held rows float32[n, width], or mixtures of them, in the form of queries."""
        return self.steps[-1].stand_ins(rows)

    def told(self) -> list[str]:
        """What vectors go through, in words."""
        return [f"{step.kind} ({step.dimensions:,} -> {step.width:,})" for step in self.steps]

    def bundle(self) -> Bundle:
        """What there is to write down."""
        arrays = {
            f"{place}/{name}": array
            for place, step in enumerate(self.steps)
            for name, array in step.arrays().items()
        }
        return Bundle({"steps": [step.describe() for step in self.steps]}, arrays)

    @classmethod
    def restore(cls, bundle: Bundle) -> Transforms:
        """What `bundle` gave.

        Raises:
            InputError: it is no chain of transforms.
        """
        told = bundle.description.get("steps")
        if not isinstance(told, list) or not 1 <= len(told) <= MOST_STEPS:
            raise InputError(f"transforms: its steps are {told!r:.40}")
        steps = []
        for place, one in enumerate(told):
            kind = KINDS.get(str(one.get("kind"))) if isinstance(one, Mapping) else None
            if kind is None:
                raise InputError(f"transforms: step {place} is {one!r:.60}, which is none")
            own = {
                name.partition("/")[2]: array
                for name, array in bundle.arrays.items()
                if name.partition("/")[0] == str(place)
            }
            steps.append(kind.restore(one, own))
        return cls(steps)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the chain to a folder, all or nothing; `load` reads it.

        Raises:
            IndexExistsError: something is there and `overwrite` is False. StorageError.
            InputError: there are no transforms.
        """
        if not self:
            raise InputError("there are no transforms to save")
        write_bundle(Path(folder), STEM, self.bundle(), overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> Transforms:
        """The chain that `save` wrote, or that an index has in its folder `transforms`.

        Raises:
            NotAnIndexError: there is none. CorruptIndexError: it is damaged. StorageError.
        """
        try:
            return cls.restore(read_bundle(Path(folder), STEM))
        except InputError as error:
            raise CorruptIndexError(f"{folder}: {error}") from error

    @classmethod
    def loaded(cls, folders: Sequence[str | Path]) -> Transforms:
        """The chains of several folders, one after another; raises as `load` does."""
        return cls([step for folder in folders for step in cls.load(folder).steps])

    def __repr__(self) -> str:
        return f"<Transforms: {', '.join(self.told()) or 'none'}>"


NONE = Transforms(())
"""Vectors held as they are given."""
