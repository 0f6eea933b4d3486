"""The values of a column that filters can ask for: their rows, and how near they are to a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MOST = 2_000  # values that are looked at for one cell; more are sampled
Rows = NDArray[np.int64]


class Candidates:
    """Values, each with the rows that have it.

    values: Python values, or tuples of them for pairs. sizes: int64[v].
    """

    def __init__(self, values: Sequence[Any], rows: Rows, starts: Rows) -> None:
        """Value i owns rows[starts[i]:starts[i + 1]], ascending and distinct."""
        self.values = list(values)
        self.sizes: Rows = np.diff(starts)
        self._rows, self._starts = rows, starts
        self._similarity: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, value: int) -> Rows:
        """The rows of one value, by its number."""
        return self._rows[self._starts[value] : self._starts[value + 1]]

    def between(self, least: float, most: float, rng: np.random.Generator) -> Rows:
        """Numbers of the values with a size in [least, most], at most MOST, ascending."""
        found = np.flatnonzero((self.sizes >= least) & (self.sizes <= most))
        if len(found) > MOST:
            found = np.sort(rng.choice(found, MOST, replace=False))
        return found

    def similarity(
        self, chosen: Rows, vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: str
    ) -> NDArray[np.float32]:
        """float32[m, len(chosen)]: how near each value's mean vector is to each query."""
        missing = [value for value in chosen.tolist() if value not in self._similarity]
        if missing:
            means = np.stack([vectors[self.rows(value)].mean(axis=0) for value in missing])
            products = queries @ means.T
            if metric == "l2":
                products = 2.0 * products - np.einsum("ij,ij->i", means, means)
            elif metric == "cosine":
                products /= np.sqrt(np.einsum("ij,ij->i", means, means)) + np.float32(1e-12)
            self._similarity |= {v: products[:, at] for at, v in enumerate(missing)}
        if not len(chosen):
            return np.empty((len(queries), 0), np.float32)
        return np.stack([self._similarity[value] for value in chosen.tolist()], axis=1)


def of_column(column: pa.ChunkedArray) -> Candidates:
    """The distinct values of a column, or of its lists; nulls are none. Ordered by value."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        # Not pc.list_parent_indices: it counts what lies under a null list, flatten does not.
        lengths = np.asarray(pc.list_value_length(array).fill_null(0))
        values, rows = array.flatten(), np.repeat(np.arange(len(array)), lengths)
    else:
        values, rows = array, np.arange(len(array))
    encoded = values.dictionary_encode()
    present = np.asarray(values.is_valid())
    codes = np.asarray(encoded.indices.fill_null(0))[present].astype(np.int64)
    named = encoded.dictionary.to_pylist()
    order = sorted(range(len(named)), key=named.__getitem__)
    rank = np.empty(len(named), np.int64)
    rank[order] = np.arange(len(named))
    pairs = np.unique(np.stack([rank[codes], rows[present].astype(np.int64)], axis=1), axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(named) + 1))
    return Candidates([named[at] for at in order], np.ascontiguousarray(pairs[:, 1]), starts)


def pairs(single: Candidates, rows: int) -> Candidates:
    """Pairs of values that occur in one row; rows is the number of all rows.

    Only the MOST most frequent values are paired.
    """
    kept = np.sort(np.argsort(-single.sizes, kind="stable")[:MOST])
    none = np.empty(0, np.int64)
    owner = np.concatenate([none, *(single.rows(value) for value in kept.tolist())])
    value = np.repeat(np.arange(len(kept)), single.sizes[kept])
    order = np.argsort(owner, kind="stable")  # by row, then by value
    owner, value = owner[order], value[order]
    starts = np.searchsorted(owner, np.arange(rows + 1))
    found: list[NDArray[np.int64]] = []
    longest = int(np.diff(starts).max(initial=0))
    for gap in range(1, min(longest, 16)):  # the values that stand `gap` apart in a row's list
        same = np.flatnonzero(owner[gap:] == owner[:-gap])
        found.append(np.stack([value[same], value[same + gap], owner[same]], axis=1))
    table = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    keys = table[:, 0] * len(kept) + table[:, 1]
    order = np.lexsort((table[:, 2], keys))
    unique, first = np.unique(keys[order], return_index=True)
    names = [
        (single.values[kept[key // len(kept)]], single.values[kept[key % len(kept)]])
        for key in unique.tolist()
    ]
    return Candidates(names, table[order, 2], np.append(first, len(table)))
