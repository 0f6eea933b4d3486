"""Vectors that are read block by block: arrays, memory maps, and Parquet shards of any number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from .parquet_files import streamed

_TYPES = (np.dtype(np.float32), np.dtype(np.float16))


class Vectors(Protocol):
    """n vectors of d dimensions, float32 or float16. digest: hex, tells them from others."""

    rows: int
    dimensions: int
    digest: str

    def blocks(self, start: int, size: int) -> Iterator[NDArray[Any]]:
        """The rows from `start` on, in order, in arrays [r, d] of at most `size` rows, r >= 1."""


class Held:
    """Vectors of an array or a memory map [n, d]."""

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim != 2 or array.dtype not in _TYPES:
            raise InputError(
                f"expected vectors float32[n, d] or float16[n, d], got {array.dtype}"
                f"{list(array.shape)}"
            )
        self._array = array
        self.rows, self.dimensions = array.shape
        sample = array[np.linspace(0, self.rows - 1, min(64, self.rows)).astype(np.int64)]
        head = f"{array.dtype.str} {array.shape}".encode()
        self.digest = hashlib.sha256(head + np.ascontiguousarray(sample).tobytes()).hexdigest()

    def blocks(self, start: int, size: int) -> Iterator[NDArray[Any]]:
        for first in range(start, self.rows, size):
            yield self._array[first : first + size]


class Shards:
    """Vectors in a column (fixed-size lists of float32 or float16) of Parquet files, one after
    another. The digest is made of their names, sizes and rows.
    """

    def __init__(self, paths: Sequence[Path], column: str = "embedding") -> None:
        self._paths, self._column = list(paths), column
        if not paths:
            raise InputError("no shard of vectors was given")
        counts, told = [], hashlib.sha256(column.encode())
        widths = set()
        for path in self._paths:
            rows, width = _shape(path, column)
            counts.append(rows)
            widths.add(width)
            told.update(f"\n{path.name} {path.stat().st_size} {rows} {width}".encode())
        if len(widths) > 1:
            raise InputError(f"shards of several dimensions {sorted(widths)}: {paths[0].parent}")
        self._starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        self.rows, self.dimensions = self._starts[-1], widths.pop()
        self.digest = told.hexdigest()

    def blocks(self, start: int, size: int) -> Iterator[NDArray[Any]]:
        for path, (first, last) in zip(self._paths, pairwise(self._starts), strict=True):
            if last > start:
                yield from self._shard(path, max(0, start - first), size)

    def _shard(self, path: Path, skip: int, size: int) -> Iterator[NDArray[Any]]:
        """The rows of one file after the first `skip`, whole row groups passed over unread."""
        try:
            with streamed(path) as file:
                groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
                first = 0
                while groups and skip >= groups[0]:
                    skip -= groups.pop(0)
                    first += 1
                wanted = list(range(first, first + len(groups)))
                batches = file.iter_batches(size, row_groups=wanted, columns=[self._column])
                for batch in batches if wanted else ():
                    if skip < batch.num_rows:
                        yield self._array(path, batch.column(0))[skip:]
                    skip = max(0, skip - batch.num_rows)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path} cannot be read as vectors: {error}") from error

    def _array(self, path: Path, column: pa.FixedSizeListArray) -> NDArray[Any]:
        flat = column.flatten()
        if column.null_count or flat.null_count:
            raise InputError(f"{path}: column {self._column} has nulls: every row needs a vector")
        return np.asarray(flat).reshape(-1, self.dimensions)


def opened(given: NDArray[Any] | Sequence[Path] | Vectors) -> Vectors:
    """Vectors of an array, of shards, or as they are."""
    if isinstance(given, np.ndarray):
        return Held(given)
    return Shards(given) if isinstance(given, Sequence) else given


def _shape(path: Path, column: str) -> tuple[int, int]:
    """Rows of a file and dimensions of its vectors."""
    try:
        with streamed(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} cannot be read as Parquet: {error}") from error
    if column not in schema.names:
        raise InputError(f"{path} has no column {column!r}: {', '.join(schema.names)}")
    kind = schema.field(column).type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type not in (pa.float32(), pa.float16()):
        raise InputError(
            f"{path}: column {column!r} is {kind}, expected fixed-size lists of float or halffloat"
        )
    return rows, kind.list_size
