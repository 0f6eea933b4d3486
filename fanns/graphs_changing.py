"""Paths of columns that come to an index as it is, or come back after their column was updated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fanns.building import MEASURED_ROWS, SAMPLE_LIMIT, Recipe
from fanns.calibration import sample_queries
from fanns.calibration.columns import measured
from fanns.column_graphs import build_column_graphs, wanted
from fanns.errors import InputError
from fanns.paths.column_graph_builder import Coded
from fanns.paths.column_path import FOLDERS, LABEL, RANGE, paths_among
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.writing import Change, Edit

Progress = Callable[[str, int, int], None]


def with_graphs(recipe: Recipe, name: str, range_index: bool, label_index: bool) -> Recipe:
    """The recipe with paths of an indexed column.

    Raises:
        InputError: it has such paths, or cannot have them.
    """
    held, indexed = recipe.graphs, recipe.attributes
    asked = wanted([name] * range_index, [name] * label_index, recipe.schema, indexed)
    for kind, has, more in (
        (RANGE, held.ranges, asked.ranges),
        (LABEL, held.of(LABEL), asked.labels),
    ):
        if name in has and name in more:
            raise InputError(f"column {name!r} has a {kind} index already")
    ranges, labels = (*held.ranges, *asked.ranges), (*held.labels, *asked.labels)
    return replace(recipe, graphs=replace(held, ranges=ranges, labels=labels))


def graphs_added(snapshot: Snapshot, recipe: Recipe, progress: Progress | None) -> Change:
    """What gives every segment the graphs of columns that the recipe asks for and it has not."""
    edits = {}
    for place, segment in enumerate(snapshot.segments):
        edit = lacking(segment, recipe, progress)
        if edit is not None:
            edits[place] = edit
    return Change(edits, recipe=recipe)


def lacking(segment: Segment, recipe: Recipe, progress: Progress | None) -> Edit | None:
    """What gives one segment those graphs; None where it has all, or is too small for any."""
    known = {(FOLDERS[folder], column) for folder, column in paths_among(segment.arrays)}
    wanted_kinds = {(kind, name) for kind in (RANGE, LABEL) for name in recipe.graphs.of(kind)}
    if segment.graph is None or wanted_kinds <= known:
        return None
    arrays = build_column_graphs(
        recipe.graphs,
        Coded(segment.vectors, segment.codes, np.unique(segment.clusters.offsets)),
        segment.products,
        segment.graph.links,
        segment.attributes,
        seed=recipe.seed,
        threads=recipe.threads,
        progress=progress or (lambda stage, done, total: None),
        known=known,
    )
    if not arrays:
        return None
    changed = {column for _, column in paths_among(arrays)}
    meta = {}
    if recipe.calibration == "measure" and segment.n >= MEASURED_ROWS:
        meta["calibration"] = _calibrated(segment, arrays, recipe.seed)
    return Edit(arrays, (), meta, None, changed)


def _calibrated(segment: Segment, arrays: dict[str, np.ndarray], seed: int) -> str:
    """The segment's calibration with the curves of new graphs, on stand-ins for queries."""
    whole = segment.edited(
        segment.meta,
        segment.schema,
        {**segment.arrays, **arrays},
        lambda: segment.stored,
        {column for _, column in paths_among(arrays)},
    )
    before = segment.calibration
    shortlist = max(before.k + 8, math.ceil(max(before.depths) * before.k))
    queries = sample_queries(segment.vectors.vectors, seed, SAMPLE_LIMIT)
    curves, models = measured(whole, queries, before.k, shortlist, seed)
    columns = tuple({**dict(before.columns), **curves}.items())
    blocks = tuple({**dict(before.blocks), **models}.items())
    return replace(before, columns=columns, blocks=blocks).to_json()
