"""A small segment of the data, built to see what rows take, what the process holds, and how fast
this machine is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from fanns.building import Recipe, make_segment
from fanns.column_graphs import counts_of
from fanns.errors import InputError
from fanns.ingest import Ingest
from fanns.memory_limit import give_back, held_now
from fanns.memory_model import (
    RowBytes,
    Shape,
    build_bytes,
    indexing_bytes,
    rows_within,
    vector_item,
)
from fanns.parquet_source import ParquetSource
from fanns.paths.column_path import LABEL
from fanns.paths.graph_builder import MIN_ROWS
from fanns.reading_rows import joined_rows, read_rows
from fanns.segment import Segment

PLACES = 4
"""Places of the data that the sample is from: neighbours in a file are often alike."""

SLACK = 24 << 20
"""Bytes for batches that are read and for what allocators keep."""

SPARE = 0.04
"""Share of a segment's memory that the model may be short of."""


@dataclass
class Probe:
    """What a sample told.

    Attributes:
        held: resident bytes of the process with its libraries and compiled kernels.
        per: bytes of a row's parts. rows: of the sample. dimensions: by which its rows are held.
        seconds: of each stage of its build, by name.
    """

    held: int
    per: RowBytes
    rows: int
    dimensions: int
    seconds: dict[str, float] = field(default_factory=dict)

    def segment_rows(self, recipe: Recipe, limit: int) -> int:
        """The most rows of a segment that is built within a limit of resident bytes."""
        room = int((limit - self.held - SLACK) / (1 + SPARE))
        return rows_within(recipe, self.per, room) if room > 0 else 0

    def least(self, recipe: Recipe, rows: int) -> int:
        """The lowest limit under which a segment of so many rows is built."""
        item, d = vector_item(recipe), recipe.dimensions
        most = self.held + SLACK + int(build_bytes(recipe, Shape(rows, d, d, item), self.per))
        step = 1 << 20
        while self.segment_rows(recipe, most) < rows:
            most += step
        return -(-most // step) * step


def needed(rows: int) -> int:
    """The least rows that a segment of a streamed build has: enough for a graph, if there are."""
    return min(rows, MIN_ROWS)


def check_limit(found: Probe, recipe: Recipe, rows: int, limit: int) -> int:
    """The most rows of a segment that is built within a limit.

    Raises:
        InputError: too few of them; the message names the least limit.
    """
    most = found.segment_rows(recipe, limit)
    least = needed(rows)
    if most < least:
        enough = found.least(recipe, least)
        raise InputError(
            f"memory_limit is {limit:,} bytes, but the least segment of this data, {least:,} rows, "
            f"needs {enough:,} bytes: this process holds {found.held:,} with its libraries; give "
            f"at least {enough:,}"
        )
    return max(1, most)


def probe(source: ParquetSource, recipe: Recipe) -> Probe:
    """Build a segment of as few rows as a segment may have, and look."""
    return probe_rows(recipe, sampled(source, recipe, MIN_ROWS))


def sampled(source: ParquetSource, recipe: Recipe, size: int) -> list[Ingest]:
    """So many rows from several places."""
    size = min(size, source.rows)
    places = 1 if size == source.rows else PLACES
    parts = []
    for place in range(places):
        start = place * (source.rows - size // places) // max(1, places - 1)
        parts.append(read_rows(source, recipe, start, start + size // places))
    give_back()
    return parts


def probe_rows(recipe: Recipe, parts: list[Ingest]) -> Probe:
    """The same for rows that were read; takes them out of the list."""
    rows = joined_rows(parts)
    parts.clear()
    n = max(1, len(rows.vectors))
    ids = rows.ids.nbytes if isinstance(rows.ids, np.ndarray) else rows.ids.nbytes + 8
    seconds: dict[str, float] = {}
    stages, times = ["start"], [time.perf_counter()]

    def tell(stage: str, done: int, total: int) -> None:
        times.append(time.perf_counter())
        seconds[stages[-1]] = seconds.get(stages[-1], 0.0) + times[-1] - times[-2]
        stages.append(stage)

    given = (rows.attributes.nbytes, rows.stored.nbytes)
    indexing = max(map(indexing_bytes, rows.attributes.columns), default=0)
    ordering = max((column.nbytes for column in rows.stored.columns), default=0)
    source = [rows]
    del rows
    segment = make_segment(recipe, source, None, tell)
    tell("end", 1, 1)
    indexed = sum(a.nbytes for name, a in segment.arrays.items() if name.startswith("attributes/"))
    held = np.array([ids, given[0], indexed, given[1], indexing, ordering]) / n
    per = RowBytes(*held.tolist())._replace(labels=shares_of(segment, recipe))
    dimensions = segment.vectors.d
    del segment
    give_back()
    return Probe(held_now(), per, n, dimensions, seconds)


def shares_of(segment: Segment, recipe: Recipe) -> dict[str, np.ndarray]:
    """The share of a segment's rows that has each value of a column with label graphs."""
    return {
        name: counts_of(segment.attributes, name) / max(1, segment.n)
        for name in recipe.graphs.of(LABEL)
    }
