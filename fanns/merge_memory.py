"""What merging segments takes in memory, and whether a limit leaves room for it."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from fanns.building import Recipe
from fanns.memory_limit import held_besides_files
from fanns.memory_model import RowBytes, Shape, build_bytes, indexing_bytes, vector_item
from fanns.paths.column_path import LABEL
from fanns.probing import SLACK, SPARE, shares_of
from fanns.schema import Schema
from fanns.segment import Segment

SAMPLE = 1_000
"""Rows of a segment by which the bytes of its columns are judged."""

LOADED = 125_000_000
"""What a process holds, besides files, when libraries and kernels are loaded, as a merge does."""

_known: WeakKeyDictionary[Segment, RowBytes] = WeakKeyDictionary()


class Room:
    """Memory for merges.

    Attributes:
        limit: the most bytes that this process may hold while it merges, not counting pages of
            mapped files, which the system takes back when it needs them; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    def fits(self, parts: Sequence[Segment], recipe: Recipe) -> bool:
        """Whether segments may be merged now."""
        return self.limit is None or self.needed(parts, recipe) <= self.limit

    def needed(self, parts: Sequence[Segment], recipe: Recipe) -> int:
        """Bytes that this process would hold while it merges segments."""
        held = max(held_besides_files(), LOADED)
        return held + SLACK + int((1 + SPARE) * merge_bytes(parts, recipe))

    def divided(
        self, run: Sequence[int], segments: Sequence[Segment], recipe: Recipe
    ) -> list[list[int]]:
        """Neighbours, by their places, as runs of which each fits, or is a single one."""
        found: list[list[int]] = []
        for place in run:
            tried = [*(found[-1] if found else []), place]
            if found and self.fits([segments[one] for one in tried], recipe):
                found[-1] = tried
            else:
                found.append([place])
        return found


def merge_bytes(parts: Sequence[Segment], recipe: Recipe) -> int:
    """The most that merging segments holds above what the process held before.

    Rows are read back piece by piece and joined, then built into a segment; see
    `compaction.merge`.
    """
    rows, d = sum(part.rows for part in parts), recipe.dimensions
    per = _mean([row_bytes(part, recipe) for part in parts], [part.rows for part in parts])
    width = 4 if any(part.reduction is not None for part in parts) else vector_item(recipe)
    read = int(rows * (d * width + per.given))
    return max(2 * read, build_bytes(recipe, Shape(rows, d, d, vector_item(recipe)), per))


def row_bytes(segment: Segment, recipe: Recipe) -> RowBytes:
    """What the rows of a segment take beside their vectors, from some of them."""
    found = _known.get(segment)
    if found is None:
        found = _known[segment] = _row_bytes(segment, recipe)
    return found


def _row_bytes(segment: Segment, recipe: Recipe) -> RowBytes:
    rows = np.arange(min(segment.n, SAMPLE), dtype=np.int32)
    attributes = _columns(segment, recipe.attributes, recipe.schema, rows)
    stored = _columns(segment, recipe.stored, recipe.schema, rows)
    count = max(1, len(rows))

    def held(prefix: str) -> float:
        names = [name for name in segment.arrays if name.startswith(prefix)]
        return sum(map(segment.array_bytes, names)) / max(1, segment.n)

    return RowBytes(
        ids=held("ids/"),
        attributes=sum(column.nbytes for column in attributes) / count,
        indexed=held("attributes/"),
        stored=sum(column.nbytes for column in stored) / count,
        indexing=max(map(indexing_bytes, attributes), default=0) / count,
        ordering=max((column.nbytes for column in stored), default=0) / count,
        labels=shares_of(segment, recipe) if recipe.graphs.of(LABEL) else {},
    )


def _columns(
    segment: Segment, names: Sequence[str], schema: Schema, rows: np.ndarray
) -> list[pa.ChunkedArray]:
    kinds = [schema[name].to_arrow() for name in names]
    values = [segment.column(name, rows) for name in names]
    return [pa.chunked_array([value.cast(kind)]) for value, kind in zip(values, kinds, strict=True)]


def _mean(parts: Sequence[RowBytes], rows: Sequence[int]) -> RowBytes:
    """Of all rows; shares of values are those of the largest part."""
    total = max(1, sum(rows))
    largest = parts[int(np.argmax(rows))]

    def mean(name: str) -> float:
        values = [float(getattr(part, name)) for part in parts]
        return sum(value * own for value, own in zip(values, rows, strict=True)) / total

    means = {name: mean(name) for name in RowBytes._fields if name != "labels"}
    return RowBytes(**means, labels=largest.labels)
