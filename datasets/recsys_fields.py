"""Columns as fields of a click model: values to row numbers, and numbers to scale.

A field is categorical, a list of categories, or a number. `recsys_field_embedding` makes vectors of
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_torch import torch

CATEGORICAL, LIST, NUMERIC = "categorical", "list", "numeric"

Columns = dict[str, Any]  # tensors by name: int64[n], int64[n, most] padded by -1, float32[n]


@dataclass(frozen=True)
class Field:
    """One column as a model sees it.

    Attributes:
        kind: CATEGORICAL, LIST or NUMERIC. most: values of a list at most.
        values: Arrow array of the known values, row 1 on; row 0 stands for all others and null.
        counts: int64[rows], how often each row came up where the field was fitted.
        low, high: of a number where it was fitted; they become 0 and 1.
    """

    name: str
    kind: str
    values: pa.Array | None = None
    counts: NDArray[np.int64] | None = None
    most: int = 1
    low: float = 0.0
    high: float = 1.0

    @property
    def rows(self) -> int:
        """Of its table; 0 for a number."""
        return 0 if self.values is None else len(self.values) + 1

    def encode(self, column: pa.ChunkedArray) -> NDArray[Any]:
        """int64[n], int64[n, most] padded by -1, or float32[n]; a missing number is 0."""
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if self.kind == NUMERIC:
            numbers = np.asarray(pc.fill_null(_seconds(column).cast(pa.float64()), np.nan))
            scaled = (numbers - self.low) / max(self.high - self.low, 1e-12)
            return np.nan_to_num(scaled, nan=0.0).astype(np.float32)
        if self.kind == CATEGORICAL:
            return self._rows(column)
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
        flat = self._rows(column.flatten())
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(flat)) - np.repeat(starts, lengths)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        made = np.full((len(lengths), self.most), -1, np.int64)
        fits = place < self.most
        made[owner[fits], place[fits]] = flat[fits]
        return made

    def _rows(self, values: pa.Array) -> NDArray[np.int64]:
        assert self.values is not None
        found = pc.index_in(values.cast(self.values.type), self.values)
        return np.asarray(pc.fill_null(found, -1), np.int64) + 1


def fit_fields(
    table: pa.Table, names: Iterable[str] | None = None, *, least: int = 1
) -> list[Field]:
    """The fields of some or all columns of a table.

    Floats, times and dates become numbers; lists become lists; all else is categorical. least: how
    often a value must come up to get a row of its own. Raises InputError for a column that is not
    there or has no value.
    """
    fields = []
    for name in table.column_names if names is None else names:
        if name not in table.column_names:
            raise InputError(f"no column {name!r}; there are {', '.join(table.column_names)}")
        column = table[name].combine_chunks()
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_temporal(kind):
            numbers = np.asarray(pc.drop_null(_seconds(column).cast(pa.float64())))
            numbers = numbers[np.isfinite(numbers)]
            if not len(numbers):
                raise InputError(f"column {name!r} has no number: leave it out")
            low, high = float(numbers.min()), float(numbers.max())
            fields.append(Field(name, NUMERIC, low=low, high=high))
            continue
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        most = max(1, pc.max(pc.list_value_length(column)).as_py() or 1) if listed else 1
        fields.append(
            _with_values(name, column.flatten() if listed else column, listed, most, least)
        )
    return fields


def _with_values(name: str, column: pa.Array, listed: bool, most: int, least: int) -> Field:
    counted = pc.value_counts(pc.drop_null(column))
    counts = np.asarray(counted.field("counts"), np.int64)
    values = counted.field("values")
    keep = np.flatnonzero(counts >= least)
    values, counts = values.take(keep), counts[keep]
    order = np.asarray(pc.sort_indices(values))
    kept = np.concatenate(([len(column) - int(counts.sum())], counts[order]))
    kind = LIST if listed else CATEGORICAL
    return Field(name, kind, values.take(order), kept.astype(np.int64), most)


def _seconds(column: pa.Array) -> pa.Array:
    """Times as numbers; other types as they are."""
    if pa.types.is_date32(column.type) or pa.types.is_time32(column.type):
        return column.cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_temporal(column.type) else column


def encode(fields: Sequence[Field], table: pa.Table) -> Columns:
    """The tensors of all fields; raises InputError where a column is missing."""
    for field in fields:
        if field.name not in table.column_names:
            raise InputError(f"no column {field.name!r}, which the model was fitted with")
    return {f.name: torch.from_numpy(f.encode(table[f.name])) for f in fields}


def take(columns: Columns, rows: Any) -> Columns:
    """Some rows of every column."""
    return {name: column[rows] for name, column in columns.items()}
