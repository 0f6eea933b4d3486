"""Filters in each engine's own language: what all of them share, and LanceDB's SQL.

`dialects_bound` has the languages that bind parameters themselves, `dialects_embedded` those of
zvec and Qdrant.

A tree is compiled once per filter text into a function of the parameters. Negations are pushed down
to the leaves, which keeps SQL's three-valued logic: NOT (a AND b) is NOT a OR NOT b in it, and a
negated leaf is false, never true, for a null. What a language cannot say raises UnsupportedError.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Generic, TypeVar

import pyarrow as pa

from fanns.bench.engines.engine import Params, UnsupportedError
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

T = TypeVar("T")
Text = Callable[[Params], str]
OPPOSITE = {"=": "<>", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
COUNT = ColumnType("int")  # the type of a list's length


class Dialect(ABC, Generic[T]):
    """Compiles trees over columns of known types."""

    def __init__(self, attributes: pa.Schema) -> None:
        self.columns = schema_of(attributes)

    def compile(self, where: str | None) -> Callable[[Params], T] | None:
        """A function that makes an engine's filter of parameters; None: every row passes.

        Raises UnsupportedError, as the function does for values that cannot be said.
        """
        tree = parse_filter(where)
        return None if tree == Constant(True) else self.read(tree, True)

    def read(self, node: Node, truth: bool) -> Callable[[Params], T]:
        """The rows for which a node is true, or is false."""
        if isinstance(node, Not):
            return self.read(node.arg, not truth)
        if isinstance(node, And | Or):
            parts = [self.read(arg, truth) for arg in node.args]
            join = self.every if isinstance(node, And) == truth else self.some
            return lambda params: join([part(params) for part in parts])
        if isinstance(node, Compare):
            return self.compare(node, truth)
        if isinstance(node, In):
            return self.member(node, truth)
        if isinstance(node, IsNull):
            found = self.null(self.known(node.column), truth)
            return lambda params: found
        if isinstance(node, Like):
            return self.like(node, truth)
        if isinstance(node, ListHas):
            return self.list_has(node, truth)
        raise UnsupportedError(f"{type(node).__name__} has no equivalent in the engine's filters")

    def known(self, name: str) -> str:
        """The name of a column that exists. Raises UnsupportedError."""
        if name not in self.columns:
            raise UnsupportedError(f"no column {name!r}: the items have {list(self.columns)}")
        return name

    def kind(self, term: Term) -> ColumnType:
        """The type of a term's values."""
        return COUNT if isinstance(term, Length) else self.columns[self.known(term.name)]

    @abstractmethod
    def every(self, parts: Sequence[T]) -> T:
        """A conjunction of at least one part."""

    @abstractmethod
    def some(self, parts: Sequence[T]) -> T:
        """A disjunction of at least one part."""

    @abstractmethod
    def null(self, name: str, truth: bool) -> T:
        """The column is, or is not, null."""

    @abstractmethod
    def compare(self, node: Compare, truth: bool) -> Callable[[Params], T]:
        """A term against one value."""

    @abstractmethod
    def member(self, node: In, truth: bool) -> Callable[[Params], T]:
        """A term against a list of values."""

    @abstractmethod
    def list_has(self, node: ListHas, truth: bool) -> Callable[[Params], T]:
        """A list's elements against a list of values."""

    def like(self, node: Like, truth: bool) -> Callable[[Params], T]:
        """A pattern; engines without patterns leave this."""
        raise UnsupportedError("the engine's filters know no LIKE")


class TextDialect(Dialect[str]):
    """Filters as text. With `inline`, values stand in the text; else placeholders do."""

    inline = True
    length = "array_length({})"
    differs = "<>"

    def every(self, parts: Sequence[str]) -> str:
        return " AND ".join(f"({part})" for part in parts)

    def some(self, parts: Sequence[str]) -> str:
        return " OR ".join(f"({part})" for part in parts)

    def null(self, name: str, truth: bool) -> str:
        return f"{self.column(name)} IS {'' if truth else 'NOT '}NULL"

    def nothing(self, name: str) -> str:
        """True for no row."""
        return "FALSE"

    def column(self, name: str) -> str:
        """A column's name as it stands in text."""
        return '"' + name.replace('"', '""') + '"'

    def term(self, term: Term) -> str:
        name = self.column(self.known(term.name))
        return self.length.format(name) if isinstance(term, Length) else name

    @abstractmethod
    def literal(self, value: Any, kind: ColumnType) -> str:
        """A value beside a column of this (element) type."""

    def placeholder(self, name: str, kind: ColumnType, many: bool) -> str:
        """A parameter that the engine binds itself: a value, or a list of them."""
        raise NotImplementedError

    def operand(self, value: Any, kind: ColumnType) -> Text:
        """One value, or a parameter that stands for one."""
        if isinstance(value, Parameter):
            name = value.name
            if not self.inline:
                text = self.placeholder(name, kind, False)
                return lambda params: text
            return lambda params: self.literal(params[name], kind)
        fixed = self.literal(value, kind)
        return lambda params: fixed

    def operands(self, values: tuple[Any, ...] | Parameter, kind: ColumnType) -> _Texts:
        """Values, each as text."""
        if isinstance(values, Parameter):
            name = values.name
            return lambda params: [self.literal(value, kind) for value in params[name]]
        parts = [self.operand(value, kind) for value in values]
        return lambda params: [part(params) for part in parts]

    def compare(self, node: Compare, truth: bool) -> Text:
        kind, term = self.kind(node.term), self.term(node.term)
        if kind.is_list:
            raise UnsupportedError(f"column {node.term.name!r} is a list: it has no order")
        op = node.op if truth else OPPOSITE[node.op]
        value, op = self.operand(node.value, kind), self.differs if op == "<>" else op
        return lambda params: f"{term} {op} {value(params)}"

    def member(self, node: In, truth: bool) -> Text:
        term, values = self.term(node.term), self.operands(node.values, self.kind(node.term))
        word = "IN" if truth else "NOT IN"
        nothing = self.nothing(node.term.name) if truth else self.null(node.term.name, False)

        def text(params: Params) -> str:
            given = values(params)
            return f"{term} {word} ({', '.join(given)})" if given else nothing

        return text

    def element(self, node: ListHas) -> ColumnType:
        """The type of a list column's elements. Raises UnsupportedError where it is no list."""
        kind = self.columns[self.known(node.column)]
        if not kind.is_list:
            raise UnsupportedError(f"column {node.column!r} is no list")
        return kind.item


_Texts = Callable[[Params], list[str]]


def single(node: ListHas) -> Any:
    """The value of a filter for one element, `list_contains(c, x)`; None for other filters."""
    lone = isinstance(node.values, tuple) and len(node.values) == 1 and node.op == "any"
    return node.values[0] if lone and isinstance(node.values, tuple) else None


def present(value: Any) -> Any:
    """A value that is not null. Raises UnsupportedError."""
    if value is None:
        raise UnsupportedError("the filter compares with a null value")
    return value


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


class DataFusion(TextDialect):
    """The SQL of LanceDB: DataFusion's, names in backticks, values in the text."""

    def column(self, name: str) -> str:
        return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else f"`{name}`"

    def literal(self, value: Any, kind: ColumnType) -> str:
        value = present(value)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return quoted(value)
        if isinstance(value, datetime):
            return f"timestamp '{value.isoformat(sep=' ')}'"
        if isinstance(value, date):
            word = "timestamp" if kind.kind == "timestamp" else "date"
            return f"{word} '{value.isoformat()}{' 00:00:00' if word == 'timestamp' else ''}'"
        if isinstance(value, float) and not math.isfinite(value):
            return f"CAST('{value}' AS DOUBLE)"
        return repr(value)

    def list_has(self, node: ListHas, truth: bool) -> Text:
        name, kind = self.column(node.column), self.element(node)
        negation = "" if truth else "NOT "
        exists = self.null(node.column, False)
        empty = exists if (node.op == "all") == truth else self.nothing(node.column)
        if single(node) is not None:
            value = self.operand(single(node), kind)
            return lambda params: f"{negation}array_has({name}, {value(params)})"
        values = self.operands(node.values, kind)

        def text(params: Params) -> str:
            given = values(params)
            if not given:
                return empty
            return f"{negation}array_has_{node.op}({name}, [{', '.join(given)}])"

        return text

    def like(self, node: Like, truth: bool) -> Text:
        name, value = self.column(self.known(node.column)), node.pattern
        word = ("" if truth else "NOT ") + ("LIKE" if node.case_sensitive else "ILIKE")
        if isinstance(value, str) and "\\" not in value and node.escape is None:
            return lambda params: f"{name} {word} {quoted(value)}"
        raise UnsupportedError("LIKE is passed on for constant patterns without a backslash only")
