"""Building an index over a native store: attributes and ids beside the table, which stays as it
is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.building import Recipe, check_options, make_segment, recipe_of
from fanns.calibration import DEFAULT
from fanns.errors import InputError
from fanns.identifiers import Identifiers
from fanns.ingest import Ingest, split_beside
from fanns.kernels.distance import COSINE, METRICS
from fanns.segment import Segment
from fanns.segment_building import Progress
from fanns.segment_native import SCALE, STORE, NativeSegment
from fanns.stores_base import NativeStore
from fanns.tables import read_table
from fanns.threads import go_on

CHUNK = 4096
CODES = 127


def prepare_native(
    data: Any, store: NativeStore, options: Mapping[str, Any], graph: bool
) -> tuple[Recipe, Ingest]:
    """The recipe and the columns of an index over a store; `data` None where there are none.

    Raises:
        InputError: the store is none, has another number of rows, or rows that the metric cannot
            compare; or the data or options cannot be used.
    """
    if not isinstance(store, NativeStore):
        raise InputError(
            f"vectors is {type(store).__name__}, expected a store of fanns.stores; vectors that "
            "are written out are a column of the data"
        )
    if not graph and (options["range_index"] or options["label_index"]):
        raise InputError("paths of columns link stand-ins of the rows: build with graph=True")
    if not options["keep_originals"]:
        raise InputError("keep_originals=False is for vectors that are written out")
    if options["transforms"]:
        raise InputError(
            "transforms are for vectors that are written out, not for a store: transform them "
            "before they are compressed"
        )
    check_options(options)
    table = None if data is None else read_table(data)
    if table is not None and table.num_rows != store.n:
        raise InputError(f"the data has {table.num_rows:,} rows, the store {store.n:,}")
    ingest = split_beside(
        table,
        store.n,
        vector=options["vector"],
        id=options["id"],
        attributes=options["attributes"],
        store=options["store"],
    )
    recipe = recipe_of(ingest, store.d, "float32", options)
    check_rows(store, METRICS[recipe.metric])
    return recipe, ingest


def check_rows(store: NativeStore, metric: int) -> None:
    """Raises InputError for rows that have no direction, under cosine."""
    if metric != COSINE:
        return
    zeros, first = 0, -1
    for start in range(0, store.n, CHUNK):
        go_on()
        part = store.decode(np.arange(start, min(start + CHUNK, store.n)))
        found = np.flatnonzero(~part.any(axis=1))
        if len(found) and first < 0:
            first = start + int(found[0])
        zeros += len(found)
    if zeros:
        raise InputError(
            f"row {first} of the store is zero ({zeros} such), and cosine has no direction for it; "
            'use metric="l2" or "ip"'
        )


def make_native(
    recipe: Recipe,
    ingest: Ingest,
    store: NativeStore,
    graph: bool,
    queries: Any,
    progress: Progress | None,
) -> Segment:
    """The segment of a store, in the order of its rows, or with stand-ins in that of clusters."""
    told = {**store.describe()}
    parts = {f"{STORE}/{name}": array for name, array in store.arrays().items()}
    if graph:
        return _with_stand_ins(recipe, ingest, store, told, parts, queries, progress)
    if progress is not None:
        progress("attributes", 0, 1)
    arrays: dict[str, np.ndarray] = dict(parts)
    if not _are_row_numbers(ingest.ids):
        keys = Identifiers.build(ingest.ids)
        arrays |= {f"ids/{name}": array for name, array in keys.arrays().items()}
    columns = ((name, ingest.attributes[name]) for name in ingest.attributes.column_names)
    indexed = {name: recipe.schema[name] for name in ingest.attributes.column_names}
    attributes = AttributeIndex.of_columns(columns, store.n, indexed)
    arrays |= {f"attributes/{name}": array for name, array in attributes.arrays().items()}
    meta = {
        "rows": store.n,
        "metric": recipe.metric,
        "id_kind": recipe.id_kind,
        "indexed": list(indexed),
        "graph": False,
        "bits": 0,
        "products": 0,
        "codes": {},
        "reduction": None,
        "calibration": DEFAULT.to_json(),
        STORE: told,
    }
    return NativeSegment(meta, recipe.schema, arrays, lambda: ingest.stored)


def _are_row_numbers(ids: np.ndarray | pa.Array) -> bool:
    return isinstance(ids, np.ndarray) and np.array_equal(ids, np.arange(len(ids)))


def _with_stand_ins(
    recipe: Recipe,
    ingest: Ingest,
    store: NativeStore,
    told: dict[str, Any],
    parts: dict[str, np.ndarray],
    queries: Any,
    progress: Progress | None,
) -> Segment:
    """The same beside a segment of int8 stand-ins, whose arrays it holds as well."""
    scale, rows = stand_ins(store, METRICS[recipe.metric])
    if queries is not None and recipe.metric == "l2":
        queries = np.asarray(queries, np.float32) / np.float32(scale)
    made = make_segment(
        replace(recipe, reduce="off"), [replace(ingest, vectors=rows)], queries, progress
    )
    meta = {**made.meta, STORE: {**told, SCALE: scale}}
    return NativeSegment(meta, recipe.schema, {**made.arrays, **parts}, made._stored)


def stand_ins(store: NativeStore, metric: int) -> tuple[float, np.ndarray]:
    """Rows rounded to int8 on one scale (of length 1 before, under cosine), and that scale."""
    most = 0.0
    for part in _decoded(store, metric):
        most = max(most, float(np.abs(part).max(initial=0.0)))
    scale = most / CODES if most > 0 else 1.0
    out = np.empty((store.n, store.d), np.int8)
    done = 0
    for part in _decoded(store, metric):
        rows = np.rint(part / scale).astype(np.int8)
        if metric == COSINE:  # one that rounds to zero would have no direction
            empty = np.flatnonzero(~rows.any(axis=1))
            rows[empty, np.abs(part[empty]).argmax(axis=1)] = 1
        out[done : done + len(part)] = rows
        done += len(part)
    return scale, out


def _decoded(store: NativeStore, metric: int) -> Iterator[np.ndarray]:
    """All rows, float64[CHUNK, d] at a time; of length 1 under cosine."""
    for start in range(0, store.n, CHUNK):
        go_on()
        part = store.decode(np.arange(start, min(start + CHUNK, store.n))).astype(np.float64)
        if metric == COSINE:
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        yield part
