"""SQL literals and parameters as Python values."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

import numpy as np
from sqlglot import exp

from fanns.deferred import Cast
from fanns.errors import FilterSyntaxError
from fanns.expressions import Parameter
from fanns.values import parse_instant

NOT_A_LITERAL = object()
MAX_DIGITS = 400
_Type = exp.DataType.Type
_DATES = {_Type.DATE, _Type.DATE32}
_TIMESTAMPS = {
    _Type.DATETIME,
    _Type.TIMESTAMP,
    _Type.TIMESTAMPNTZ,
    _Type.TIMESTAMPTZ,
    _Type.TIMESTAMP_S,
    _Type.TIMESTAMP_MS,
    _Type.TIMESTAMP_NS,
}
_FLOATS = {_Type.FLOAT, _Type.DOUBLE}
_INTS = set(exp.DataType.INTEGER_TYPES)
_TEXTS = {_Type.TEXT, _Type.VARCHAR}


def shown(node: Any) -> str:
    """The text of a node (or the text itself) in quotes, cut to a readable length."""
    if isinstance(node, exp.Expression):
        try:
            node = node.sql(dialect="duckdb")
        except (RecursionError, ValueError, TypeError, AttributeError):
            node = type(node).__name__.upper()
    text = str(node)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def read_literal(node: Any) -> Any:
    """The value of a literal, or its Parameter; NOT_A_LITERAL for anything else.

    Raises FilterSyntaxError naming a literal that has no value, such as DATE '2020-13-01'.
    """
    node = node.unnest()
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else _number(node)
    if isinstance(node, exp.RawString):
        return str(node.this)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Neg):
        return _negative(node)
    if isinstance(node, exp.Placeholder | exp.Parameter):
        return _parameter(node)
    if type(node) is exp.Cast:
        return _cast(node)
    return NOT_A_LITERAL


def is_null_value(node: Any) -> bool:
    """Whether the node is the literal NULL."""
    return isinstance(node.unnest(), exp.Null)


def _number(node: exp.Literal) -> int | float:
    text = str(node.this)
    try:
        if len(text) > MAX_DIGITS:
            raise ValueError
        return int(text) if text.isascii() and text.isdigit() else float(text)
    except ValueError:
        raise FilterSyntaxError(f"{shown(text)} is not a number") from None


def _negative(node: exp.Neg) -> Any:
    value = read_literal(node.this)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterSyntaxError(f"{shown(node)}: a minus sign needs a number after it")
    return -value


def _parameter(node: exp.Expression) -> Parameter:
    name = node.this
    if isinstance(name, exp.Expression):
        name = name.name
    if not name:
        raise FilterSyntaxError("'?' has no name: write parameters as :name")
    return Parameter(str(name))


def _cast(node: exp.Cast) -> Any:
    kind = node.to.this
    value = read_literal(node.this)
    if value is NOT_A_LITERAL:
        raise FilterSyntaxError(f"{shown(node)}: only literals and parameters can be cast")
    if value is None:
        return None
    if kind in _DATES or kind in _TIMESTAMPS:
        if isinstance(value, Parameter):
            return Cast(value, "date" if kind in _DATES else "timestamp")
        return _date(node, value) if kind in _DATES else _timestamp(node, value)
    if kind in _FLOATS:
        return _float(node, value)
    if kind in _INTS and type(value) is int:
        return value
    if kind in _TEXTS and isinstance(value, str):
        return value
    raise FilterSyntaxError(f"{shown(node)}: casts are to DATE, TIMESTAMP or a number's own type")


def _float(node: exp.Cast, value: Any) -> float:
    try:
        if isinstance(value, bool | Parameter | Cast):
            raise ValueError
        number = float(value)
        return math.nan if number != number else number  # one NaN, so that trees are equal
    except (ValueError, TypeError, OverflowError):
        raise FilterSyntaxError(f"{shown(node)} is not a number") from None


def _instant(node: exp.Cast, value: Any) -> date | datetime | np.datetime64:
    found = parse_instant(value) if isinstance(value, str) else value
    if not isinstance(found, date | np.datetime64):
        raise FilterSyntaxError(
            f"{shown(node)} is not a date or timestamp: expected 'YYYY-MM-DD' or "
            "'YYYY-MM-DD hh:mm:ss' with or without a fraction and a time zone"
        )
    return found


def _date(node: exp.Cast, value: Any) -> date:
    found = _instant(node, value)
    if isinstance(found, np.datetime64):
        found = found.astype("datetime64[D]").item()
    if isinstance(found, datetime):
        return found.date()
    assert isinstance(found, date)
    return found


def _timestamp(node: exp.Cast, value: Any) -> datetime | np.datetime64:
    found = _instant(node, value)
    if isinstance(found, datetime | np.datetime64):
        return found
    return datetime(found.year, found.month, found.day)
