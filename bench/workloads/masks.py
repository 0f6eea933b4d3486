"""Which rows pass a filter, by plain numpy over the filter's tree: the judge of every engine.

SQL's three-valued logic. Only the parser is shared with fanns; its attribute index is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.bench.workloads.mask_columns import Columns, Lists, Mask, Numbers, Words, column, instant
from fanns.deferred import Affixed, Cast, IsTrue, ParameterIsNull
from fanns.errors import FilterError, FilterTypeError, ParameterError, UnknownColumnError
from fanns.expressions import (
    And,
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
from fanns.schema import ColumnType, schema_of

Params = Mapping[str, Any]


class Verdict(NamedTuple):
    """Of each row: whether the filter is true, and whether it is null (None: nowhere)."""

    true: Mask
    null: Mask | None = None


class Table:
    """A table whose columns are brought into plain form once, when a filter first names them."""

    def __init__(self, attributes: pa.Table) -> None:
        self.rows: int = attributes.num_rows
        self._attributes = attributes
        self._kinds = schema_of(attributes.schema)
        self._columns: dict[str, Columns] = {}

    def __getitem__(self, name: str) -> Columns:
        if name not in self._kinds:
            known = ", ".join(self._kinds) or "none"
            raise UnknownColumnError(f"no column {name!r} among the attributes: {known}")
        if name not in self._columns:
            self._columns[name] = column(self._attributes[name], self._kinds[name])
        return self._columns[name]


class Masks:
    """One filter over one table, for many values of its parameters.

    Safe to call from several threads after the first call.
    """

    def __init__(self, attributes: pa.Table | Table, where: str | None) -> None:
        """Raises FilterError when the text is not a filter over these attributes."""
        self.table = attributes if isinstance(attributes, Table) else Table(attributes)
        self.tree: Node = parse_filter(where)

    def __call__(self, params: Params) -> Mask:
        """bool[n]: the rows for which the filter is true."""
        verdict = self._judge(self.tree, params)
        return verdict.true if verdict.null is None else verdict.true & ~verdict.null

    def _judge(self, node: Node, params: Params) -> Verdict:
        if isinstance(node, And | Or):
            parts = (self._judge(arg, params) for arg in node.args)
            return reduce(_both if isinstance(node, And) else _either, parts)
        if isinstance(node, Not):
            true, null = self._judge(node.arg, params)
            return Verdict(~true if null is None else ~true & ~null, null)
        if isinstance(node, IsTrue):
            return Verdict(self._judge(node.arg, params).true)
        leaf = _LEAVES.get(type(node))
        if leaf is None:
            raise FilterError(f"a {type(node).__name__} in a filter cannot be judged")
        return leaf(self.table, node, params)


def passing(attributes: pa.Table | Table, where: str | None, params: Params) -> Mask:
    """bool[n]: the rows of the table for which the filter is true; None lets every row pass."""
    return Masks(attributes, where)(params)


def _both(a: Verdict, b: Verdict) -> Verdict:
    true = a.true & b.true
    if a.null is None and b.null is None:
        return Verdict(true)
    return Verdict(true, _maybe(a) & _maybe(b) & ~true)


def _either(a: Verdict, b: Verdict) -> Verdict:
    true = a.true | b.true
    nulls = [verdict.null for verdict in (a, b) if verdict.null is not None]
    return Verdict(true, reduce(np.logical_or, nulls) & ~true if nulls else None)


def _maybe(verdict: Verdict) -> Mask:
    return verdict.true if verdict.null is None else verdict.true | verdict.null


def _all(rows: int, value: bool | None) -> Verdict:
    true = np.full(rows, value is True)
    return Verdict(true, np.ones(rows, np.bool_) if value is None else None)


def _known(true: Mask, null: Mask | None) -> Verdict:
    """The verdict of a leaf whose truth was computed as if nothing were null."""
    return Verdict(true) if null is None else Verdict(true & ~null, null)


def _constant(table: Table, node: Constant, params: Params) -> Verdict:
    return _all(table.rows, node.value)


def _is_null(table: Table, node: IsNull, params: Params) -> Verdict:
    null = table[node.column].null
    return Verdict(np.zeros(table.rows, np.bool_) if null is None else null)


def _parameter_is_null(table: Table, node: ParameterIsNull, params: Params) -> Verdict:
    return _all(table.rows, _value(node.parameter, params) is None)


def _compare(table: Table, node: Compare, params: Params) -> Verdict:
    value = _value(node.value, params)
    if value is None:
        return _all(table.rows, None)
    term = _term(table, node.term)
    return _known(term.compare(node.op, value), term.null)


def _in(table: Table, node: In, params: Params) -> Verdict:
    values = _values(node.values, params)
    if values is None:
        return _all(table.rows, None)
    term = _term(table, node.term)
    found = _known(term.member([value for value in values if value is not None]), term.null)
    return _either(found, _all(table.rows, None)) if None in values else found


def _list_has(table: Table, node: ListHas, params: Params) -> Verdict:
    values = _values(node.values, params)
    if values is None or (values == [None] and _is_contains(node)):
        return _all(table.rows, None)
    lists = table[node.column]
    if not isinstance(lists, Lists):
        raise FilterTypeError(f"column {node.column!r} is {lists.kind}, not a list")
    return _known(lists.has(node.op, [x for x in values if x is not None]), lists.null)


def _is_contains(node: ListHas) -> bool:
    """Whether this is list_contains(c, :p): for NULL itself the parser makes a constant of it."""
    values = node.values
    return node.op == "any" and isinstance(values, tuple) and isinstance(values[0], Parameter)


def _like(table: Table, node: Like, params: Params) -> Verdict:
    words = table[node.column]
    if not isinstance(words, Words):
        raise FilterTypeError(f"column {node.column!r} is {words.kind}: LIKE needs strings")
    text = _pattern(node, params)
    if text is None:
        return _all(table.rows, None)
    pattern = re.compile(text, re.DOTALL)
    folded = words.words if node.case_sensitive else [word.lower() for word in words.words]
    places = [at for at, word in enumerate(folded) if pattern.fullmatch(word)]
    return _known(words.among(places), words.null)


def _pattern(node: Like, params: Params) -> str | None:
    """The LIKE pattern as a regular expression; None when its value is null."""
    pattern = node.pattern
    if isinstance(pattern, Affixed):
        text = _value(pattern.parameter, params)
        if text is None:
            return None
        before, after = (".*" if side else "" for side in (pattern.before, pattern.after))
        return f"{before}{re.escape(text)}{after}"
    text = _value(pattern, params)
    if text is None:
        return None
    pieces: list[str] = []
    rest = iter(text if node.case_sensitive else text.lower())
    for sign in rest:
        if sign == node.escape:
            pieces.append(re.escape(next(rest)))
        else:
            pieces.append({"%": ".*", "_": "."}.get(sign, re.escape(sign)))
    return "".join(pieces)


def _term(table: Table, term: Term) -> Numbers | Words:
    found = table[term.name]
    if isinstance(term, Length) and isinstance(found, Lists):
        return _lengths(found)
    if isinstance(found, Lists) or isinstance(term, Length):
        raise FilterTypeError(f"column {term.name!r} is {found.kind}: it cannot be compared so")
    return found


def _lengths(lists: Lists) -> Numbers:
    numbers = Numbers(pa.array(lists.lengths), ColumnType("int"))
    numbers.null = lists.null
    return numbers


def _value(value: Any, params: Params) -> Any:
    """A literal, or a parameter's value; None for null."""
    if isinstance(value, Cast):
        found = _value(value.parameter, params)
        if found is None:
            return None
        since = instant(found)
        if value.kind == "date":
            return np.datetime64(int(since // 86_400), "D")
        return np.datetime64(int(since * 10**9), "ns")
    if not isinstance(value, Parameter):
        return value
    if value.name not in params:
        raise ParameterError(f"no value for :{value.name}")
    return params[value.name]


def _values(values: tuple[Any, ...] | Parameter, params: Params) -> list[Any] | None:
    """A list of literals and parameters, or the list that one parameter stands for."""
    if isinstance(values, Parameter):
        found = _value(values, params)
        return None if found is None else list(found)
    return [_value(value, params) for value in values]


_LEAVES: dict[type[Node], Callable[[Table, Any, Params], Verdict]] = {
    Constant: _constant,
    IsNull: _is_null,
    ParameterIsNull: _parameter_is_null,
    Compare: _compare,
    In: _in,
    ListHas: _list_has,
    Like: _like,
}
