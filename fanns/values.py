"""Literals in the storage domain of a column: what a value is worth beside the column's values.

A column's values are bools, ints (dates: days, timestamps: their unit, since 1970 UTC), floats or
strings. A literal need not be one of them (`int32 < 2.5`, `date < TIMESTAMP '... 12:00'`), so it is
converted to a `Point`: the largest storage value not above it, and whether it is that value.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from fanns.errors import FilterTypeError
from fanns.schema import ColumnType

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86_400 * 10**9
_PYTHON = frozenset((bool, int, float, str, date, datetime))
_WIDER = {"D": DAY, "h": 3600 * 10**9, "m": 60 * 10**9, **NANOSECONDS}
_FLOAT_FORMATS = {16: "<e", 32: "<f", 64: "<d"}
_FLOAT_MAX = {16: 65504.0, 32: 3.4028234663852886e38, 64: sys.float_info.max}
_EPOCH = datetime(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_ISO = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


class Point(NamedTuple):
    """The largest storage value that is not above the literal, and whether they are equal.

    For ints the value may lie outside the column's range, infinities included.
    """

    value: Any
    exact: bool


def is_null(value: Any) -> bool:
    """Whether a value stands for NULL: None, pandas' NA and NaT, numpy's NaT, a null scalar."""
    if value is None:
        return True
    if type(value) in _PYTHON:
        return False
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    module = type(value).__module__
    if module.startswith("pandas."):
        return type(value).__name__ in ("NAType", "NaTType")
    return module.startswith("pyarrow.") and not getattr(value, "is_valid", True)


def plain(value: Any) -> Any:
    """A scalar of numpy or Arrow as a Python value; anything else as it is.

    datetime64 and pandas timestamps stay, for their nanoseconds.
    """
    if type(value) in _PYTHON:
        return value
    if isinstance(value, np.generic):
        return value if isinstance(value, np.datetime64) else value.item()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return plain(value[()])
    if type(value).__module__.startswith("pyarrow.") and hasattr(value, "as_py"):
        return value.as_py()
    return value


def point(name: str, column: ColumnType, value: Any) -> Point | None:
    """The literal in the column's storage domain; None when it is null.

    For a list column the literal is beside its elements. Raises FilterTypeError naming
    the column, its type and the literal when they are unlike.
    """
    if is_null(value):
        return None
    found = _POINTS[column.kind](plain(value), column)
    if found is None:
        raise FilterTypeError(mismatch(name, column, value))
    return found


def mismatch(name: str, column: ColumnType, value: Any) -> str:
    """The message for a literal of another kind than the column."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    hint = {
        "date": ": write DATE 'YYYY-MM-DD' or a datetime.date",
        "timestamp": ": write TIMESTAMP 'YYYY-MM-DD hh:mm:ss' or a datetime.datetime",
        "bool": ": write TRUE or FALSE",
        "string": ": write it in single quotes",
    }.get(column.kind, ": write a number")
    if column.kind == "string" and isinstance(value, str):
        hint = ": it is not valid Unicode"
    return (
        f"column {name!r} is {column} and cannot be compared with "
        f"{shown} ({type(value).__name__}){hint}"
    )


def _bool(value: Any, column: ColumnType) -> Point | None:
    return Point(value, True) if isinstance(value, bool) else None


def _string(value: Any, column: ColumnType) -> Point | None:
    if not isinstance(value, str):
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return None
    return Point(str(value), True)


def _int(value: Any, column: ColumnType) -> Point | None:
    if isinstance(value, int):
        return None if isinstance(value, bool) else Point(value, True)
    if not isinstance(value, float | Decimal | Fraction):
        return None
    if value != value:  # NaN is above all numbers
        return Point(math.inf, False)
    if value in (math.inf, -math.inf):
        return Point(float(value), False)
    low = math.floor(value)
    return Point(low, low == value)


def _float(value: Any, column: ColumnType) -> Point | None:
    """Rounded to the column's own precision, as DuckDB does for literals."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        return None
    form = _FLOAT_FORMATS[column.bits]
    try:
        number = float(value)
        return Point(struct.unpack(form, struct.pack(form, number))[0] + 0.0, True)  # no -0.0
    except OverflowError:  # finite, but beyond the largest float
        return Point(_FLOAT_MAX[column.bits] if value > 0 else -math.inf, False)


def _date(value: Any, column: ColumnType) -> Point | None:
    if type(value) is date:
        return Point(value.toordinal() - _EPOCH_ORDINAL, True)
    return _steps(value, DAY)


def _timestamp(value: Any, column: ColumnType) -> Point | None:
    return _steps(value, NANOSECONDS[column.unit or "us"])


def _steps(value: Any, step: int) -> Point | None:
    instant = nanoseconds(value)
    if instant is None:
        return None
    count, rest = divmod(instant, step)
    return Point(count, rest == 0)


_POINTS: dict[str, Callable[[Any, ColumnType], Point | None]] = {
    "bool": _bool,
    "string": _string,
    "int": _int,
    "float": _float,
    "date": _date,
    "timestamp": _timestamp,
}


def nanoseconds(value: Any) -> int | None:
    """Nanoseconds since 1970 UTC of a date, datetime, datetime64 or ISO text; None for others.

    What carries no time zone is UTC.
    """
    if isinstance(value, str):
        value = parse_instant(value)
    if isinstance(value, datetime):
        try:
            since = value.replace(tzinfo=None) - _EPOCH - (value.utcoffset() or timedelta())
        except OverflowError:
            return None
        extra = getattr(value, "nanosecond", 0)  # pandas.Timestamp
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000 + extra
    if isinstance(value, date):
        return (value.toordinal() - _EPOCH_ORDINAL) * DAY
    if isinstance(value, np.datetime64):
        return _of_datetime64(value)
    return None


def _of_datetime64(value: np.datetime64) -> int | None:
    unit, count = np.datetime_data(value.dtype)
    if unit in ("Y", "M", "W"):
        value, unit, count = value.astype("datetime64[D]"), "D", 1
    if unit not in _WIDER:
        return None
    return int(value.astype(np.int64)) * count * _WIDER[unit]


def parse_instant(text: str) -> date | datetime | np.datetime64 | None:
    """The date or timestamp that an ISO 8601 text spells; None when it spells none.

    Only a fraction finer than microseconds gives a datetime64[ns], in UTC.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day))
        fraction = (fraction or "").ljust(9, "0")
        day_start = datetime(int(year), int(month), int(day), tzinfo=_zone(zone))
        moment = day_start.replace(
            hour=int(hour),
            minute=int(minute),
            second=int(second or 0),
            microsecond=int(fraction[:6]),
        )
    except (ValueError, OverflowError):
        return None
    if fraction[6:] == "000":
        return moment
    whole = nanoseconds(moment)
    instant = (whole or 0) + int(fraction[6:])
    return np.datetime64(instant, "ns") if abs(instant) < 2**63 else None


def _zone(text: str | None) -> Any:
    if text is None:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    return datetime.strptime(f"{text[0]}{digits}", "%z").tzinfo
