"""Rows put into an index: they replace those of their ids, and small batches grow into segments.

A search looks into every segment, so many small ones would cost more than they hold. A batch takes
up the segments at the end that have no more rows than it has gathered, as the digits of a binary
counter carry over: n single rows leave log2 n segments, and each row is built log2 n times. Beyond
TAIL_ROWS rows a batch is left alone, so that no call waits for more; `compact` merges the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fanns.building import MEASURED_ROWS, Recipe, make_segment
from fanns.deleting import bury, holders
from fanns.errors import CorruptIndexError, InputError
from fanns.gathering import gather
from fanns.ingest import Ingest
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.selection import Selection
from fanns.writing import Change, Edit

TAIL_ROWS = MEASURED_ROWS
"""Smaller segments are scanned by int8 codes alone: other codes would cost more than they save."""

Progress = Callable[[str, int, int], None]


def insertion(
    snapshot: Snapshot, recipe: Recipe, ingest: Ingest, replaces: bool, progress: Progress | None
) -> tuple[Change | None, int]:
    """What adds a batch, and how many live rows it replaces; None for an empty batch.

    Raises:
        InputError: an id is in the index and `replaces` is not set.
    """
    if not len(ingest.ids):
        return None, 0
    keys = ingest.ids if isinstance(ingest.ids, np.ndarray) else ingest.ids.to_pylist()
    doomed = holders(snapshot, keys)
    replaced = sum(rows.count for rows in doomed)
    if replaced and not replaces:
        raise InputError(
            f"id {_first(snapshot, doomed)!r} is in the index already ({replaced} such ids in this "
            "batch); upsert replaces rows"
        )
    kept = [_live(segment) - dead for segment, dead in zip(snapshot.segments, doomed, strict=True)]
    edits: dict[int, Edit] = {}
    removed: set[int] = set()
    for place, segment in enumerate(snapshot.segments):
        if kept[place].count == 0 and not recipe.generated:
            removed.add(place)
        elif doomed[place].count:
            edits[place] = bury(segment, doomed[place])
    tail = _tail(kept, len(keys))
    ingest = gather(recipe, [(snapshot.segments[place], kept[place]) for place in tail], ingest)
    made = make_segment(tail_recipe(recipe, len(ingest.ids)), ingest, None, progress)
    for place in tail:
        edits.pop(place, None)
    return Change(edits, {*removed, *tail}, [made]), replaced


def tail_recipe(recipe: Recipe, rows: int) -> Recipe:
    """How a segment of so many rows is built: a small one with as little as it needs."""
    if rows >= TAIL_ROWS:
        return recipe
    return replace(recipe, bits=0, reduce="off", calibration="default")


def _tail(kept: list[Selection], gathered: int) -> list[int]:
    """The places of the last segments that a batch of so many rows takes up, rising."""
    tail: list[int] = []
    for place in reversed(range(len(kept))):
        rows = kept[place].count
        if rows > gathered or gathered + rows >= TAIL_ROWS:
            break
        tail.append(place)
        gathered += rows
    return tail[::-1]


def _live(segment: Segment) -> Selection:
    return Selection.all(segment.n) if segment.live is None else segment.live


def _first(snapshot: Snapshot, rows: list[Selection]) -> object:
    """The id of the first of some rows."""
    place = next(place for place, part in enumerate(rows) if part.count)
    return snapshot.segments[place].ids.take_arrow(rows[place].rows()[:1])[0].as_py()


def next_id(snapshot: Snapshot) -> int:
    """The id of the next row where ids are generated: none is given twice."""
    after = [segment.meta.get("next_id", 0) for segment in snapshot.segments]
    if not all(type(number) is int and number >= 0 for number in after):
        raise CorruptIndexError(f"next_id: not numbers of rows: {after}")
    if snapshot.id_kind == "int":
        after += [int(segment.ids.ties.max()) + 1 for segment in snapshot.segments if segment.n]
    return max(after, default=0)
