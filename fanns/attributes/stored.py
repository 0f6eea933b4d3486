"""A string column that is stored but not indexed: filters look at the text itself.

Such columns hold long texts (titles, abstracts). A dictionary of them would copy the file into
memory, and a filter on them is rare, so each is answered by a pass over the mapped Arrow data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.attributes import domain
from fanns.attributes.like import Pattern, match
from fanns.schema import ColumnType
from fanns.selection import Selection

COMPARISONS = {
    "=": pc.equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class StoredText:
    """The strings of a segment's rows as Arrow holds them; answers equal those of an index."""

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        text = ColumnType("string")
        plain = [domain.plain(chunk, text) for chunk in chunks]
        wide = any(pa.types.is_large_string(chunk.type) for chunk in plain)
        kind = pa.large_string() if wide else pa.string()
        self.strings = pa.chunked_array([chunk.cast(kind) for chunk in plain], kind)
        self._bytes = self.strings.cast(pa.large_binary() if wide else pa.binary())
        self.kind = text
        self.n = len(self.strings)
        self.present = _selection(self.strings.is_valid())

    @property
    def null_count(self) -> int:
        """The number of null rows."""
        return self.n - self.present.count

    def compare(self, op: str, value: str) -> Selection:
        """The rows whose string compares so, by bytes."""
        other = pa.scalar(domain.utf8(value), self._bytes.type)
        return _selection(COMPARISONS[op](self._bytes, other))

    def among(self, values: Sequence[Any]) -> Selection:
        """The rows whose string is one of the values."""
        wanted = pa.array([domain.utf8(value) for value in values], self._bytes.type)
        return _selection(pc.is_in(self._bytes, value_set=wanted, skip_nulls=True))

    def like(self, pattern: Pattern) -> Selection:
        """The rows whose string matches."""
        return _selection(match(self.strings, pattern))

    def take(self, rows: NDArray[np.integer]) -> pa.Array:
        """The strings of rows."""
        taken = self.strings.take(pa.array(rows)).combine_chunks()
        return taken if isinstance(taken, pa.Array) else taken.chunk(0)

    def facets(self, selection: Selection) -> tuple[pa.Array, NDArray[np.int64]]:
        """The distinct strings of the selected rows, rising, null last, and their numbers."""
        counted = self.take(selection.rows()).value_counts()
        values, counts = counted.field("values"), counted.field("counts")
        order = pc.array_sort_indices(values, null_placement="at_end")
        return values.take(order), counts.take(order).to_numpy()


def _selection(passing: pa.Array | pa.ChunkedArray) -> Selection:
    mask = pc.fill_null(passing, False)
    mask = mask.to_numpy() if isinstance(mask, pa.ChunkedArray) else mask.to_numpy(False)
    return Selection.from_mask(np.asarray(mask, np.bool_))
