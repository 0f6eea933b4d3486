"""What a build would make and take: bytes on disk, memory and time, from a sample that is built.

Memory and disk follow from shapes (`memory_model`) and from what a sample's columns take. Time is
that of the sample's build on this machine, stage by stage, each by how it grows with the rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.building import Recipe, prepare_data
from fanns.codebooks import SAMPLE
from fanns.errors import InputError
from fanns.ingest import Ingest
from fanns.memory_limit import parse_size
from fanns.memory_model import (
    Parts,
    RowBytes,
    Shape,
    build_bytes,
    linked_rows,
    segment_parts,
    vector_item,
)
from fanns.parquet_source import ParquetSource
from fanns.paths.graph_builder import MIN_ROWS
from fanns.probing import SLACK, Probe, check_limit, probe_rows, sampled
from fanns.ranks import rank_limit
from fanns.streaming import bounds, budget, source_of
from fanns.surveying import survey
from fanns.transforms import NONE, Transforms

DEFAULTS: dict[str, Any] = {
    "vector": None,
    "id": None,
    "metric": "cosine",
    "attributes": None,
    "store": None,
    "model": None,
    "seed": 0,
    "threads": None,
    "keep_originals": True,
    "reduce": "auto",
    "calibration": "measure",
    "bits": 2,
    "range_index": (),
    "label_index": (),
    "transforms": NONE,
}
TIMED_ROWS = 2 * MIN_ROWS
"""Rows of the sample whose build is timed, after a smaller one that loads the kernels."""

GROWTH = {"reduce": 0.0, "cluster": 0.95, "attributes": 1.0, "graph": 1.32, "calibrate": 1.15}
"""Exponents by which the time of a stage grows with rows, beyond TIMED_ROWS: of builds of up to
170,000 rows of 384 dimensions. Walks grow longer, and codes leave the caches."""

LINKED = 0.27
"""Time of linking the rows of a part of a column's order, or of a value, as a share of that of as
many rows of the graph of all."""

TRAINING = 0.84
"""Share of the time of encoding a sample that goes to training product codes, on SAMPLE rows."""

READ_AGAIN = 1.3
"""Reading rows to build of them, as a share of the time of looking at all of them."""

WRITTEN = 350e6
"""Bytes a second that are written, checksummed and made durable."""

SEGMENT_FILES = 40_000
"""Bytes of a segment besides its rows: catalog entries, padding."""


def plan_build(data: Any, memory_limit: int | str | None = None, **options: Any) -> dict[str, Any]:
    """See `Index.plan_build`.

    Raises:
        InputError: data or options cannot be used, or the limit is too low.
    """
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise InputError(f"plan_build does not take {', '.join(sorted(unknown))}")
    options = {**DEFAULTS, **options}
    options["transforms"] = Transforms.of(options["transforms"])
    limit = None if memory_limit is None else parse_size(memory_limit)
    source = ParquetSource.of(data) if limit is None else source_of(data)
    if source is None:
        recipe, ingest = prepare_data(data, **options)
        rows, reading = len(ingest.vectors), 0.0

        def sample(size: int) -> list[Ingest]:
            return _some(ingest, size)

    else:
        rows, looking = source.rows, Pace()
        recipe = survey(source, options, budget(limit), options["seed"], looking.tell)
        reading = looking.seconds(rows) * (1 + READ_AGAIN)
        sample = partial(sampled, source, recipe)
    looked = _sample_recipe(recipe, rows)
    first = time.perf_counter()
    small = probe_rows(looked, sample(MIN_ROWS))
    first = time.perf_counter() - first
    held = small.held  # a build looks at no more: the second sample leaves memory in pieces
    large = probe_rows(looked, sample(TIMED_ROWS))
    per = _per_row(small, large, rows)
    owned = source is not None
    if limit is None:
        runs = [rows]
    else:
        most = check_limit(replace(large, held=held, per=per), recipe, rows, limit)
        runs = [stop - start for start, stop in bounds(0, rows, most)]
    shapes = [Shape(n, recipe.dimensions, *_held(recipe, large)) for n in runs]
    parts = Parts(*map(sum, zip(*(segment_parts(recipe, s, per) for s in shapes), strict=True)))
    total = parts.total + SEGMENT_FILES * len(runs)
    peak = held + SLACK + max(build_bytes(recipe, shape, per, owned) for shape in shapes)
    loading = max(0.0, first - segment_seconds(recipe, large, small.rows))
    seconds = loading + reading + total / WRITTEN
    seconds += sum(segment_seconds(recipe, large, n) for n in runs)
    if limit is not None:  # a build within a limit begins with such a sample
        seconds += segment_seconds(recipe, large, small.rows)
    return {
        "rows": rows,
        "dimensions": recipe.given_dimensions,
        "dtype": recipe.dtype,
        "metric": recipe.asked_metric,
        "transforms": recipe.transforms.told(),
        "id": {"column": None if recipe.generated else recipe.id_name, "type": recipe.id_kind},
        "vector": recipe.vector_name,
        "attributes": _types(recipe, recipe.attributes),
        "stored": _types(recipe, recipe.stored),
        "model": recipe.model,
        "segments": len(runs),
        "bytes": {**parts._asdict(), "total": total},
        "peak_memory_bytes": peak,
        "seconds": round(seconds, 1),
    }


def segment_seconds(recipe: Recipe, timed: Probe, rows: int) -> float:
    """The time that a segment of so many rows takes, by that of a sample."""
    times, share = timed.seconds, rows / max(1, timed.rows)
    grown = {stage: times.get(stage, 0.0) * float(share**power) for stage, power in GROWTH.items()}
    total = sum(grown.values())
    total += (
        LINKED
        * grown["graph"]
        * linked_rows(recipe, rows, recipe.dimensions, timed.per)
        / max(1, rows)
    )
    encoding = times.get("encode", 0.0)
    if not recipe.bits:
        return total + encoding * share
    trained = min(rows, SAMPLE) / max(1, min(timed.rows, SAMPLE))
    return total + encoding * (TRAINING * trained + (1 - TRAINING) * share)


class Pace:
    """How fast rows are looked at, without what comes before the first ones."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, float]] = []

    def tell(self, stage: str, done: int, total: int) -> None:
        """Progress of a survey."""
        self.heard.append((done, time.perf_counter()))

    def seconds(self, rows: int) -> float:
        """The time for so many rows."""
        if len(self.heard) < 2:
            return 0.0
        (first, began), (last, ended) = self.heard[0], self.heard[-1]
        return rows * (ended - began) / (last - first)


def _some(ingest: Ingest, rows: int) -> list[Ingest]:
    """Rows spread evenly over a table, in memory of their own."""
    n, ids = len(ingest.vectors), ingest.ids
    chosen = np.unique(np.linspace(0, max(n - 1, 0), min(n, rows)).astype(np.int64))
    places = pa.array(chosen)
    return [
        replace(
            ingest,
            ids=ids[chosen] if isinstance(ids, np.ndarray) else ids.take(places),
            vectors=ingest.vectors[chosen],
            attributes=ingest.attributes.take(places),
            stored=ingest.stored.take(places),
        )
    ]


def _sample_recipe(recipe: Recipe, rows: int) -> Recipe:
    """The recipe by which a sample looks for a reduction as all rows would."""
    wide = rank_limit(rows, recipe.dimensions, "on")
    if wide and rank_limit(rows, recipe.dimensions, recipe.reduce) == wide:
        return replace(recipe, reduce="on")
    return recipe


def _held(recipe: Recipe, sample: Probe) -> tuple[int, int]:
    """Dimensions as held, and bytes of a number."""
    reduced = sample.dimensions < recipe.dimensions
    return sample.dimensions, 4 if reduced and recipe.keep_originals else vector_item(recipe)


def _per_row(small: Probe, large: Probe, rows: int) -> RowBytes:
    """Bytes of a row: those of the attribute index follow a line through both samples."""
    if large.rows <= small.rows or rows <= large.rows:
        return large.per
    sizes = [probe.rows * probe.per.indexed for probe in (small, large)]
    slope = (sizes[1] - sizes[0]) / (large.rows - small.rows)
    indexed = (sizes[1] + slope * (rows - large.rows)) / rows
    return large.per._replace(indexed=indexed)


def _types(recipe: Recipe, names: Iterable[str]) -> dict[str, str]:
    return {name: str(recipe.schema[name].to_arrow()) for name in names}
