"""The files of one segment: read by name, verified, written, and rewritten in part.

A file is never changed. What an edit replaces goes to new files, whose names hold the number of the
edit (`live-v000003.bin`), so that no name ever has two contents.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from fanns.arrayfile import (
    ALIGNMENT,
    CHUNK,
    TABLE,
    ArrayRecord,
    FileRecord,
    MappedFile,
    write_pack,
    write_table,
)
from fanns.catalog import SegmentRecord
from fanns.errors import CorruptIndexError, StorageError
from fanns.files import reported, sync_directory

SEGMENT = re.compile(r"segment-\d{6,}")
GROUP = re.compile(r"[a-z][a-z0-9_]{0,39}")
VERSION = "version"
PLACE = "place"


class MissingPartError(CorruptIndexError, KeyError):
    """A segment has no array or table of this name, which a mapping says by KeyError."""

    __str__ = Exception.__str__


class Addition(NamedTuple):
    """A segment to be written: its description (JSON), arrays and tables, and which are bulk.

    `place`: it stands where this segment stood, None for the end. `packed`: all arrays in one file,
    as suits a small segment.
    """

    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]]
    tables: Mapping[str, pa.Table]
    bulk: Collection[str] = ()
    place: int | None = None
    packed: bool = False


class Rewrite(NamedTuple):
    """What becomes of a committed segment: its description, new or replaced parts, dropped ones."""

    segment: int
    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]]
    tables: Mapping[str, pa.Table]
    dropped: Collection[str] = ()


class SegmentFiles:
    """The arrays and tables of one committed segment, by name."""

    def __init__(
        self, directory: Path, record: SegmentRecord, before: SegmentFiles | None = None
    ) -> None:
        """`before`: the same segment as it was, whose open files are taken over where they stay."""
        self.record = record
        self.id = record.id
        self.meta = record.meta
        self._path = directory / segment_name(record.id)
        self._records = {array.name: array for array in record.arrays}
        self._files: dict[str, MappedFile] = {}
        self._open: dict[str, np.ndarray[Any, Any] | pa.Table] = {}
        self._guard = threading.Lock()
        if before is not None:
            self._take(before)
        if self._path.is_symlink():
            raise CorruptIndexError(f"{self._path} is a symbolic link; an index holds none")
        try:
            for file in record.files:
                if file.name not in self._files:
                    self._files[file.name] = MappedFile(self._path / file.name, file)
        except BaseException:
            self.close()
            raise

    def _take(self, before: SegmentFiles) -> None:
        """Share what did not change: descriptors, maps and what was checked."""
        with before._guard:
            for file in self.record.files:
                known = before._files.get(file.name)
                if known is not None and known.record == file:
                    self._files[file.name] = known
            for name, found in before._open.items():
                if self._records.get(name) == before._records[name]:
                    self._open[name] = found

    @property
    def place(self) -> int:
        """Segments stand in this order: a merged one where its first part stood."""
        place: int = self.meta.get(PLACE, self.id)
        return place

    @property
    def file_names(self) -> list[str]:
        """The names of the files."""
        return [file.name for file in self.record.files]

    def names(self) -> list[str]:
        """The names of the arrays, sorted."""
        return sorted(name for name, record in self._records.items() if record.dtype != TABLE)

    def table_names(self) -> list[str]:
        """The names of the tables, sorted."""
        return sorted(name for name, record in self._records.items() if record.dtype == TABLE)

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """A memory-mapped array: a plain ndarray, read-only, C-contiguous, 64-byte aligned.

        The first touch of a structural array compares it with its checksum; CorruptIndexError if it
        was altered, KeyError if the segment has no such array.
        """
        found = self._touch(name, self._record(name, table=False))
        assert isinstance(found, np.ndarray)
        return found

    def table(self, name: str) -> pa.Table:
        """A memory-mapped Arrow table; checks and errors as for `array`."""
        return self._touch(name, self._record(name, table=True))

    def hold(
        self, arrays: Mapping[str, np.ndarray[Any, Any]], tables: Mapping[str, pa.Table]
    ) -> None:
        """Take these, of which the files were just written, for what would be read from them."""
        with self._guard:
            for name, array in arrays.items():
                record = self._records[name]
                if array.dtype.str == record.dtype and array.flags.c_contiguous:
                    self._open[name] = array
            self._open.update(tables)

    def will_need(self, name: str) -> None:
        """Have the system read the file of an array or table ahead, wholly."""
        with self._guard:
            file = self._files.get(self._records[name].file)
            if file is not None:
                with reported("map", file.path):
                    file.will_need()

    def nbytes(self, name: str | None = None) -> int:
        """Bytes on disk: of one array or table, of all named `name/...`, or of everything."""
        if name is None:
            return sum(file.record.nbytes for file in self._files.values())
        return sum(
            record.nbytes
            for key, record in self._records.items()
            if key == name or key.startswith(f"{name}/")
        )

    def beside_garbage(self) -> list[str]:
        """The arrays in files that also hold bytes of replaced ones."""
        names = []
        for file in self.record.files:
            own = [one for one in self.record.arrays if one.file == file.name]
            end, spare = 0, False
            for one in sorted(own, key=lambda one: (one.offset, one.nbytes)):
                spare |= one.offset - end >= ALIGNMENT
                end = one.offset + one.nbytes
            if spare or file.nbytes > end:
                names += [one.name for one in own]
        return names

    def verify(self, report: Callable[[int], None]) -> list[str]:
        """Reads every byte; returns what does not match its checksum."""
        problems = []
        for file in self._files.values():
            arrays = [a for a in self._records.values() if a.file == file.record.name]
            problems += verify_file(
                file, sorted(arrays, key=lambda a: (a.offset, a.nbytes)), report
            )
        return problems

    def close(self) -> None:
        """Closes the descriptors; arrays that were handed out stay valid."""
        with self._guard:
            for file in self._files.values():
                file.close()
            self._files = {}
            self._open = {}

    def _record(self, name: str, table: bool) -> ArrayRecord:
        record = self._records.get(name)
        if record is None or (record.dtype == TABLE) is not table:
            kind = "table" if table else "array"
            raise MissingPartError(f"segment {self.id} has no {kind} {name!r}")
        return record

    def _touch(self, name: str, record: ArrayRecord) -> np.ndarray[Any, Any] | pa.Table:
        with self._guard:
            found = self._open.get(name)
            if found is None:
                file = self._files.get(record.file)
                if file is None:
                    raise StorageError(f"the index at {self._path.parent} is closed")
                with reported("map", file.path):
                    found = self._open[name] = self._first_touch(file, record)
            return found

    def _first_touch(self, file: MappedFile, record: ArrayRecord) -> Any:
        if not record.bulk and file.digest(record.offset, record.nbytes) != record.checksum:
            raise CorruptIndexError(
                f"{file.path} was altered: {record.name!r} does not match its checksum"
            )
        return file.table(record) if record.dtype == TABLE else file.array(record)


def verify_file(
    file: MappedFile, arrays: list[ArrayRecord], report: Callable[[int], None]
) -> list[str]:
    """One pass over a file: its own checksum and those of its arrays, given in order of offset."""
    whole = xxhash.xxh3_128()
    altered = []
    position = 0

    def consume(end: int, own: Any) -> None:
        nonlocal position
        while position < end:
            piece = file.read(position, min(CHUNK, end - position))
            if not piece:
                raise OSError(0, "the file ends early")
            whole.update(piece)
            if own is not None:
                own.update(piece)
            position += len(piece)
            report(len(piece))

    try:
        for array in arrays:
            consume(array.offset, None)
            own = xxhash.xxh3_128()
            consume(array.offset + array.nbytes, own)
            if own.hexdigest() != array.checksum:
                altered.append(array.name)
        consume(file.record.nbytes, None)
    except OSError as cause:
        return [f"{file.path}: {cause.strerror or cause}"]
    if altered:
        return [f"{file.path}: altered, in {', '.join(altered)}"]
    if whole.hexdigest() != file.record.checksum:
        return [f"{file.path}: altered, between its arrays"]
    return []


class Written(NamedTuple):
    """A segment that is written but no part of the index yet, and what has become of it since."""

    files: SegmentFiles
    rewrite: Rewrite | None = None


def segment_name(number: int) -> str:
    """The sub-directory of a segment."""
    return f"segment-{number:06d}"


def write_segment(
    folder: Path,
    number: int,
    meta: dict[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    tables: Mapping[str, pa.Table],
    bulk: Collection[str],
    packed: bool = False,
) -> SegmentRecord:
    """Writes the files of a segment and returns what the catalog shall say of it."""
    packs: dict[tuple[str, bool], dict[str, np.ndarray[Any, Any]]] = {}
    for name, array in arrays.items():
        key = ("segment", False) if packed else (group_of(name), name in bulk)
        packs.setdefault(key, {})[name] = array
    file_records: list[FileRecord] = []
    array_records: list[ArrayRecord] = []
    for (group, is_bulk), members in packs.items():
        path = folder / (f"{group}-bulk.bin" if is_bulk else f"{group}.bin")
        file, records = write_pack(path, members, is_bulk)
        file_records.append(file)
        array_records += records
    for place, (name, table) in enumerate(tables.items()):
        label = name if GROUP.fullmatch(name) else "table"
        path = folder / f"{label}-{place}.arrow"
        file, record = write_table(path, name, table, name in bulk and not packed)
        file_records.append(file)
        array_records.append(record)
    return SegmentRecord(number, meta, tuple(file_records), tuple(array_records))


def rewrite_segment(folder: Path, old: SegmentRecord, rewrite: Rewrite) -> SegmentRecord:
    """Writes the new parts of a segment beside the old ones; the record of what it then is.

    Files of which nothing is used any more are not in the record. Each group of arrays has a file
    of its own, and each attribute column, so that what is replaced often leaves nothing behind.
    """
    version = old.meta.get(VERSION, 0) + 1
    gone = {*rewrite.arrays, *rewrite.tables, *rewrite.dropped}
    arrays = [record for record in old.arrays if record.name not in gone]
    packs: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, array in rewrite.arrays.items():
        packs.setdefault(name.rpartition("/")[0], {})[name] = array
    new_files: list[FileRecord] = []
    for place, (prefix, members) in enumerate(packs.items()):
        number = f"{version:06d}" + (f"-{place}" if place else "")
        path = folder / f"{group_of(prefix)}-v{number}.bin"
        file, records = write_pack(path, members, False)
        new_files.append(file)
        arrays += records
    for place, (name, table) in enumerate(rewrite.tables.items()):
        label = name if GROUP.fullmatch(name) else "table"
        path = folder / f"{label}-{place}-v{version:06d}.arrow"
        file, record = write_table(path, name, table, False)
        new_files.append(file)
        arrays.append(record)
    if new_files:
        sync_directory(folder)
    used = {record.file for record in arrays}
    kept = [file for file in old.files if file.name in used]
    meta = {**rewrite.meta, VERSION: version}
    if PLACE in old.meta:
        meta[PLACE] = old.meta[PLACE]
    return SegmentRecord(old.id, meta, (*kept, *new_files), tuple(arrays))


def group_of(name: str) -> str:
    """The first part of an array's name, where it can be a file's."""
    group = name.split("/")[0]
    return group if GROUP.fullmatch(group) else "arrays"
