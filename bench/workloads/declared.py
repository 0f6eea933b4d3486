"""Anybody's Parquet or Arrow data as a corpus, with a declaration of the filters it should get.

A declaration is TOML (or the same as a dict):

    equality = ["category"]         # columns of single values
    contains = ["tags"]             # list columns
    range = ["published", "price"]  # numbers, dates, timestamps
    correlate_with = "category"     # whose values tell what a row is about (default: the first)
    random = true                   # add a column of random numbers
    vector = "embedding"            # the column of vectors
    metric = "cosine"
    selectivities = [0.1, 0.01]     # default: all of `fanns.bench.workloads.grid.ALL`
    cells = ["in-0.1-*"]            # names or patterns; default: all that the data can give
    seed = 0
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.bench.workloads.board import Corpus, Declaration
from fanns.bench.workloads.grid import ALL, Asked, grid, matching
from fanns.datasets.exact import METRICS
from fanns.errors import InputError
from fanns.schema import ColumnType

QUERIES = 1_000  # held out of the items where no queries are given, at most a tenth of the rows
_TYPES: dict[str, tuple[type, ...]] = {
    "equality": (str, list),
    "contains": (str, list),
    "range": (str, list),
    "correlate_with": (str,),
    "random": (bool,),
    "vector": (str,),
    "metric": (str,),
    "selectivities": (list,),
    "cells": (str, list),
    "seed": (int,),
}


@dataclass(frozen=True)
class Declared:
    """A declaration that was read: see the module's head."""

    filters: Declaration
    vector: str = "embedding"
    metric: str = "cosine"
    selectivities: tuple[float, ...] = ALL
    patterns: tuple[str, ...] = ()
    seed: int = 0

    def cells(self) -> list[Asked]:
        """The cells that are asked for. Raises InputError when there are none."""
        found = matching(grid(self.selectivities), self.patterns)
        if not found:
            raise InputError(f"no cell is named {' or '.join(self.patterns)}")
        return found


def read(path: Path) -> Declared:
    """The declaration in a TOML file."""
    try:
        return declared(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a declaration: {error}") from error


def declared(given: Mapping[str, Any]) -> Declared:
    """A declaration from its keys. Raises InputError naming a key that cannot be used."""
    for key, value in given.items():
        if key not in _TYPES:
            raise InputError(f"{key!r} is not known: expected {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and key == "seed"):
            wanted = " or ".join(kind.__name__ for kind in _TYPES[key])
            raise InputError(f"{key} is {value!r}, expected {wanted}")
    columns = {key: _names(given.get(key, [])) for key in ("equality", "contains", "range")}
    topic = given.get("correlate_with")
    filters = Declaration(**columns, correlate_with=topic, random=given.get("random", True))
    metric = given.get("metric", "cosine")
    if metric not in METRICS:
        raise InputError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    shares = tuple(given.get("selectivities", ALL))
    for share in shares:
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"selectivities hold {share!r}, expected numbers in (0, 1]")
    return Declared(
        filters,
        given.get("vector", "embedding"),
        metric,
        tuple(float(share) for share in shares),
        _names(given.get("cells", [])),
        given.get("seed", 0),
    )


def corpus(data: Path, declared: Declared, queries: Path | None, count: int = QUERIES) -> Corpus:
    """Items of a file, with queries of another one or, without it, held out of the items.

    Columns that filters cannot speak of are left out. Raises InputError naming a column that is
    missing or not what the declaration says.
    """
    asked = None if queries is None else (table(queries), queries)
    return of_tables(table(data), data, declared, asked, count)


def of_tables(
    items: pa.Table,
    data: Path,
    declared: Declared,
    queries: tuple[pa.Table, Path] | None,
    count: int = QUERIES,
) -> Corpus:
    """`corpus` of tables that were read; the paths are where they came from, for messages."""
    _check(items, declared, data)
    vectors = _vectors(items, declared.vector, data)
    if queries is not None:
        asked = queries[0].slice(0, count)
        wanted = _vectors(asked, declared.vector, queries[1])
    else:
        kept, drawn = _held_out(len(items), min(count, len(items) // 10), declared.seed)
        items, asked = items.take(pa.array(kept)), items.take(pa.array(drawn))
        vectors, wanted = vectors[kept], vectors[drawn]
    known = [name for name in _columns(declared.filters) if name in asked.column_names]
    if vectors.shape[1] != wanted.shape[1]:
        raise InputError(
            f"the queries have {wanted.shape[1]} dimensions, the items {vectors.shape[1]}"
        )
    return Corpus(
        vectors=vectors,
        attributes=_attributes(items, declared.vector),
        queries=wanted,
        asked=asked.select(known),
        metric=declared.metric,
        source=data.name,
        seed=declared.seed,
    )


def table(path: Path) -> pa.Table:
    """A Parquet file, or an Arrow (Feather) one by its ending .arrow, .feather or .ipc."""
    try:
        if path.suffix in (".arrow", ".feather", ".ipc"):
            return feather.read_table(path)
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet or Arrow: {error}") from error


def _held_out(rows: int, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that stay, and `count` that become queries."""
    if count < 2:
        raise InputError(f"{rows} rows are too few to hold queries out of: give queries")
    order = np.random.default_rng([seed, 9]).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def _columns(filters: Declaration) -> list[str]:
    named = [*filters.equality, *filters.contains, *filters.range]
    named += [filters.correlate_with] if filters.correlate_with else []
    return list(dict.fromkeys(named))


def _check(items: pa.Table, declared: Declared, data: Path) -> None:
    filters = declared.filters
    for name in _columns(filters):
        if name not in items.column_names:
            known = ", ".join(items.column_names)
            raise InputError(f"{data} has no column {name!r}: it has {known}")
        kind = ColumnType.from_arrow(items.schema.field(name).type)
        if name in filters.contains and not kind.is_list:
            raise InputError(f"column {name!r} is {kind}: contains needs lists")
        if name in filters.equality + filters.range and kind.is_list:
            raise InputError(f"column {name!r} is {kind}: equality and range need single values")
        if name in filters.range and kind.kind not in ("int", "float", "date", "timestamp"):
            raise InputError(f"column {name!r} is {kind}: range needs numbers, dates or timestamps")


def _vectors(items: pa.Table, column: str, path: Path) -> NDArray[np.float32]:
    """float32[n, d] of a column of lists that are all of one length, of finite numbers."""
    if column not in items.column_names:
        raise InputError(f"{path} has no column {column!r} of vectors: name it by vector = ...")
    rows = items[column]
    if not len(rows):
        raise InputError(f"{path} has no rows")
    wrong = InputError(f"{path}: column {column!r} is not one of vectors of one length")
    if not _listed(rows.type):
        raise wrong
    flat = pa.concat_arrays([chunk.flatten() for chunk in rows.chunks])
    width = len(flat) // len(rows)
    lengths = np.asarray(pc.list_value_length(rows).fill_null(-1))
    if rows.null_count or not width or np.any(lengths != width) or flat.null_count:
        raise wrong
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.ascontiguousarray(np.asarray(flat), np.float32).reshape(-1, width)
        sums = np.einsum("ij->i", found, dtype=np.float64)  # finite where all its numbers are
    if len(bad := np.flatnonzero(~np.isfinite(sums))):
        raise InputError(f"{path}: vector {bad[0]} holds NaN, or what float32 has as infinite")
    return found


def _listed(kind: pa.DataType) -> bool:
    types = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_one(kind) for is_one in types):
        return False
    item = kind.value_type
    return bool(pa.types.is_floating(item) or pa.types.is_integer(item))


def _attributes(items: pa.Table, vector: str) -> pa.Table:
    """The columns that filters can speak of, but the vectors and the ids."""
    kept = []
    for field in items.schema:
        if field.name in (vector, "id", "embedding"):  # the last two are names of the workload's
            continue
        try:
            ColumnType.from_arrow(field.type)
        except InputError:
            continue
        kept.append(field.name)
    return items.select(kept).replace_schema_metadata(None)


def _names(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"expected names of columns or cells, got {given!r}")
    return tuple(names)
