"""How a call changes an index: what becomes of each segment, committed at once, on disk or not.

A segment is immutable, so a change makes new `Segment` objects; whoever holds the old ones (a
search that runs, hits whose columns are read later) goes on with the state that they belong to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.building import Recipe
from fanns.persistence import addition, opened
from fanns.segment import Segment
from fanns.segment_arrays import STORED, FileArrays
from fanns.storage import Directory
from fanns.stored_segment import Rewrite, SegmentFiles, Written

HELD_BYTES = 2 << 20
"""New segments of so many bytes stay in memory as they were made; others are mapped."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Edit(NamedTuple):
    """What becomes of a segment; its vectors and its rows' numbers stay.

    Attributes:
        arrays: new or replaced ones; dropped: names of those that go.
        meta: what its description says anew.
        stored: the table of columns kept for display, where it changes.
        changed: the columns whose values or index change.
    """

    arrays: Mapping[str, np.ndarray] = NOTHING
    dropped: Collection[str] = ()
    meta: Mapping[str, Any] = NOTHING
    stored: pa.Table | None = None
    changed: Collection[str] = ()


class Change(NamedTuple):
    """What a call does: all of it is committed, or nothing.

    Attributes:
        edits: by the place of the segment. removed: places of segments that go.
        added: new segments, which stand at the first removed place with `merge`, else at the end.
        written: those that the directory has written already, and what becomes of them.
        recipe: the new one, where columns come or go.
    """

    edits: Mapping[int, Edit] = MappingProxyType({})
    removed: Collection[int] = ()
    added: Sequence[Segment] = ()
    merge: bool = False
    recipe: Recipe | None = None
    written: Sequence[tuple[Segment, Edit | None]] = ()


def apply(
    change: Change, recipe: Recipe, segments: Sequence[Segment], directory: Directory | None
) -> list[Segment]:
    """Commit a change; the segments from now on.

    Raises:
        StorageError: it cannot be written; the index is as it was.
    """
    if directory is None:
        return _in_memory(change, recipe, segments)
    return _on_disk(change, recipe, segments, directory)


def _in_memory(change: Change, recipe: Recipe, segments: Sequence[Segment]) -> list[Segment]:
    schema = (change.recipe or recipe).schema
    at = min(change.removed, default=-1) if change.merge else -1
    after: list[Segment] = []
    for place, segment in enumerate(segments):
        if place == at:
            after += change.added
        if place in change.removed:
            continue
        edit = change.edits.get(place)
        if edit is None:
            after.append(segment)
            continue
        gone = {*edit.dropped, *edit.arrays}
        arrays = {name: segment.arrays[name] for name in segment.arrays if name not in gone}
        table = edit.stored if edit.stored is not None else segment.stored
        meta = {**segment.meta, **edit.meta}
        arrays |= edit.arrays
        after.append(segment.edited(meta, schema, arrays, partial(_same, table), edit.changed))
    return after if at >= 0 else [*after, *change.added]


def _same(table: pa.Table) -> pa.Table:
    return table


def _on_disk(
    change: Change, recipe: Recipe, segments: Sequence[Segment], directory: Directory
) -> list[Segment]:
    ids = [files.id for files in directory.segments]
    known = dict(zip(ids, segments, strict=True))
    edits = {ids[place]: edit for place, edit in change.edits.items()}
    rewrites = [rewriting(number, known[number], edit) for number, edit in edits.items()]
    first = None
    if change.merge and change.removed:
        first = directory.segments[min(change.removed)].place
    written = []
    for segment, edit in change.written:
        files = files_of(segment)
        known[files.id] = segment
        rewrite = None
        if edit is not None:
            edits[files.id], rewrite = edit, rewriting(files.id, segment, edit)
        written.append(Written(files, rewrite))
    made = directory.commit(
        [addition(segment, first) for segment in change.added],
        rewrites,
        [ids[place] for place in change.removed],
        None if change.recipe is None else change.recipe.to_json(),
        written,
    )
    schema = (change.recipe or recipe).schema
    fresh = dict(zip(made[len(written) :], change.added, strict=True))
    after = []
    for files in directory.segments:
        if files.id in fresh and files.nbytes() <= HELD_BYTES:
            after.append(fresh[files.id].written(files))
        elif files.id in edits:
            after.append(known[files.id].edited_files(files, schema, edits[files.id].changed))
        else:
            after.append(known.get(files.id) or opened(files, schema))
    return after


def rewriting(number: int, segment: Segment, edit: Edit) -> Rewrite:
    """What an edit writes anew of a segment's files."""
    tables, dropped = {}, list(edit.dropped)
    if edit.stored is not None and edit.stored.num_columns:
        tables[STORED] = edit.stored
    elif edit.stored is not None:
        dropped.append(STORED)
    return Rewrite(number, {**segment.meta, **edit.meta}, edit.arrays, tables, dropped)


def files_of(segment: Segment) -> SegmentFiles:
    """The files that a segment is read from."""
    assert isinstance(segment.arrays, FileArrays)
    return segment.arrays.files
