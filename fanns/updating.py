"""New values of attributes: a column of a segment is written anew, its vectors stay untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.building import Recipe
from fanns.column_values import values_for
from fanns.deleting import chosen
from fanns.errors import InputError, UnknownColumnError, UnknownIdError
from fanns.listing import locate
from fanns.paths.column_path import FOLDERS
from fanns.prepared import Snapshot
from fanns.schema import ColumnType
from fanns.segment import Segment
from fanns.writing import Change, Edit


class Rows(NamedTuple):
    """Rows of one segment that change, and the place of each in the caller's values."""

    rows: np.ndarray
    places: np.ndarray


def updates(
    snapshot: Snapshot,
    recipe: Recipe,
    given: Mapping[str, Any],
    ids: Any,
    where: Any,
    params: Mapping[str, Any] | None,
    nulls: str | None,
) -> tuple[Change | None, int]:
    """What gives the chosen rows the values `given` by column, and how many rows that are."""
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"set is a dict of columns and their values, got {given!r}")
    for name in given:
        check_column(recipe, name, "updated; upsert replaces whole rows")
    if ids is None or where is not None:
        targets = _by_filter(snapshot, where, params, nulls, ids)
    else:
        targets = _by_ids(snapshot, recipe, ids)
        if params:
            raise InputError("update by ids= has no parameters; params= belongs to where=")
    count = sum(len(part.rows) for part in targets)
    columns: dict[str, pa.Array] = {}
    for name, value in given.items():
        asked = count if ids is None else len(recipe.check_keys(ids))
        found, each = values_for(name, recipe.schema[name], value, asked)
        if each and ids is not None and asked != count:
            raise UnknownIdError(
                f"{asked - count} of {asked} ids are not in the index, or are given twice: "
                "values per row need ids that are there once"
            )
        columns[name] = found
    edits = {
        place: edit_values(segment, part, columns)
        for place, (segment, part) in enumerate(zip(snapshot.segments, targets, strict=True))
        if len(part.rows)
    }
    return (Change(edits) if edits else None), count


def check_column(recipe: Recipe, name: Any, what: str) -> None:
    """Raises unless this is a column of attributes; `what` ends "... cannot be"."""
    for role, own in (("id", recipe.id_name), ("vector", recipe.vector_name)):
        if name == own and name not in recipe.schema:
            raise InputError(f"column {name!r} is the {role} and cannot be {what}")
    if name not in recipe.schema:
        raise UnknownColumnError(
            f"no column {name!r}; the index has {', '.join(recipe.schema) or 'none'}"
        )


def _by_filter(
    snapshot: Snapshot,
    where: Any,
    params: Mapping[str, Any] | None,
    nulls: str | None,
    ids: Any,
) -> list[Rows]:
    """The passing rows, in the order given."""
    out, begun = [], 0
    selections = chosen(snapshot, ids, where, params, nulls, "update")
    for segment, selection in zip(snapshot.segments, selections, strict=True):
        rows = selection.rows()
        rows = rows[np.argsort(segment.positions[rows], kind="stable")]
        out.append(Rows(rows, np.arange(begun, begun + len(rows))))
        begun += len(rows)
    return out


def _by_ids(snapshot: Snapshot, recipe: Recipe, ids: Any) -> list[Rows]:
    """The rows with these ids, in their order; those given twice once, the last place of each."""
    segments, rows = locate(snapshot, recipe.check_keys(ids))
    out = []
    for number in range(len(snapshot.segments)):
        places = np.flatnonzero((segments == number) & (rows >= 0))
        own, last = np.unique(rows[places][::-1], return_index=True)
        out.append(Rows(own, places[::-1][last]))
    return out


def edit_values(segment: Segment, target: Rows, columns: Mapping[str, pa.Array]) -> Edit:
    """The edit that gives rows of a segment the values of an array, or its only one."""
    whole: dict[str, pa.ChunkedArray] = {}
    for name, values in columns.items():
        before = segment.column(name, np.arange(segment.n, dtype=np.int32))
        before = before.chunks if isinstance(before, pa.ChunkedArray) else [before]
        index = np.arange(segment.n, dtype=np.int64)
        index[target.rows] = segment.n + (0 if len(values) == 1 else target.places)
        kind = before[0].type if before else values.type
        whole[name] = pa.chunked_array([*before, values.cast(kind)]).take(pa.array(index))
    return edit_columns(segment, whole)


def edit_columns(segment: Segment, columns: Mapping[str, pa.ChunkedArray]) -> Edit:
    """The edit by which columns of a segment have these values, in row order."""
    arrays: dict[str, np.ndarray] = {}
    dropped: list[str] = []
    stored = None
    for name, values in columns.items():
        if name in segment.indexed:
            made = indexed_arrays(name, values, segment.schema[name])
            arrays |= made
            dropped += [old for old in column_arrays(segment, name) if old not in made]
        else:
            stored = segment.stored if stored is None else stored
            place = stored.column_names.index(name)
            field = stored.schema.field(place)
            stored = stored.set_column(place, field, values.cast(field.type))
    return Edit(arrays, dropped, {}, stored, set(columns))


def indexed_arrays(name: str, values: pa.ChunkedArray, kind: ColumnType) -> dict[str, np.ndarray]:
    """The arrays of a column's index, by their names in a segment."""
    index = AttributeIndex.build(pa.table({name: values}), {name: kind})
    return {f"attributes/{part}": array for part, array in index.arrays().items()}


def column_arrays(segment: Segment, name: str) -> Sequence[str]:
    """The names of the arrays of an indexed column, those of its graphs too."""
    held = [f"{folder}/{name}" for folder in ("attributes", *FOLDERS)]
    return [array for array in segment.arrays if array.rpartition("/")[0] in held]
