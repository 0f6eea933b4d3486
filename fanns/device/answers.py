"""What a batch on the device answered: arrays, of which hits are made when they are asked for.

Python takes fifty microseconds a query for the objects that tell of it, more than a device may need
to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from fanns.device.planning import Plans
from fanns.device.segment import Found
from fanns.execution import Answer, Options, Trace, merged_one
from fanns.hits import STATUSES, Hits, LazyBatch, RowSource
from fanns.paths import Answers
from fanns.planner import Plan
from fanns.prepared import Prepared, Snapshot
from fanns.requests import Note
from fanns.segment import Segment


class DeviceParameters(NamedTuple):
    """What a search went by: the device, the queries of its batch, and rows in full precision after
    the codes of all (0: all in full precision).
    """

    device: str
    batch: int
    rerank: int


class Ran(NamedTuple):
    """One segment's part: what was found there, in how many nanoseconds, by which plans."""

    segment: Segment
    number: int
    found: Found
    took_ns: int
    plans: Plans


class Asked(NamedTuple):
    """What all queries of a batch share: their filters, of which query i has number owners[i]
    (int32[m]), the device, and the nanoseconds of a batch, predicted and taken.
    """

    snapshot: Snapshot
    filters: Sequence[Prepared]
    owners: np.ndarray
    k: int
    options: Options
    device: str
    batch_ns: float
    took_ns: int


class DeviceAnswers(Sequence[tuple[int, Answer, Note]]):
    """The answer to each of m queries, and what `explain` needs of it."""

    def __init__(self, asked: Asked, ran: Sequence[Ran]) -> None:
        self._asked, self._ran, self._m = asked, ran, len(asked.owners)
        self._parts = [(one.number, one.found.answers) for one in ran]

    def __len__(self) -> int:
        return self._m

    @overload
    def __getitem__(self, i: int) -> tuple[int, Answer, Note]: ...
    @overload
    def __getitem__(self, i: slice) -> list[tuple[int, Answer, Note]]: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return [self[place] for place in range(self._m)[i]]
        place, asked = range(self._m)[i], self._asked
        ready = asked.filters[asked.owners[place]]
        ready.matches = sum(int(one.found.matches[place]) for one in self._ran)
        traces = [self._trace(one, place) for one in self._ran]
        note = Note(asked.snapshot, ready, asked.k, asked.options, 0, asked.took_ns, traces)
        return 0, merged_one(asked.snapshot.segments, self._parts, place, asked.k), note

    def _trace(self, ran: Ran, query: int) -> Trace:
        """What ran on one segment for one query of the batch."""
        asked, found, m = self._asked, ran.found, self._m
        count = int(found.matches[query])
        plan = ran.plans.of(count)
        parameters = DeviceParameters(asked.device, m, plan.shortlist)
        label = f"{plan.label} on {asked.device}"
        predicted = asked.batch_ns / m + plan.predicted_ns(count)
        told = Plan(label, label, parameters, predicted, 0, "least predicted cost")
        work = found.answers.work[query : query + 1]
        return Trace(ran.segment.n, count, told, None, None, None, ran.took_ns // m, work)

    def batch(
        self,
        offset: int,
        source: Callable[[Snapshot], RowSource],
        make: Callable[[int], Hits],
    ) -> LazyBatch:
        """The hits of all queries, those of each without the first `offset`.

        `make` gives the hits of a query so, `source` what reads rows of a snapshot.
        """
        found = np.zeros(self._m, np.int64)
        for _, part in self._parts:
            found += part.found
        sizes = np.clip(np.minimum(found, self._asked.k) - offset, 0, None)
        if len(self._parts) == 1:
            reads = source(self._asked.snapshot)
            return OneSegment(self._parts[0][1], sizes, offset, reads, make)
        return LazyBatch(sizes, make)


class OneSegment(LazyBatch):
    """Hits of an index of one segment, whose arrays are all that there is to know of them."""

    def __init__(
        self,
        answers: Answers,
        sizes: np.ndarray,
        offset: int,
        source: RowSource,
        make: Callable[[int], Hits],
    ) -> None:
        super().__init__(sizes, make)
        self._answers, self._source = answers, source
        places = np.arange(answers.rows.shape[1]) - offset
        self._filled = (places >= 0) & (places < sizes[:, None])

    @property
    def ids(self) -> Any:
        rows = self._answers.rows[self._filled]
        return self._source.ids_at(np.zeros(len(rows), np.int32), rows)

    @property
    def distances(self) -> np.ndarray:
        found: np.ndarray = self._answers.distances[self._filled]
        return found

    @property
    def statuses(self) -> list[str]:
        return [STATUSES[code] for code in self._answers.status.tolist()]
