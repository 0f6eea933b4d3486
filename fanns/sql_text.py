"""A tree as SQL text, for `explain` and messages; `parse_sql` reads it back to an equal tree."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from fanns.deferred import Affixed, Cast, IsTrue, ParameterIsNull, walk
from fanns.expressions import (
    And,
    Compare,
    Compiled,
    Constant,
    Evaluated,
    Ids,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Mask,
    Node,
    Not,
    Or,
    Parameter,
    Term,
)
from fanns.schema import ColumnType, Schema
from fanns.values import DAY, NANOSECONDS, nanoseconds

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
# Words that cannot stand bare as a column in DuckDB's dialect, or that begin another construct.
_RESERVED = """
all alter analyse analyze and anti any array as asc asof at between both by call case cast check
collate column columns commit connect_by_root constraint create cross current current_catalog
current_date current_role current_schema current_time current_timestamp current_user date datetime
default deferrable delete desc describe distinct div do drop else end escape except execute exists
explain false fetch filter final first following for force foreign from full glob grant group
grouping having if ilike in initially inner inout insert install intersect interval into is isnull
join lambda lateral leading left like limit localtime localtimestamp map merge natural next not
notnull null object offset on only optimize or order out outer over overlaps partition
partitioned_by pivot placing positional prepare primary qualify range references regexp rename
reset returning revoke right rlike rollback row rows select semi session_user set show similar
some struct summarize symmetric table tablesample then time timestamp timestamptz to trailing true
try_cast uncache union unique unknown unnest unpivot update user using vacuum values variadic when
where window with xor
"""
_WORDS = frozenset(_RESERVED.split())


def to_sql(tree: Node, schema: Schema | None = None) -> str:
    """The filter as SQL text.

    Args:
        tree: bound or unbound. Opaque leaves are named in angle brackets and cannot be read back.
        schema: shows the values of a bound tree's date and timestamp columns as such.
    """
    for _ in walk(tree):  # refuses trees too deep for the recursion below
        pass
    return _Writer(schema or {}).node(tree)


def identifier(name: str) -> str:
    """A column name, in double quotes where it needs them."""
    if _PLAIN_NAME.fullmatch(name) and name not in _WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def node(self, node: Node) -> str:
        if isinstance(node, And | Or):
            word = " AND " if isinstance(node, And) else " OR "
            return word.join(map(self._inner, node.args))
        if isinstance(node, Not):
            return self._not(node.arg)
        if isinstance(node, IsTrue):
            return f"({self.node(node.arg)}) IS TRUE"
        return self._leaf(node)

    def _inner(self, node: Node) -> str:
        text = self.node(node)
        return f"({text})" if isinstance(node, And | Or) else text

    def _not(self, node: Node) -> str:
        if isinstance(node, Compare) and node.op == "=" and node.value is not True:
            return self._compare(node, "<>")
        if isinstance(node, In):
            return self._in(node, "NOT IN")
        if isinstance(node, IsNull):
            return f"{identifier(node.column)} IS NOT NULL"
        if isinstance(node, Like) and not isinstance(node.pattern, Affixed):
            return self._like(node, "NOT ")
        text = self.node(node)
        return f"NOT ({text})" if isinstance(node, And | Or | IsTrue | Not) else f"NOT {text}"

    def _leaf(self, node: Node) -> str:
        if isinstance(node, Constant):
            return "NULL" if node.value is None else str(node.value).upper()
        if isinstance(node, Compare):
            return self._compare(node, node.op)
        if isinstance(node, In):
            return self._in(node, "IN")
        if isinstance(node, IsNull):
            return f"{identifier(node.column)} IS NULL"
        if isinstance(node, Like):
            return self._like(node, "")
        if isinstance(node, ListHas):
            return self._list_has(node)
        if isinstance(node, ParameterIsNull):
            return f"{_literal(node.parameter)} IS NULL"
        return _opaque(node)

    def _compare(self, node: Compare, op: str) -> str:
        if op == "=" and node.value is True and not isinstance(node.term, Length):
            return identifier(node.term.name)
        return f"{_term(node.term)} {op} {self._value(node.term, node.value)}"

    def _in(self, node: In, word: str) -> str:
        if isinstance(node.values, Parameter):
            return f"{_term(node.term)} {word} {_literal(node.values)}"
        values = ", ".join(self._value(node.term, value) for value in node.values)
        return f"{_term(node.term)} {word} ({values})"

    def _like(self, node: Like, negation: str) -> str:
        name = identifier(node.column)
        if isinstance(node.pattern, Affixed):
            return _affixed(name, node.pattern)
        word = "LIKE" if node.case_sensitive else "ILIKE"
        escape = "" if node.escape is None else f" ESCAPE {_literal(node.escape)}"
        return f"{name} {negation}{word} {_literal(node.pattern)}{escape}"

    def _list_has(self, node: ListHas) -> str:
        name = identifier(node.column)
        if isinstance(node.values, Parameter):
            return f"list_has_{node.op}({name}, {_literal(node.values)})"
        values = [self._element(node.column, value) for value in node.values]
        if node.op == "any" and len(values) == 1 and node.values[0] is not None:
            return f"list_contains({name}, {values[0]})"
        return f"list_has_{node.op}({name}, [{', '.join(values)}])"

    def _value(self, term: Term, value: Any) -> str:
        if isinstance(term, Length):
            return _literal(value)
        return self._element(term.name, value)

    def _element(self, name: str, value: Any) -> str:
        column = self.schema.get(name)
        if column is not None and type(value) is int and column.kind in ("date", "timestamp"):
            value = _from_storage(column, value)
        if column is not None and type(value) is float and column.kind == "float":
            value = _shortest(column, value)
        return _literal(value)


def _term(term: Term) -> str:
    name = identifier(term.name)
    return f"len({name})" if isinstance(term, Length) else name


def _affixed(name: str, pattern: Affixed) -> str:
    function = {("", "%"): "starts_with", ("%", ""): "ends_with"}.get(
        (pattern.before, pattern.after), "contains"
    )
    return f"{function}({name}, {_literal(pattern.parameter)})"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, Parameter):
        return f":{value.name}"
    if isinstance(value, Cast):
        return f"CAST(:{value.parameter.name} AS {value.kind.upper()})"
    if isinstance(value, np.datetime64):
        return f"TIMESTAMP_NS {_quoted(str(value).replace('T', ' '))}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_quoted(str(value))}::DOUBLE"
    if isinstance(value, datetime):
        return _timestamp(value)
    if isinstance(value, date):
        return f"DATE {_quoted(value.isoformat())}"
    return str(value)


def _timestamp(value: datetime) -> str:
    if getattr(value, "nanosecond", 0):  # pandas.Timestamp
        return _literal(np.datetime64(nanoseconds(value) or 0, "ns"))
    word = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
    return f"{word} {_quoted(value.isoformat(sep=' '))}"


def _from_storage(column: ColumnType, value: int) -> Any:
    """The date or timestamp of a stored int; the int itself beyond the calendar."""
    step = DAY if column.kind == "date" else NANOSECONDS[column.unit or "us"]
    seconds, rest = divmod(value * step, 10**9)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC if column.tz else None)
        moment += timedelta(seconds=seconds, microseconds=rest // 1000)
    except OverflowError:
        return value
    if column.kind == "date":
        return moment.date()
    return np.datetime64(value, "ns") if rest % 1000 else moment


def _shortest(column: ColumnType, value: float) -> Any:
    """The fewest digits that the column's own precision reads back as the same value."""
    narrow = {16: np.float16, 32: np.float32}.get(column.bits)
    return value if narrow is None else float(str(narrow(value)))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _opaque(node: Node) -> str:
    if isinstance(node, Mask):
        return f"<mask of {int(np.count_nonzero(node.values))} of {len(node.values)} rows>"
    if isinstance(node, Ids):
        return f"<{len(node.values)} ids>"
    if isinstance(node, Evaluated):
        return f"<{node.engine}: {node.expression}>"
    if isinstance(node, Compiled):
        function = getattr(node.function, "__name__", "predicate")
        return f"<predicate {function}({', '.join(map(identifier, node.columns))})>"
    return f"<{type(node).__name__}>"
