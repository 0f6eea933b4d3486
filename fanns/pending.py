"""States that were committed but may be lost with the power: `durability="deferred"`.

Such a commit syncs nothing. It writes the whole manifest to `catalog.pending`, in the place of the
one before, and leaves the catalog, and every file that the catalog names, as they are. What the
system was given survives the process: the file holds while the machine has not been started anew,
which its first line tells (the kernel's boot id). After that nobody knows what of it reached the
disk, so it counts for nothing: the index is what the catalog says, whole, as of the last `sync`.

    line 1    boot id
    line 2    xxh3_128 of line 3
    line 3    {"settings": {...}, "segments": [{"id", "meta", "files", "arrays"}, ...]}
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import xxhash

from fanns.arrayfile import ArrayRecord, FileRecord, check_records
from fanns.catalog import Manifest, SegmentRecord
from fanns.errors import CorruptIndexError, LostChangesWarning, StorageError
from fanns.files import open_regular, reported

PENDING = "catalog.pending"
BOOT = Path("/proc/sys/kernel/random/boot_id")
SYNC_SECONDS = 5.0
"""A commit so long after the first deferred one makes them all durable."""


def boot_id() -> str | None:
    """What is another after each start of the machine; None where the system does not tell."""
    try:
        return BOOT.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def check_available() -> None:
    """Raises StorageError where commits cannot be deferred."""
    if boot_id() is None:
        raise StorageError(
            f'durability="deferred" needs {BOOT}, which tells whether the machine was started '
            'anew; this system has none: durability="full"'
        )


def write_pending(directory: Path, manifest: Manifest) -> None:
    """The last state of a directory, from now on."""
    segments = [
        {
            "id": one.id,
            "meta": one.meta,
            "files": [[f.name, f.nbytes, f.checksum, f.bulk] for f in sorted(one.files, key=_name)],
            "arrays": [
                [a.name, a.file, a.dtype, list(a.shape), a.offset, a.nbytes, a.checksum, a.bulk]
                for a in sorted(one.arrays, key=_name)
            ],
        }
        for one in manifest.segments
    ]
    content = json.dumps({"settings": manifest.settings, "segments": segments}).encode("ascii")
    path = directory / PENDING
    new = path.with_name(f"{PENDING}.new")
    with reported("write", path):
        try:
            with open(new, "wb") as file:
                file.write(f"{boot_id()}\n{checksum(content)}\n".encode("ascii") + content)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise


def _name(record: FileRecord | ArrayRecord) -> bytes:
    """The order in which the catalog has them."""
    return record.name.encode()


def checksum(content: bytes) -> str:
    """Of the third line."""
    return str(xxhash.xxh3_128_hexdigest(content))


def read_pending(directory: Path) -> Manifest | None:
    """A state that is later than the catalog's; None where there is none that counts.

    Raises:
        CorruptIndexError: it is of this start of the machine, and damaged. StorageError: it cannot
            be read.
    """
    path = directory / PENDING
    found = _lines(path)
    if found is None or not _is_ours(found[0]):
        return None
    return _manifest(path, found)


def _manifest(path: Path, found: tuple[bytes, bytes, bytes]) -> Manifest:
    """What the lines say; raises CorruptIndexError where they are damaged."""
    _, told, content = found
    if told != f"{checksum(content)}\n".encode("ascii"):
        raise CorruptIndexError(f"{path} does not match its own checksum")
    try:
        raw = json.loads(content)
        segments = tuple(_segment(one) for one in raw["segments"])
        settings = raw["settings"]
        if not isinstance(settings, dict):
            raise TypeError("settings are no object")
        if len({one.id for one in segments}) < len(segments):
            raise ValueError("a segment is there twice")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as cause:
        raise CorruptIndexError(f"{path} is damaged: {cause}") from cause
    return Manifest(settings, tuple(sorted(segments, key=lambda one: one.id)))


def _lines(path: Path) -> tuple[bytes, bytes, bytes] | None:
    """The three lines of the file, None where there is none."""
    try:
        descriptor, _ = open_regular(path)
    except FileNotFoundError:
        return None
    with reported("read", path), os.fdopen(descriptor, "rb") as file:
        return file.readline(100), file.readline(100), file.read()


def _is_ours(first: bytes) -> bool:
    """Whether a first line is of this machine, and of this start of it."""
    boot = boot_id()
    return boot is not None and first == f"{boot}\n".encode("ascii")


def warn_of_lost(directory: Path, known: Manifest, writes: bool) -> None:
    """Says, by a LostChangesWarning, that there are commits which count for nothing.

    `known`: the state that counts. One that was synced is there, though its file may have come
    back with the power.
    """
    path = directory / PENDING
    found = _lines(path)
    if found is None or _is_ours(found[0]):
        return
    with contextlib.suppress(CorruptIndexError):
        if _manifest(path, found) == known:
            return
    after = "They are forgotten now" if writes else 'Opening it with mode="w" forgets them'
    warnings.warn(
        f'{directory} holds changes of durability="deferred" that were never synced, and were made '
        "before this machine was started anew, or on another machine: they count for nothing, "
        f"and the index is as it was at the last sync. {after}. If this is a copy of a running "
        "index: call sync() or close() where it is written, and copy it again",
        LostChangesWarning,
        stacklevel=4,
    )


def _segment(raw: dict[str, Any]) -> SegmentRecord:
    """One segment's record, checked as those of the catalog are."""
    number, meta = raw["id"], raw["meta"]
    if type(number) is not int or number < 1 or not isinstance(meta, dict):
        raise TypeError("not the description of a segment")
    files = tuple(FileRecord(*one) for one in raw["files"])
    arrays = tuple(
        ArrayRecord(name, file, dtype, tuple(shape), *rest)
        for name, file, dtype, shape, *rest in raw["arrays"]
    )
    if not all(isinstance(array.name, str) for array in arrays):
        raise TypeError("the name of an array is no text")
    check_records(files, arrays)
    return SegmentRecord(number, meta, files, arrays)


def remove_pending(directory: Path) -> None:
    """The catalog says it all."""
    for name in (PENDING, f"{PENDING}.new"):
        with reported("remove", directory / name):
            (directory / name).unlink(missing_ok=True)


class Backlog:
    """What `sync` has to do.

    Attributes:
        paths: files and folders to sync. garbage: what goes then. begun: when the first of the
        commits was (time.monotonic), 0 while there is none. doubtful: a sync of them failed.
    """

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.garbage: list[Path] = []
        self.begun = 0.0
        self.doubtful = False

    def is_old(self) -> bool:
        """Whether the first commit is longer ago than one may be deferred."""
        return bool(self.begun) and time.monotonic() - self.begun >= SYNC_SECONDS
