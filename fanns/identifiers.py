"""The user's keys: int64 or string, one per row, found by value and ordered for ties.

Arrays of a segment (all frozen): for int64 keys `values` int64[n]; for string keys `offsets`
int64[n + 1] and `bytes` uint8[...] (UTF-8). Both keep `order` int32[n], the rows sorted by key:
integers by value, strings by their UTF-8 bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.errors import CorruptIndexError, InputError
from fanns.kernels.jit import frozen
from fanns.kernels.postings import find_keys

# Up to this many string keys are looked up by bisection, more by one hash join.
BISECT_LIMIT = 64


class Identifiers:
    """The keys of one segment.

    Attributes:
        kind: "int" or "string".
        n: number of rows.
        ties: int64[n], ordered as the keys are; equal distances are ordered by it.
    """

    def __init__(self, kind: str, arrays: Mapping[str, np.ndarray], n: int) -> None:
        self.kind = kind
        self.n = n
        self._arrays = arrays
        self._order = arrays["order"]
        if kind == "int":
            self._values = arrays["values"]
            self.ties = self._values
        else:
            self._strings = pa.LargeStringArray.from_buffers(
                n, pa.py_buffer(arrays["offsets"]), pa.py_buffer(arrays["bytes"])
            )
            ranks = np.empty(n, np.int64)
            ranks[self._order] = np.arange(n)
            self.ties = frozen(ranks)

    @classmethod
    def build(cls, values: np.ndarray | pa.Array) -> Identifiers:
        """From int64[n], or an Arrow string array of length n without nulls; all distinct.

        Raises:
            InputError: a key occurs twice.
        """
        if isinstance(values, np.ndarray):
            order = np.argsort(values, kind="stable").astype(np.int32)
            ordered = values[order]
            twice = np.flatnonzero(ordered[1:] == ordered[:-1])
            if len(twice):
                _raise_duplicate(int(ordered[twice[0]]), len(twice))
            return cls("int", {"values": frozen(values), "order": frozen(order)}, len(values))
        strings = values.cast(pa.large_string())
        if isinstance(strings, pa.ChunkedArray):
            strings = strings.combine_chunks()
        n = len(strings)
        # Casting to binary makes Arrow compare bytes, which is the order that ties use.
        order = pc.array_sort_indices(strings.cast(pa.large_binary())).to_numpy().astype(np.int32)
        ordered = strings.take(pa.array(order))
        if n > 1:
            same = pc.equal(ordered.slice(1), ordered.slice(0, n - 1))
            twice = np.flatnonzero(same.to_numpy(zero_copy_only=False))
            if len(twice):
                _raise_duplicate(ordered[int(twice[0])].as_py(), len(twice))
        _, offsets, data = strings.buffers()
        starts = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + n + 1]
        text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        text = text[starts[0] : starts[-1]]
        arrays = {
            "offsets": frozen(starts - starts[0]),
            "bytes": frozen(text.copy()),
            "order": frozen(order),
        }
        return cls("string", arrays, n)

    @classmethod
    def load(cls, kind: str, arrays: Mapping[str, np.ndarray], n: int) -> Identifiers:
        """From the arrays of a stored segment, whose shapes are checked.

        Raises:
            CorruptIndexError: an array has another shape, or a value out of range.
        """
        order = arrays["order"]
        kinds = {"order": np.int32, "values": np.int64, "offsets": np.int64, "bytes": np.uint8}
        for name in ("order", "values") if kind == "int" else ("order", "offsets", "bytes"):
            if arrays[name].dtype != kinds[name] or arrays[name].ndim != 1:
                raise CorruptIndexError(f"ids/{name}: {arrays[name].dtype}, {arrays[name].ndim}-d")
        if order.shape != (n,) or (n and (order.min() < 0 or order.max() >= n)):
            raise CorruptIndexError(f"ids/order: expected {n} row numbers below {n}")
        if kind == "int":
            if arrays["values"].shape != (n,):
                raise CorruptIndexError(f"ids/values: expected {n} keys")
        else:
            offsets, size = arrays["offsets"], len(arrays["bytes"])
            good = offsets.shape == (n + 1,) and offsets[0] == 0 and offsets[-1] == size
            if not good or np.any(np.diff(offsets) < 0):
                raise CorruptIndexError(f"ids/offsets: not {n} rising positions in {size} bytes")
        made = cls(kind, arrays, n)
        if kind == "string":
            try:
                made._strings.validate(full=True)
            except pa.ArrowInvalid as error:
                raise CorruptIndexError(f"ids/bytes: {error}") from error
        return made

    @property
    def last(self) -> int:
        """The greatest of int keys, -1 where there are none."""
        return int(self._values.max(initial=-1))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store."""
        return dict(self._arrays)

    def take(self, rows: np.ndarray) -> np.ndarray | list[str]:
        """The keys of rows (int32[m]): int64[m], or a list of m strings."""
        if self.kind == "int":
            taken: np.ndarray = self._values[rows]
            return taken
        return [self._strings[row].as_py() for row in rows.tolist()]

    def take_arrow(self, rows: np.ndarray) -> pa.Array:
        """The keys of rows (int32[m]) as an Arrow array (int64 or string)."""
        if self.kind == "int":
            return pa.array(self._values[rows])
        return self._strings.take(pa.array(rows)).cast(pa.string())

    def lookup(self, keys: np.ndarray | Sequence[str]) -> np.ndarray:
        """The row of each key, int32[m], -1 where the segment does not hold it."""
        if len(keys) == 0 or self.n == 0:
            return np.full(len(keys), -1, np.int32)
        if self.kind == "int":
            rows = np.empty(len(keys), np.int32)
            find_keys(self._values, self._order, frozen(np.asarray(keys, np.int64)), rows)
            return rows
        if len(keys) <= BISECT_LIMIT:
            return np.array([self._find(key) for key in keys], np.int32)
        found = pc.index_in(pa.array(keys, pa.large_string()), value_set=self._strings)
        return np.asarray(pc.fill_null(found, -1)).astype(np.int32)

    def _find(self, key: str) -> int:
        text = key.encode()
        place = bisect_left(self._order, text, key=self._text)
        if place == self.n or self._text(self._order[place]) != text:
            return -1
        return int(self._order[place])

    def _text(self, row: Any) -> bytes:
        offsets, data = self._arrays["offsets"], self._arrays["bytes"]
        return data[offsets[row] : offsets[row + 1]].tobytes()


class RowNumbers(Identifiers):
    """Keys 0..n-1 that are the row numbers: none is held. `ties` is empty, which says the same."""

    def __init__(self, n: int) -> None:
        self.kind, self.n = "int", n
        self.ties = frozen(np.empty(0, np.int64))

    @property
    def last(self) -> int:
        return self.n - 1

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def take(self, rows: np.ndarray) -> np.ndarray:
        return rows.astype(np.int64)

    def take_arrow(self, rows: np.ndarray) -> pa.Array:
        return pa.array(self.take(rows))

    def lookup(self, keys: np.ndarray | Sequence[str]) -> np.ndarray:
        wanted = np.asarray(keys, np.int64)
        return np.where((wanted >= 0) & (wanted < self.n), wanted, -1).astype(np.int32)


def _raise_duplicate(key: Any, count: int) -> None:
    more = f" ({count} repeats in all)" if count > 1 else ""
    raise InputError(f"duplicate id {key!r}{more}: every row needs an id of its own")
