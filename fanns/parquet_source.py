"""Rows of Parquet files, read in batches: never more than a few megabytes at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from fanns.errors import InputError
from fanns.tables import check_same_columns, parquet_files

BATCH_BYTES = 1 << 20
"""Of a batch, as its vectors and plain columns take it."""

READ_AHEAD = 1 << 20
"""Bytes read at a time of each column, in the place of a whole column of a row group."""

FOOTER_TAIL = 8  # bytes: its length and the magic word


class Part(NamedTuple):
    """One file: its rows, where they start among all, and the rows of each row group."""

    path: Path
    start: int
    groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.groups)


class ParquetSource:
    """The rows of all files, in the order given.

    Attributes:
        rows: of all files. schema: the Arrow schema that they share.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads the footers.

        Raises:
            InputError: a file cannot be read as Parquet, or has other columns than the first.
        """
        self.parts: list[Part] = []
        self.rows = 0
        schema: pa.Schema | None = None
        for path in paths:
            with _reported(path):
                file = _open(path)
                groups = tuple(
                    file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)
                )
                found = file.schema_arrow
            if schema is None:
                schema = found
            else:
                check_same_columns(schema, found, paths[0], path)
            self.parts.append(Part(path, self.rows, groups))
            self.rows += sum(groups)
        assert schema is not None
        self.schema = schema

    @classmethod
    def of(cls, data: Any) -> ParquetSource | None:
        """The source that paths, folders, patterns or a dataset of Parquet files name, else None.

        Raises:
            InputError: a path leads to nothing, or a file cannot be used.
        """
        if isinstance(data, (str, os.PathLike)):
            return cls(parquet_files(data))
        if isinstance(data, Sequence) and data:
            if all(isinstance(path, (str, os.PathLike)) for path in data):
                return cls([path for part in data for path in parquet_files(part)])
            return None
        kind = getattr(getattr(data, "format", None), "default_extname", None)
        if kind == "parquet" and hasattr(data, "files"):
            return cls([path for name in data.files for path in parquet_files(name)])
        return None

    def empty(self) -> pa.Table:
        """A table of the schema without rows."""
        return self.schema.empty_table()

    def batches(
        self,
        columns: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
        row_bytes: float = 4096.0,
    ) -> Iterator[tuple[int, pa.Table]]:
        """Rows start..stop in pieces: the number of the first row, and a table of these columns.

        `row_bytes` says what a row may take, from which follows how many make a batch.
        """
        stop = self.rows if stop is None else stop
        size = int(min(16_384, max(64, BATCH_BYTES / max(row_bytes, 1.0))))
        names = None if columns is None else list(columns)
        for part in self.parts:
            low, high = max(start - part.start, 0), min(stop - part.start, part.rows)
            if low < high:
                for at, table in _read(part, low, high, names, size):
                    yield part.start + at, table.replace_schema_metadata(self.schema.metadata)

    def fingerprint(self) -> list[dict[str, Any]]:
        """What tells these files from others: name, bytes, rows, time and checksum of the footer.

        The footer holds the least and the largest value of columns and the place of every page.
        """
        found = []
        for part in self.parts:
            with _reported(part.path):
                status = part.path.stat()
                footer = _footer(part.path, status.st_size)
            found.append(
                {
                    "file": str(part.path.resolve()),
                    "bytes": status.st_size,
                    "rows": part.rows,
                    "modified_ns": status.st_mtime_ns,
                    "footer": xxhash.xxh3_128_hexdigest(footer),
                }
            )
        return found


def differences(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """What two fingerprints do not share, in words."""
    if [one["file"] for one in before] != [one["file"] for one in now]:
        names = [", ".join(str(one["file"]) for one in side) for side in (before, now)]
        return [f"the files: {names[0]} then, {names[1]} now"]
    return [
        f"{then['file']} has changed since: its {name} was {then[name]}, now {this[name]}"
        for then, this in zip(before, now, strict=True)
        for name in ("bytes", "rows", "footer", "modified_ns")
        if then[name] != this[name]
    ][:3]


def _read(
    part: Part, low: int, high: int, names: list[str] | None, size: int
) -> Iterator[tuple[int, pa.Table]]:
    """Rows low..high of a file, in batches of at most `size`."""
    first, at = 0, 0
    groups: list[int] = []
    for number, rows in enumerate(part.groups):
        if at + rows > low and at < high:
            first = at if not groups else first
            groups.append(number)
        at += rows
    with _reported(part.path):
        file = _open(part.path)
        at = first
        for batch in file.iter_batches(size, groups, names, use_threads=False):
            begin, end = max(low - at, 0), min(high - at, len(batch))
            if begin < end:
                table = pa.Table.from_batches([batch.slice(begin, end - begin)])
                yield at + begin, table if names is None else table.select(names)
            at += len(batch)
            if at >= high:
                return


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    # Not mapped, and buffered: pages of a mapped file count as memory held, and without a buffer
    # a whole column of a row group is read at once.
    return pq.ParquetFile(
        path, buffer_size=READ_AHEAD, pre_buffer=False, page_checksum_verification=True
    )


def _footer(path: Path, size: int) -> bytes:
    """The last bytes of a Parquet file, which describe all others."""
    with open(path, "rb") as file:
        file.seek(max(0, size - FOOTER_TAIL))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - FOOTER_TAIL - length))
        return file.read(length + FOOTER_TAIL)


class _reported:
    """Turns what reading raises into an InputError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, pa.ArrowException, UnicodeDecodeError)):
            raise InputError(f"{self.path} cannot be read as Parquet: {error}") from error
