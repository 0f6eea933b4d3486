"""What a search was asked: its arguments checked, its filter per query, and what ran, noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from fanns.arguments import (
    LONGEST,
    check_mapping,
    check_radius,
    check_recall,
    check_whole,
    check_work,
    is_number,
)
from fanns.errors import InputError
from fanns.execution import Answer, Options, Trace
from fanns.explanation import Explanation
from fanns.filters import split_params
from fanns.hits import STATUSES, Hits, RowSource
from fanns.planner import PATHS
from fanns.prepared import Prepared, Snapshot

COMPARED = frozenset((str, int, float, bool, date, datetime))
"""Types of parameters by which filters are found to be equal."""

Filter = tuple[Any, Mapping[str, Any] | None]
"""What was given as a filter, and the values of its parameters."""


class Note:
    """What `explain` needs of a search that ran; kept by its hits."""

    __slots__ = ("filter_ns", "k", "options", "ready", "search_ns", "snapshot", "told", "traces")

    def __init__(
        self,
        snapshot: Snapshot,
        ready: Prepared,
        k: int,
        options: Options,
        filter_ns: int,
        search_ns: int,
        traces: list[Trace],
        told: str | None = None,
    ) -> None:
        """`told`: what else there is to say of how it was answered."""
        self.told = told
        self.snapshot = snapshot
        self.ready = ready
        self.k = k
        self.options = options
        self.filter_ns = filter_ns
        self.search_ns = search_ns
        self.traces = traces

    def hits(self, found: Answer, query: int, metric: str, source: RowSource) -> Hits:
        """The hits of one query of the batch."""
        size, status = len(found.rows), STATUSES[found.status]
        return Hits(
            found.distances,
            status,
            self.ready.matches,
            metric,
            found.work,
            (source, found.segments, found.rows),
            lambda: self.explanation(query, size, status),
        )

    def explanation(self, query: int, found: int, status: str) -> Explanation:
        """Of one query of the batch."""
        return Explanation(
            where=self.ready.sql,
            k=self.k,
            recall=self.options.recall,
            status=status,
            found=found,
            matches=self.ready.matches,
            rows=self.snapshot.rows,
            filter_us=self.filter_ns / 1e3,
            search_us=self.search_ns / 1e3,
            notes=self.snapshot.notes(self.ready.bound) + ((self.told,) if self.told else ()),
            segments=tuple(trace.report(query) for trace in self.traces if trace.place(query) >= 0),
        )


def filters_of(
    where: Any, params: Mapping[str, Any] | None, single: bool, m: int
) -> list[Filter] | None:
    """One (filter, params) per query, or None when all queries share them."""
    bound = split_params(params, m)
    if isinstance(where, (list, tuple)):
        if single or len(where) != m:
            raise InputError(
                f"where is a list of {len(where)} for {'one query' if single else f'{m} queries'}: "
                "give one filter per query of a batch; wrap ids in fanns.ids([...])"
            )
        return [(where[i], bound[i] if bound else params) for i in range(m)]
    return None if bound is None else [(where, bound[i]) for i in range(m)]


def grouped(filters: Sequence[Filter]) -> list[tuple[Filter, list[int]]]:
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


def check_search(
    k: Any, offset: Any, options: Options, group_size: Any, radius: Any, params: Any
) -> None:
    """Raises InputError, or ParameterError, naming the argument that cannot be used."""
    check_whole("k", k, 1)
    check_whole("offset", offset, 0)
    check_recall(options.recall)
    check_radius(radius)
    check_mapping(params)
    if options.only is not None and options.only not in PATHS:
        raise InputError(f"plan is {options.only!r}, expected one of {', '.join(PATHS)}")
    check_whole("threads", options.threads, 1)
    timeout = options.timeout
    if timeout is not None and (not is_number(timeout) or not 0 < timeout <= LONGEST):
        raise InputError(f"timeout is {timeout!r}, expected seconds above 0, at most {LONGEST:g}")
    if options.max_work is not None:
        check_work(options.max_work)
    check_whole("group_size", group_size, 1)
