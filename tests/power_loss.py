"""A disk that forgets what was not synced: what an index directory may be after power was lost.

Every fsync of fanns' own files and folders is seen, and every statement of SQLite. At each of them,
and at each name that is made, changed or removed, several states are drawn that the disk may be in
if power goes at that moment:

- *least*: contents as of the last fsync of the file, names as of the last fsync of the folder;
- *most*: everything that was written;
- *mixed*: any name, and any block of any file, as it was at the last fsync or as it is.

SQLite's own fsyncs cannot be seen from Python. It is taken at its word: with synchronous=FULL what
a statement did is durable when it returns and no transaction is open. While a statement is under
way its log may be torn, and its database where a durable log has the pages.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanns.catalog import CATALOG

BLOCK = 512
WAL, SHM = f"{CATALOG}-wal", f"{CATALOG}-shm"
NAMING = ("mkdir", "unlink", "rmdir", "rename", "replace")
Image = dict[str, bytes | None]
"""Contents by path within the root, None for a folder."""
Entries = dict[str, int]


class Disk:
    """Files under `root`, as they are and as they would be after power was lost.

    Attributes:
        images: states drawn so far, each once, with what was said of it (`say`).
    """

    def __init__(self, root: Path, seed: int, mixes: int = 1) -> None:
        self.root = root
        self.images: list[tuple[Image, Any]] = []
        self.saying: Any = None
        self._rng = random.Random(seed)
        self._mixes = mixes
        self._seen: set[tuple[bytes, str]] = set()
        self._open: dict[
            int, int
        ] = {}  # a descriptor for each inode, so that no number comes again
        self._contents: dict[int, bytes] = {}
        self._entries: dict[int, Entries] = {}
        self._inside = False
        self._busy = False
        self._settle(self._know(root))

    # -- what is there

    def _know(self, path: Path | str) -> int:
        """The inode of a file or folder, which stays readable whatever becomes of its name."""
        descriptor = os.open(path, os.O_RDONLY)
        number = os.fstat(descriptor).st_ino
        if self._open.setdefault(number, descriptor) != descriptor:
            os.close(descriptor)
        return number

    def _is_folder(self, number: int) -> bool:
        return stat.S_ISDIR(os.fstat(self._open[number]).st_mode)

    def _now(self, number: int) -> bytes:
        descriptor = self._open[number]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def _names(self, number: int) -> Entries:
        descriptor = self._open[number]
        found = {}
        for name in sorted(os.listdir(descriptor)):
            try:
                found[name] = self._know(f"/proc/self/fd/{descriptor}/{name}")
            except FileNotFoundError:
                continue
        return found

    def _settle(self, number: int) -> None:
        """All that is there is durable."""
        if not self._is_folder(number):
            self._contents[number] = self._now(number)
            return
        self._entries[number] = self._names(number)
        for entry in self._entries[number].values():
            self._settle(entry)

    # -- what becomes durable

    def synced(self, descriptor: int) -> None:
        """In the place of fsync."""
        self.point()
        number = self._know(f"/proc/self/fd/{descriptor}")
        if self._is_folder(number):
            self._entries[number] = self._names(number)
        else:
            self._contents[number] = self._now(number)

    def sqlite_done(self, folder: Path) -> None:
        """A statement returned outside a transaction: what it wrote is durable."""
        self._inside = True
        self.point()
        self._inside = False
        number = self._know(folder)
        names, durable = self._names(number), self._entries.setdefault(number, {})
        for name in (CATALOG, WAL):
            if name in names:
                self._contents[names[name]] = self._now(names[name])
        if WAL in names:  # whose folder SQLite syncs when it made it
            durable[WAL] = names[WAL]

    # -- what power loss leaves

    def point(self) -> None:
        """Power may be lost here."""
        if self._busy:
            return
        self._busy = True
        try:
            for kind in ("least", "most", *["mixed"] * self._mixes):
                image: Image = {}
                self._draw(self._know(self.root), "", kind, image)
                self._keep(image, kind)
        finally:
            self._busy = False

    def _keep(self, image: Image, kind: str) -> None:
        told = hashlib.sha256()
        for path, content in image.items():
            told.update(repr((path, None if content is None else len(content))).encode())
            told.update(content or b"")
        key = told.digest(), repr(self.saying)
        if key not in self._seen:
            self._seen.add(key)
            self.images.append((image, (kind, self.saying)))

    def _draw(self, number: int, path: str, kind: str, image: Image) -> None:
        durable, now = self._entries.get(number, {}), self._names(number)
        whole = path == ""  # renamed at once, or not
        new = self._rng.random() < 0.5
        torn = False
        for name in sorted({*durable, *now}):
            if name == SHM and kind != "most":
                continue
            is_new = kind == "most" or (kind == "mixed" and (new if whole else self._toss()))
            place = path + name
            if name in (CATALOG, WAL) and kind == "mixed":
                torn = self._draw_sqlite(name, durable, now, place, torn, image)
                continue
            entry = (now if is_new else durable).get(name)
            if entry is None:
                continue
            if self._is_folder(entry):
                image[place] = None
                self._draw(entry, f"{place}/", kind, image)
                continue
            before = self._contents.get(entry, b"")
            if kind == "least":
                image[place] = before
            else:
                after = self._now(entry)
                image[place] = after if kind == "most" else self._torn(before, after)

    def _draw_sqlite(
        self, name: str, durable: Entries, now: Entries, place: str, torn: bool, image: Image
    ) -> bool:
        """One of SQLite's files; whether the log has to stay for the sake of the database."""
        if name == CATALOG:
            entry = durable.get(name, now.get(name))
            if entry is None:
                return False
            before, after = self._contents.get(entry, b""), self._now(entry)
            changed = self._inside and before != after
            log = durable.get(WAL)
            if changed and log is not None and self._contents.get(log):
                before = self._torn(before, after)
            image[place] = before
            return changed
        entry = durable.get(name) if torn or self._toss() else now.get(name)
        if entry is not None:
            before = self._contents.get(entry, b"")
            image[place] = before if torn else self._torn(before, self._now(entry))
        return torn

    def _toss(self) -> bool:
        return self._rng.random() < 0.5

    def _torn(self, before: bytes, after: bytes) -> bytes:
        """Any blocks of either; where only one has them, a length in between."""
        if before == after:
            return after
        way = self._rng.randrange(4)
        if way < 2:
            return (before, after)[way]
        shorter, longer = sorted((len(before), len(after)))
        size = self._rng.randint(shorter, longer)
        before, after = (content.ljust(size, b"\0")[:size] for content in (before, after))
        starts = range(0, size, BLOCK)
        parts = [(before, after)[self._toss()][start : start + BLOCK] for start in starts]
        return b"".join(parts)

    def close(self) -> None:
        """Gives the descriptors back."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


@contextmanager
def recorded(
    root: Path, seed: int, monkeypatch: pytest.MonkeyPatch, mixes: int = 1
) -> Iterator[Disk]:
    """All that this process does under `root` goes to a disk that may forget it."""
    disk = Disk(root, seed, mixes)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk.synced)
        for name in NAMING:
            patch.setattr(os, name, pointed(getattr(os, name), disk))
        patch.setattr(sqlite3, "connect", connecting(disk))
        yield disk
    disk.close()


def pointed(function: Callable[..., Any], disk: Disk) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        disk.point()
        return function(*arguments, **options)

    return call


def connecting(disk: Disk) -> Callable[..., sqlite3.Connection]:
    """`sqlite3.connect` whose connections tell the disk of their statements."""
    connect = sqlite3.connect

    class Told(sqlite3.Connection):
        folder: Path
        closed = False

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            cursor = super().execute(*arguments)
            if arguments[0].startswith(("COMMIT", "VACUUM", "PRAGMA journal", "PRAGMA wal")):
                assert super().execute("PRAGMA synchronous").fetchone()[0] == 2
                assert not self.in_transaction
                disk.sqlite_done(self.folder)
            return cursor

        def close(self) -> None:
            super().close()
            if not self.closed:
                self.closed = True
                disk.sqlite_done(self.folder)

    def told(database: str, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(database, *arguments, factory=Told, **options)
        connection.folder = Path(database.removeprefix("file://").partition("?")[0]).parent
        return connection

    return told


def restore(image: Image, folder: Path) -> Path:
    """The files of an image, in a new folder."""
    folder.mkdir(parents=True)
    for path, content in image.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    return folder
