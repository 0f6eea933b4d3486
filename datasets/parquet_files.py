"""Parquet files that are read piece by piece, whatever their size."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_BUFFER = 1 << 20
Ints = NDArray[np.int64]


def streamed(path: str | os.PathLike[str]) -> pq.ParquetFile:
    """A file whose batches take the memory of a batch.

    pyarrow would else read each column of a row group as a whole before the first batch of it.
    """
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def take(file: pq.ParquetFile, columns: Sequence[str], rows: Ints, batch: int = 8192) -> pa.Table:
    """Sorted rows int64[n] of some columns."""
    parts, done, start = [], 0, 0
    for piece in file.iter_batches(batch, columns=list(columns)):
        end = int(rows.searchsorted(start + len(piece)))
        if end > done:
            parts.append(piece.take(pa.array(rows[done:end] - start)))
        done, start = end, start + len(piece)
    schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    return pa.Table.from_batches(parts, schema)
