"""Columns that come, go, or get an index, in every segment at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.building import Recipe
from fanns.column_values import as_arrow, per_row, values_for
from fanns.errors import InputError
from fanns.ingest import stored_by_default
from fanns.prepared import Snapshot
from fanns.schema import ColumnType
from fanns.segment import Segment
from fanns.updating import check_column, column_arrays, indexed_arrays
from fanns.writing import Change, Edit


def column_added(
    snapshot: Snapshot, recipe: Recipe, name: Any, values: Any, index: bool | None
) -> Change:
    """What adds a column with a value per live row, in the order given, or one for all."""
    if not isinstance(name, str) or not name:
        raise InputError(f"the name of a column is a text, got {name!r}")
    if name in (*recipe.schema, recipe.id_name, recipe.vector_name):
        raise InputError(f"column {name!r} is in the index already; update changes its values")
    kind = _kind(name, values)
    found, each = values_for(name, kind, values, snapshot.rows)
    if index is None:
        index = not stored_by_default(pa.table({name: found}), name)
    after = replace(recipe, schema={**recipe.schema, name: kind})
    if index:
        after = replace(after, attributes=(*recipe.attributes, name))
    else:
        after = replace(after, stored=(*recipe.stored, name))
    edits, begun = {}, 0
    for place, segment in enumerate(snapshot.segments):
        places = np.full(segment.n, -1, np.int64)
        places[segment.given_live()] = np.arange(begun, begun + segment.rows) if each else 0
        begun += segment.rows
        taken = pa.chunked_array([found.take(pa.array(places, mask=places < 0))])
        edits[place] = _with(segment, name, taken, kind, index)
    return Change(edits, recipe=after)


def _kind(name: str, values: Any) -> ColumnType:
    """The type of the column that values make."""
    try:
        made = as_arrow(values if per_row(values, False) else [values])
        if pa.types.is_null(made.type):
            raise InputError("only nulls tell no type: give an Arrow array of the type wanted")
        return ColumnType.from_arrow(made.type)
    except (pa.ArrowException, InputError, TypeError, ValueError) as error:
        raise InputError(f"column {name!r}: {error}") from error


def column_dropped(snapshot: Snapshot, recipe: Recipe, name: str) -> Change:
    """What takes a column out of the index."""
    check_column(recipe, name, "dropped")
    schema = {other: kind for other, kind in recipe.schema.items() if other != name}
    after = replace(
        recipe,
        schema=schema,
        attributes=tuple(other for other in recipe.attributes if other != name),
        stored=tuple(other for other in recipe.stored if other != name),
        graphs=recipe.graphs.without(name),
    )
    edits = {place: _without(segment, name) for place, segment in enumerate(snapshot.segments)}
    return Change(edits, recipe=after)


def column_indexed(snapshot: Snapshot, recipe: Recipe, name: str) -> Change:
    """What gives a column that is only stored an index."""
    check_column(recipe, name, "indexed")
    if name in recipe.attributes:
        raise InputError(f"column {name!r} is indexed already")
    after = replace(
        recipe,
        attributes=(*recipe.attributes, name),
        stored=tuple(other for other in recipe.stored if other != name),
    )
    edits = {}
    for place, segment in enumerate(snapshot.segments):
        kind = recipe.schema[name]
        added = _with(segment, name, segment.stored[name], kind, True)
        edits[place] = added._replace(stored=segment.stored.drop_columns([name]))
    return Change(edits, recipe=after)


def _with(
    segment: Segment, name: str, values: pa.ChunkedArray, kind: ColumnType, index: bool
) -> Edit:
    """The edit that adds a column to a segment, its values in row order."""
    if not index:
        held = segment.stored
        stored = held.append_column(name, values) if held.num_columns else pa.table({name: values})
        return Edit(stored=stored, changed={name})
    meta: Mapping[str, Any] = {"indexed": [*segment.indexed, name]}
    return Edit(indexed_arrays(name, values, kind), (), meta, None, {name})


def _without(segment: Segment, name: str) -> Edit:
    if name not in segment.indexed:
        return Edit(stored=segment.stored.drop_columns([name]), changed={name})
    meta = {"indexed": [other for other in segment.indexed if other != name]}
    return Edit({}, column_arrays(segment, name), meta, None, {name})
