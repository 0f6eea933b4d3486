"""Rows without a ranking of their own: by key, by filter, by group, page after page; and `info`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.errors import InputError, UnknownColumnError
from fanns.expressions import IsNull
from fanns.hits import Hits
from fanns.paths.column_path import FOLDERS, LABEL, RANGE
from fanns.prepared import Snapshot
from fanns.segment_building import BUILT_ON
from fanns.selection import Selection

if TYPE_CHECKING:
    from fanns.building import Recipe
    from fanns.execution import Options
    from fanns.index import Index
    from fanns.segment import Segment
    from fanns.storage import Directory


class Columns:
    """Reads column values of a snapshot's rows; hits keep one."""

    __slots__ = ("id_name", "snapshot")

    def __init__(self, snapshot: Snapshot, id_name: str) -> None:
        self.snapshot = snapshot
        self.id_name = id_name

    def ids_at(self, segments: np.ndarray, rows: np.ndarray) -> Any:
        """The ids of rows: int64[m] or a list of m strings."""
        parts = self.snapshot.segments
        if len(parts) == 1:
            return parts[0].ids.take(rows)
        if self.snapshot.id_kind == "int":
            out = np.empty(len(rows), np.int64)
            for number in set(segments.tolist()):
                places = segments == number
                out[places] = parts[number].ids.take(rows[places])
            return out
        places = enumerate(segments.tolist())
        return [parts[number].ids.take(rows[i : i + 1])[0] for i, number in places]

    def columns_at(self, segments: np.ndarray, rows: np.ndarray, names: Sequence[str]) -> pa.Table:
        """The named columns of rows given by segment number and row number, in order.

        Raises:
            UnknownColumnError: the index has no such column.
        """
        return pa.table({name: self._column(name, segments, rows) for name in names})

    def _column(self, name: str, segments: np.ndarray, rows: np.ndarray) -> pa.Array:
        known = self.snapshot.schema
        if name != self.id_name and name not in known:
            raise UnknownColumnError(f"no column {name!r}; the index has {', '.join(known)}")
        parts = self.snapshot.segments
        if len(parts) == 1:
            return self._values(0, name, rows)
        taken: list[pa.Array] = []
        order: list[np.ndarray] = []
        for number in range(len(parts)):
            places = np.flatnonzero(segments == number)
            if len(places) or not taken:
                taken.append(self._values(number, name, rows[places]))
                order.append(places)
        back = np.argsort(np.concatenate(order), kind="stable")
        return pa.concat_arrays(taken).take(pa.array(back))

    def _values(self, number: int, name: str, rows: np.ndarray) -> pa.Array:
        segment = self.snapshot.segments[number]
        if name == self.id_name and name not in segment.schema:
            return segment.ids.take_arrow(rows)
        return segment.column(name, rows)


def all_ids(snapshot: Snapshot) -> Any:
    """The ids of all live rows in the order given."""
    parts = [segment.ids.take(segment.given_live()) for segment in snapshot.segments]
    if snapshot.id_kind == "int":
        return np.concatenate(parts or [np.zeros(0, np.int64)])
    return [key for part in parts for key in part]


def locate(snapshot: Snapshot, keys: Any) -> tuple[np.ndarray, np.ndarray]:
    """Segment and row of each key; row -1 where no segment holds it."""
    segments, rows = np.zeros(len(keys), np.int32), np.full(len(keys), -1, np.int32)
    for number, segment in enumerate(snapshot.segments):
        found = segment.lookup(keys)
        here = found >= 0
        segments[here], rows[here] = number, found[here]
    return segments, rows


def vectors_at(
    snapshot: Snapshot, segments: np.ndarray, rows: np.ndarray, recipe: Recipe
) -> pa.Array:
    """The vectors of rows as they were given (see `Segment.originals`), FixedSizeList<d>."""
    if not recipe.keep_originals:
        raise InputError("this index was built with keep_originals=False: the vectors are gone")
    out = np.empty((len(rows), recipe.dimensions), recipe.dtype)
    for number in np.unique(segments):
        places = segments == number
        out[places] = snapshot.segments[number].originals(rows[places])
    return pa.FixedSizeListArray.from_arrays(pa.array(out.ravel()), recipe.dimensions)


def facets(
    snapshot: Snapshot, column: str, selections: Sequence[Selection], limit: int | None
) -> pa.Table:
    """Counts per value over all segments, most frequent first, equal counts by value, null last.

    A list counts once for each of its elements, as `list_contains` does.
    """
    parts = []
    for segment, selection in zip(snapshot.segments, selections, strict=True):
        values, counts = segment.attributes.facets(column, selection)
        parts.append(pa.table({"value": values, "count": pa.array(counts, pa.int64())}))
    if not parts:
        return pa.table({"value": pa.array([], pa.string()), "count": pa.array([], pa.int64())})
    table = pa.concat_tables(parts)
    if len(parts) > 1:
        table = table.group_by("value").aggregate([("count", "sum")])
        table = table.rename_columns(["value", "count"])
    table = table.filter(pc.greater(table["count"], 0))
    if pa.types.is_boolean(table["value"].type):
        order = pc.sort_indices(table["count"], sort_keys=[("", "descending")])
    else:
        order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("value", "ascending")])
    table = table.take(order)
    return table if limit is None else table.slice(0, min(limit, table.num_rows))


def rows(
    source: Columns,
    selections: Sequence[Selection],
    names: Sequence[str],
    order_by: str | None,
    descending: bool,
    limit: int | None,
) -> pa.Table:
    """Passing rows with columns, by a column (nulls last) or in the order given."""
    snapshot = source.snapshot
    numbers, flat = [], []
    for number, selection in enumerate(selections):
        segment = snapshot.segments[number]
        passing = selection.rows()
        passing = passing[np.argsort(segment.positions[passing], kind="stable")]
        numbers.append(np.full(len(passing), number, np.int32))
        flat.append(passing)
    segments = np.concatenate(numbers or [np.zeros(0, np.int32)])
    chosen = np.concatenate(flat or [np.zeros(0, np.int32)])
    if order_by is not None:
        keys = source.columns_at(segments, chosen, [order_by])
        if pa.types.is_list(keys.schema.field(0).type):
            raise InputError(f"order_by={order_by!r} is a list column: it has no order")
        way = "descending" if descending else "ascending"
        order = pc.sort_indices(keys, sort_keys=[(order_by, way)]).to_numpy()
        segments, chosen = segments[order], chosen[order]
    elif descending:
        segments, chosen = segments[::-1], chosen[::-1]
    if limit is not None:
        segments, chosen = segments[:limit], chosen[:limit]
    named = [source.id_name, *(name for name in names if name != source.id_name)]
    return source.columns_at(segments, np.ascontiguousarray(chosen), named)


def pages(index: Index, q: Any, k: int, where: Any, options: Mapping[str, Any]) -> Iterator[Hits]:
    """Pages of k from ever longer searches, leaving out what was given before."""
    frozen = copy(index)  # rows added meanwhile stay out
    ready = frozen.prepare(where, nulls=options.get("nulls"))
    ready = ready.bind(**(options.get("params") or {}))
    rest = {name: value for name, value in options.items() if name not in ("params", "nulls")}
    given: set[tuple[int, int]] = set()
    wanted, total = 4 * k, ready.count()
    while True:
        hits = frozen.search(q, min(wanted, max(total, 1)), ready, **rest)
        places = hits.places()
        fresh = [i for i, place in enumerate(places) if place not in given]
        last = len(hits) < wanted
        while len(fresh) >= k or (last and fresh):
            page, fresh = fresh[:k], fresh[k:]
            given.update(places[i] for i in page)
            yield hits.subset(page)
        if last:
            return
        wanted *= 4


def grouped(
    index: Index,
    query: np.ndarray,
    k: int,
    where: Any,
    params: Mapping[str, Any] | None,
    nulls: str | None,
    group_by: str,
    group_size: int,
    options: Options,
) -> Hits:
    """The nearest rows with at most `group_size` of each value, until k values are seen.

    Searches ever longer answers; a null counts as a value of its own.
    """
    index._known([group_by])
    if group_by in index.schema and index.schema[group_by].is_list:
        raise InputError(f"group_by={group_by!r} is a list column: a row would be in many groups")
    ready = index.prepare(where, nulls=nulls)
    ready = ready.bind(**params) if params else ready
    total, wanted = ready.count(), 4 * k * group_size
    while True:
        hits: Hits = index.search(
            query,
            min(wanted, max(total, 1)),
            ready,
            recall=options.recall,
            exact=options.exact,
            timeout=options.timeout,
            max_work=options.max_work,
            plan=options.only,
        )
        sizes: dict[Any, int] = {}
        kept = []
        for i, value in enumerate(hits.columns([group_by]).column(0).to_pylist()):
            if value not in sizes and len(sizes) == k:
                continue
            if sizes.get(value, 0) < group_size:
                sizes[value] = sizes.get(value, 0) + 1
                kept.append(i)
        full = len(sizes) == k and all(size == group_size for size in sizes.values())
        if full or wanted >= total or hits.status == "incomplete":
            return hits.subset(kept)
        wanted *= 4


def info(snapshot: Snapshot, recipe: Recipe, directory: Directory | None) -> dict[str, Any]:
    """What an index is and what it weighs."""
    groups = ("vectors", "codes", "graph", "column_graphs", "attributes", "ids", "other")
    weight = dict.fromkeys(groups, 0)
    for segment in snapshot.segments:
        for name in segment.arrays:
            group = name.split("/")[0]
            group = "codes" if group == "bits" else group
            group = "vectors" if group in ("reduction", "store") else group
            group = "column_graphs" if group in FOLDERS else group
            group = group if group in weight else "other"
            weight[group] += segment.array_bytes(name)
    stored = sum(segment.stored_bytes for segment in snapshot.segments)
    columns = {name: _column_info(snapshot, recipe, name) for name in recipe.schema}
    base = sum(weight.values())
    parts = [segment.calibration for segment in snapshot.segments]
    return {
        "rows": snapshot.rows,
        "dimensions": recipe.given_dimensions,
        "dtype": recipe.dtype,
        "metric": recipe.asked_metric,
        "transforms": recipe.transforms.told(),
        "id": {"column": recipe.id_name, "type": recipe.id_kind},
        "segments": [
            {
                "rows": segment.rows,
                "deleted": segment.n - segment.rows,
                "graph": segment.has_graph,
                "vectors": _held(segment, recipe),
                "reduction": segment.meta["reduction"],
                "built_on": segment.meta.get(BUILT_ON, "cpu"),
            }
            for segment in snapshot.segments
        ],
        "columns": columns,
        "bytes": {**weight, "stored": stored, "total": base + stored},
        "bytes_per_vector_byte": round(base / weight["vectors"], 3) if weight["vectors"] else None,
        "bits": recipe.bits,
        "codes": _codes_info(snapshot),
        "calibration": [part.source for part in parts],
        "keep_originals": recipe.keep_originals,
        "model": recipe.model,
        "seed": recipe.seed,
        "path": None if directory is None else str(directory.path),
    }


def _held(segment: Segment, recipe: Recipe) -> str:
    """How many numbers a vector of a segment is held by, in words."""
    dimensions = recipe.dimensions
    if recipe.transforms:
        return (
            f"{recipe.given_dimensions:,} dimensions, held transformed as {dimensions:,},"
            f" under {recipe.metric}: vectors come back so"
        )
    if segment.native:
        return segment.told
    reduction = segment.reduction
    if reduction is None:
        return f"{dimensions:,} dimensions"
    return (
        f"{dimensions:,} dimensions, rank {reduction.rank:,}: stored as {reduction.rank:,}"
        f" ({dimensions / reduction.rank:.1f}x smaller),"
        f" largest relative residual {reduction.residual:.1g}"
    )


def _codes_info(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    """Of each kind of codes its size and error, means over the rows of the segments that have it.

    The error is squared, as a share of the variance of the vectors.
    """
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for part in snapshot.segments for name in part.reports):
        parts = [(part.n, part.reports[name]) for part in snapshot.segments if name in part.reports]
        rows = max(sum(n for n, _ in parts), 1)
        out[name] = {
            key: float(f"{sum(n * report[key] for n, report in parts) / rows:.4g}")
            for key in ("bits_per_vector", "reconstruction_error")
        }
    return out


def _column_info(snapshot: Snapshot, recipe: Recipe, name: str) -> dict[str, Any]:
    """Type and role; for indexed columns also nulls, distinct values where they can be told, and
    the bytes of their graphs.
    """
    out: dict[str, Any] = {
        "type": str(recipe.schema[name].to_arrow()),
        "indexed": name in recipe.attributes,
    }
    if out["indexed"]:
        parts = [segment.attributes.statistics(name) for segment in snapshot.segments]
        whole = all(segment.live is None for segment in snapshot.segments)
        out["nulls"] = sum(part["nulls"] for part in parts)
        if not whole:
            out["nulls"] = sum(rows.count for rows in snapshot.select(IsNull(name)))
        # Segments have dictionaries of their own, and they hold the values of deleted rows too.
        out["distinct"] = parts[0]["distinct"] if whole and len(parts) == 1 else None
        out["graphs"] = {
            kind: sum(
                segment.array_bytes(array)
                for segment in snapshot.segments
                for array in segment.arrays
                for folder in FOLDERS
                if FOLDERS[folder] == kind and array.rpartition("/")[0] == f"{folder}/{name}"
            )
            for kind in (RANGE, LABEL)
            if name in recipe.graphs.of(kind)
        }
    return out
