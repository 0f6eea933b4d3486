"""Filters for zvec (text) and Qdrant (objects), whose logic has two values: a null is never true.

Negations are at the leaves already, where "false" is: not null, and not true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from fanns.bench.engines.dialects import Dialect, Text, TextDialect, present, single
from fanns.bench.engines.engine import Params, UnsupportedError
from fanns.expressions import Compare, In, Length, Like, ListHas, Parameter
from fanns.schema import ColumnType

_EPOCH = datetime(1970, 1, 1)
_STEPS = {"s": 10**6, "ms": 10**3, "us": 1}  # microseconds


def stored(value: Any, kind: ColumnType) -> Any:
    """A date as days since 1970, a timestamp as its column's units since then; others as they are.

    For engines without such types. Raises UnsupportedError for moments that the column's unit
    cannot say.
    """
    if not isinstance(value, date):
        return value
    if kind.kind == "date" and not isinstance(value, datetime):
        return (value - _EPOCH.date()).days
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    since = value.replace(tzinfo=None) - (value.utcoffset() or (_EPOCH - _EPOCH)) - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
    unit = 86_400 * 10**6 if kind.kind == "date" else _STEPS.get(kind.unit or "us", 0)
    if unit == 0:
        return micros * 1000
    if micros % unit:
        raise UnsupportedError(f"{value!r} lies between two values of a {kind} column")
    return micros // unit


LONGEST = 32  # elements of one CONTAIN_ANY or CONTAIN_ALL that zvec takes


class Zvec(TextDialect):
    """zvec's filter text: SQL-like, without NOT before parentheses and without empty lists."""

    differs = "!="

    def column(self, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise UnsupportedError(f"zvec has no columns named {name!r}")
        return name

    def nothing(self, name: str) -> str:
        return f"{self.null(name, True)} AND {self.null(name, False)}"

    def literal(self, value: Any, kind: ColumnType) -> str:
        value = stored(present(value), kind)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        if isinstance(value, float):
            if not math.isfinite(value):
                raise UnsupportedError("zvec's filters know no NaN and no infinity")
            return format(Decimal(repr(value)), "f")  # every digit, no exponent
        return repr(value)

    def list_has(self, node: ListHas, truth: bool) -> Text:
        name, values = self.column(node.column), self.operands(node.values, self.element(node))
        exists = self.null(node.column, False)
        empty = exists if (node.op == "all") == truth else self.nothing(node.column)
        word = f"{'' if truth else 'NOT '}CONTAIN_{node.op.upper()}"
        join = " OR " if (node.op == "any") == truth else " AND "

        def text(params: Params) -> str:
            given = values(params)
            if not given:
                return empty
            parts = [given[at : at + LONGEST] for at in range(0, len(given), LONGEST)]
            clauses = [f"{name} {word} ({', '.join(part)})" for part in parts]
            return clauses[0] if len(clauses) == 1 else f"({join.join(clauses)})"

        return text

    def like(self, node: Like, truth: bool) -> Text:
        plain = isinstance(node.pattern, str) and not set(node.pattern) & set("_\\")
        if not plain or not node.case_sensitive or node.escape is not None:
            raise UnsupportedError("zvec's LIKE is passed on for constant patterns with % only")
        name, pattern = self.column(self.known(node.column)), self.literal(node.pattern, _STRING)
        if truth:
            return lambda params: f"{name} LIKE {pattern}"
        return lambda params: f"{name} NOT LIKE {pattern}"


_STRING = ColumnType("string")


class Qdrant(Dialect[Any]):
    """Qdrant's Filter objects, of the package `qdrant_edge`.

    Lists are stored without their nulls (no filter finds these), so their lengths are unknown.
    Booleans are stored as 0 and 1: qdrant_edge 0.9.0 takes MatchValue(True) for a match of the
    integer 1, which finds no boolean.
    """

    def every(self, parts: Sequence[Any]) -> Any:
        import qdrant_edge as qdrant

        return parts[0] if len(parts) == 1 else qdrant.Filter(must=list(parts))

    def some(self, parts: Sequence[Any]) -> Any:
        import qdrant_edge as qdrant

        return parts[0] if len(parts) == 1 else qdrant.Filter(should=list(parts))

    def null(self, name: str, truth: bool) -> Any:
        import qdrant_edge as qdrant

        condition = qdrant.IsNullCondition(name)
        return condition if truth else qdrant.Filter(must_not=[condition])

    def compare(self, node: Compare, truth: bool) -> Callable[[Params], Any]:
        name, kind = self._scalar(node)
        if node.op != "=" and kind.kind in ("string", "bool"):
            raise UnsupportedError(f"Qdrant has no order of {kind} values")
        return self._leaf(
            name, truth, self._one(node.value), lambda value: self._ordered(name, kind, node, value)
        )

    def member(self, node: In, truth: bool) -> Callable[[Params], Any]:
        name, kind = self._scalar(node)
        return self._leaf(
            name, truth, self._many(node.values), lambda values: self._any(name, kind, values)
        )

    def list_has(self, node: ListHas, truth: bool) -> Callable[[Params], Any]:
        name, kind = self.known(node.column), self.columns[self.known(node.column)]
        if not kind.is_list:
            raise UnsupportedError(f"column {name!r} is no list")
        if node.op == "any":
            if single(node) is not None:
                return self._leaf(
                    name, truth, self._one(single(node)), lambda v: self._equal(name, kind.item, v)
                )
            return self._leaf(
                name, truth, self._many(node.values), lambda v: self._any(name, kind.item, v)
            )

        def all_of(values: Sequence[Any]) -> Any:
            if not values:
                return self.null(name, False)
            return self.every([self._equal(name, kind.item, value) for value in values])

        return self._leaf(name, truth, self._many(node.values), all_of)

    def _scalar(self, node: Compare | In) -> tuple[str, ColumnType]:
        if isinstance(node.term, Length):
            raise UnsupportedError("lists are stored without their nulls: their length is unknown")
        kind = self.kind(node.term)
        if kind.is_list:
            raise UnsupportedError(f"column {node.term.name!r} is a list")
        return node.term.name, kind

    def _leaf(
        self,
        name: str,
        truth: bool,
        value: Callable[[Params], Any],
        condition: Callable[[Any], Any],
    ) -> Callable[[Params], Any]:
        import qdrant_edge as qdrant

        if truth:
            return lambda params: condition(value(params))
        null = qdrant.IsNullCondition(name)
        return lambda params: qdrant.Filter(must_not=[condition(value(params)), null])

    def _one(self, value: Any) -> Callable[[Params], Any]:
        if isinstance(value, Parameter):
            name = value.name
            return lambda params: present(params[name])
        fixed = present(value)
        return lambda params: fixed

    def _many(self, values: tuple[Any, ...] | Parameter) -> Callable[[Params], list[Any]]:
        if isinstance(values, Parameter):
            name = values.name
            return lambda params: [present(value) for value in params[name]]
        parts = [self._one(value) for value in values]
        return lambda params: [part(params) for part in parts]

    def _ordered(self, name: str, kind: ColumnType, node: Compare, value: Any) -> Any:
        if node.op == "=":
            return self._equal(name, kind, value)
        return self._range(name, kind, {_BOUNDS[node.op]: value})

    def _equal(self, name: str, kind: ColumnType, value: Any) -> Any:
        import qdrant_edge as qdrant

        if kind.kind in ("float", "date", "timestamp") or isinstance(value, float):
            return self._range(name, kind, {"gte": value, "lte": value})
        value = int(value) if kind.kind == "bool" else value
        return qdrant.FieldCondition(name, match=qdrant.MatchValue(value))

    def _any(self, name: str, kind: ColumnType, values: list[Any]) -> Any:
        import qdrant_edge as qdrant

        if kind.kind in ("string", "int"):
            return qdrant.FieldCondition(name, match=qdrant.MatchAny(values))
        if not values:  # an empty `should` would let every row pass
            return qdrant.FieldCondition(name, match=qdrant.MatchAny([]))
        return self.some([self._equal(name, kind, value) for value in values])

    def _range(self, name: str, kind: ColumnType, bounds: dict[str, Any]) -> Any:
        import qdrant_edge as qdrant

        if kind.kind in ("date", "timestamp"):
            texts = {bound: moment(value) for bound, value in bounds.items()}
            return qdrant.FieldCondition(name, range=qdrant.RangeDateTime(**texts))
        return qdrant.FieldCondition(name, range=qdrant.RangeFloat(**bounds))


_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def moment(value: date) -> str:
    """A date or timestamp as Qdrant reads it; without a time zone it is UTC."""
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T00:00:00Z"
    return value.isoformat() if value.tzinfo else f"{value.isoformat()}Z"
