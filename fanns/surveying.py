"""One look at all rows of Parquet files, in batches: what is wrong with them, and their roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fanns.building import Recipe, prepare_data
from fanns.distinct_ids import check_distinct
from fanns.errors import InputError
from fanns.ingest import LONG_TEXT, split
from fanns.memory_limit import give_back
from fanns.parquet_source import ParquetSource

FIRST_ROWS = 4096
"""Rows that tell which columns are the vector and the id."""

Progress = Callable[[str, int, int], None]


def survey(
    source: ParquetSource,
    options: Mapping[str, Any],
    budget: int,
    seed: int,
    progress: Progress | None,
) -> Recipe:
    """The recipe for all rows, after each of them was checked.

    options: of `building.prepare_data`. budget: bytes for comparing ids, hashed by `seed`.

    Raises:
        InputError: a row, a column or an option cannot be used.
    """
    first = first_rows(source)
    recipe, _ = prepare_data(first, **options)
    give_back()
    texts: dict[str, TextLength] = {}
    if options["attributes"] is None and options["store"] is None:
        names = [*recipe.attributes, *recipe.stored]
        texts = {name: TextLength() for name in names if is_text(source.schema.field(name).type)}
    _look(source, recipe, texts, progress)
    give_back()
    if not recipe.generated:
        check_distinct(source, recipe.id_name, budget, seed)
        give_back()
    if not texts:
        return recipe
    stored = [name for name in recipe.stored if name not in texts]
    stored += [name for name, text in texts.items() if text.is_long]
    roles = {
        "attributes": [n for n in source.schema.names if n in recipe.schema and n not in stored],
        "store": [n for n in source.schema.names if n in stored],
    }
    return prepare_data(first, **{**options, "vector": recipe.vector_name, **roles})[0]


def first_rows(source: ParquetSource) -> pa.Table:
    """The first rows, all columns."""
    tables = [table for _, table in source.batches(stop=FIRST_ROWS)]
    return pa.concat_tables(tables) if tables else source.empty()


def is_text(kind: pa.DataType) -> bool:
    """Whether a column's role follows from the length of its texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


class TextLength:
    """The mean length of a column's texts, in characters."""

    def __init__(self) -> None:
        self.total = self.count = 0

    def add(self, column: pa.ChunkedArray) -> None:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        lengths = pc.utf8_length(column)
        self.total += pc.sum(lengths).as_py() or 0
        self.count += len(column) - column.null_count

    @property
    def is_long(self) -> bool:
        return self.count > 0 and self.total / self.count > LONG_TEXT


def _look(
    source: ParquetSource,
    recipe: Recipe,
    texts: Mapping[str, TextLength],
    progress: Progress | None,
) -> None:
    """Check the vectors and ids of all rows, and measure texts."""
    id = None if recipe.generated else recipe.id_name
    columns = [name for name in (id, recipe.vector_name) if name is not None] + list(texts)
    for start, table in source.batches(columns, row_bytes=recipe.row_bytes):
        part = split(table, recipe.vector_name, id, (), (), start)
        if part.vectors.shape[1] != recipe.given_dimensions:
            raise InputError(
                f"vector column {recipe.vector_name!r}: row {start} has {part.vectors.shape[1]} "
                f"values, but row 0 has {recipe.given_dimensions}"
            )
        recipe.hold(part, start)
        for name, text in texts.items():
            text.add(table[name])
        if progress is not None:
            progress("check", start + len(table), source.rows)
