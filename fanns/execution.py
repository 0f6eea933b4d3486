"""Runs plans over segments: falls back, merges, orders ties by id, names the status.

Knows paths through their protocol only. Queries of a batch under one filter go to a path
together, split over threads in fixed chunks; the split never changes an answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fanns.explanation import SegmentReport
from fanns.paths import APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE, Answers, Budget
from fanns.paths.column_path import Covering
from fanns.planner import AVOIDED, Plan, asks_for_lift
from fanns.segment import Segment
from fanns.selection import Selection

CHUNK = 16
# The segment of hits, where there is one.
FIRST = np.zeros(1_024, np.int32)
FIRST.setflags(write=False)
# Plans remembered per segment, and binary digits of a count that tell plans apart.
PLANS = 4_096
DIGITS = 7


class Options(NamedTuple):
    """What a caller may ask of a search besides the query, the filter and k."""

    recall: float = 0.95
    exact: bool = False
    only: str | None = None
    timeout: float | None = None
    max_work: int | None = None
    threads: int = 1


class Answer(NamedTuple):
    """One query's rows over all segments: segment numbers, rows, distances, status, work."""

    segments: np.ndarray
    rows: np.ndarray
    distances: np.ndarray
    status: int
    work: np.ndarray

    def part(self, start: int, stop: int) -> Answer:
        """Some of the rows, in order."""
        segments, rows, distances = (array[start:stop] for array in self[:3])
        return self._replace(segments=segments, rows=rows, distances=distances)


class Trace(NamedTuple):
    """What ran on one segment, for explain."""

    rows: int
    matches: int
    plan: Plan
    lift: np.ndarray | None  # float64 of the group's queries, where the planner asked for it
    members: np.ndarray | None  # numbers of the queries that ran so, None for all
    fallback: str | None
    took_ns: int  # by all of them
    work: np.ndarray  # int64[group, 4]

    def place(self, query: int) -> int:
        """Where a query stands in the group, -1 when another plan ran for it."""
        if self.members is None:
            return query
        places = np.flatnonzero(self.members == query)
        return int(places[0]) if len(places) else -1

    def report(self, query: int) -> SegmentReport:
        """What was done for one query; time is the group's mean."""
        plan, place = self.plan, self.place(query)
        return SegmentReport(
            rows=self.rows,
            matches=self.matches,
            path=plan.column or plan.path,
            parameters=plan.parameters._asdict(),
            reason=plan.reason,
            predicted_us=plan.predicted_ns / 1e3,
            actual_us=self.took_ns / len(self.work) / 1e3,
            predicted_codes=plan.predicted_codes,
            work=tuple(int(value) for value in self.work[place]),
            rejected=tuple(
                (path, None if cost is None else cost / 1e3, why)
                for path, cost, why in plan.rejected
            ),
            fallback=self.fallback,
            lift=None if self.lift is None else float(self.lift[place]),
        )


# Threads are made once and kept: starting one costs as much as a search. A fork has none of them.
@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="fanns")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def answer(
    segments: Sequence[Segment],
    selections: Sequence[Selection],
    queries: np.ndarray,
    k: int,
    options: Options,
) -> tuple[list[Answer], list[Trace]]:
    """The k nearest passing rows of each query, float32[m, d]; all queries under one filter."""
    deadline = 0
    if options.timeout is not None:
        deadline = time.monotonic_ns() + int(options.timeout * 1e9)
    left = options.max_work or 0
    parts: list[tuple[int, Answers]] = []
    traces: list[Trace] = []
    for number, (segment, selection) in enumerate(zip(segments, selections, strict=True)):
        wanted = min(k, selection.count)
        if wanted == 0:
            continue
        budget = Budget(max(left, 1) if options.max_work else 0, deadline)
        projected = segment.project(queries, options.threads)
        inside = queries if projected is None else projected.queries
        found = _answer_segment(segment, selection, inside, wanted, budget, options, traces)
        if projected is not None:
            found = segment.restore(projected, found)
        if left and len(queries):
            left -= int(found.work[:, :2].sum()) // len(queries)
        parts.append((number, found))
    return merged(segments, parts, len(queries), k), traces


def merged(
    segments: Sequence[Segment], parts: list[tuple[int, Answers]], m: int, k: int
) -> list[Answer]:
    """The k best of what some of the segments, by their numbers, answered to m queries."""
    if len(parts) == 1:
        return _single(*parts[0])
    return [_merge(segments, parts, i, k) for i in range(m)]


def merged_one(
    segments: Sequence[Segment], parts: list[tuple[int, Answers]], i: int, k: int
) -> Answer:
    """The same for query i alone."""
    if len(parts) != 1:
        return _merge(segments, parts, i, k)
    number, found = parts[0]
    some: Any = (part[i : i + 1] for part in found)
    return _single(number, Answers(*some))[0]


def predicted_ns(segment: Segment, selection: Selection, k: int, options: Options) -> float:
    """What the planner's choice for one query should take, nanoseconds of one thread."""
    wanted = min(k, selection.count)
    return _plan(segment, selection, wanted, False, options).predicted_ns if wanted else 0.0


def _answer_segment(
    segment: Segment,
    selection: Selection,
    queries: np.ndarray,
    k: int,
    budget: Budget,
    options: Options,
    traces: list[Trace],
) -> Answers:
    """Plan and run on one segment; queries that the filter avoids may get a plan of their own."""
    lift = None
    plan = _plan(segment, selection, k, False, options)
    if asks_for_lift(plan, segment.n, selection.count):
        lift = segment.locality.lift(queries, selection)
        far = lift < AVOIDED
        if 0 < far.sum() < len(queries):
            groups = [np.flatnonzero(~far), np.flatnonzero(far)]
            made = [
                _answer_group(
                    segment, selection, queries, k, budget, options, traces, plan, members, lift
                )
                for members in groups
            ]
            back = np.argsort(np.concatenate(groups), kind="stable")
            return Answers(*(np.concatenate(part)[back] for part in zip(*made, strict=True)))
    return _answer_group(segment, selection, queries, k, budget, options, traces, plan, None, lift)


def _answer_group(
    segment: Segment,
    selection: Selection,
    queries: np.ndarray,
    k: int,
    budget: Budget,
    options: Options,
    traces: list[Trace],
    plan: Plan,
    members: np.ndarray | None,
    lift: np.ndarray | None,
) -> Answers:
    """Run one plan for the queries of one kind; `plan` is for those that the filter meets."""
    if members is not None and lift is not None:
        queries, lift = np.ascontiguousarray(queries[members]), lift[members]
    if lift is not None and len(lift) > 0 and lift[0] < AVOIDED:
        plan = _plan(segment, selection, k, True, options)
    begun = time.perf_counter_ns()
    found, fallback = run(segment, plan, queries, selection, k, budget, options)
    took = time.perf_counter_ns() - begun
    traces.append(
        Trace(segment.n, selection.count, plan, lift, members, fallback, took, found.work)
    )
    return found


def settled(
    segment: Segment, count: int, k: int, options: Options, coverings: tuple[Covering, ...]
) -> Plan | None:
    """The plan for `count` passing rows; None where it depends on the queries as well.

    A plan that takes no path of a column holds for all filters of which `coverings` are the least.
    """
    plan = _plan_of(segment, count, k, False, options, coverings)
    return None if asks_for_lift(plan, segment.n, count) else plan


def plan_of_one(
    segment: Segment, query: np.ndarray, selection: Selection, k: int, options: Options
) -> tuple[Plan, np.ndarray | None]:
    """The plan for one query, float32[1, d], and the lift float64[1] where it follows from that."""
    lift = None
    plan = _plan(segment, selection, k, False, options)
    if asks_for_lift(plan, segment.n, selection.count):
        lift = segment.locality.lift(query, selection)
        if lift.item(0) < AVOIDED:
            plan = _plan(segment, selection, k, True, options)
    return plan, lift


def _plan(segment: Segment, selection: Selection, k: int, far: bool, options: Options) -> Plan:
    """The planner's choice for the passing rows."""
    coverings = segment.coverings(selection) if selection.spans else ()
    return _plan_of(segment, selection.count, k, far, options, coverings)


def _plan_of(
    segment: Segment,
    count: int,
    k: int,
    far: bool,
    options: Options,
    coverings: tuple[Covering, ...],
) -> Plan:
    """The planner's choice, remembered: it follows from these numbers alone.

    Choosing takes a quarter of a millisecond, so that large counts share a plan where they differ
    by less than a 64th.
    """
    given = count
    if count < segment.n:
        count = _rounded(count, k)
    if coverings:
        coverings = tuple(
            [
                Covering(
                    path,
                    count if rows == given else _rounded(rows, count),
                    walks,
                    _rounded(blocks, 0),
                )
                for path, rows, walks, blocks in coverings
            ]
        )
    key = (count, k, far, options.recall, options.exact, options.only, coverings)
    plan = segment.plans.get(key)
    if plan is None:
        plan = segment.plan(
            count,
            k,
            options.recall,
            far=far,
            exact=options.exact,
            only=options.only,
            coverings=coverings,
        )
        keep(segment, key, plan)
    return plan


def keep(segment: Segment, key: Any, plan: Any) -> None:
    """Remember a plan, or what follows from one, until the segment is calibrated anew."""
    if len(segment.plans) >= PLANS:
        segment.plans.clear()
    segment.plans[key] = plan


def _rounded(count: int, least: int) -> int:
    """A count by its first DIGITS binary digits."""
    dropped = max(0, count.bit_length() - DIGITS)
    return max(count >> dropped << dropped, least)


def run(
    segment: Segment,
    plan: Plan,
    queries: np.ndarray,
    selection: Selection,
    k: int,
    budget: Budget,
    options: Options,
) -> tuple[Answers, str | None]:
    """Run a plan; queries that it gave up, or could not prove, are finished by its fallback."""
    path = segment.path(plan.path, plan.column)
    found = _threaded(path, plan.parameters, queries, selection, k, budget, options)
    if plan.fallback is None:
        return found, None
    if len(queries) == 1:
        status = found.status.item(0)
        if status != EXHAUSTED and not (options.exact and status == APPROXIMATE):
            return found, None
    lacking = (found.status == EXHAUSTED) | (options.exact & (found.status == APPROXIMATE))
    ended = np.flatnonzero(lacking)
    if not len(ended):
        return found, None
    spent = found.work[ended]
    if budget.max_work:
        budget = budget._replace(
            max_work=max(1, budget.max_work - int(spent[:, :2].sum(axis=1).max()))
        )
    again = _threaded(
        segment.path(plan.fallback.path),
        plan.fallback.parameters,
        np.ascontiguousarray(queries[ended]),
        selection,
        k,
        budget,
        options,
    )
    if len(ended) == len(queries):
        return again._replace(work=again.work + spent), plan.fallback.label
    found.rows[ended], found.distances[ended] = again.rows, again.distances
    found.found[ended], found.status[ended] = again.found, again.status
    found.work[ended] += again.work
    return found, plan.fallback.label


def _threaded(
    path: Any,
    parameters: Any,
    queries: np.ndarray,
    selection: Selection,
    k: int,
    budget: Budget,
    options: Options,
) -> Answers:
    if options.threads == 1 or len(queries) <= CHUNK:
        return path.search(queries, selection, k, parameters, budget)  # type: ignore[no-any-return]
    # Made before the threads start, so that they do not all make it.
    selection.words()
    chunks = [queries[i : i + CHUNK] for i in range(0, len(queries), CHUNK)]
    done = _pool(options.threads).map(
        lambda chunk: path.search(chunk, selection, k, parameters, budget), chunks
    )
    return Answers(*(np.concatenate(part) for part in zip(*done, strict=True)))


def _single(number: int, found: Answers) -> list[Answer]:
    width = found.rows.shape[1]
    where = FIRST if number == 0 and width <= len(FIRST) else np.full(width, number, np.int32)
    out = []
    statuses = found.status.tolist()
    for i, count in enumerate(found.found.tolist()):
        rows, distances = found.rows[i, :count], found.distances[i, :count]
        out.append(Answer(where[:count], rows, distances, statuses[i], found.work[i]))
    return out


def _merge(segments: Sequence[Segment], parts: list[tuple[int, Answers]], i: int, k: int) -> Answer:
    """The k best of several segments' answers to query i, ties by id."""
    if not parts:
        none = np.zeros(0, np.int32)
        return Answer(none, none, np.zeros(0), EXACT, np.zeros(4, np.int64))
    numbers = np.array([number for number, _ in parts], np.int32)
    counts = [found.found.item(i) for _, found in parts]
    rows = [found.rows[i, :count] for (_, found), count in zip(parts, counts, strict=True)]
    distances = np.concatenate(
        [found.distances[i, :count] for (_, found), count in zip(parts, counts, strict=True)]
    )
    where, flat = numbers.repeat(counts), np.concatenate(rows)
    order = distances.argsort(kind="stable")
    ranked = distances[order]
    if (ranked[1:] == ranked[:-1]).any():
        keys = [
            segments[number].ids.take(own) for (number, _), own in zip(parts, rows, strict=True)
        ]
        if isinstance(keys[0], np.ndarray):
            order = np.lexsort((np.concatenate(keys), distances))
        else:
            texts = [key.encode() for part in keys for key in part]
            order = np.array(sorted(range(len(flat)), key=lambda at: (distances[at], texts[at])))
    order = order[:k]
    statuses = {found.status.item(i) for _, found in parts}
    status = EXACT
    if INCOMPLETE in statuses:
        status = INCOMPLETE
    elif statuses != {EXACT}:
        status = APPROXIMATE
    work = parts[0][1].work[i].copy()
    for _, found in parts[1:]:
        work += found.work[i]
    return Answer(where[order], flat[order], distances[order], status, work)
