"""The items as plain Arrow tables, for the engines that keep attributes themselves."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from fanns.bench.engines.engine import AbsentError, Items
from fanns.schema import ColumnType, schema_of


def installed(*distributions: str) -> dict[str, str]:
    """The versions of distributions. Raises AbsentError naming one that is not installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise AbsentError(f"the package {name} is not installed") from None
    return found


def kinds(items: Items) -> dict[str, ColumnType]:
    """The types of the attribute columns."""
    return schema_of(items.attributes.schema)


def plain(items: Items) -> pa.Table:
    """The attributes without dictionaries, views and other encodings."""
    columns = {
        name: items.attributes[name].cast(kind.to_arrow()) for name, kind in kinds(items).items()
    }
    return pa.table(columns)


def plain_with(items: Items, **more: pa.Array) -> pa.Table:
    """The same, and more columns; Arrow gives a table of no column no rows to append to."""
    table = plain(items)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return pa.table({**columns, **more})


def documents(table: pa.Table, part: slice) -> list[dict[str, Any]]:
    """Rows as dicts, empty ones where there is no column."""
    if not table.num_columns:
        return [{} for _ in range(part.start, part.stop)]
    return table[part.start : part.stop].to_pylist()  # type: ignore[no-any-return]


def free_name(wanted: str, items: Items) -> str:
    """A column name that no attribute has."""
    while wanted in items.attributes.column_names:
        wanted += "_"
    return wanted


def vector_array(items: Items) -> pa.FixedSizeListArray:
    """The vectors as an Arrow column, without a copy."""
    return pa.FixedSizeListArray.from_arrays(items.vectors.ravel(), items.vectors.shape[1])


def parts(rows: int, step: int) -> Iterator[slice]:
    """Consecutive slices of `step` rows that cover all rows."""
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
