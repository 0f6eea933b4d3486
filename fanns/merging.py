"""A merge beside other changes: built from the state of a moment, then brought up to a later one.

Which segments are ripe follows the logarithmic merge policy of Lucene (LogMergePolicy): neighbours
of about one size become one of the next size, so that a row is built anew once for each fourfold
growth of what it is merged into, and a search meets few segments of each size. None is built anew
for the sake of neighbours that have fewer rows than it, all together. While the merged
segment is built, rows of its sources may be deleted and their attributes updated. Their vectors and
their order never change, so that it is enough to carry both over when it takes their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fanns.adding import TAIL_ROWS, next_id
from fanns.building import Recipe
from fanns.compaction import kept, merge
from fanns.live import LIVE, are_live
from fanns.merge_memory import Room
from fanns.persistence import addition, changed_columns, opened
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.selection import Selection
from fanns.storage import Directory
from fanns.updating import edit_columns
from fanns.writing import Change, Edit, files_of

NEIGHBOURS = 4
"""So many neighbours of a size are merged, and sizes are this far apart."""

DEAD_SHARE = 0.25
"""A segment with more deleted rows than this share is built anew; `compact` is stricter."""

SMALLEST = TAIL_ROWS
"""Segments of fewer rows are of one size."""


NEVER = 1 << 30
"""The size of a native segment, which is merged with none."""


class Task(NamedTuple):
    """A merge to be done.

    Attributes:
        numbers: of the segments in the directory; parts: the segments, as they were.
        recipe: of the index then; following: the id of the next row where ids are generated.
    """

    numbers: tuple[int, ...]
    parts: tuple[Segment, ...]
    recipe: Recipe
    following: int


def ripe(segments: Sequence[Segment]) -> Iterator[list[int]]:
    """The places of neighbours that are to be merged, those first that are to be merged now.

    The last ones are left out while they are so small that `add` may take them up.
    """
    last = len(segments)
    while last and 2 * segments[last - 1].rows < SMALLEST and not segments[last - 1].native:
        last -= 1
    for place, segment in enumerate(segments[:last]):
        if segment.n - segment.rows > DEAD_SHARE * segment.n and not segment.native:
            yield [place]
    sizes = [NEVER if one.native else size_of(one.rows) for one in segments[:last]]
    for size in sorted({*sizes} - {NEVER}):
        run: list[int] = []
        for place, own in enumerate([*sizes, size + 1]):
            if own <= size:
                run.append(place)
                continue
            rows = [segments[member].rows for member in run]
            if len(run) >= NEIGHBOURS and 2 * max(rows) <= sum(rows):
                yield run
            run = []


def size_of(rows: int) -> int:
    """0 below SMALLEST rows, 1 below four times as many, and so on."""
    size = 0
    while rows >= SMALLEST * NEIGHBOURS**size:
        size += 1
    return size


def begin(
    snapshot: Snapshot, recipe: Recipe, directory: Directory, room: Room
) -> tuple[Task | None, int]:
    """What is to be merged in this state, if anything; the rows of what there is no room for."""
    beyond = 0
    for run in ripe(snapshot.segments):
        if room.fits([snapshot.segments[place] for place in run], recipe):
            return _task(snapshot, recipe, directory, run), beyond
        beyond = beyond or sum(snapshot.segments[place].rows for place in run)
    return None, beyond


def _task(snapshot: Snapshot, recipe: Recipe, directory: Directory, run: list[int]) -> Task:
    return Task(
        tuple(directory.segments[place].id for place in run),
        tuple(snapshot.segments[place] for place in run),
        recipe,
        next_id(snapshot) if recipe.generated else 0,
    )


def written(task: Task, directory: Directory) -> Segment:
    """The merged segment, built by one thread, durable, opened, and no part of the index yet."""
    recipe = replace(task.recipe, threads=1)
    change = merge(task.parts, range(len(task.parts)), recipe, task.following, None)
    made = change.added[0]
    files = directory.write(addition(made, files_of(task.parts[0]).place))
    segment = opened(files, task.recipe.schema)
    for name in segment.arrays:  # checked now, not by the first search
        segment.arrays[name]
    return segment


def taking_over(
    task: Task, merged: Segment, segments: Sequence[Segment], recipe: Recipe
) -> Change | None:
    """What puts the merged segment in the place of its sources as they are in `segments`.

    None where one of them is gone, or columns have come or gone: then the merge is in vain.
    """
    if recipe != task.recipe:
        return None
    places = {files_of(segment).id: place for place, segment in enumerate(segments)}
    if not all(number in places for number in task.numbers):
        return None
    run = [places[number] for number in task.numbers]
    edit = carried_over(task, merged, [segments[place] for place in run])
    return Change(removed=run, merge=True, written=[(merged, edit)])


def carried_over(task: Task, merged: Segment, now: Sequence[Segment]) -> Edit | None:
    """What has happened to the rows since the task began, as an edit of the merged segment."""
    rows = [part.given_live() for part in task.parts]
    edit = Edit()
    changed = {
        name
        for before, after in zip(task.parts, now, strict=True)
        for name in changed_columns(files_of(before), files_of(after), merged.schema)
        if name in merged.schema
    }
    if changed:
        order = pa.array(merged.positions)
        columns = {}
        for name in sorted(changed):
            parts = [part.column(name, own) for part, own in zip(now, rows, strict=True)]
            columns[name] = pa.chunked_array(parts).take(order)
        edit = edit_columns(merged, columns)
    alive = np.concatenate(
        [
            np.ones(len(own), np.bool_) if part.live is None else are_live(part.live, own)
            for part, own in zip(now, rows, strict=True)
        ]
    )
    if not alive.all():
        live = Selection.from_rows(np.sort(merged.given_order[alive]), merged.n)
        edit = edit._replace(arrays={**edit.arrays, LIVE: live.words()})
    calibration = kept(now, merged.n)
    if calibration is not None and calibration != merged.calibration:
        edit = edit._replace(meta={"calibration": calibration.to_json()})
    return edit if edit.arrays or edit.meta or edit.stored is not None else None
