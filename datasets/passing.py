"""Which rows pass the filter of which query, asked for block by block.

Exact answers over millions of rows cannot hold a mask for each of 30,000 filters. These tell a
block of any queries and any rows at a time, from one plain copy of the column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

Mask = NDArray[np.bool_]


class Passing(Protocol):
    """The filters of m queries over n rows.

    queries, rows: m and n. digest: hex, tells these filters over this column from others.
    """

    queries: int
    rows: int
    digest: str

    def block(self, queries: slice, rows: slice) -> Mask:
        """bool[q, r]: whether each row passes the filter of each query."""


class Equal:
    """A column of single values equals the query's own value; a null equals nothing."""

    def __init__(self, column: pa.ChunkedArray, values: Sequence[Any]) -> None:
        """values: one for each query; none of them null."""
        coded = _whole(column).dictionary_encode()
        places = {value: place for place, value in enumerate(coded.dictionary.to_pylist())}
        small = np.int8 if len(places) < 127 else np.int32
        self._codes = np.asarray(coded.indices.fill_null(-1)).astype(small)
        self._wanted = np.array([places.get(value, -2) for value in values], small)
        self.queries, self.rows = len(self._wanted), len(self._codes)
        self.digest = _digest("equal", self._codes, self._wanted)

    def block(self, queries: slice, rows: slice) -> Mask:
        return np.asarray(self._codes[rows] == self._wanted[queries, None])


class Between:
    """A column of integers or days lies in the query's own range, both ends included."""

    def __init__(self, column: pa.ChunkedArray, low: Sequence[int], high: Sequence[int]) -> None:
        """low, high: as the column stores its values (days since 1970 for dates)."""
        numbers = integers(column)
        null = np.asarray(_whole(column).is_null())
        self._values = numbers
        self._null = null if null.any() else None
        self._low, self._high = np.array(low, np.int64), np.array(high, np.int64)
        self.queries, self.rows = len(self._low), len(numbers)
        parts = [numbers, self._low, self._high]
        self.digest = _digest("between", *parts, *([] if self._null is None else [self._null]))

    def block(self, queries: slice, rows: slice) -> Mask:
        values = self._values[rows]
        found = values >= self._low[queries, None]
        found &= values <= self._high[queries, None]
        if self._null is not None:
            found &= ~self._null[rows]
        return np.asarray(found)


class Contains:
    """A column of lists contains the query's own value."""

    def __init__(self, column: pa.ChunkedArray, values: Sequence[Any]) -> None:
        """values: one for each query; none of them null."""
        lists = _whole(column)
        lengths = np.asarray(pc.list_value_length(lists).fill_null(0)).astype(np.int64)
        coded = lists.flatten().dictionary_encode()
        places = {value: place for place, value in enumerate(coded.dictionary.to_pylist())}
        self._flat = np.asarray(coded.indices.fill_null(len(places))).astype(np.int32)
        self._offsets = np.concatenate([[0], np.cumsum(lengths)])
        self._known = len(places) + 2  # and a place for null, and one for what no list holds
        absent = len(places) + 1
        self._wanted = np.array([places.get(value, absent) for value in values], np.int32)
        self.queries, self.rows = len(self._wanted), len(lengths)
        self.digest = _digest("contains", self._flat, self._offsets, self._wanted)

    def block(self, queries: slice, rows: slice) -> Mask:
        first, last, _ = rows.indices(self.rows)
        asked, place = np.unique(self._wanted[queries], return_inverse=True)
        local = np.full(self._known, -1, np.int64)
        local[asked] = np.arange(len(asked))
        codes = local[self._flat[self._offsets[first] : self._offsets[last]]]
        owner = np.repeat(np.arange(last - first), np.diff(self._offsets[first : last + 1]))
        holds = np.zeros((len(asked), last - first), np.bool_)
        holds[codes[codes >= 0], owner[codes >= 0]] = True
        return np.asarray(holds[place])


class Masks:
    """A mask bool[n] for each query, or row numbers: for filters of any other kind."""

    def __init__(self, rows: int, given: Sequence[NDArray[Any]]) -> None:
        """given: for each query bool[rows], or its row numbers as integers."""
        self.queries, self.rows = len(given), rows
        self._packed = np.empty((len(given), (rows + 7) // 8), np.uint8)
        for query, one in enumerate(given):
            self._packed[query] = np.packbits(self._mask(query, one))
        self.digest = _digest("masks", self._packed)

    def block(self, queries: slice, rows: slice) -> Mask:
        first, last, _ = rows.indices(self.rows)
        byte = first // 8
        bits = np.unpackbits(self._packed[queries, byte : (last + 7) // 8], axis=1)
        return bits[:, first - 8 * byte : last - 8 * byte].view(np.bool_)

    def _mask(self, query: int, one: NDArray[Any]) -> Mask:
        one = np.asarray(one)
        if one.dtype == np.bool_ and one.shape == (self.rows,):
            return one
        if one.dtype == np.bool_ or one.ndim != 1 or (len(one) and one.dtype.kind not in "iu"):
            raise InputError(
                f"filter of query {query}: expected bool[{self.rows}] or row numbers, "
                f"got {one.dtype}{list(one.shape)}"
            )
        outside = (one < 0) | (one >= self.rows)
        if outside.any():
            raise InputError(
                f"filter of query {query}: row {one[outside][0]} of {self.rows}, counted from 0"
            )
        found = np.zeros(self.rows, np.bool_)
        found[one.astype(np.int64)] = True
        return found


def integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of integers, or of dates as days since 1970, as int64; 0 where null.

    Raises InputError for a column of another type.
    """
    array = _whole(column)
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    if not pa.types.is_integer(array.type):
        raise InputError(f"expected a column of integers or dates, got {array.type}")
    return np.asarray(array.cast(pa.int64()).fill_null(0))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _digest(kind: str, *arrays: NDArray[Any]) -> str:
    found = hashlib.sha256(kind.encode())
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
