"""Filters to row numbers, as a skilled user of a vector library without filters does it.

A filter text is compiled once against the columns' sorted orders and posting lists, and bound for
each query. Equality and ranges are slices; a conjunction starts from its smallest part and tests
the others on those rows; a disjunction is a union; a negation is a complement among non-null rows.
Where parts are large, masks over all rows are cheaper and take their place. NULL is SQL's: a row
passes when the filter is true, and NOT of unknown is unknown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.bench.engines.engine import Params, UnsupportedError
from fanns.bench.engines.found import Everything, Found, Join, Listed, Meet, Nothing, Posted, Sliced
from fanns.bench.engines.postings import Lists, Ordered, Spans, column_index, common, union
from fanns.expressions import (
    And,
    Column,
    Compare,
    Constant,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Node,
    Not,
    Or,
    Parameter,
    Term,
)
from fanns.filters import parse_filter

Plan = Callable[[Params], Found]


class Postings:
    """The columns of the items, indexed; those of types that cannot be are left out."""

    def __init__(self, attributes: pa.Table) -> None:
        self.table = attributes
        self.n = attributes.num_rows
        self._columns: dict[str, Ordered | Lists] = {}
        self._local = threading.local()
        for name in attributes.column_names:
            with suppress(UnsupportedError):  # told when a filter speaks of it
                self._columns[name] = column_index(attributes, name)

    def compile(self, where: str | None) -> Filter | None:
        """The filter of a text; None where there is none. Raises UnsupportedError."""
        return None if where is None else Filter(self, parse_filter(where))

    def column(self, name: str) -> Ordered | Lists:
        """The index of a column. Raises UnsupportedError where there cannot be one."""
        return self._columns.get(name) or column_index(self.table, name)

    def scratch(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool[n], all false, of this thread; whoever sets it clears it."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = np.zeros(self.n, np.bool_)
        found: np.ndarray[Any, np.dtype[np.bool_]] = self._local.scratch
        return found


class Filter:
    """A compiled filter."""

    def __init__(self, postings: Postings, tree: Node) -> None:
        self._postings = postings
        self._plan = self._read(tree, True)

    def find(self, params: Params) -> Found:
        """The rows that pass with these parameters.

        Raises:
            UnsupportedError: a parameter is missing or cannot be compared with its column.
        """
        try:
            return self._plan(params)
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedError(f"parameters {dict(params)!r}: {error!r}") from error

    def _read(self, node: Node, truth: bool) -> Plan:
        """The plan for the rows for which a node is true, or is false."""
        if isinstance(node, Not):
            return self._read(node.arg, not truth)
        if isinstance(node, And | Or):
            return self._many(node.args, truth, isinstance(node, And) == truth)
        if isinstance(node, Constant):
            whole: Found = (
                Everything(self._postings.n) if node.value is truth else Nothing(self._postings.n)
            )
            return lambda params: whole
        if isinstance(node, ListHas):
            return self._list_has(node, truth)
        ordered, spans = self._spans(node, truth)
        return lambda params: Sliced(ordered, spans(params))

    def _many(self, args: Sequence[Node], truth: bool, meet: bool) -> Plan:
        """A conjunction or disjunction; conditions on one column become spans of that column."""
        plans: list[Plan] = []
        grouped: dict[int, tuple[Ordered, list[Callable[[Params], Spans]]]] = {}
        for arg in args:
            inner, sign = arg, truth
            while isinstance(inner, Not):
                inner, sign = inner.arg, not sign
            if isinstance(inner, And | Or | Constant | ListHas):
                plans.append(self._read(inner, sign))
            else:
                ordered, spans = self._spans(inner, sign)
                grouped.setdefault(id(ordered), (ordered, []))[1].append(spans)
        join_spans = common if meet else union
        for ordered, parts in grouped.values():
            plans.append(_sliced(ordered, parts, join_spans))
        if len(plans) == 1:
            return plans[0]
        n, kind = self._postings.n, Meet if meet else Join
        return lambda params: kind(n, [plan(params) for plan in plans])

    def _spans(self, node: Node, truth: bool) -> tuple[Ordered, Callable[[Params], Spans]]:
        """A scalar column, and the spans of it for which a leaf is true, or is false."""
        if isinstance(node, IsNull):
            column = self._postings.column(node.column)
            ordered = column.lengths if isinstance(column, Lists) else column
            spans: Spans = ((0, 1),) if truth else ((1, ordered.top),)
            return ordered, lambda params: spans
        if isinstance(node, Compare):
            ordered = self._ordered(node.term)
            return ordered, _comparison(ordered, node, truth)
        if isinstance(node, In):
            ordered = self._ordered(node.term)
            return ordered, _membership(ordered, node, truth)
        if isinstance(node, Like):
            ordered = self._ordered(Column(node.column))
            return ordered, _likeness(ordered, node, truth)
        raise UnsupportedError(f"posting lists cannot answer {type(node).__name__}")

    def _ordered(self, term: Term) -> Ordered:
        column = self._postings.column(term.name)
        if isinstance(column, Lists) != isinstance(term, Length):
            raise UnsupportedError(f"column {term.name!r} cannot be compared so: {term}")
        return column.lengths if isinstance(column, Lists) else column

    def _list_has(self, node: ListHas, truth: bool) -> Plan:
        column = self._postings.column(node.column)
        if not isinstance(column, Lists):
            raise UnsupportedError(f"column {node.column!r} is no list")
        values = _values(node.values, column.convert)
        lists, every, postings = column, node.op == "all", self._postings
        # list_contains(c, :x) is unknown when :x is null; the other forms pass nulls over
        parts = () if isinstance(node.values, Parameter) else node.values
        contains = not every and [type(part) for part in parts] == [Parameter]

        def plan(params: Params) -> Found:
            given = values(params)
            if given is None or (contains and given[0] is None):
                return Nothing(postings.n)
            found = [lists.posting(value) for value in dict.fromkeys(given) if value is not None]
            if truth and len(found) == 1:
                return Posted(postings, found[0])
            return Listed(postings, lists, found, every, truth)

        return plan


def _sliced(
    ordered: Ordered,
    parts: Sequence[Callable[[Params], Spans]],
    join: Callable[[Sequence[Spans]], Spans],
) -> Plan:
    if len(parts) == 1:
        only = parts[0]
        return lambda params: Sliced(ordered, only(params))
    return lambda params: Sliced(ordered, join([part(params) for part in parts]))


def _comparison(ordered: Ordered, node: Compare, truth: bool) -> Callable[[Params], Spans]:
    value = _value(node.value, ordered.convert)
    flipped = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
    op = node.op if truth else flipped.get(node.op, "<>")

    def spans(params: Params) -> Spans:
        given = value(params)
        if given is None:
            return ()
        if op == "<>":
            return ordered.others(ordered.equal(given))
        return ordered.compare(op, given)

    return spans


def _membership(ordered: Ordered, node: In, truth: bool) -> Callable[[Params], Spans]:
    values = _values(node.values, ordered.convert)

    def spans(params: Params) -> Spans:
        given = values(params)
        if given is None or (not truth and None in given):
            return ()
        equal = [ordered.equal(value) for value in given if value is not None]
        found = union(equal)
        return found if truth else ordered.others(found)

    return spans


def _likeness(ordered: Ordered, node: Like, truth: bool) -> Callable[[Params], Spans]:
    pattern = _value(node.pattern, str)
    flags = re.DOTALL | (0 if node.case_sensitive else re.IGNORECASE)

    def spans(params: Params) -> Spans:
        given = pattern(params)
        if given is None:
            return ()
        matches = re.compile(_regular(given, node.escape), flags).fullmatch
        hits = [((c, c + 1),) for c, text in enumerate(ordered.distinct, 1) if matches(text)]
        found = union(hits)
        return found if truth else ordered.others(found)

    return spans


def _regular(pattern: str, escape: str | None) -> str:
    """A LIKE pattern as a regular expression."""
    out, rest = [], iter(pattern)
    for letter in rest:
        if letter == escape:
            out.append(re.escape(next(rest, "")))
        else:
            out.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
    return "".join(out)


def _value(given: Any, convert: Callable[[Any], Any]) -> Callable[[Params], Any]:
    """A function that gives a leaf's value, converted; None for null."""
    if isinstance(given, Parameter):
        name = given.name

        def bound(params: Params) -> Any:
            value = params[name]
            return None if value is None else convert(value)

        return bound
    fixed = None if given is None else convert(given)
    return lambda params: fixed


def _values(
    given: tuple[Any, ...] | Parameter, convert: Callable[[Any], Any]
) -> Callable[[Params], list[Any] | None]:
    """A function that gives a leaf's list of values, converted; None for a null list."""
    if isinstance(given, Parameter):
        name = given.name

        def bound(params: Params) -> list[Any] | None:
            values = params[name]
            if values is None:
                return None
            return [None if value is None else convert(value) for value in values]

        return bound
    parts = [_value(value, convert) for value in given]
    return lambda params: [part(params) for part in parts]
