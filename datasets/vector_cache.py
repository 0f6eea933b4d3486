"""Vectors by text on disk: what was embedded once is not embedded again, whoever is killed when.

One SQLite file for an encoder's settings. Each batch is one transaction, so a file holds whole
batches only; several processes may share it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import StorageError

Floats = NDArray[np.float32]
_ASKED = 500  # keys of one query; SQLite's older limit is 999
_WAIT = 60.0  # seconds for another process's transaction
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL);
"""


def file_of(folder: Path, settings: Mapping[str, Any]) -> Path:
    """The file of a cache folder for an encoder of these settings."""
    digest = hashlib.blake2b(_told(settings).encode(), digest_size=16).hexdigest()
    return folder / f"{digest}.sqlite"


def key_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class VectorCache:
    """The vectors float32[dimensions] of texts, under one encoder's settings; see `opened`."""

    def __init__(self, path: Path, settings: Mapping[str, Any], dimensions: int) -> None:
        self.path, self.dimensions = path, dimensions
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        try:
            self._begin(_told(settings))
        except BaseException:
            self._file.close()
            raise

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Floats]:
        """The vectors of those keys that are there."""
        found: dict[bytes, Floats] = {}
        with self._told():
            for start in range(0, len(keys), _ASKED):
                part = keys[start : start + _ASKED]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                for key, vector in self._file.execute(query, part):
                    found[key] = self._vector(vector)
        return found

    def keep(self, keys: Sequence[bytes], vectors: Floats) -> None:
        """Adds vectors float32[n, dimensions], all or none."""
        values = np.ascontiguousarray(vectors, "<f4")
        rows = ((key, value.data) for key, value in zip(keys, values, strict=True))
        with self._told():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._file.close()

    def _begin(self, told: str) -> None:
        with self._told():
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._file.execute(statement)
            first = self._file.execute("SELECT settings FROM about").fetchone()
            if first is None:
                self._file.execute("INSERT INTO about VALUES (?)", (told,))
            self._file.execute("COMMIT")
        if first is not None and first[0] != told:
            raise StorageError(
                f"{self.path} holds vectors of other settings: {first[0]}, not {told}; remove it, "
                "or go on with those"
            )

    def _vector(self, stored: Any) -> Floats:
        if not isinstance(stored, bytes) or len(stored) != 4 * self.dimensions:
            raise StorageError(f"{self.path} is damaged: remove it, its texts are embedded again")
        return np.frombuffer(stored, "<f4").astype(np.float32, copy=False)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what SQLite and the system raise into a StorageError that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = "free some space" if "full" in str(error) else "check that path"
            if "locked" in str(error):
                hint = "another process has been writing there for a minute: wait for it"
            raise StorageError(f"cannot use the cache {self.path}: {error}; {hint}") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is damaged ({error}): remove it, its texts are embedded again"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot use the cache {self.path}: {error}") from error


@contextmanager
def opened(path: Path, settings: Mapping[str, Any], dimensions: int) -> Iterator[VectorCache]:
    """A cache file, made if needed, closed at the end.

    Raises StorageError when it cannot be used, is damaged, or holds vectors of other settings.
    """
    cache = VectorCache(path, settings, dimensions)
    try:
        yield cache
    finally:
        cache.close()


def remove(path: Path) -> None:
    """Removes a cache file and what SQLite leaves beside it after a kill."""
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _told(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), sort_keys=True)
