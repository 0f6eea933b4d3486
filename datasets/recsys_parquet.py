"""Interactions and features from Parquet files: columns by their usual names, ids of any type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

# What columns of Parquet files may be called.
USERS = ("user", "user_id", "userId")
ITEMS = ("item", "item_id", "itemId")
VALUES = ("value", "rating")
TIMES = ("time", "timestamp")

Ints = NDArray[np.int64]


class Columns:
    """Users and items of one file as Arrow arrays, values and times or None."""

    def __init__(
        self,
        users: pa.Array,
        items: pa.Array,
        values: NDArray[np.float32] | None = None,
        times: Ints | None = None,
        empty: pa.Array | None = None,
    ) -> None:
        self.users, self.items, self.values, self.times = users, items, values, times
        self.empty = users.slice(0, 0) if empty is None else empty  # users without an item


def features(path: Path, ids: pa.Array) -> pa.Table | None:
    """A table of features with a column `id`, one row for each of `ids`; None without the file.

    Ids that the table does not have get nulls; rows of others are left out.
    """
    if not path.exists():
        return None
    table = _read(path)
    if "id" not in table.column_names:
        raise InputError(f"{path} has no column `id`")
    own = table["id"].combine_chunks()
    if pc.count_distinct(own).as_py() < len(own):
        raise InputError(f"{path}: a row's `id` comes twice")
    rows = pc.index_in(ids, own.cast(ids.type))
    return table.take(rows).drop_columns(["id"]).add_column(0, "id", ids)


def columns(path: Path) -> Columns:
    """The interactions of one file; raises InputError naming what cannot be one."""
    table = _read(path)
    users, items = _column(path, table, USERS), _column(path, table, ITEMS)
    values, times = _column(path, table, VALUES, False), _column(path, table, TIMES, False)
    for name, column in (("user", users), ("item", items), ("value", values), ("time", times)):
        if column is not None and column.null_count:
            row = pc.index(column.is_null(), pa.scalar(True)).as_py()
            raise InputError(f"{path}: row {row} has no {name}")
    return Columns(
        _ids(path, users),
        _ids(path, items),
        None if values is None else np.asarray(values.cast(pa.float32())),
        None if times is None else _seconds(path, times),
    )


def _column(
    path: Path, table: pa.Table, names: tuple[str, ...], needed: bool = True
) -> pa.Array | None:
    for name in names:
        if name in table.column_names:
            column = table[name].combine_chunks()
            return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    if needed:
        raise InputError(
            f"{path} has no column {' or '.join(names)}: its columns are "
            f"{', '.join(table.column_names)}"
        )
    return None


def _ids(path: Path, column: pa.Array) -> pa.Array:
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    raise InputError(f"{path}: ids are {column.type}, expected whole numbers or strings")


def _seconds(path: Path, column: pa.Array) -> Ints:
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return np.asarray(column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()))
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()))
    raise InputError(f"{path}: times are {column.type}, expected timestamps or whole seconds")


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} cannot be read as Parquet: {error}") from error
