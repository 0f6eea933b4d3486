"""Many queries, each under a filter of its own, by the quick way: one kernel call for all lists.

Queries under equal filters share what their filter selects. Those whose plan is the scan of a short
list go to one kernel together, in chunks over the threads; the others are answered as usual, all
queries of a filter at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from fanns.execution import Options
from fanns.hits import Hits
from fanns.kernels.jit import frozen
from fanns.kernels.lists import WORDS
from fanns.planner import Plan
from fanns.prepared import Prepared
from fanns.quick import Asked, Quick, Way
from fanns.selection import Selection
from fanns.threads import run_chunks

CHUNK = 64
"""Queries that a thread takes at a time."""

COMPARED = frozenset((str, int, float, bool, date, datetime))
"""Types of parameters by which filters are found to be equal."""

Filter = tuple[Any, Mapping[str, Any] | None]


class Member(NamedTuple):
    """A query whose list goes to the kernel."""

    query: int
    filter: Prepared | Way
    params: Mapping[str, Any] | None
    rows: np.ndarray
    plan: Plan


class Group(NamedTuple):
    """Queries under one filter that need another plan."""

    filter: Prepared | Way
    params: Mapping[str, Any] | None
    selection: Selection
    queries: list[int]


def answer_each(
    quick: Quick, queries: np.ndarray, k: int, filters: Sequence[Filter], options: Options
) -> list[Hits]:
    """The hits of each query float32[m, d] under its filter; of the options, recall and threads."""
    found: list[Hits | None] = [None] * len(queries)
    begun = perf_counter_ns()
    members: list[Member] = []
    rest: list[Group] = []
    for (where, params), numbers in _grouped(filters):
        filter_, values, selection = quick.select(where, params)
        plan = quick.plan((selection.count, k, options.recall))
        if plan is None:
            rest.append(Group(filter_, values, selection, numbers))
        else:
            rows = selection.rows()
            members += [Member(number, filter_, values, rows, plan) for number in numbers]
    took = (perf_counter_ns() - begun) // max(len(queries), 1)
    _answer_lists(quick, queries, k, members, options, took, found)
    _answer_groups(quick, queries, k, rest, options, took, found)
    return [hits for hits in found if hits is not None]


def _grouped(filters: Sequence[Filter]) -> list[tuple[Filter, list[int]]]:
    """Equal filters, and the numbers of their queries; only plain ones are compared."""
    groups: dict[Any, tuple[Filter, list[int]]] = {}
    for number, filter_ in enumerate(filters):
        where, params = filter_
        key: Any = number
        if type(where) is str or type(where) is Prepared:
            types = tuple(map(type, params.values())) if params else ()
            if COMPARED.issuperset(types):  # 1 and True are equal, and different parameters
                key = (where, *types, *params, *params.values()) if params else (where,)
        group = groups.get(key)
        if group is None:
            groups[key] = (filter_, [number])
        else:
            group[1].append(number)
    return list(groups.values())


def _answer_lists(
    quick: Quick,
    queries: np.ndarray,
    k: int,
    members: list[Member],
    options: Options,
    filter_ns: int,
    found: list[Hits | None],
) -> None:
    """The hits of all queries with a short list."""
    if not members:
        return
    begun = perf_counter_ns()
    m = len(members)
    members.sort(key=itemgetter(0))  # by query, as the queries stand
    offsets = np.zeros(m + 1, np.int64)
    np.cumsum([len(member.rows) for member in members], out=offsets[1:])
    rows = frozen(np.concatenate([member.rows for member in members]))
    limits = np.array([_limit(member, k) for member in members], np.int64)
    if m < len(queries):
        queries = queries[[member.query for member in members]]
    width = min(k, int(np.diff(offsets).max()))
    lines, told = np.empty((m, 3 * width + WORDS), np.int64), np.empty(m, np.int64)
    search = quick.segment.scan.search_lists

    def task(first: int, last: int) -> None:
        search(queries, offsets, rows, limits, first, last, width, lines, told)

    run_chunks(task, m, CHUNK if options.threads > 1 else m, options.threads)
    ended = filter_ns + (perf_counter_ns() - begun) // m
    recall, hits = options.recall, quick.hits
    for member, line, code in zip(members, lines, told.tolist(), strict=True):
        number, filter_, params, own, plan = member
        count = len(own)
        asked = Asked(filter_, params, k, recall, 0, filter_ns)
        found[number] = hits(line, k if k < count else count, code, count, asked, plan, ended)


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
            for number, hits in zip(
                numbers, quick.usual(own, selection, asked, inside), strict=True
            ):
                found[number] = hits

    run_chunks(task, len(groups), 1, 1 if alone else options.threads)


def _limit(member: Member, k: int) -> int:
    """Rows in full precision after the codes; 0 for all, without codes."""
    rerank = member.plan.parameters.rerank
    return 0 if rerank == 0 or len(member.rows) <= max(rerank, k) else max(rerank, k)
