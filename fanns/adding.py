"""Rows put into an index: they replace those of their ids, and small batches grow into segments.

A search looks into every segment, so many small ones would cost more than they hold. A batch takes
up the segments at the end that have at most FACTOR times the rows that it has gathered, and those
of up to FEW rows in any case: sizes fall by that factor, and n single rows leave at most
log4 (n / FEW) segments after the first. Beyond TAIL_ROWS rows a batch is left alone, so that no
call waits for more; merges and `compact` see to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fanns.building import MEASURED_ROWS, Recipe, make_segment
from fanns.calibration import DEFAULT, Calibration
from fanns.deleting import bury, holders
from fanns.errors import CorruptIndexError, InputError
from fanns.gathering import gather
from fanns.ingest import Ingest
from fanns.paths.graph_builder import MIN_ROWS
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.selection import Selection
from fanns.writing import Change, Edit

TAIL_ROWS = MIN_ROWS
"""Segments of fewer rows, which have no graph, are scanned by int8 codes alone: to build other
codes and clusters takes ten times as long, for a search that takes a tenth of a millisecond."""

FEW = 64
"""Building anew a segment of so few rows takes no longer than the files of another one."""

FACTOR = 4
"""By 4 each of 4,096 single rows is built anew some 17 times beyond that (12 us each, at 384
dimensions), by 1 six times, but twice as many segments are left for searches."""

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
    tail = _tail(snapshot.segments, kept, len(keys))
    ingest = gather(recipe, [(snapshot.segments[place], kept[place]) for place in tail], ingest)
    plain = len(ingest.ids) < TAIL_ROWS
    made = built(recipe, ingest, plain, progress)
    for place in tail:
        edits.pop(place, None)
    return Change(edits, {*removed, *tail}, [made]), replaced


def built(
    recipe: Recipe,
    ingest: Ingest | list[Ingest],
    plain: bool,
    progress: Progress | None,
    calibration: Calibration | None = None,
) -> Segment:
    """A segment of a batch, or merged; a plain one with as little as a scan needs."""
    if not plain:
        return make_segment(recipe, ingest, None, progress, calibration)
    recipe = replace(recipe, bits=0, reduce="off", calibration="default")
    return make_segment(recipe, ingest, None, progress, calibration, most_clusters=1)


def _tail(segments: Sequence[Segment], kept: list[Selection], gathered: int) -> list[int]:
    """The places of the last segments that a batch of so many rows takes up, rising."""
    tail: list[int] = []
    for place in reversed(range(len(kept))):
        rows = kept[place].count
        if segments[place].native:
            break
        if rows >= MEASURED_ROWS and not _is_plain(segments[place]):
            break
        if rows > max(FACTOR * gathered, FEW) or gathered + rows >= TAIL_ROWS:
            break
        tail.append(place)
        gathered += rows
    return tail[::-1]


def _is_plain(segment: Segment) -> bool:
    """Whether a segment has nothing that a plain one would lack."""
    measured = segment.calibration.source != DEFAULT.source
    return not (segment.has_bits or measured or segment.meta["reduction"])


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
        after += [segment.ids.last + 1 for segment in snapshot.segments if segment.n]
    return max(after, default=0)
