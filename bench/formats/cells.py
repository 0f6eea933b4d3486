"""What cells ask, as far as foreign formats have words for it."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from fanns.bench.workloads.workload import Cell, Workload
from fanns.expressions import And, Column, Compare, ListHas, Parameter
from fanns.filters import parse_filter


class Answers(NamedTuple):
    """Exact answers of a cell, flat: rows int64, distances float64, offsets int64[m + 1]."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    offsets: NDArray[np.int64]


def queries_of(cell: Cell) -> NDArray[np.int64]:
    """The numbers of all queries of a cell, whatever their role, in the workload's order."""
    return np.sort(np.concatenate([cell.measure, cell.tune])).astype(np.int64)


def answers_of(workload: Workload, numbers: NDArray[np.int64]) -> Answers:
    """The exact answers of some queries."""
    starts, ends = workload.truth_offsets[numbers], workload.truth_offsets[numbers + 1]
    places = np.concatenate([np.empty(0, np.int64), *map(np.arange, starts, ends)])
    offsets = np.concatenate([[0], (ends - starts).cumsum()]).astype(np.int64)
    return Answers(workload.truth_rows[places], workload.truth_distances[places], offsets)


def file_name(cell: str) -> str:
    """A cell's name as part of a file name: other cells get other ones."""
    return quote(cell, safe="=,()+ ")


def asked_all(where: str) -> tuple[str, str] | None:
    """Column and parameter of `list_has_all(column, :parameter)`, or None."""
    node = parse_filter(where)
    if isinstance(node, ListHas) and node.op == "all" and isinstance(node.values, Parameter):
        return node.column, node.values.name
    return None


def asked_one(where: str) -> tuple[str, str] | None:
    """Column and parameter of `list_contains(column, :parameter)`, or None."""
    node = parse_filter(where)
    if isinstance(node, ListHas) and node.op == "any" and isinstance(node.values, tuple):
        return (node.column, name) if (name := _single(node.values)) else None
    return None


def asked_equal(where: str) -> tuple[str, str] | None:
    """Column and parameter of `column = :parameter`, or None."""
    found = _compared(parse_filter(where))
    return (found[0], found[2]) if found is not None and found[1] == "=" else None


def asked_range(where: str) -> tuple[str, str, str] | None:
    """Column and both parameters of `column BETWEEN :first AND :last`, or None."""
    node = parse_filter(where)
    if not isinstance(node, And) or len(node.args) != 2:
        return None
    low, high = map(_compared, node.args)
    if low is None or high is None or low[0] != high[0] or (low[1], high[1]) != (">=", "<="):
        return None
    return low[0], low[2], high[2]


def _compared(node: Any) -> tuple[str, str, str] | None:
    """Column, operator and parameter of a comparison of these."""
    if (
        isinstance(node, Compare)
        and isinstance(node.term, Column)
        and isinstance(node.value, Parameter)
    ):
        return node.term.name, node.op, node.value.name
    return None


def _single(values: tuple[Any, ...]) -> str | None:
    return values[0].name if len(values) == 1 and isinstance(values[0], Parameter) else None
