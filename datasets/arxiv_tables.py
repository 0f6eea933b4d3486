"""Parquet files with columns like arXiv's as a source of records, read batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from fanns.errors import InputError

from .arxiv_records import NEEDED, Broken, Raw, columns_of
from .arxiv_snapshot import digest
from .parquet_files import streamed

BATCH = 4096  # rows


class ParquetTable:
    """A Parquet file; its rows are counted from 1. Columns of other names are not looked at."""

    def __init__(self, path: Path) -> None:
        """Raises InputError when the file is no Parquet, or lacks a column that is needed."""
        self.path = path
        self.name = path.name
        with _reported(path):
            file = streamed(path)
            self._groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._columns = [name for name in file.schema_arrow.names if columns_of([name])]
        if missing := [name for name in NEEDED if name not in columns_of(self._columns)]:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; found {', '.join(self._columns)}"
            )

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "xxh3": digest(self.path)}

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        """The rows. Raises InputError when the file is damaged."""
        starts = itertools.accumulate(self._groups, initial=0)
        groups = [g for g, start in enumerate(starts) if start <= after and g < len(self._groups)]
        first = max(groups, default=0)  # the row group that holds row `after` + 1
        row = sum(self._groups[:first])
        with _reported(self.path), streamed(self.path) as file:
            wanted = list(range(first, len(self._groups)))
            for batch in file.iter_batches(BATCH, row_groups=wanted, columns=self._columns):
                if row + batch.num_rows > after:
                    skipped = max(after - row, 0)
                    for number, fields in enumerate(batch.slice(skipped).to_pylist(), start=1):
                        yield Raw(row + skipped + number, fields)
                row += batch.num_rows


class _reported:
    """Turns what pyarrow raises into InputError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, pa.ArrowException)) and not isinstance(error, InputError):
            raise InputError(f"{self.path} cannot be read as Parquet: {error}") from error
