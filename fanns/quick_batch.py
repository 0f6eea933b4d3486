"""Many queries, each under a filter of its own, by the quick way: one kernel call for all lists.

Queries under equal filters share what their filter selects. Those whose plan is the scan of a short
list go to one kernel together, in chunks over the threads; the others are answered as usual, all
queries of a filter at once. Where one filter's text has values that differ per query, and is a
single look-up, numpy looks all of them up, and the lists are slices of posting lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from fanns.execution import Options
from fanns.hits import BatchHits, Hits
from fanns.kernels.jit import frozen
from fanns.kernels.lists import WORDS
from fanns.line_hits import LineBatch, LineHits
from fanns.parameters import Each
from fanns.planner import Plan
from fanns.prepared import Prepared
from fanns.quick import Asked, Asking, Quick, Way
from fanns.requests import Filter, filters_of, grouped
from fanns.selection import Selection
from fanns.threads import run_chunks

CHUNK = 64
"""Queries that a thread takes at a time."""

Params = Mapping[str, Any] | None
Columns = dict[str, Sequence[Any]]
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]  # starts, stops int64[m], rows int32


class Member(NamedTuple):
    """A query whose list goes to the kernel."""

    query: int
    filter: Asking
    params: Params
    rows: np.ndarray
    plan: Plan
    limit: int


class Group(NamedTuple):
    """Queries under one filter that need another plan."""

    filter: Asking
    params: Params
    selection: Selection
    queries: list[int]


def answer_batch(
    quick: Quick, queries: np.ndarray, k: int, where: Any, params: Params, options: Options
) -> BatchHits | None:
    """The hits of each query float32[m, d] under a filter of its own; None where they share one.

    Of the options, recall and threads.
    """
    shared = _shared(quick, where, params, len(queries))
    if shared is not None:
        found = _answer_columns(quick, queries, k, *shared, options)
        if found is not None:
            return found
    filters = filters_of(where, params, False, len(queries))
    return None if filters is None else _answer_each(quick, queries, k, filters, options)


def _shared(quick: Quick, where: Any, params: Params, m: int) -> tuple[Way, Columns] | None:
    """The look-ups that all filters share, and the m values of each of their parameters.

    None unless there are m filters of one text, or one text with `Each` of m values.
    """
    if type(where) is list and where and not params:
        if len(where) != m or any(type(one) is not Prepared for one in where):
            return None
        way = quick.way_of(where[0])
        if way is None or any(one.template is not way.template for one in where):
            return None
        names, rows = way.names, [one.params for one in where]
        if any(row.keys() != names for row in rows):
            return None
        return way, {name: [row[name] for row in rows] for name in names}
    way = quick.way(where, params)
    if way is None or not params or not any(type(value) is Each for value in params.values()):
        return None
    columns: Columns = {
        name: value.values if type(value) is Each else [value] * m for name, value in params.items()
    }
    return None if any(len(column) != m for column in columns.values()) else (way, columns)


def _answer_columns(
    quick: Quick, queries: np.ndarray, k: int, way: Way, columns: Columns, options: Options
) -> BatchHits | None:
    """The hits of each query under one text, with values of its own.

    None where the filter is more than one look-up, a value is unusual, or a list is long.
    """
    begun, m = perf_counter_ns(), len(queries)
    if m == 0:
        return None
    lists = way.direct.slices(columns)
    if lists is None:
        return None
    counts = lists[1] - lists[0]
    sizes, places = np.unique(counts, return_inverse=True)
    plans = []
    for size in sizes.tolist():
        planned = quick.plan((size, k, options.recall))
        if planned is None:
            return None
        plans.append(planned)
    limits = np.array([limit for _, limit in plans], np.int64)[places]
    filter_ns = (perf_counter_ns() - begun) // m

    def asked(i: int) -> tuple[Asked, Plan, int]:
        values = {name: column[i] for name, column in columns.items()}
        plan, _ = plans[places[i]]
        return Asked(way, values, k, options.recall, 0, filter_ns), plan, int(counts[i])

    return _answer_lists(quick, queries, k, lists, limits, options, filter_ns, asked)


def _answer_each(
    quick: Quick, queries: np.ndarray, k: int, filters: Sequence[Filter], options: Options
) -> BatchHits:
    """The hits of each query under its filter."""
    begun, m = perf_counter_ns(), len(queries)
    members: list[Member] = []
    rest: list[Group] = []
    for (where, params), numbers in grouped(filters):
        filter_, values, selection = quick.select(where, params)
        planned = quick.plan((selection.count, k, options.recall))
        if planned is None:
            rest.append(Group(filter_, values, selection, numbers))
        else:
            rows = selection.rows()
            members += [Member(number, filter_, values, rows, *planned) for number in numbers]
    filter_ns = (perf_counter_ns() - begun) // max(m, 1)
    listed = _answer_members(quick, queries, k, members, options, filter_ns)
    if len(members) == m and listed is not None:
        return listed
    found: list[Hits | None] = [None] * m
    for place, member in enumerate(members):
        assert listed is not None
        found[member.query] = listed[place]
    _answer_groups(quick, queries, k, rest, options, filter_ns, found)
    return BatchHits([hits for hits in found if hits is not None])


def _answer_members(
    quick: Quick,
    queries: np.ndarray,
    k: int,
    members: list[Member],
    options: Options,
    filter_ns: int,
) -> LineBatch | None:
    """The hits of the members, which are put in the order of their queries; None for none."""
    if not members:
        return None
    members.sort(key=itemgetter(0))
    m = len(members)
    offsets = np.zeros(m + 1, np.int64)
    np.cumsum([len(member.rows) for member in members], out=offsets[1:])
    rows = frozen(np.concatenate([member.rows for member in members]))
    limits = np.array([member.limit for member in members], np.int64)
    if m < len(queries):
        queries = queries[[member.query for member in members]]

    def asked(i: int) -> tuple[Asked, Plan, int]:
        _, filter_, params, own, plan, _ = members[i]
        return Asked(filter_, params, k, options.recall, 0, filter_ns), plan, len(own)

    lists = (offsets[:-1], offsets[1:], rows)
    return _answer_lists(quick, queries, k, lists, limits, options, filter_ns, asked)


def _answer_lists(
    quick: Quick,
    queries: np.ndarray,
    k: int,
    lists: Lists,
    limits: np.ndarray,
    options: Options,
    filter_ns: int,
    asked: Callable[[int], tuple[Asked, Plan, int]],
) -> LineBatch:
    """The hits of queries with a list each; `asked` tells of a query, its plan and its matches."""
    begun, m = perf_counter_ns(), len(queries)
    width = min(k, int((lists[1] - lists[0]).max()))
    lines, told = np.empty((m, 3 * width + WORDS), np.int64), np.empty(m, np.int64)
    search = quick.segment.scan.search_lists
    run_chunks(
        lambda first, last: search(queries, lists, limits, first, last, lines, told),
        m,
        CHUNK if options.threads > 1 else m,
        options.threads,
    )
    ended = filter_ns + (perf_counter_ns() - begun) // m

    def make(i: int) -> LineHits:
        ask, plan, matches = asked(i)
        return quick.hits(lines[i], width, int(told[i]), matches, ask, plan, ended)

    return LineBatch(lines, told, width, quick.keyed, make)


def _answer_groups(
    quick: Quick,
    queries: np.ndarray,
    k: int,
    groups: list[Group],
    options: Options,
    filter_ns: int,
    found: list[Hits | None],
) -> None:
    """The hits of the other queries: threads take groups, or share a single one."""
    alone = len(groups) == 1
    inside = options if alone else options._replace(threads=1)

    def task(first: int, last: int) -> None:
        for filter_, params, selection, numbers in groups[first:last]:
            asked = Asked(filter_, params, k, options.recall, 0, filter_ns)
            own = queries if len(numbers) == len(queries) else queries[numbers]
            hits = quick.usual(own, selection, asked, inside)
            for number, one in zip(numbers, hits, strict=True):
                found[number] = one

    run_chunks(task, len(groups), 1, 1 if alone else options.threads)
