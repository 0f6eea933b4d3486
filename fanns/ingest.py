"""From one table to what an index is built of: ids, vectors, indexed and stored columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.schema import ColumnType, schema_of
from fanns.tables import read_table as read_table

# A string column whose mean length in characters is above this is stored, not indexed.
LONG_TEXT = 64
SIMULATED = "simulated"  # the model recorded for vectors that no encoder made
_VECTOR_DTYPES = {
    pa.float32(): np.float32,
    pa.float16(): np.float16,
    pa.int8(): np.int8,
    pa.float64(): np.float32,
}


@dataclass(frozen=True)
class Ingest:
    """One table, taken apart; row i of each part is row i of the table.

    Attributes:
        ids: int64[n], or an Arrow large_string array of n distinct strings.
        vectors: float32, float16 or int8 [n, d]; finiteness is not checked here.
        attributes: the columns to index, in plain types.
        stored: the columns to keep for display only, in plain types.
            (A table without columns has no rows in Arrow: count `ids`.)
        schema: the types of attribute and stored columns.
        vector: name of the vector column.
        id: name of the id column, None when the ids are row numbers.
        model: the encoder recorded in the table's metadata, "simulated" for simulated vectors.
    """

    ids: NDArray[np.int64] | pa.Array
    vectors: NDArray[Any]
    attributes: pa.Table
    stored: pa.Table
    schema: dict[str, ColumnType]
    vector: str
    id: str | None
    model: str | None


def split(
    table: pa.Table,
    vector: str | None = None,
    id: str | None = "id",
    attributes: Sequence[str] | None = None,
    store: Sequence[str] | None = None,
    start: int = 0,
) -> Ingest:
    """Take a table apart.

    vector: name of the vector column; None for the only fixed-size list, or list of uniform
        length, of floats.
    id: name of the id column; None, or "id" where there is none, numbers the rows from 0.
    attributes, store: names of the columns to index and to store. Given both, the columns in
        neither are left out; given one, the other takes the rest; given none, string columns of
        mean length above 64 and further vectors are stored, and the rest is indexed.
    start: the number of the first row, where the table is a part of a longer one: what messages
        name rows by, and the first of ids that are generated.

    Raises InputError naming the column, row or id that cannot be used.
    """
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise InputError(f"column {twice[0]!r} occurs twice: rename one of them")
    vector = _find_vector(table) if vector is None else _named(table, vector, "vector")
    if id == "id" and "id" not in table.column_names:
        id = None
    if id is not None and _named(table, id, "id") == vector:
        raise InputError(f"column {vector!r} cannot be both the vector and the id")
    ids = read_ids(table, id, start)
    indexed, kept = _roles(table, vector, id, attributes, store)
    schema = schema_of(pa.schema([table.schema.field(name) for name in [*indexed, *kept]]))
    return Ingest(
        ids=ids,
        vectors=_vectors(table, vector, ids, start),
        attributes=_plain(table, indexed, schema),
        stored=_plain(table, kept, schema),
        schema=schema,
        vector=vector,
        id=id,
        model=_model(table),
    )


def split_beside(
    table: pa.Table | None,
    rows: int,
    *,
    vector: str | None,
    id: str | None,
    attributes: Sequence[str] | None,
    store: Sequence[str] | None,
) -> Ingest:
    """Take a table apart whose vectors are elsewhere: `vectors` has no dimensions.

    table: of so many rows; None for no columns at all. vector: the name that vectors have from now
    on, "vector" unless told otherwise; no column may have it. The rest is as for `split`.
    """
    name = vector or "vector"
    if table is None:
        table = pa.table({})
    if name in table.column_names:
        raise InputError(
            f"column {name!r} has the name of the vectors, which are in a store: rename it, or "
            "name them (vector=)"
        )
    twice = [one for one, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise InputError(f"column {twice[0]!r} occurs twice: rename one of them")
    if id is None and "id" in table.column_names:
        id = "id"
    if id is not None:
        _named(table, id, "id")
    ids = np.arange(rows, dtype=np.int64) if id is None else read_ids(table, id, 0)
    indexed, kept = _roles(table, name, id, attributes, store)
    schema = schema_of(pa.schema([table.schema.field(one) for one in [*indexed, *kept]]))
    return Ingest(
        ids=ids,
        vectors=np.empty((rows, 0), np.float32),
        attributes=_plain(table, indexed, schema),
        stored=_plain(table, kept, schema),
        schema=schema,
        vector=name,
        id=id,
        model=_model(table),
    )


def vector_candidates(table: pa.Table) -> list[str]:
    """Names of the columns that could be the vector: lists of floats, of one length above 1."""
    return [f.name for f in table.schema if _dimension(table, f) is not None]


def _find_vector(table: pa.Table) -> str:
    found = vector_candidates(table)
    if len(found) == 1:
        return found[0]
    if not found:
        types = ", ".join(f"{f.name}: {f.type}" for f in table.schema)
        raise InputError(
            "no vector column: expected a fixed-size list of floats (or lists of one length); "
            f"the columns are {types or 'none'}"
        )
    raise InputError(f"several columns could be the vector: {', '.join(found)}; name one (vector=)")


def _named(table: pa.Table, name: str, role: str) -> str:
    """The name, if the table has such a column."""
    if name in table.column_names:
        return name
    near = get_close_matches(name, table.column_names, 1)
    candidates = vector_candidates(table) if role == "vector" else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    if candidates:
        hint += f"candidates: {', '.join(candidates)}. "
    columns = ", ".join(table.column_names) or "none"
    raise InputError(f"{role}: no column {name!r}; {hint}the columns are {columns}")


def _dimension(table: pa.Table, field: pa.Field) -> int | None:
    """The common length of a column's float lists, None when it is no vector column."""
    kind = _storage(field.type)
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size if pa.types.is_floating(kind.value_type) else None
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return None
    if not pa.types.is_floating(kind.value_type):
        return None
    shortest_longest = pc.min_max(pc.list_value_length(table[field.name]))
    shortest, longest = shortest_longest["min"].as_py(), shortest_longest["max"].as_py()
    return longest if shortest == longest and longest is not None and longest > 1 else None


def _storage(kind: pa.DataType) -> pa.DataType:
    """The type under an extension type such as a fixed-shape tensor."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def read_ids(table: pa.Table, id: str | None, start: int) -> NDArray[np.int64] | pa.Array:
    """The column of ids, distinct ones, or numbers from `start` on where `id` is None.

    Raises InputError naming what is null, of another type, or occurs twice.
    """
    if id is None:
        return np.arange(start, start + table.num_rows, dtype=np.int64)
    column, kind = table[id], table.schema.field(id).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if column.null_count:
        row = start + int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
        raise InputError(f"id column {id!r}: row {row} is null; every row needs an id")
    if pa.types.is_integer(kind):
        found: Any = _int_ids(id, column)
    elif (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ):
        found = _one_chunk(column.cast(pa.large_string()))
    else:
        raise InputError(f"id column {id!r} is of type {kind}: expected integers or strings")
    _check_distinct(id, pa.array(found) if isinstance(found, np.ndarray) else found, start)
    return found


def _int_ids(name: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    try:
        return np.ascontiguousarray(_one_chunk(column.cast(pa.int64())).to_numpy())
    except pa.ArrowInvalid:
        most = pc.max(column).as_py()
        raise InputError(
            f"id column {name!r}: {most} is beyond int64 (at most 2**63 - 1)"
        ) from None


def _check_distinct(name: str, ids: pa.Array, start: int) -> None:
    if len(pc.unique(ids)) == len(ids):
        return
    counts = pc.value_counts(ids)
    twice = pc.struct_field(counts, "values").filter(
        pc.greater(pc.struct_field(counts, "counts"), 1)
    )
    rows = (np.flatnonzero(np.asarray(pc.equal(ids, twice[0])))[:2] + start).tolist()
    more = f" ({len(twice)} ids occur more than once)" if len(twice) > 1 else ""
    raise InputError(
        f"id column {name!r}: duplicate id {twice[0].as_py()!r} in rows {rows[0]} and "
        f"{rows[1]}{more}; every row needs an id of its own"
    )


def _vectors(
    table: pa.Table, name: str, ids: NDArray[np.int64] | pa.Array, first: int
) -> NDArray[Any]:
    """The vector column as an array [n, d]; a view of Arrow's memory where it is one chunk."""
    column, kind = table[name], _storage(table.schema.field(name).type)
    if not (
        pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    ):
        raise InputError(f"vector column {name!r} is of type {kind}: expected lists of floats")
    dtype = _VECTOR_DTYPES.get(kind.value_type)
    if dtype is None:
        raise InputError(
            f"vector column {name!r} holds {kind.value_type}: expected float32, float16, int8 "
            "(or float64, which becomes float32)"
        )
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
        raise InputError(
            f"vector column {name!r}: {_at(row, ids, first)} is null; leave such rows out"
        )
    d = _length(name, column, kind, ids, first)
    chunks = [_matrix(name, chunk, d, ids, start, first) for start, chunk in _chunks(column)]
    if len(chunks) == 1 and chunks[0].dtype == dtype:
        return chunks[0]
    vectors, at = np.empty((len(column), d), dtype), 0
    # A float64 beyond float32 becomes infinite, which the check of vectors then names.
    with np.errstate(over="ignore"):
        for chunk in chunks:
            vectors[at : at + len(chunk)] = chunk
            at += len(chunk)
    return vectors


def _chunks(column: pa.ChunkedArray) -> list[tuple[int, pa.Array]]:
    """The non-empty chunks and the rows that they start at."""
    starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)]).tolist()
    return [(start, c) for start, c in zip(starts, column.chunks, strict=False) if len(c)]


def _length(name: str, column: pa.ChunkedArray, kind: pa.DataType, ids: Any, first: int) -> int:
    if pa.types.is_fixed_size_list(kind):
        d = int(kind.list_size)
    elif len(column) == 0:
        raise InputError(
            f"vector column {name!r} has no rows to tell its dimensions from: "
            "give it a fixed-size list type"
        )
    else:
        lengths = np.concatenate([np.asarray(pc.list_value_length(c)) for _, c in _chunks(column)])
        d = int(lengths[0])
        odd = np.flatnonzero(lengths != d)
        if len(odd):
            row = int(odd[0])
            raise InputError(
                f"vector column {name!r}: {_at(row, ids, first)} has {lengths[row]} values, "
                f"but row {first} has {d}"
            )
    if d == 0:
        raise InputError(f"vector column {name!r}: vectors of 0 dimensions")
    return d


def _matrix(name: str, chunk: pa.Array, d: int, ids: Any, start: int, first: int) -> NDArray[Any]:
    storage = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    flat = storage.flatten()
    if flat.null_count:
        row = start + int(np.flatnonzero(np.asarray(pc.is_null(flat)))[0]) // d
        raise InputError(
            f"vector column {name!r}: {_at(row, ids, first)} has a null among its values"
        )
    return np.asarray(flat.to_numpy(zero_copy_only=True)).reshape(-1, d)


def _at(row: int, ids: Any, first: int) -> str:
    """How messages name row `row` of a table whose first row has the number `first`."""
    key = ids[row]
    return f"row {first + row} (id {key.as_py() if isinstance(key, pa.Scalar) else int(key)!r})"


def _roles(
    table: pa.Table,
    vector: str,
    id: str | None,
    attributes: Sequence[str] | None,
    store: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Names of the columns to index and of those to store, in the table's order."""
    taken = {vector: "vector"} | ({id: "id"} if id is not None else {})
    free = [name for name in table.column_names if name not in taken]
    for role, names in (("attributes", attributes), ("store", store)):
        for name in _listed(role, names):
            _named(table, name, role)
            if name in taken:
                raise InputError(f"{role}: {name!r} is the {taken[name]} column; leave it out here")
    if attributes is None and store is None:
        texts = [name for name in free if stored_by_default(table, name)]
        return [name for name in free if name not in texts], texts
    indexed, kept = set(attributes or ()), set(store or ())
    if both := [name for name in free if name in indexed and name in kept]:
        raise InputError(f"column {both[0]!r} is named in both attributes and store; name it once")
    if store is None:
        kept = set(free) - indexed
    elif attributes is None:
        indexed = set(free) - kept
    return [n for n in free if n in indexed], [n for n in free if n in kept]


def _listed(role: str, names: Sequence[str] | None) -> Sequence[str]:
    if isinstance(names, str):
        raise InputError(f"{role}: expected a list of column names, got the string {names!r}")
    return names or ()


def stored_by_default(table: pa.Table, name: str) -> bool:
    """Whether a column holds long texts or further vectors, which are not indexed unasked."""
    kind = table.schema.field(name).type
    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type))
    column = table[name]
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        mean = pc.mean(pc.utf8_length(column)).as_py()
        return mean is not None and mean > LONG_TEXT
    return False


def _plain(table: pa.Table, names: list[str], schema: dict[str, ColumnType]) -> pa.Table:
    """The named columns in the plain types of the schema: dictionaries and views decoded."""
    columns = []
    for name in names:
        target = schema[name].to_arrow()
        try:
            columns.append(table[name].cast(target))
        except pa.ArrowException as error:
            raise InputError(f"column {name!r} cannot be read as {target}: {error}") from error
    fields = [pa.field(name, schema[name].to_arrow()) for name in names]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined


def _model(table: pa.Table) -> str | None:
    metadata = table.schema.metadata or {}
    if metadata.get(b"fanns.vectors") == SIMULATED.encode():
        return SIMULATED
    model = metadata.get(b"fanns.model")
    return model.decode("utf-8", "replace") if model else None
