"""Calibration on the user's own queries and filters, of an index that is already built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.building import MEASURED_ROWS
from fanns.calibration import Calibration, measure
from fanns.calibration.samples import Trial, trial
from fanns.checking import CheckReport
from fanns.errors import InputError
from fanns.kernels.distance import METRICS
from fanns.paths.locality import FAR
from fanns.paths.native import scaled
from fanns.prepared import Snapshot, prepare
from fanns.requests import filters_of
from fanns.segment import Segment
from fanns.segment_native import NativeSegment
from fanns.selection import Selection
from fanns.vectors import accept_queries

if TYPE_CHECKING:
    from fanns.index import Index

FEWEST_QUERIES = 16

MOST_FILTERS = 64
"""Filters looked at; the truth of each is found by scanning its selection."""


@dataclass(frozen=True, slots=True)
class TuneReport:
    """Recall measured before and after (`CheckReport`), on the queries and filters given."""

    before: CheckReport
    after: CheckReport

    def __repr__(self) -> str:
        return f"<TuneReport: before {self.before!r}, after {self.after!r}>"


def tune(
    index: Index,
    snapshot: Snapshot,
    keep: Callable[[Segment], None],
    queries: Any,
    where: Any,
    params: Any,
    *,
    recall: float,
    k: int,
    nulls: str | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> TuneReport:
    """Calibrate every segment of an index on queries and their filters; see `Index.tune`.

    `keep` hears of each that has a new calibration.
    """
    asked = accept_queries(queries, index.dimensions, METRICS[index.metric])
    if len(asked) < FEWEST_QUERIES:
        raise InputError(f"{len(asked)} queries tell too little, give at least {FEWEST_QUERIES}")
    check = partial(index.check, asked, where, params, k=k, recall=recall, nulls=nulls)
    before = check()
    groups = grouped(snapshot, asked, where, params, nulls)
    for place, segment in enumerate(snapshot.segments):
        if segment.n < MEASURED_ROWS:
            continue
        if isinstance(segment, NativeSegment):
            if segment.stand_ins is None:
                continue  # exact, whatever is asked
            held, own = scaled(asked, segment.scale), segment.stand_ins
        else:
            projected = segment.project(asked)
            held, own = asked if projected is None else projected.queries, segment
        parts = [(selections[place], numbers) for selections, numbers in groups]
        made = tuned(own, held, parts, seed, k, progress)
        segment.calibrate(made)
        keep(segment)
    return TuneReport(before, check())


def grouped(
    snapshot: Snapshot, queries: np.ndarray, where: Any, params: Any, nulls: str | None
) -> list[tuple[list[Selection], np.ndarray]]:
    """The distinct filters, as a selection per segment, with the numbers of their queries."""
    each = filters_of(where, params, False, len(queries))
    if each is None:
        selections = prepare(snapshot, where, params, nulls).selections()
        return [(selections, np.arange(len(queries)))]
    members: dict[tuple[Any, str], list[int]] = {}
    for number, (one, values) in enumerate(each):
        key = (one if isinstance(one, str) else id(one), repr(values))
        members.setdefault(key, []).append(number)
    parts = list(members.values())
    return [
        (prepare(snapshot, *each[part[0]], nulls).selections(), np.array(part))
        for part in parts[:: max(1, len(parts) // MOST_FILTERS)]
    ]


def tuned(
    segment: Segment,
    queries: np.ndarray,
    groups: Sequence[tuple[Selection, np.ndarray]],
    seed: int,
    k: int,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """The calibration of a segment on these queries.

    Args:
        segment: any but the smallest, which are scanned.
        queries: float32[m, d], as the segment holds its rows.
        groups: selections, and the numbers of the queries that are asked under each.
        seed: of the synthetic masks, which are measured besides.
        k: results per query.
        progress: called with (done, total).
    """
    own = [
        one
        for selection, numbers in groups
        if 0 < selection.count < segment.n
        for one in _trials(segment, selection, np.ascontiguousarray(queries[numbers]))
    ]
    return measure(segment, queries, "tuned", seed, k, progress, own)


def _trials(segment: Segment, selection: Selection, queries: np.ndarray) -> list[Trial]:
    """The queries near to a selection's rows, and those far from them."""
    far = segment.locality.lift(queries, selection) < FAR
    share = selection.count / segment.n
    return [
        trial(segment, share, side, selection, np.ascontiguousarray(queries[far == side]))
        for side in (False, True)
        if (far == side).any()
    ]
