"""The quick way of a search: one segment, one query, nothing asked for but k rows and a recall.

Where ten rows pass, comparing them takes a few microseconds, and every object between the call and
the kernel costs as much as a row. So a filter's text leads at once to the look-ups of its
parameters, those to rows, and a short list of rows to one kernel call; a larger selection to the
path that its size decides on. Whatever is not plain (other types of query, parameter or filter,
several segments, an error to raise) is left to the usual way, whose answers these are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from fanns.arguments import check_mapping
from fanns.attributes import direct
from fanns.columns import FilterExpression
from fanns.errors import FannsError
from fanns.execution import Options, Trace, answer, keep, plan_of_one, run, settled
from fanns.explanation import Explanation
from fanns.expressions import Ids
from fanns.hits import STATUSES, Hits
from fanns.kernels.distance import METRICS
from fanns.kernels.lists import WORDS, line_of
from fanns.line_hits import LineHits
from fanns.listing import Columns
from fanns.once import once
from fanns.parameters import Each
from fanns.paths import EXHAUSTED, NO_BUDGET, Answers, Ready, no_answers
from fanns.paths.column_path import BLOCKS_LEAST
from fanns.planner import LISTED, Plan
from fanns.prepared import TEMPLATES, Prepared, Snapshot, prepare
from fanns.requests import Note
from fanns.selection import Selection
from fanns.vectors import accept_queries

FLOAT32 = np.dtype(np.float32)
INT64 = np.dtype(np.int64)
LISTS = (list, tuple)  # as a constant: `list | tuple` would make a type each time
KEPT = 16
"""Numbers of answers that places are kept for."""

Key = tuple[Any, ...]
"""What a lane is found by: the look-ups (None without a filter), k, recall and bounds."""


class Way(NamedTuple):
    """A filter's text, compiled: how to look its parameters up, and their names."""

    direct: direct.Way
    names: frozenset[str]
    template: Any


Asking = Prepared | FilterExpression | Way
"""A filter as a search keeps it: evaluated, of ids, or with look-ups for its parameters."""


class Asked(NamedTuple):
    """What a search was asked, and when its parts began and ended, in nanoseconds."""

    filter: Asking
    params: Mapping[str, Any] | None
    k: int
    recall: float
    begun: int
    filtered: int


class Lane(NamedTuple):
    """A search that was planned before, for the same rows, and needs but another query."""

    plan: Plan
    rows: int
    k: int
    search: Ready


class Listed(NamedTuple):
    """A plan for a list of rows, and what `ScanPath.search_list` takes of it."""

    plan: Plan
    limit: int


class _Places(threading.local):
    """Where kernels put the answers to one query, for each k: taken over at once."""

    def __init__(self) -> None:
        self.of: dict[int, Answers] = {}

    def made(self, k: int) -> Answers:
        """Places for k answers."""
        if len(self.of) >= KEPT:
            self.of.clear()
        answers = self.of[k] = no_answers(1, k)
        return answers


class Quick:
    """The quick way over the one segment of a snapshot."""

    def __init__(self, snapshot: Snapshot, metric: str, dimensions: int) -> None:
        self.snapshot = snapshot
        self.segment = snapshot.segments[0]
        self.metric = metric
        self._shape = (dimensions,)
        self.keyed = snapshot.id_kind == "int"
        self.source = Columns(snapshot, snapshot.id_name)
        self._ways: dict[str, Way | None] = {}
        self._places = _Places()

    def search(
        self,
        query: Any,
        k: int,
        where: Any,
        params: Mapping[str, Any] | None,
        recall: float,
        only: str | None = None,
    ) -> Hits | None:
        """The answer to one query under a filter; None where the usual way must give it.

        `only`: the path to take, of `planner.PATHS`; None leaves the choice to the planner.
        """
        if type(query) is not np.ndarray:
            if not isinstance(query, np.ndarray):
                return None
            query = np.asarray(query)  # a row of a memory-mapped file, mostly
        if query.shape != self._shape:
            return None
        if type(k) is not int or k < 1 or type(recall) is not float or not 0.0 < recall < 0.9995:
            return None
        begun = perf_counter_ns()
        if only is None and type(where) is str and params:
            way = self._ways.get(where)
            if way is not None and params.keys() == way.names:
                hits = self._sliced(query, way, params, k, recall, begun)
                if hits is not None:
                    return hits
        elif only is None and where is None and not params:
            told = (self._unfiltered[0], None, k, recall, begun, begun)
            hits = self._again(query, (None, k, recall), told)
            if hits is not None:
                return hits
        if isinstance(where, LISTS) or (params and _differ(params)):
            return None
        filter_, values, selection = self.select(where, params)
        asked = (filter_, values, k, recall, begun, perf_counter_ns())
        if only is None and self.plan((selection.count, k, recall)) is not None:
            hits = self._listed(query, selection.rows(), k, recall, asked)
            if hits is not None:
                return hits
        if selection.count and self.segment.reduction is None:
            whole = where is None and only is None
            key = (None, k, recall) if whole else None
            return self._planned(query, selection, asked, only, key)
        queries = accept_queries(query, self._shape[0], METRICS[self.metric])
        return self.usual(queries, selection, Asked(*asked), Options(recall, only=only))[0]

    def _sliced(
        self,
        query: np.ndarray,
        way: Way,
        params: Mapping[str, Any],
        k: int,
        recall: float,
        begun: int,
    ) -> LineHits | Hits | None:
        """The answer where one column decides which rows pass, None where the plan is not known."""
        one = way.direct
        if type(one) is not direct.Direct:
            return None
        bounds = one.bounds(params)
        if bounds is None:
            return None
        asked = (way, dict(params), k, recall, begun, perf_counter_ns())
        key = (one, k, recall, *bounds)
        known = self.segment.plans.get(key)
        if type(known) is Lane:
            hits = self._again(query, key, asked)
            if hits is not None:
                return hits
            known = None
        rows = one.slice(bounds)
        if rows is None:  # of several values
            selection = one.within(bounds)
            if selection.count:
                known = known or self.plan((selection.count, k, recall))
                rows = None if known is None else selection.rows()
        if rows is not None:
            listed = self._listed(query, rows, k, recall, asked, known)
            if listed is not None:
                return listed
            selection = one.within(bounds)
        if selection.count and self.segment.reduction is None:
            return self._planned(query, selection, asked, None, key)
        return None

    def _again(self, query: np.ndarray, key: Key, asked: tuple[Any, ...]) -> LineHits | None:
        """The answer by a lane; None where there is none, or the query is not plain."""
        lane = self.segment.plans.get(key)
        if type(lane) is not Lane or (query.dtype is not FLOAT32 and query.dtype != FLOAT32):
            return None
        if not query.flags.carray:
            query = query.copy()
        if not 0.0 < query.dot(query) < math.inf:
            return None
        plan, count, k, search = lane
        answers = self._places.of.get(k) or self._places.made(k)
        search(query.reshape(1, -1), answers)
        if answers.status.item(0) == EXHAUSTED:
            return None
        line = np.empty(3 * k + WORDS, INT64)
        told = line_of(*answers, self._ties, line)
        return self.hits(line, k, told, count, asked, plan, perf_counter_ns())

    @once
    def _ties(self) -> np.ndarray:
        return self.segment.ids.ties

    def _keep(self, key: Key, plan: Plan, limit: int | None, selection: Selection, k: int) -> None:
        """Remember a plan for a list; make a lane of one that needs only the selection's bounds."""
        if limit is not None:
            keep(self.segment, key, Listed(plan, limit))
            return
        if plan.column is None and (plan.path == "scan" or not selection.is_all):
            return
        path = self.segment.path(plan.path, plan.column)
        search = path.ready(selection, k, plan.parameters)
        if search is not None:
            keep(self.segment, key, Lane(plan, selection.count, k, search))

    def select(
        self, where: Any, params: Mapping[str, Any] | None
    ) -> tuple[Asking, Mapping[str, Any] | None, Selection]:
        """The passing rows of a filter, which comes back as it is told of afterwards."""
        if where is None and not params:
            return self._unfiltered
        way = self.way(where, params)
        if way is not None and params is not None:
            selection = way.direct.select(params)
            if selection is not None:
                return way, dict(params), selection
        ids = where.node if type(where) is FilterExpression else None
        if type(ids) is Ids and not params and isinstance(ids.values, np.ndarray) and self.keyed:
            rows = self.snapshot.contexts[0].rows_of_ids(ids.values)
            return where, None, Selection(self.segment.n, len(rows), rows, None)
        ready = prepare(self.snapshot, where, params, None)
        return ready, None, ready.selections()[0]

    @once
    def _unfiltered(self) -> tuple[Asking, None, Selection]:
        """What no filter selects."""
        ready = prepare(self.snapshot, None, None, None)
        return ready, None, ready.selections()[0]

    def _listed(
        self,
        query: np.ndarray,
        rows: np.ndarray,
        k: int,
        recall: float,
        asked: tuple[Any, ...],
        planned: Listed | None = None,
    ) -> Hits | None:
        """The answer by one kernel; None where another plan is better, or the query is unusual."""
        count = len(rows)
        if planned is None:
            key = (count, k, recall)
            planned = self.segment.plans.get(key) or self.plan(key)
        if planned is None or (query.dtype is not FLOAT32 and query.dtype != FLOAT32):
            return None
        if not query.flags.carray:
            query = query.copy()  # kernels would be compiled once more for a read-only query
        k = k if k < count else count
        line = np.empty(3 * k + WORDS, INT64)
        plan, limit = planned
        told = self.segment.scan.search_list(query, rows, limit, k, line)
        return None if told < 0 else self.hits(line, k, told, count, asked, plan, perf_counter_ns())

    def _planned(
        self,
        query: np.ndarray,
        selection: Selection,
        asked: tuple[Any, ...],
        only: str | None,
        key: Key | None = None,
    ) -> LineHits:
        """The answer to one query for which some row passes; `key`: of a lane to be made."""
        queries = accept_queries(query, self._shape[0], METRICS[self.metric])
        segment, count = self.segment, selection.count
        k, options = min(asked[2], count), Options(asked[3], only=only)
        plan, lift = plan_of_one(segment, queries, selection, k, options)
        line, fallback = np.empty(3 * k + WORDS, INT64), None
        limit = self._limit(plan, count, k)
        if key is not None and lift is None:
            self._keep(key, plan, limit, selection, k)
        if limit is None:
            found, fallback = run(segment, plan, queries, selection, k, NO_BUDGET, options)
            told = line_of(*found, segment.ids.ties, line)
        else:
            told = segment.scan.search_list(queries[0], selection.rows(), limit, k, line)
        return self.hits(line, k, told, count, asked, plan, perf_counter_ns(), fallback, lift)

    def hits(
        self,
        line: np.ndarray,
        width: int,
        told: int,
        count: int,
        asked: tuple[Any, ...],
        plan: Plan,
        ended: int,
        fallback: str | None = None,
        lift: np.ndarray | None = None,
    ) -> LineHits:
        """What a kernel has found for one query; `asked` has what an `Asked` has."""
        return LineHits(
            line,
            width,
            told >> 2,
            self.keyed,
            STATUSES[told & 3],
            count,
            self.metric,
            self.source,
            (self, asked, plan, ended, fallback, lift),
        )

    def usual(
        self, queries: np.ndarray, selection: Selection, asked: Asked, options: Options
    ) -> list[Hits]:
        """The answers to queries float32[m, d] as any search gives them, the filter evaluated."""
        snapshot = self.snapshot
        begun, k = perf_counter_ns(), min(asked.k, snapshot.rows)
        answers, traces = answer(snapshot.segments, [selection], queries, k, options)
        took = perf_counter_ns() - begun
        ready = self.ready(asked, selection.count)
        note = Note(snapshot, ready, k, options, asked.filtered - asked.begun, took, traces)
        source, metric = self.source, self.metric
        return [note.hits(found, query, metric, source) for query, found in enumerate(answers)]

    def ready(self, asked: Asked, matches: int) -> Prepared:
        """The filter that was asked for, whose number of rows is known."""
        if isinstance(asked.filter, Prepared):
            return asked.filter
        if isinstance(asked.filter, FilterExpression):
            ready = prepare(self.snapshot, asked.filter, None, None)
        else:
            ready = Prepared(self.snapshot, asked.filter.template, asked.params)
        ready.matches = matches
        return ready

    def way(self, where: Any, params: Mapping[str, Any] | None) -> Way | None:
        """The look-ups of a filter, where it is a text that has them for just these parameters."""
        if type(where) is not str or not params:
            return None
        way = self._ways.get(where) or self._way(where)
        return way if way is not None and params.keys() == way.names else None

    def way_of(self, prepared: Prepared) -> Way | None:
        """The look-ups of a prepared filter of this snapshot, where there are any."""
        template = prepared.template
        if prepared.snapshot is not self.snapshot or not template.parameters:
            return None
        direct = self.snapshot.ways(template)[0]
        return None if direct is None else Way(direct, template.parameters, template)

    def _way(self, where: str) -> Way | None:
        """The look-ups of a filter's text; None where there are none, or the text is wrong."""
        if where in self._ways:
            return None
        try:
            template = self.snapshot.template(where, None)
            direct = self.snapshot.ways(template)[0] if template.parameters else None
        except FannsError:
            return None  # the usual way raises it
        if len(self._ways) >= TEMPLATES:
            self._ways.clear()
        way = None if direct is None else Way(direct, template.parameters, template)
        self._ways[where] = way
        return way

    def plan(self, key: tuple[int, int, float]) -> Listed | None:
        """The plan for (passing rows, k, recall), where it is a scan of a list, and its limit.

        The limit: see `ScanPath.search_list`. Both are remembered.
        """
        segment = self.segment
        known: Listed | str | None = segment.plans.get(key, "unknown")
        if not isinstance(known, str):
            return known
        count, k, recall = key
        # What the paths of columns would cost at least; more depends on the filter as well.
        coverings = segment.least_coverings(count) if count >= BLOCKS_LEAST else ()
        plan = settled(segment, count, min(k, count), Options(recall), coverings)
        limit = None if plan is None else self._limit(plan, count, k)
        made = None if plan is None or limit is None else Listed(plan, limit)
        segment.plans[key] = made  # forgotten with the calibration that it follows from
        return made

    def _limit(self, plan: Plan, count: int, k: int) -> int | None:
        """What `ScanPath.search_list` takes of a plan for so many rows; None for other plans."""
        if (
            plan.path != "scan"
            or count > LISTED
            or plan.fallback is not None
            or plan.parameters[1:] != (False, 0)
            or self.segment.reduction is not None
            or self.segment.vectors.d != self._shape[0]
        ):
            return None
        shortlist = max(plan.parameters.rerank, k)
        return 0 if plan.parameters.rerank == 0 or count <= shortlist else shortlist

    def explanation(
        self,
        hits: LineHits,
        told: tuple[Any, ...],
        plan: Plan,
        ended: int,
        fallback: str | None,
        lift: np.ndarray | None,
    ) -> Explanation:
        """What was done for hits that `hits` made."""
        asked = Asked(*told)
        snapshot, segment = self.snapshot, self.segment
        took = ended - asked.filtered
        traces = []
        if hits.matches:
            work = hits.work.reshape(1, -1)
            traces = [Trace(segment.n, hits.matches, plan, lift, None, fallback, took, work)]
        ready = self.ready(asked, hits.matches)
        k, options = min(asked.k, snapshot.rows), Options(asked.recall)
        note = Note(snapshot, ready, k, options, asked.filtered - asked.begun, took, traces)
        return note.explanation(0, len(hits), hits.status)


def _differ(params: Mapping[str, Any]) -> bool:
    """Whether some value is one for each query of a batch."""
    if type(params) is not dict:
        check_mapping(params)
    for value in params.values():  # noqa: SIM110 - a generator would take three times as long
        if type(value) is Each:
            return True
    return False
