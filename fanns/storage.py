"""An index on disk: a directory with immutable segment files and the catalog that names them.

    papers.fanns/
        catalog.sqlite     manifest and settings (catalog.py); a commit is one transaction
        catalog.seal       length and checksum of the catalog, while no writer has it open
        segment-000001/    vectors-bulk.bin, graph.bin, ... (arrayfile.py), never changed
        transforms/        arrays that all segments share (bundles.py), where there are any
        catalog.pending    a later state than the catalog's, not yet synced (pending.py)
        writer.lock        held by the one writer

Readers take descriptors of all files of one committed state when they open, and keep them: what a
writer does later does not concern them. A `Directory` and its arrays may be used from any thread
and, read-only, in a forked child; they cannot be pickled: send the path and open it there.
"""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from fanns import catalog, files
from fanns.arrayfile import FILE_NAME
from fanns.bundles import Bundle, read_bundle, write_bundle
from fanns.catalog import CatalogWriter, Manifest, SegmentRecord
from fanns.errors import (
    CorruptIndexError,
    IndexExistsError,
    InputError,
    NotAnIndexError,
    StorageError,
    UnfinishedIndexError,
)
from fanns.files import WriterLock, reported
from fanns.pending import (
    Backlog,
    check_available,
    read_pending,
    remove_pending,
    warn_of_lost,
    write_pending,
)
from fanns.stored_segment import (
    PLACE,
    SEGMENT,
    VERSION,
    Addition,
    Rewrite,
    SegmentFiles,
    Written,
    rewrite_segment,
    segment_name,
    write_segment,
)

OPEN_ATTEMPTS = 50

UNFINISHED = "unfinished"
"""The setting of an index that is built in steps, until it is whole; nobody opens it before."""

SHARED = "transforms"
"""The setting that has the digest of what all segments share, the folder and stem of its files."""

Progress = Callable[[int, int], None]


class Directory:
    """An index directory: `create` a new one, or `open` one for reading or for writing.

    Attributes: path; mode ("create", "w" or "r"); segments; settings; shared, which all segments
    share, or None.
    """

    def __init__(self, path: Path, mode: Literal["create", "w", "r"]) -> None:
        self.path = path
        self.mode = mode
        self.segments: list[SegmentFiles] = []
        self.settings: dict[str, Any] = {}
        self.shared: Bundle | None = None
        self._place = path  # where the files are: the temporary directory until commit_new
        self._writer: CatalogWriter | None = None
        self._lock: WriterLock | None = None
        self._overwrite = False
        self._manifest: Manifest | None = None
        self._numbering = threading.Lock()
        self._number = 0  # the last that was given
        self._backlog: Backlog | None = None
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
    def resume(cls, path: str | Path, *, overwrite: bool = False) -> Self:
        """Begins a new index that is built in steps, or goes on with one.

        It stands in a folder of a fixed name beside `path`, which outlives this process: what was
        committed is in `segments` and `settings` when it is begun again. `commit_new` gives it its
        name. Raises as `create`; IndexLockedError while another process builds it.
        """
        target = Path(os.path.abspath(path))
        check_target(target, overwrite)
        self = cls(target, "create")
        self._overwrite = overwrite
        self._place = unfinished_place(target)
        try:
            with reported("create an index at", target):
                self._place.mkdir(exist_ok=True)
            self._lock = WriterLock(self._place)
            self._lock.acquire()
            check_target(target, overwrite)  # another build may have given it its name meanwhile
            begun = is_begun(self._place)
            if begun:
                catalog.check_seal(self._place)
            self._writer = CatalogWriter(self._place, create=not begun)
            self._attach(self._writer.load())
            self._remove_orphans()
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def open(
        cls,
        path: str | Path,
        mode: Literal["r", "w"] = "r",
        check: bool = False,
        wait: float = 0.0,
        durability: str = "full",
    ) -> Self:
        """Opens the last committed state; check=True reads every byte first.

        A writer waits so many seconds for another one to close. With durability "deferred" its
        commits are durable after `sync` only; see pending.py.

        Raises NotAnIndexError, CorruptIndexError, IndexLockedError (mode "w"), or StorageError when
        the files cannot be read or, in mode "w", written.
        """
        if mode not in ("r", "w"):
            raise InputError(f"mode is 'r' or 'w', not {mode!r}")
        self = cls(Path(os.path.abspath(path)), mode)
        check_finished(self.path)
        try:
            if mode == "w":
                if durability == "deferred":
                    check_available()
                self._open_writer(wait)
                if durability == "deferred":
                    self._backlog = Backlog()
            else:
                self._open_reader()
                assert self._manifest is not None
                warn_of_lost(self.path, self._manifest, False)
            if UNFINISHED in self.settings:
                raise unfinished(self.path, self.path)
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
            manifest = last_manifest(self.path)
            try:
                self._attach(manifest)
                return
            except (FileNotFoundError, CorruptIndexError) as cause:
                # Either a file is lost or damaged, or a writer replaced this state since the
                # catalog was read.
                if last_manifest(self.path) != manifest:
                    continue
                if isinstance(cause, FileNotFoundError):
                    raise CorruptIndexError(f"{cause.filename} is missing") from cause
                raise
        raise StorageError(f"{self.path} changes faster than it can be opened; try again")

    def refresh(self) -> bool:
        """Goes on to the last committed state; whether it is a newer one.

        For readers: a writer has the last state at all times. Raises as `open` does.
        """
        if self.mode != "r" or last_manifest(self.path) == self._manifest:
            return False
        self._open_reader()
        return True

    def _open_writer(self, wait: float) -> None:
        last_manifest(self.path)  # every check, before even a lock file is made
        self._lock = WriterLock(self.path)
        self._lock.acquire(wait)
        catalog.check_seal(self.path)
        self._writer = CatalogWriter(self.path)
        known = self._writer.load()
        pending = read_pending(self.path)
        if pending is None:
            warn_of_lost(self.path, known, True)
        try:
            self._attach(pending or known)
        except FileNotFoundError as cause:
            raise CorruptIndexError(f"{cause.filename} is missing") from cause
        if pending is not None:
            for segment in self.segments:
                folder = self.path / segment_name(segment.id)
                for path in (*(folder / name for name in segment.file_names), folder):
                    files.sync_path(path)
            files.sync_directory(self.path)
            self._write_catalog(known)
        remove_pending(self.path)
        self._remove_orphans()
        with contextlib.suppress(OSError):
            files.remove_stale(self.path)

    def _remove_orphans(self) -> None:
        """Removes what the catalog does not name: of commits that never happened, or were cut."""
        known = {segment_name(segment.id): set(segment.file_names) for segment in self.segments}
        for folder in list(self._place.iterdir()):
            if not SEGMENT.fullmatch(folder.name):
                continue
            if folder.name not in known:
                remove(folder)
                continue
            for entry in list(folder.iterdir()):
                if entry.name not in known[folder.name] and FILE_NAME.fullmatch(entry.name):
                    remove(entry)

    def _attach(self, manifest: Manifest) -> None:
        before = {segment.id: segment for segment in self.segments}
        opened: list[SegmentFiles] = []
        try:
            for record in manifest.segments:
                opened.append(SegmentFiles(self._place, record, before.get(record.id)))
        except BaseException:
            if not before:
                for segment in opened:
                    segment.close()
            raise
        digest = manifest.settings.get(SHARED)
        if digest and (self.shared is None or digest != self.settings.get(SHARED)):
            self.shared = read_shared(self._place, digest)
        self.segments = in_order(opened)
        self.settings = manifest.settings
        self._manifest = manifest

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
        addition = Addition(meta, arrays, tables, bulk)
        return self.commit(additions=[addition], settings=settings)[0]

    def commit(
        self,
        additions: Sequence[Addition] = (),
        rewrites: Sequence[Rewrite] = (),
        removed: Collection[int] = (),
        settings: Mapping[str, Any] | None = None,
        written: Sequence[Written] = (),
    ) -> list[int]:
        """Adds, edits and removes segments in one transaction; returns the ids of those added.

        With durability "deferred" nothing is synced, and what is left unnamed stays until `sync`.
        Those of `written`, which `write` has made, come first. New files are durable before the
        transaction; what it leaves unnamed is removed after it, and readers keep it by their
        descriptors. If anything fails the index is as it was, and `written` is gone.

        Raises:
            InputError: arrays that cannot be stored. StorageError: names the path and the cause.
        """
        writer = self._require_writer()
        present = {segment.id: segment for segment in self.segments}
        made = [self._place / segment_name(one.files.id) for one in written]
        added: list[SegmentFiles] = []
        edited: dict[int, SegmentFiles] = {}
        try:
            with reported("write", self._place), self._syncing():
                for one in written:
                    added.append(
                        one.files if one.rewrite is None else self._edited(one.files, one.rewrite)
                    )
                for addition in additions:
                    number = self._next_number()
                    made.append(self._place / segment_name(number))
                    added.append(self._written(number, made[-1], addition))
                if additions:
                    files.sync_directory(self._place)
                for rewrite in rewrites:
                    old = present[rewrite.segment]
                    folder = self._place / segment_name(old.id)
                    known = set(os.listdir(folder))
                    try:
                        edited[old.id] = self._edited(old, rewrite)
                    finally:
                        made += [folder / name for name in set(os.listdir(folder)) - known]
            self._publish(
                writer,
                Manifest(
                    self.settings if settings is None else dict(settings),
                    tuple(
                        edited.get(one.id, one).record
                        for one in [*self.segments, *added]
                        if one.id not in removed
                    ),
                ),
                [one.record for one in added],
                [one.record for one in edited.values()],
                removed,
                None if settings is None else dict(settings),
            )
        except BaseException:
            self._withdraw(writer, made)
            raise
        kept = [edited.get(one.id, one) for one in self.segments if one.id not in removed]
        self.segments = in_order([*kept, *added])
        if settings is not None:
            self.settings = dict(settings)
        before = present | {one.files.id: one.files for one in written}
        self._clear(before, [*edited.values(), *added], removed)
        if self._backlog is not None and self._backlog.is_old():
            with contextlib.suppress(StorageError):  # this change holds; `sync` and `close` tell
                self.sync()
        return [one.id for one in added]

    @contextlib.contextmanager
    def _syncing(self) -> Iterator[None]:
        """Where files are written: they are synced, or noted to be."""
        if self._backlog is None:
            yield
        else:
            with files.deferring(self._backlog.paths):
                yield

    def _publish(
        self,
        writer: CatalogWriter,
        manifest: Manifest,
        added: Sequence[SegmentRecord],
        replaced: Sequence[SegmentRecord],
        removed: Collection[int],
        settings: dict[str, Any] | None,
    ) -> None:
        """Make a state the last one, for readers too."""
        if self._backlog is None:
            writer.commit(added, replaced, removed, settings)
        else:
            write_pending(self._place, manifest)
            self._backlog.begun = self._backlog.begun or time.monotonic()

    def sync(self) -> None:
        """Makes all commits durable that were deferred, and removes what they left unnamed.

        Raises:
            StorageError: it cannot be written; the commits hold as they did.
        """
        backlog = self._backlog
        if backlog is None or not backlog.begun:
            return
        with reported("sync", self._place):
            paths = list(dict.fromkeys(backlog.paths))
            if backlog.doubtful:
                for path in paths:
                    if path.is_file():
                        files.write_again(path)
            backlog.doubtful = True
            for path in paths:
                files.sync_path(path)
            backlog.doubtful = False
        self._write_catalog(self._require_writer().load())
        remove_pending(self._place)
        for path in backlog.garbage:
            remove(path)
        self._backlog = Backlog()

    def _write_catalog(self, known: Manifest) -> None:
        """Commits the present state to the catalog, which has said `known`."""
        before = {record.id: record for record in known.segments}
        now = {one.id: one.record for one in self.segments}
        self._require_writer().commit(
            [record for number, record in now.items() if number not in before],
            [record for number, record in now.items() if before.get(number, record) != record],
            [number for number in before if number not in now],
            self.settings if self.settings != known.settings else None,
        )

    def write(self, addition: Addition) -> SegmentFiles:
        """Writes a segment, durably, that is no part of the index until `commit(written=...)`.

        Commits of other threads may go on meanwhile. Raises as `commit` does.
        """
        self._require_writer()
        number = self._next_number()
        folder = self._place / segment_name(number)
        try:
            with reported("write", self._place):
                made = self._written(number, folder, addition)
                files.sync_directory(self._place)
        except BaseException:
            remove(folder)
            raise
        return made

    def discard(self, written: SegmentFiles) -> None:
        """Removes what `write` has made."""
        written.close()
        remove(self._place / segment_name(written.id))

    def _next_number(self) -> int:
        """A number that no segment has had since this directory was opened."""
        with self._numbering:
            self._number = 1 + max([self._number, *(one.id for one in self.segments)])
            return self._number

    def _edited(self, old: SegmentFiles, rewrite: Rewrite) -> SegmentFiles:
        record = rewrite_segment(self._place / segment_name(old.id), old.record, rewrite)
        return SegmentFiles(self._place, record, old)

    def _written(self, number: int, folder: Path, addition: Addition) -> SegmentFiles:
        meta, arrays, tables, bulk, place, packed = addition
        if both := set(arrays) & set(tables):
            raise InputError(f"{sorted(both)[0]!r} names both an array and a table")
        described = {name: value for name, value in meta.items() if name not in (VERSION, PLACE)}
        if place is not None:
            described[PLACE] = place
        with reported("write", folder):
            folder.mkdir()
            record = write_segment(folder, number, described, arrays, tables, bulk, packed)
            files.sync_directory(folder)
        return SegmentFiles(self._place, record)

    def erase(self) -> None:
        """Leaves no byte in the directory that the present state does not use.

        Files with parts that were replaced are written anew, the catalog and its log are emptied of
        what they said before, left-overs go. Raises StorageError.
        """
        self.sync()
        backlog, self._backlog = self._backlog, None
        try:
            self._erase()
        finally:
            self._backlog = backlog

    def _erase(self) -> None:
        rewrites = []
        for segment in self.segments:
            names = segment.beside_garbage()
            if names:
                arrays = {name: segment.array(name) for name in names}
                rewrites.append(Rewrite(segment.id, segment.meta, arrays, {}))
        if rewrites:
            self.commit(rewrites=rewrites)
        self._require_writer().scrub()
        self._remove_orphans()

    def reopen(self) -> None:
        """Opens every file anew, so that nothing here holds those that are gone."""
        manifest = self._require_writer().load()
        self.segments = []
        self._attach(manifest)

    def nbytes(self) -> int:
        """Bytes of all segments."""
        return sum(segment.nbytes() for segment in self.segments)

    def _withdraw(self, writer: CatalogWriter, made: Iterable[Path]) -> None:
        """Removes what a failed commit wrote, once it is certain that the catalog is as it was.

        A commit may fail after it became durable. Then, or when nobody can tell, the files stay and
        this directory is written no more: opening it again finds the state that holds.
        """
        before = {(segment.id, segment.meta.get(VERSION, 0)) for segment in self.segments}
        try:
            found = (read_pending(self._place) if self._backlog else None) or writer.load()
            after = {(segment.id, segment.meta.get(VERSION, 0)) for segment in found.segments}
            certain = after == before and found.settings == json.loads(json.dumps(self.settings))
        except StorageError:
            certain = False
        if certain:
            for path in made:
                remove(path)
        else:
            self._writer = None
            with contextlib.suppress(StorageError):
                writer.close()

    def _clear(
        self,
        before: Mapping[int, SegmentFiles],
        after: Iterable[SegmentFiles],
        removed: Iterable[int],
    ) -> None:
        """Removes the files that a commit has left without a name; the next writer does as well."""
        garbage = [self._place / segment_name(number) for number in removed]
        for one in after:
            old = before[one.id].file_names if one.id in before else []
            folder = self._place / segment_name(one.id)
            garbage += [folder / name for name in set(old) - set(one.file_names)]
        if self._backlog is not None:
            self._backlog.garbage += garbage
            return
        for path in garbage:
            remove(path)

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Replaces the settings (a JSON object) in one transaction."""
        self.commit(settings=settings)

    def share(self, bundle: Bundle) -> None:
        """Writes what all segments of an index share that is being created.

        Settings that name its digest make it part of the index. Raises StorageError.
        """
        self._require_writer()
        folder = self._place / SHARED
        files.remove_stale(folder)
        write_bundle(folder, SHARED, bundle, overwrite=True)
        self.shared = bundle

    def describe_segment(self, number: int, meta: Mapping[str, Any]) -> None:
        """Replaces the description of a committed segment (a JSON object) in one transaction."""
        if not any(segment.id == number for segment in self.segments):
            raise StorageError(f"the index has no segment {number}")
        self.commit(rewrites=[Rewrite(number, meta, {}, {})])

    def commit_new(self) -> None:
        """Gives a created index its name, atomically; from then on this Directory only reads it.

        An index that stood there and was to be overwritten is removed afterwards; its readers keep
        their descriptors. Raises IndexLockedError while it has a writer.
        """
        writer = self._require_writer()
        if self.mode != "create" or self._lock is None:
            raise StorageError(f"{self.path} exists already; commit_new is for a created index")
        check_target(self.path, self._overwrite)
        with contextlib.ExitStack() as stack:
            if (self.path / catalog.CATALOG).exists():
                old_lock = WriterLock(self.path)
                old_lock.acquire()
                stack.callback(old_lock.release)
            writer.close(must_seal=True)
            self._writer = None
            if sys.platform == "win32":  # there no directory is renamed that has an open file
                self._lock.release()
            with reported("create an index at", self.path):
                files.sync_directory(self._place)
                old = files.install(self._place, self.path)
            if self._cleanup is not None:
                self._cleanup.detach()
            self._place = self._lock.directory = self.path
            self.mode = "r"
        self._lock.release()
        self._lock = self._cleanup = None
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def place(self) -> Path:
        """Where the files are: for an index that is being created, not `path` yet."""
        return self._place

    def give_up(self) -> None:
        """Gives up an index that is built in steps, and removes what there is of it."""
        if self.mode != "create":
            raise StorageError(f"{self.path} is a whole index; give_up is for one being built")
        self.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Reads everything; returns one line per damaged file, naming it, or an empty list.

        progress(done, total) is called with bytes.
        """
        total = self.nbytes()
        done = 0

        def report(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(done, total)

        problems = []
        try:
            if self._writer is None:
                last_manifest(self._place)
            else:
                self._writer.load()
        except CorruptIndexError as cause:
            problems.append(f"{self._place / catalog.CATALOG}: {cause}")
        if self.shared is not None and self.shared.digest != self.settings.get(SHARED):
            problems.append(f"{self._place / SHARED}: altered")
        for segment in self.segments:
            problems += segment.verify(report)
        return problems

    def close(self) -> None:
        """Closes everything; a created index that was not committed is removed,
        unless it is built in steps.

        Raises:
            StorageError: deferred commits cannot be made durable; they hold as they did.
        """
        try:
            if self._writer is not None:
                self.sync()
        finally:
            self._close()

    def _close(self) -> None:
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


def check_durability(durability: str) -> None:
    """Raises InputError unless this is how a writer may commit."""
    if durability not in ("full", "deferred"):
        raise InputError(f"durability is {durability!r}, expected 'full' or 'deferred'")


def last_manifest(directory: Path) -> Manifest:
    """The last committed state, for readers; raises as `catalog.read_manifest` does.

    The later one is looked for first: what is not there then, is in the catalog that is read next.
    """
    catalog.find_catalog(directory)
    return read_pending(directory) or catalog.read_manifest(directory)


def read_shared(place: Path, digest: Any) -> Bundle:
    """What all segments of an index share; CorruptIndexError unless it has this digest."""
    try:
        bundle = read_bundle(place / SHARED, SHARED)
    except NotAnIndexError as cause:
        raise CorruptIndexError(f"{place / SHARED} is missing") from cause
    if bundle.digest != digest:
        raise CorruptIndexError(f"{place / SHARED} is not what the index was built with")
    return bundle


def check_target(target: Path, overwrite: bool) -> None:
    """Raises unless a new index may take this path."""
    with reported("create an index at", target):
        if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
            return
        if not overwrite:
            raise IndexExistsError(f"{target} exists; choose another path, or pass overwrite=True")
        if not (target / catalog.CATALOG).is_file():
            raise NotAnIndexError(f"{target} is not a fanns index, so it is not overwritten")


def unfinished_place(target: Path) -> Path:
    """Where an index is built in steps that will stand at `target`."""
    return target.with_name(f".{target.name}.unfinished")


def is_begun(place: Path) -> bool:
    """Whether a folder holds the catalog of an index; one that was not made wholly is removed.

    Raises CorruptIndexError for a damaged one that names segments.
    """
    try:
        catalog.read_manifest(place)
    except (NotAnIndexError, CorruptIndexError):
        if any(SEGMENT.fullmatch(entry.name) for entry in place.iterdir()):
            raise
        for entry in place.glob(f"{catalog.CATALOG}*"):
            remove(entry)
        return False
    return True


def check_finished(path: Path) -> None:
    """Raises UnfinishedIndexError where there is no index yet, but one being built."""
    place = unfinished_place(path)
    if not os.path.lexists(path / catalog.CATALOG) and (place / catalog.CATALOG).is_file():
        raise unfinished(path, place)


def unfinished(path: Path, place: Path) -> UnfinishedIndexError:
    """The error that says how far the build of an index came, and how to go on."""
    told = ""
    with contextlib.suppress(StorageError, AttributeError):
        manifest = catalog.read_manifest(place)
        rows = manifest.settings.get(UNFINISHED, {}).get("rows")
        done = sum(segment.meta.get("rows", 0) for segment in manifest.segments)
        told = f" ({done:,} of {rows:,} rows are done)" if type(rows) is int else ""
    return UnfinishedIndexError(
        f"{path} is unfinished: its build is under way or was interrupted{told}. The same build "
        f"again goes on with it, keeping what is done; to give it up, delete {place}"
    )


def in_order(segments: Iterable[SegmentFiles]) -> list[SegmentFiles]:
    """Segments by the place of their rows: a merged one stands where its first part stood."""

    segments = list(segments)
    for segment in segments:
        if type(segment.place) is not int or type(segment.meta.get(VERSION, 0)) is not int:
            raise CorruptIndexError(f"segment {segment.id}: its place or version is no number")
    return sorted(segments, key=lambda segment: segment.place)


def remove(path: Path) -> None:
    """Removes a file, link or folder; what cannot be removed now is left for the next writer."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def remove_own(temporary: Path, owner: int) -> None:
    """Removes a temporary directory, in the process that made it and not in its forks."""
    if os.getpid() == owner:
        shutil.rmtree(temporary, ignore_errors=True)
