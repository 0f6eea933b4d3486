"""An index on disk: a directory with immutable segment files and the catalog that names them.

    papers.fanns/
        catalog.sqlite     manifest and settings (catalog.py); a commit is one transaction
        catalog.seal       length and checksum of the catalog, while no writer has it open
        segment-000001/    vectors-bulk.bin, graph.bin, ... (arrayfile.py), never changed
        writer.lock        held by the one writer

Readers take descriptors of all files of one committed state when they open, and keep them: what a
writer does later does not concern them. A `Directory` and its arrays may be used from any thread
and, read-only, in a forked child; they cannot be pickled: send the path and open it there.
"""

import contextlib
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import xxhash

from fanns import catalog, files
from fanns.arrayfile import (
    CHUNK,
    TABLE,
    ArrayRecord,
    FileRecord,
    MappedFile,
    write_pack,
    write_table,
)
from fanns.catalog import CatalogWriter, Manifest, SegmentRecord
from fanns.errors import (
    CorruptIndexError,
    IndexExistsError,
    InputError,
    NotAnIndexError,
    StorageError,
)
from fanns.files import WriterLock, reported

SEGMENT = re.compile(r"segment-\d{6,}")
GROUP = re.compile(r"[a-z][a-z0-9_]{0,39}")
OPEN_ATTEMPTS = 5

Progress = Callable[[int, int], None]


class SegmentFiles:
    """The arrays and tables of one committed segment, by name."""

    def __init__(self, directory: Path, record: SegmentRecord) -> None:
        self.id = record.id
        self.meta = record.meta
        self._path = directory / segment_name(record.id)
        self._records = {array.name: array for array in record.arrays}
        self._files: dict[str, MappedFile] = {}
        self._open: dict[str, np.ndarray[Any, Any] | pa.Table] = {}
        self._guard = threading.Lock()
        if self._path.is_symlink():
            raise CorruptIndexError(f"{self._path} is a symbolic link; an index holds none")
        try:
            for file in record.files:
                self._files[file.name] = MappedFile(self._path / file.name, file)
        except BaseException:
            self.close()
            raise

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

    def nbytes(self, name: str | None = None) -> int:
        """Bytes on disk: of one array or table, of all named `name/...`, or of everything."""
        if name is None:
            return sum(file.record.nbytes for file in self._files.values())
        return sum(
            record.nbytes
            for key, record in self._records.items()
            if key == name or key.startswith(f"{name}/")
        )

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
            raise KeyError(f"segment {self.id} has no {'table' if table else 'array'} {name!r}")
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


def segment_name(number: int) -> str:
    """The sub-directory of a segment."""
    return f"segment-{number:06d}"


class Directory:
    """An index directory: `create` a new one, or `open` one for reading or for writing.

    Attributes: path; mode ("create", "w" or "r"); segments; settings.
    """

    def __init__(self, path: Path, mode: Literal["create", "w", "r"]) -> None:
        self.path = path
        self.mode = mode
        self.segments: list[SegmentFiles] = []
        self.settings: dict[str, Any] = {}
        self._place = path  # where the files are: the temporary directory until commit_new
        self._writer: CatalogWriter | None = None
        self._lock: WriterLock | None = None
        self._overwrite = False
        self._cleanup: weakref.finalize[..., Directory] | None = None

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> Self:
        """Begins a new index in a temporary directory beside `path`; `commit_new` gives it its
        name.

        Until then, and whatever happens, `path` is left as it is. An empty directory may stand
        there. Raises IndexExistsError if the path is taken; with overwrite, NotAnIndexError if by
        something that is no index.
        """
        target = Path(os.path.abspath(path))
        check_target(target, overwrite)
        self = cls(target, "create")
        self._overwrite = overwrite
        with reported("create an index at", target):
            files.remove_stale(target)
            self._place = files.make_temporary(target)
        self._cleanup = weakref.finalize(self, remove_own, self._place, os.getpid())
        try:
            self._lock = WriterLock(self._place)
            self._lock.acquire()
            self._writer = CatalogWriter(self._place, create=True)
        except BaseException as cause:
            self.close()
            if isinstance(cause, OSError) and not isinstance(cause, StorageError):
                raise files.failure("create an index at", target, cause) from cause
            raise
        return self

    @classmethod
    def open(cls, path: str | Path, mode: Literal["r", "w"] = "r", check: bool = False) -> Self:
        """Opens the last committed state; check=True reads every byte first.

        Raises NotAnIndexError, CorruptIndexError, IndexLockedError (mode "w"), or StorageError when
        the files cannot be read or, in mode "w", written.
        """
        if mode not in ("r", "w"):
            raise InputError(f"mode is 'r' or 'w', not {mode!r}")
        self = cls(Path(os.path.abspath(path)), mode)
        try:
            if mode == "w":
                self._open_writer()
            else:
                self._open_reader()
            if check and (problems := self.verify()):
                raise CorruptIndexError("\n".join(problems))
        except BaseException as cause:
            self.close()
            if isinstance(cause, OSError) and not isinstance(cause, StorageError):
                raise files.failure("open", cause.filename or path, cause) from cause
            raise
        return self

    def _open_reader(self) -> None:
        for _ in range(OPEN_ATTEMPTS):
            manifest = catalog.read_manifest(self.path)
            try:
                self._attach(manifest)
                return
            except FileNotFoundError as cause:
                # Either the file is lost, or a writer replaced this state since the catalog was
                # read.
                if catalog.read_manifest(self.path) == manifest:
                    raise CorruptIndexError(f"{cause.filename} is missing") from cause
        raise StorageError(f"{self.path} changes faster than it can be opened; try again")

    def _open_writer(self) -> None:
        catalog.read_manifest(self.path)  # every check, before even a lock file is made
        self._lock = WriterLock(self.path)
        self._lock.acquire()
        catalog.check_seal(self.path)
        self._writer = CatalogWriter(self.path)
        try:
            self._attach(self._writer.load())
        except FileNotFoundError as cause:
            raise CorruptIndexError(f"{cause.filename} is missing") from cause
        known = {segment_name(segment.id) for segment in self.segments}
        for entry in list(self.path.iterdir()):
            if SEGMENT.fullmatch(entry.name) and entry.name not in known:
                shutil.rmtree(entry, ignore_errors=True)  # of a commit that never happened
        with contextlib.suppress(OSError):
            files.remove_stale(self.path)

    def _attach(self, manifest: Manifest) -> None:
        opened: list[SegmentFiles] = []
        try:
            for record in manifest.segments:
                opened.append(SegmentFiles(self.path, record))
        except BaseException:
            for segment in opened:
                segment.close()
            raise
        self.segments = opened
        self.settings = manifest.settings

    def add_segment(
        self,
        meta: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray[Any, Any]],
        tables: Mapping[str, pa.Table],
        bulk: Collection[str],
        settings: Mapping[str, Any] | None = None,
    ) -> int:
        """Writes a segment and commits it, together with new settings if given; returns its id.

        Arrays go to one file per first part of their names (`graph/links` to graph.bin), those
        named in `bulk` to a file of their own kind (`vectors/data` to vectors-bulk.bin); every
        table has a file. The files are durable before the commit. If anything fails the index is as
        it was. Raises InputError for arrays that cannot be stored, StorageError naming the path and
        the cause.
        """
        writer = self._require_writer()
        if both := set(arrays) & set(tables):
            raise InputError(f"{sorted(both)[0]!r} names both an array and a table")
        number = 1 + max((segment.id for segment in self.segments), default=0)
        folder = self._place / segment_name(number)
        try:
            with reported("write", folder):
                folder.mkdir()
                record = write_segment(folder, number, dict(meta), arrays, tables, bulk)
                files.sync_directory(folder)
                files.sync_directory(self._place)
                attached = SegmentFiles(self._place, record)
            writer.commit(record, None if settings is None else dict(settings))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.segments.append(attached)
        if settings is not None:
            self.settings = dict(settings)
        return number

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Replaces the settings (a JSON object) in one transaction."""
        self._require_writer().commit(None, dict(settings))
        self.settings = dict(settings)

    def describe_segment(self, number: int, meta: Mapping[str, Any]) -> None:
        """Replaces the description of a committed segment (a JSON object) in one transaction."""
        self._require_writer().describe(number, dict(meta))
        for segment in self.segments:
            if segment.id == number:
                segment.meta = dict(meta)

    def commit_new(self) -> None:
        """Gives a created index its name, atomically; from then on this Directory only reads it.

        An index that stood there and was to be overwritten is removed afterwards; its readers keep
        their descriptors. Raises IndexLockedError while it has a writer.
        """
        writer = self._require_writer()
        if self.mode != "create" or self._lock is None or self._cleanup is None:
            raise StorageError(f"{self.path} exists already; commit_new is for a created index")
        check_target(self.path, self._overwrite)
        with contextlib.ExitStack() as stack:
            if (self.path / catalog.CATALOG).exists():
                old_lock = WriterLock(self.path)
                old_lock.acquire()
                stack.callback(old_lock.release)
            writer.close(must_seal=True)
            self._writer = None
            self._lock.release()
            with reported("create an index at", self.path):
                files.sync_directory(self._place)
                old = files.install(self._place, self.path)
            self._cleanup.detach()
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        self._place = self.path
        self.mode = "r"
        self._lock = self._cleanup = None

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Reads everything; returns one line per damaged file, naming it, or an empty list.

        progress(done, total) is called with bytes.
        """
        total = sum(segment.nbytes() for segment in self.segments)
        done = 0

        def report(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(done, total)

        problems = []
        try:
            if self._writer is None:
                catalog.read_manifest(self._place)
            else:
                self._writer.load()
        except CorruptIndexError as cause:
            problems.append(f"{self._place / catalog.CATALOG}: {cause}")
        for segment in self.segments:
            problems += segment.verify(report)
        return problems

    def close(self) -> None:
        """Closes everything; a created index that was not committed is removed."""
        for segment in self.segments:
            segment.close()
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.release()
            cleanup, self._cleanup = self._cleanup, None
            if cleanup is not None:
                cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _require_writer(self) -> CatalogWriter:
        if self._writer is None:
            raise StorageError(f"the index at {self.path} is not open for writing; use mode='w'")
        return self._writer


def check_target(target: Path, overwrite: bool) -> None:
    """Raises unless a new index may take this path."""
    with reported("create an index at", target):
        if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
            return
        if not overwrite:
            raise IndexExistsError(f"{target} exists; choose another path, or pass overwrite=True")
        if not (target / catalog.CATALOG).is_file():
            raise NotAnIndexError(f"{target} is not a fanns index, so it is not overwritten")


def remove_own(temporary: Path, owner: int) -> None:
    """Removes a temporary directory, in the process that made it and not in its forks."""
    if os.getpid() == owner:
        shutil.rmtree(temporary, ignore_errors=True)


def write_segment(
    folder: Path,
    number: int,
    meta: dict[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    tables: Mapping[str, pa.Table],
    bulk: Collection[str],
) -> SegmentRecord:
    """Writes the files of a segment and returns what the catalog shall say of it."""
    packs: dict[tuple[str, bool], dict[str, np.ndarray[Any, Any]]] = {}
    for name, array in arrays.items():
        group = name.split("/")[0]
        if not GROUP.fullmatch(group):
            group = "arrays"
        packs.setdefault((group, name in bulk), {})[name] = array
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
        file, record = write_table(path, name, table, name in bulk)
        file_records.append(file)
        array_records.append(record)
    return SegmentRecord(number, meta, tuple(file_records), tuple(array_records))
