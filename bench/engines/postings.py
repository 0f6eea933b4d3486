"""Attribute columns as a user of a vector library keeps them: sorted order and posting lists.

One structure serves equality, IN and ranges of a scalar column: its rows in order of value, so that
each value, and each range of values, owns a slice. A list column has a posting list per element.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.bench.engines.engine import Rows, UnsupportedError
from fanns.errors import FannsError
from fanns.schema import ColumnType

Spans = tuple[tuple[int, int], ...]  # half-open ranges of value numbers: disjoint, ascending

_EPOCH = datetime(1970, 1, 1)
_DAY_ZERO = _EPOCH.toordinal()
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Ordered:
    """A scalar column: its rows in order of value, nulls first and NaN last.

    Attributes:
        order: int64[n], rows; rows of equal values ascend.
        codes: unsigned[n], the number of each row's value: 0 for null, then 1, 2, ... in order.
        starts: value c owns order[starts[c]:starts[c + 1]].
        top: how many values there are, null included.
        convert: makes a filter's value comparable with the column's.
    """

    def __init__(self, column: pa.ChunkedArray, kind: ColumnType) -> None:
        self.convert = _converter(kind)
        array = _plain(column, kind).dictionary_encode()
        keys = _keys(array.dictionary, kind)
        ranks, self.distinct = _ranked(keys)
        codes = np.zeros(len(array), np.int64)
        valid = np.asarray(array.is_valid())
        codes[valid] = ranks[np.asarray(array.indices.drop_null())]
        self._nan = len(self.distinct) + 1
        self.top = max(self._nan, int(ranks.max(initial=0)) + 1)
        self.codes = codes.astype(np.min_scalar_type(self.top))
        self.order = np.argsort(self.codes, kind="stable").astype(np.int64)
        counts = np.bincount(codes, minlength=self.top)
        self.starts: list[int] = [0, *np.cumsum(counts).tolist()]
        self._numbers = {value: c for c, value in enumerate(self.distinct, 1)}

    def equal(self, value: Any) -> Spans:
        """Where the column equals a (converted) value."""
        number = self._numbers.get(value)
        if number is None:
            return ((self._nan, self.top),) if value is math.nan and self._nan < self.top else ()
        return ((number, number + 1),)

    def compare(self, op: str, value: Any) -> Spans:
        """Where `column op value` is true; NaN equals itself and is above all numbers."""
        if op == "=":
            return self.equal(value)
        if value is math.nan:
            left, right = self._nan, self.top
            low, high = (1, right if op == "<=" else left) if op[0] == "<" else (left, right)
            low = right if op == ">" else low
        elif op == "<":
            low, high = 1, bisect_left(self.distinct, value) + 1
        elif op == "<=":
            low, high = 1, bisect_right(self.distinct, value) + 1
        elif op == ">":
            low, high = bisect_right(self.distinct, value) + 1, self.top
        else:
            low, high = bisect_left(self.distinct, value) + 1, self.top
        return ((low, high),) if low < high else ()

    def others(self, spans: Spans) -> Spans:
        """The non-null values outside the spans."""
        out, low = [], 1
        for start, stop in spans:
            if low < start:
                out.append((low, start))
            low = stop
        if low < self.top:
            out.append((low, self.top))
        return tuple(out)

    def count(self, spans: Spans) -> int:
        """Rows in the spans."""
        if len(spans) == 1:
            return self.starts[spans[0][1]] - self.starts[spans[0][0]]
        return sum(self.starts[high] - self.starts[low] for low, high in spans)

    def rows(self, spans: Spans) -> Rows:
        """Rows in the spans; a view where it is one span."""
        if len(spans) == 1:
            return self.order[self.starts[spans[0][0]] : self.starts[spans[0][1]]]
        parts = [self.order[self.starts[low] : self.starts[high]] for low, high in spans]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


class Lists:
    """A list column: a posting list per element, and the lengths.

    Attributes:
        lengths: the number of elements, as a scalar column; null where the list is null.
        convert: makes a filter's value comparable with the elements.
    """

    def __init__(self, column: pa.ChunkedArray, kind: ColumnType) -> None:
        item = ColumnType.from_arrow(kind.to_arrow().value_type)
        self.convert = _converter(item)
        lists = _plain(column, kind)
        self.lengths = Ordered(
            pa.chunked_array([pc.list_value_length(lists).cast(pa.int64())]), ColumnType("int")
        )
        elements = pc.list_flatten(lists)
        owners = np.asarray(pc.list_parent_indices(lists), np.int64)
        valid = np.asarray(elements.is_valid())
        encoded = elements.filter(pa.array(valid)).dictionary_encode()
        ranks, distinct = _ranked(_keys(encoded.dictionary, item))
        codes = ranks[np.asarray(encoded.indices)].astype(np.int64)
        pairs = np.sort(codes * max(1, len(lists)) + owners[valid])
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # an element twice in a list counts once
        numbers, rows = np.divmod(pairs, max(1, len(lists)))
        stops = np.cumsum(np.bincount(numbers, minlength=1))
        values = [None, *distinct, math.nan]
        self._postings = {values[c]: rows[stops[c - 1] : stops[c]] for c in range(1, len(stops))}
        self._none = np.empty(0, np.int64)

    def posting(self, value: Any) -> Rows:
        """Rows whose list holds a (converted) value, ascending."""
        return self._postings.get(value, self._none)


def union(many: Sequence[Spans]) -> Spans:
    """The values of any of the spans; touching spans become one."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(span for spans in many for span in spans):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def common(many: Sequence[Spans]) -> Spans:
    """The values of all of the spans."""
    found = many[0]
    for spans in many[1:]:
        if len(found) == 1 and len(spans) == 1:  # both ends of a range
            low, high = max(found[0][0], spans[0][0]), min(found[0][1], spans[0][1])
            found = ((low, high),) if low < high else ()
            continue
        found = tuple(
            (max(a, c), min(b, d)) for a, b in found for c, d in spans if max(a, c) < min(b, d)
        )
    return found


def column_index(table: pa.Table, name: str) -> Ordered | Lists:
    """The index of a column. Raises UnsupportedError where there is none for its type."""
    if name not in table.column_names:
        raise UnsupportedError(f"no column {name!r}: the items have {table.column_names}")
    try:
        kind = ColumnType.from_arrow(table.schema.field(name).type)
    except FannsError as error:
        raise UnsupportedError(f"column {name!r}: {error}") from error
    return Lists(table[name], kind) if kind.is_list else Ordered(table[name], kind)


def _plain(column: pa.ChunkedArray, kind: ColumnType) -> pa.Array:
    """One array of the plain type (strings, not dictionaries or views)."""
    plain = column.cast(kind.to_arrow())
    return pa.concat_arrays(plain.chunks) if plain.num_chunks else pa.array([], kind.to_arrow())


def _keys(values: pa.Array, kind: ColumnType) -> list[Any]:
    """Distinct values as Python values that compare as the column's do."""
    if kind.kind == "timestamp":
        step = _NANOSECONDS[kind.unit or "us"]
        return [count * step for count in values.cast(pa.int64()).to_pylist()]
    if kind.kind == "date":
        return [days + _DAY_ZERO for days in values.cast(pa.int32()).to_pylist()]
    if kind.kind == "float":
        return [_nan(value) for value in values.cast(pa.float64()).to_pylist()]
    return list(values.to_pylist())


def _ranked(keys: list[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """The number of each key from 1 on, in order, equal keys together, and the keys so ordered.

    NaN comes last, and is not among the keys returned.
    """
    ranks = np.empty(len(keys), np.int64)
    distinct: list[Any] = []
    for i in sorted((i for i, key in enumerate(keys) if key is not math.nan), key=keys.__getitem__):
        if not distinct or keys[i] != distinct[-1]:  # 0.0 and -0.0 are one
            distinct.append(keys[i])
        ranks[i] = len(distinct)
    for i, key in enumerate(keys):
        if key is math.nan:
            ranks[i] = len(distinct) + 1
    return ranks, distinct


def _nan(value: float) -> float:
    """One object for every NaN, so that dictionaries find it."""
    return value if value == value else math.nan


def _converter(kind: ColumnType) -> Callable[[Any], Any]:
    if kind.kind == "float":
        return _nan if kind.bits == 64 else lambda value: _nan(_narrow(value, kind.bits))
    return {"timestamp": _instant, "date": _day, "int": _number}.get(kind.kind, _same)


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    return math.nan if value != value else value


def _narrow(value: Any, bits: int) -> float:
    """Rounded to the column's own precision."""
    with np.errstate(over="ignore"):
        return float((np.float16 if bits == 16 else np.float32)(value))


def _day(value: Any) -> int | Fraction:
    """Days; a time of day is a fraction of one."""
    if type(value) is date:
        return value.toordinal()
    return _DAY_ZERO + Fraction(_instant(value), 86_400 * 10**9)


def _instant(value: Any) -> int:
    """Nanoseconds since 1970 UTC; what carries no time zone is UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise UnsupportedError(f"a time is compared with {value!r}: pass a datetime.datetime")
    since = value.replace(tzinfo=None) - _EPOCH - (value.utcoffset() or timedelta())
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
