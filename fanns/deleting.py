"""Rows taken out of an index: which, and what their segments become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fanns.building import Recipe
from fanns.columns import ids as ids_filter
from fanns.errors import InputError
from fanns.live import LIVE
from fanns.prepared import Snapshot, prepare
from fanns.segment import Segment
from fanns.selection import Selection
from fanns.writing import Change, Edit


def chosen(
    snapshot: Snapshot,
    ids: Any,
    where: Any,
    params: Mapping[str, Any] | None,
    nulls: str | None,
    action: str,
) -> list[Selection]:
    """The live rows of each segment that a call speaks of, by ids or by a filter.

    Raises:
        InputError: both were given, or neither. FilterError: the filter.
    """
    if (ids is None) == (where is None):
        raise InputError(
            f"{action} takes ids= or where=, got {'neither' if ids is None else 'both'}; "
            f"where='TRUE' means every row"
        )
    if ids is None:
        return prepare(snapshot, where, params, nulls).selections()
    if params:
        raise InputError(f"{action} by ids= has no parameters; params= belongs to where=")
    if isinstance(ids, str | int | np.integer):
        ids = [ids]
    return prepare(snapshot, ids_filter(ids), None, None).selections()


def holders(snapshot: Snapshot, keys: Any) -> list[Selection]:
    """The live rows of each segment that hold these ids."""
    out = []
    for segment in snapshot.segments:
        rows = segment.lookup(keys)
        out.append(Selection.from_rows(np.sort(rows[rows >= 0]), segment.n))
    return out


def burial(segments: Sequence[Segment], doomed: Sequence[Selection], recipe: Recipe) -> Change:
    """What deletes the live rows `doomed` of each segment.

    A segment without a live row goes altogether, unless it is the last one, or has given its rows
    their ids: the next must not be given again.
    """
    edits: dict[int, Edit] = {}
    removed: list[int] = []
    for place, (segment, dead) in enumerate(zip(segments, doomed, strict=True)):
        if not dead.count:
            continue
        if dead.count == segment.rows and not recipe.generated:
            removed.append(place)
            continue
        edits[place] = bury(segment, dead)
    if len(removed) == len(segments):
        place = removed.pop(0)
        edits[place] = bury(segments[place], doomed[place])
    return Change(edits, removed)


def bury(segment: Segment, dead: Selection) -> Edit:
    """The edit by which the live rows `dead` are so no more."""
    before = Selection.all(segment.n) if segment.live is None else segment.live
    return Edit({LIVE: (before - dead).words()})
