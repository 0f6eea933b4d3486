"""Values of the caller's for a column: one for all rows or one per row, as the column's type.

Nothing is guessed: ints widen to floats, ISO texts are dates, dates are timestamps, null is null;
any other value of another type is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.errors import InputError
from fanns.schema import ColumnType

WIDENS = {("int", "float"), ("string", "date"), ("string", "timestamp"), ("date", "timestamp")}


def values_for(name: str, kind: ColumnType, value: Any, count: int) -> tuple[pa.Array, bool]:
    """The values of `count` rows as an Arrow array of the column's type.

    Returns it, of length 1 for a constant, and whether it has a value per row. An array, a column
    or a list has one per row; for a list column a flat list is a constant, and a list of lists has
    one per row.

    Raises:
        InputError: values of another type, or of another number of rows.
    """
    each = per_row(value, kind.is_list)
    try:
        found = as_arrow(value if each else [value])
        found = _cast(found, kind)
    except (pa.ArrowException, InputError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"column {name!r} is {kind}: {error}") from error
    if each and len(found) != count:
        raise InputError(f"column {name!r}: {len(found)} values for {count} rows")
    return found, each


def per_row(value: Any, is_list: bool) -> bool:
    """Whether a value stands for one value per row of a column, rather than one for all."""
    if isinstance(value, str | bytes) or (np.ndim(value) == 0 and not hasattr(value, "__len__")):
        return False
    if not is_list or not isinstance(value, list | tuple):
        return True
    return any(item is None or isinstance(item, list | tuple | np.ndarray) for item in value)


def as_arrow(values: Any) -> pa.Array:
    """A list, numpy array, or Arrow, pandas or polars column as one Arrow array."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
    module = type(values).__module__.partition(".")[0]
    if module == "polars" and hasattr(values, "to_arrow"):
        return as_arrow(values.to_arrow())
    if isinstance(values, Sequence) and len(values) == 1 and isinstance(values[0], pa.Scalar):
        values = [values[0].as_py()]
    made = pa.array(values, from_pandas=module == "pandas" or None)
    return made if isinstance(made, pa.Array) else as_arrow(made)


def _cast(values: pa.Array, kind: ColumnType) -> pa.Array:
    """As the column's type, where the rules above allow it."""
    target = kind.to_arrow()
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), target)
    if kind.is_list and values.type == pa.list_(pa.null()):  # empty lists, without an element
        return values.cast(target)
    given = ColumnType.from_arrow(values.type)
    alike = given.kind == kind.kind or (given.kind, kind.kind) in WIDENS
    if given.is_list is not kind.is_list or not alike:
        raise InputError(f"cannot hold values of type {given}")
    return values.cast(target)
