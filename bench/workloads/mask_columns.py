"""Columns in the plain form that `masks` compares: numbers, or codes of sorted words.

Independent of fanns's attribute index on purpose: what is found here judges it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import FilterTypeError
from fanns.schema import ColumnType

Mask = NDArray[np.bool_]
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400


class Numbers:
    """Bools, ints, floats, dates (days since 1970) or timestamps (in their unit since 1970 UTC).

    values: [n], anything where null. null: bool[n], or None when there is none.
    """

    def __init__(self, array: pa.Array, kind: ColumnType) -> None:
        self.kind = kind
        self.null = _null(array)
        self.values = _storage(array, kind)
        self._nan = np.isnan(self.values) if kind.kind == "float" else None

    def compare(self, op: str, value: Any) -> Mask:
        """Rows that hold; wrong where null. NaN equals itself and is above all numbers."""
        number = literal(value, self.kind)
        if isinstance(number, float) and math.isnan(number):
            return self._beside_nan(op)
        if not isinstance(number, Fraction):
            found = _OPS[op](self.values, number)
        elif op == "=":
            found = np.zeros(len(self.values), np.bool_)
        else:  # between two storage values
            below = op in ("<", "<=")
            found = self.values <= number.__floor__() if below else self.values > number.__floor__()
        if self._nan is not None and op in (">", ">="):
            found = found | self._nan
        return np.asarray(found)

    def _beside_nan(self, op: str) -> Mask:
        nan = np.zeros(len(self.values), np.bool_) if self._nan is None else self._nan
        full = np.ones(len(nan), np.bool_)
        return {"=": nan, ">=": nan, "<": ~nan, "<=": full, ">": ~full}[op]

    def member(self, values: list[Any]) -> Mask:
        """Rows that equal one of the values; wrong where null."""
        found = np.zeros(len(self.values), np.bool_)
        for value in values:
            found |= self.compare("=", value)
        return found


class Words:
    """Strings as codes of a sorted dictionary (by code point): codes int32[n], 0 where null."""

    def __init__(self, array: pa.Array, kind: ColumnType) -> None:
        self.kind = kind
        self.null = _null(array)
        encoded = array.dictionary_encode()
        found = encoded.dictionary.to_pylist()
        order = sorted(range(len(found)), key=found.__getitem__)
        self.words: list[str] = [found[at] for at in order]
        rank = np.zeros(max(1, len(found)), np.int32)
        rank[order] = np.arange(len(found))
        self.codes = rank[np.asarray(encoded.indices.fill_null(0))]
        self.places = {word: at for at, word in enumerate(self.words)}

    def compare(self, op: str, value: Any) -> Mask:
        """Rows that hold; wrong where null."""
        word = literal(value, self.kind)
        if op == "=":
            return np.asarray(self.codes == self.places.get(word, -1))
        side = bisect_left if op in ("<", ">=") else bisect_right
        at = side(self.words, word)
        return np.asarray(self.codes < at if op in ("<", "<=") else self.codes >= at)

    def member(self, values: list[Any]) -> Mask:
        """Rows that equal one of the values; wrong where null."""
        places = (self.places.get(literal(value, self.kind)) for value in values)
        return self.among([place for place in places if place is not None])

    def among(self, places: list[int]) -> Mask:
        """Rows whose word is at one of these places of the dictionary; wrong where null."""
        chosen = np.zeros(max(1, len(self.words)), np.bool_)
        chosen[places] = True
        found: Mask = chosen[self.codes]
        return found


class Lists:
    """A list column: for each element value the rows that hold it. lengths: int64[n]."""

    def __init__(self, array: pa.Array, kind: ColumnType) -> None:
        self.kind = kind
        self.null = _null(array)
        self.lengths = np.asarray(pc.list_value_length(array).fill_null(0)).astype(np.int64)
        # Not pc.list_parent_indices: it counts what lies under a null list, flatten does not.
        values, rows = array.flatten(), np.repeat(np.arange(len(array)), self.lengths)
        present = np.asarray(values.is_valid())
        item = kind.item
        flat: Any
        if item.kind == "string":
            words = Words(values, item)
            flat, keys = words.codes, words.words
        else:
            unique, flat = np.unique(Numbers(values, item).values, return_inverse=True)
            keys = unique.tolist()
        flat, rows = flat[present], rows[present].astype(np.int64)
        order = np.argsort(flat, kind="stable")
        self._rows = rows[order]
        self._starts = np.searchsorted(flat[order], np.arange(len(keys) + 1))
        self._places = {_key(key): at for at, key in enumerate(keys)}

    def holding(self, value: Any) -> NDArray[np.int64]:
        """Rows whose list holds the value, ascending, a row once for each time."""
        place = self._places.get(_key(literal(value, self.kind.item)))
        if place is None:
            return np.empty(0, np.int64)
        return np.asarray(self._rows[self._starts[place] : self._starts[place + 1]])

    def has(self, op: str, values: list[Any]) -> Mask:
        """Rows whose list holds any, or all, of the values; wrong where null."""
        found = np.full(len(self.lengths), op == "all")
        for value in values:
            if op == "any":
                found[self.holding(value)] = True
            else:
                one = np.zeros(len(found), np.bool_)
                one[self.holding(value)] = True
                found &= one
        return found


Columns = Numbers | Words | Lists


def column(array: pa.ChunkedArray | pa.Array, kind: ColumnType) -> Columns:
    """The plain form of an Arrow column."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if array.type != kind.to_arrow():
        array = array.cast(kind.to_arrow())
    if kind.is_list:
        return Lists(array, kind)
    return Words(array, kind) if kind.kind == "string" else Numbers(array, kind)


def literal(value: Any, kind: ColumnType) -> Any:
    """A Python value in the storage domain of a column; a Fraction where it is between two values.

    Raises FilterTypeError for a value of another kind.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if kind.kind in ("date", "timestamp"):
        since = instant(value)
        step = Fraction(_DAY) if kind.kind == "date" else Fraction(1, _SECONDS[kind.unit or "us"])
        steps = since / step
        return int(steps) if steps.denominator == 1 else steps
    if kind.kind in ("string", "bool"):
        if isinstance(value, str if kind.kind == "string" else bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if kind.kind == "float":
            with np.errstate(over="ignore"):
                return float(np.dtype(f"float{kind.bits}").type(value)) + 0.0
        if isinstance(value, int) or not math.isfinite(value):
            return value
        return int(value) if value == int(value) else Fraction(value)
    raise FilterTypeError(f"{value!r} ({type(value).__name__}) beside a column of type {kind}")


def instant(value: Any) -> Fraction:
    """Seconds since 1970 UTC of a date, a datetime, a datetime64 or ISO text."""
    if isinstance(value, str):
        value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    if isinstance(value, np.datetime64):
        return Fraction(int(value.astype("datetime64[ns]").astype(np.int64)), 10**9)
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        since = utc - datetime(1970, 1, 1, tzinfo=UTC)
        return Fraction(since.days * _DAY + since.seconds) + Fraction(since.microseconds, 10**6)
    if isinstance(value, date):
        return Fraction((value - date(1970, 1, 1)).days * _DAY)
    raise FilterTypeError(f"{value!r} ({type(value).__name__}) is not a date or a time")


def _key(value: Any) -> Any:
    """Equal for values that are the same element; one key for every NaN."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _null(array: pa.Array) -> Mask | None:
    return np.asarray(array.is_null()) if array.null_count else None


def _storage(array: pa.Array, kind: ColumnType) -> NDArray[Any]:
    if kind.kind == "bool":
        return np.asarray(array.fill_null(False)).astype(np.bool_)
    if kind.kind in ("date", "timestamp"):
        array = array.cast(pa.int32() if kind.kind == "date" else pa.int64())
    return np.asarray(array.fill_null(0))


_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "=": np.equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
