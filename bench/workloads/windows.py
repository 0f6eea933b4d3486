"""Ranges of an ordered column that hold a wanted number of rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.schema import ColumnType

TRIES = 64
_CLOSE = np.log(1.25)  # how far from the wanted number a range may be and still be chosen among
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Ordered:
    """The values of a column of numbers, dates or timestamps, as numbers in its own order.

    values: [n], any where null. rows: those without a null, by value. sorted: their values.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.kind = ColumnType.from_arrow(column.type)
        if self.kind.is_list or self.kind.kind not in ("int", "float", "date", "timestamp"):
            raise ValueError(f"a column of type {self.kind} has no ranges")
        if self.kind.kind in ("date", "timestamp"):
            column = column.cast(pa.int32() if self.kind.kind == "date" else pa.int64())
        self.values = np.asarray(column.fill_null(0))
        rows = np.flatnonzero(np.asarray(column.is_valid()) & (self.values == self.values))
        self.rows = rows[np.argsort(self.values[rows], kind="stable")]
        self.sorted = self.values[self.rows]

    def within(self, mask: NDArray[np.bool_]) -> NDArray[Any]:
        """The sorted values of the rows of a mask bool[n]."""
        return self.sorted[mask[self.rows]]

    def python(self, value: Any) -> Any:
        """A value as users write it: int, float, date or datetime."""
        if self.kind.kind == "date":
            return date(1970, 1, 1) + timedelta(days=int(value))
        if self.kind.kind == "timestamp":
            return self._moment(int(value))
        return float(value) if self.kind.kind == "float" else int(value)

    def _moment(self, steps: int) -> datetime:
        seconds, rest = divmod(steps, _PER_SECOND[self.kind.unit or "us"])
        micros = rest * 10**6 // _PER_SECOND[self.kind.unit or "us"]
        zone = UTC if self.kind.tz else None
        return datetime(1970, 1, 1, tzinfo=zone) + timedelta(seconds=seconds, microseconds=micros)


def window(
    values: NDArray[Any],
    want: int,
    rng: np.random.Generator,
    correlation: str = "none",
    near: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """First and last value, both inside, of a range with about `want` of the sorted `values`.

    Its start is a uniform rank; "positive" and "negative" choose, among ranges of about the wanted
    size, the one with the most or the fewest of the sorted values `near`.
    """
    if not len(values):
        raise ValueError("no values to choose a range from")
    want = min(max(1, want), len(values))
    starts = rng.integers(0, len(values) - want + 1, TRIES)
    first, last = values[starts], values[starts + want - 1]
    # Where equal values follow, the range may come closer without the last of them.
    left = np.searchsorted(values, last, "left")
    shorter = np.where(left > starts, values[np.maximum(left - 1, 0)], last)
    first, last = np.concatenate([first, first]), np.concatenate([last, shorter])
    counts = _inside(values, first, last)
    off = np.abs(np.log(counts / want))
    good = np.flatnonzero(off <= max(_CLOSE, float(off.min())))
    if correlation != "none" and near is not None and len(near):
        density = _inside(near, first[good], last[good]) / counts[good]
        at = int(np.argmax(density) if correlation == "positive" else np.argmin(density))
        return first[good[at]], last[good[at]]
    at = int(good[rng.integers(len(good))]) if off[0] > _CLOSE else 0
    return first[at], last[at]


def _inside(values: NDArray[Any], first: NDArray[Any], last: NDArray[Any]) -> NDArray[np.int64]:
    count: Callable[..., NDArray[np.int64]] = np.searchsorted
    return count(values, last, "right") - count(values, first, "left")
