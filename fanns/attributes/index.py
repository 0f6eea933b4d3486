"""The exact-selection index of one segment: every column that filters may speak of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.attributes.cache import Hashed, SelectionCache
from fanns.attributes.evaluate import Column, Evaluation, RowContext
from fanns.attributes.leaves import CODES_OF
from fanns.attributes.lists import ListColumn
from fanns.attributes.opaque import TrueAndPresent
from fanns.attributes.postings import Postings
from fanns.attributes.scalar import ScalarColumn
from fanns.attributes.stored import StoredText
from fanns.errors import CorruptIndexError, FilterTypeError, UnknownColumnError
from fanns.expressions import And, Compare, ListHas, Node, Not, Opaque, Or
from fanns.expressions import Column as Term
from fanns.schema import ColumnType, Schema
from fanns.selection import Selection

Array = NDArray[Any]
Stored = Callable[[str], pa.ChunkedArray]

CACHE_BYTES = 16 * 2**20
LOGIC = (And, Or)  # as a constant: `And | Or` would make a type each time


class AttributeIndex:
    """Gives the exact selection of any bound filter, and the values of rows.

    An indexed column is a sorted dictionary, codes, posting lists and a few bitmaps, all numpy
    arrays that may lie in a mapped file. Columns that are stored only are indexed in memory when a
    filter first names them, long strings excepted, which are read where they lie.
    """

    def __init__(
        self,
        schema: Schema,
        n: int,
        columns: Mapping[str, Column],
        unopened: Mapping[str, Mapping[str, Array]],
        stored: Stored | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """For `build` and `load`; `unopened` are the arrays of columns still to be checked."""
        self.schema = schema
        self.names = tuple(schema)
        self.n = n
        self.cache = SelectionCache(cache_bytes)
        self._columns = dict(columns)
        self._unopened = dict(unopened)
        self._indexed = tuple(name for name in schema if name in columns or name in unopened)
        self._stored = stored
        self._opaque: WeakKeyDictionary[Opaque, TrueAndPresent] = WeakKeyDictionary()
        self._lock = RLock()

    @classmethod
    def build(cls, table: pa.Table, schema: Schema, stored: Stored | None = None) -> AttributeIndex:
        """Index the columns of `table` that `schema` names; row i of the table is row i here.

        Raises InputError when a column holds more list elements than a segment can.
        """
        columns = ((name, table[name]) for name in schema if name in table.column_names)
        return cls.of_columns(columns, table.num_rows, schema, stored)

    @classmethod
    def of_columns(
        cls,
        columns: Iterable[tuple[str, pa.ChunkedArray]],
        n: int,
        schema: Schema,
        stored: Stored | None = None,
    ) -> AttributeIndex:
        """The same of columns of n rows that come one by one, so that not all need be held."""
        built = {name: _build(column, schema[name]) for name, column in columns}
        return cls(schema, n, built, {}, stored)

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, Array],
        schema: Schema,
        n: int,
        stored: Stored | None = None,
    ) -> AttributeIndex:
        """Over the arrays of a stored index, named "<column>/<part>".

        Only names are read here; a column's arrays are read and checked when it is first used,
        which may raise CorruptIndexError naming the column.
        """
        parts: dict[str, dict[str, str]] = {}
        for key in arrays:
            column, _, part = key.rpartition("/")
            parts.setdefault(column, {})[part] = key
        unopened = {name: _Part(arrays, parts[name]) for name in schema if name in parts}
        return cls(schema, n, {}, unopened, stored)

    def after(
        self,
        arrays: Mapping[str, Array],
        schema: Schema,
        stored: Stored | None,
        changed: Collection[str],
    ) -> AttributeIndex:
        """The index of the same rows after columns were changed, added, indexed or dropped.

        Columns that are not in `changed` are taken over as they are, opened and checked.
        """
        made = AttributeIndex.load(arrays, schema, self.n, stored)
        with self._lock:
            for name, column in self._columns.items():
                if name in schema and name not in changed:
                    made._columns[name] = column
                    made._unopened.pop(name, None)
            if not changed:
                made.cache, made._opaque = self.cache, self._opaque
        return made

    @staticmethod
    def validate(name: str, kind: ColumnType, arrays: Mapping[str, Array], n: int) -> Column:
        """The column that arrays (by part) describe, after checking that kernels may follow them.

        Raises CorruptIndexError naming the column: a missing part, a wrong type or shape, offsets
        that do not rise, codes outside the dictionary, rows outside 0..n-1, text that is not UTF-8.
        """
        try:
            if kind.is_list:
                return ListColumn.load(arrays, kind, n)
            return ScalarColumn.load(arrays, kind, n)
        except CorruptIndexError as error:
            raise CorruptIndexError(f"column {name!r}: {error}") from error
        except KeyError as error:
            raise CorruptIndexError(f"column {name!r}: its part {error} is missing") from None

    @property
    def indexed(self) -> tuple[str, ...]:
        """The names of the indexed columns, in the schema's order."""
        return self._indexed

    def arrays(self) -> dict[str, Array]:
        """All arrays of the indexed columns by "<column>/<part>", as `load` takes them."""
        return {
            f"{name}/{part}": array
            for name in self._indexed
            for part, array in self._indexed_column(name).arrays().items()
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays of the indexed columns; opens each of them."""
        return sum(array.nbytes for array in self.arrays().values())

    def select(self, bound: Node, context: RowContext) -> Selection:
        """The rows for which a bound filter is true: exact, in the order of their numbers.

        Equal filters are answered from a cache; an equality is a slice of a posting list and needs
        none. Filters with a mask, ids or code of the caller's
        are not kept; what ids, expressions and predicates select is, as long as the node lives.
        """
        if type(bound) is Compare and bound.op == "=" and type(bound.term) is Term:
            column = self._columns.get(bound.term.name)
            if type(column) is ScalarColumn:
                return column.equal(bound.value)
        key = Hashed(bound)
        found = self.cache.get(key)
        if found is not None:
            return found
        selection = Evaluation(self, context).select(bound)
        if not _holds_opaque(bound):
            self.cache.put(key, selection)
        return selection

    def take(self, column: str, rows: NDArray[np.integer]) -> pa.Array:
        """The values of rows, as given at build, as an Arrow array of the column's type."""
        return self._open(column).take(rows)

    def facets(self, column: str, selection: Selection) -> tuple[pa.Array, NDArray[np.int64]]:
        """The values that occur in the selected rows and the number of rows of each, by value.

        Null, where it occurs, is last. For lists: the elements, each counted once a row, so that
        a count is that of the filter `list_contains(column, value)`.
        """
        return self._open(column).facets(selection)

    def codes(self, column: str) -> NDArray[np.int32]:
        """The rank of each row's value among the distinct ones of this segment, -1 for null."""
        return self._scalar(column).codes

    def postings(self, column: str) -> Postings:
        """The rows of each value of an indexed column."""
        return self._indexed_column(column).postings

    def statistics(self, column: str) -> dict[str, int]:
        """The numbers of null rows and of distinct values (elements) of an indexed column."""
        opened = self._open(column)
        distinct = 0 if isinstance(opened, StoredText) else opened.dictionary.size
        return {"nulls": opened.null_count, "distinct": distinct}

    def column(self, name: str, context: RowContext | None) -> Column:
        """A column by name, opened or built on first use."""
        found = self._columns.get(name)
        if found is not None:
            return found
        with self._lock:
            if name not in self._columns:
                self._columns[name] = self._make(name, context)
                self._unopened.pop(name, None)
            return self._columns[name]

    def read(self, name: str, context: RowContext) -> pa.Array:
        """All values of a column, as Arrow."""
        if name not in self._indexed and name in self.schema:
            stored = context.stored(name).combine_chunks()
            return stored if isinstance(stored, pa.Array) else pa.concat_arrays(stored.chunks)
        return self.column(name, context).take(np.arange(self.n))

    def remember(self, node: Opaque) -> TrueAndPresent | None:
        """What an earlier use of the same ids, expression or predicate gave."""
        return self._opaque.get(node)

    def keep(self, node: Opaque, result: TrueAndPresent) -> None:
        """Keep it as long as the caller keeps the node."""
        with self._lock:
            self._opaque[node] = result

    def _open(self, name: str) -> Column:
        return self.column(name, None)

    def _indexed_column(self, name: str) -> ScalarColumn | ListColumn:
        column = self._open(name)
        assert not isinstance(column, StoredText)
        return column

    def _scalar(self, name: str) -> ScalarColumn:
        column = self._open(name)
        if not isinstance(column, ScalarColumn):
            raise FilterTypeError(f"column {name!r} is {column.kind}: it has no codes a row")
        return column

    def _make(self, name: str, context: RowContext | None) -> Column:
        kind = self.schema.get(name)
        if name in self._unopened and kind is not None:
            return self.validate(name, kind, self._unopened[name], self.n)
        read = self._stored if context is None else context.stored
        if kind is None or read is None:
            raise UnknownColumnError(
                f"column {name!r} is not in the index: it has {', '.join(self.names)}"
            )
        stored = read(name)
        if len(stored) != self.n:
            raise CorruptIndexError(f"column {name!r} has {len(stored)} rows, not {self.n}")
        return StoredText(stored) if kind == ColumnType("string") else _build(stored, kind)


class _Part(Mapping[str, Array]):
    """The arrays of one column out of those of an index, read when they are asked for."""

    def __init__(self, arrays: Mapping[str, Array], keys: Mapping[str, str]) -> None:
        self._arrays = arrays
        self._keys = keys

    def __getitem__(self, part: str) -> Array:
        return self._arrays[self._keys[part]]

    def __contains__(self, part: object) -> bool:
        return part in self._keys

    def __iter__(self) -> Any:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _build(column: pa.ChunkedArray, kind: ColumnType) -> ScalarColumn | ListColumn:
    return ListColumn.build(column, kind) if kind.is_list else ScalarColumn.build(column, kind)


def _holds_opaque(node: Node) -> bool:
    if type(node) in CODES_OF or type(node) is ListHas:  # the hot path
        return False
    if isinstance(node, LOGIC):
        return any(map(_holds_opaque, node.args))
    return _holds_opaque(node.arg) if isinstance(node, Not) else isinstance(node, Opaque)
