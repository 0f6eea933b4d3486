"""SQL with placeholders, for DuckDB and PostgreSQL: the text of a filter never changes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from fanns.bench.engines.dialects import Text, TextDialect, present, quoted, single
from fanns.bench.engines.engine import UnsupportedError
from fanns.expressions import In, Like, ListHas, Parameter
from fanns.schema import ColumnType


class Bound(TextDialect):
    """SQL with placeholders: a constant text, whose values the engine binds."""

    inline = False

    def array(self, node: ListHas | In, kind: ColumnType) -> str:
        """The values as one array of the element type."""
        if isinstance(node.values, Parameter):
            return self.placeholder(node.values.name, kind, True)
        values = ", ".join(self.operand(value, kind)({}) for value in node.values)
        return f"CAST(ARRAY[{values}] AS {self.type_name(kind)}[])"

    @abstractmethod
    def type_name(self, kind: ColumnType) -> str:
        """The engine's name of a scalar type."""

    def literal(self, value: Any, kind: ColumnType) -> str:
        value = present(value)
        text = str(value).upper() if isinstance(value, bool) else str(value)
        return f"CAST({quoted(text)} AS {self.type_name(kind)})"

    def like(self, node: Like, truth: bool) -> Text:
        if not isinstance(node.pattern, str | Parameter):
            raise UnsupportedError("starts_with, ends_with and contains have no translation yet")
        name = self.column(self.known(node.column))
        word = ("" if truth else "NOT ") + ("LIKE" if node.case_sensitive else "ILIKE")
        pattern = self.operand(node.pattern, ColumnType("string"))({})
        text = f"{name} {word} {pattern} ESCAPE {quoted(node.escape or '')}"
        return lambda params: text


class DuckDB(Bound):
    """DuckDB's SQL with $parameters."""

    length = "len({})"
    _NAMES: ClassVar[dict[str, str]] = {
        "bool": "BOOLEAN",
        "string": "VARCHAR",
        "date": "DATE",
    }

    def type_name(self, kind: ColumnType) -> str:
        if kind.kind == "int":
            return ("" if kind.signed else "U") + _INTS[kind.bits]
        if kind.kind == "float":
            return "DOUBLE" if kind.bits == 64 else "FLOAT"
        if kind.kind == "timestamp":
            short = {"s": "_S", "ms": "_MS", "ns": "_NS"}.get(kind.unit or "us", "")
            return "TIMESTAMPTZ" if kind.tz else f"TIMESTAMP{short}"
        return self._NAMES[kind.kind]

    def placeholder(self, name: str, kind: ColumnType, many: bool) -> str:
        if many:
            return f"${name}::{self.type_name(kind)}[]"
        return f"${name}::{self.type_name(kind)}" if kind.kind == "float" else f"${name}"

    def member(self, node: In, truth: bool) -> Text:
        term, array = self.term(node.term), self.array(node, self.kind(node.term))
        text = f"{'' if truth else 'NOT '}({term} IN {array})"
        return lambda params: text

    def list_has(self, node: ListHas, truth: bool) -> Text:
        array = self.array(node, self.element(node))
        negation = "" if truth else "NOT "
        text = f"{negation}list_has_{node.op}({self.column(node.column)}, {array})"
        return lambda params: text

    def like(self, node: Like, truth: bool) -> Text:
        made = super().like(node, truth)
        text = made({}) if node.escape else made({}).removesuffix(" ESCAPE ''")
        return lambda params: text


class PostgreSQL(Bound):
    """PostgreSQL's SQL with %(parameters)s; lists are arrays, which a GIN index serves."""

    length = "cardinality({})"
    _NAMES: ClassVar[dict[str, str]] = {"bool": "boolean", "string": "text", "date": "date"}

    def column(self, name: str) -> str:
        return super().column(name).replace("%", "%%")

    def literal(self, value: Any, kind: ColumnType) -> str:
        return super().literal(value, kind).replace("%", "%%")

    def type_name(self, kind: ColumnType) -> str:
        if kind.kind == "int":
            bits = kind.bits if kind.signed else 2 * kind.bits
            return {8: "smallint", 16: "smallint", 32: "integer", 64: "bigint"}.get(bits, "numeric")
        if kind.kind == "float":
            return "double precision" if kind.bits == 64 else "real"
        if kind.kind == "timestamp":
            return "timestamptz" if kind.tz else "timestamp"
        return self._NAMES[kind.kind]

    def placeholder(self, name: str, kind: ColumnType, many: bool) -> str:
        if many:
            return f"%({name})s::{self.type_name(kind)}[]"
        # the index of an integer column serves integers of any width, without a cast that overflows
        return f"%({name})s" if kind.kind == "int" else f"%({name})s::{self.type_name(kind)}"

    def member(self, node: In, truth: bool) -> Text:
        term, array = self.term(node.term), self.array(node, self.kind(node.term))
        if truth:
            return lambda params: f"{term} = ANY({array})"
        # beside an empty array even a null differs from all
        return lambda params: f"{term} <> ALL({array}) AND {term} IS NOT NULL"

    def list_has(self, node: ListHas, truth: bool) -> Text:
        op = "@>" if node.op == "all" or single(node) is not None else "&&"
        text = f"{self.column(node.column)} {op} {self.array(node, self.element(node))}"
        return lambda params: text if truth else f"NOT ({text})"


_INTS = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
