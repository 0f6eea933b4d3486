"""The SQLite catalog: which files and arrays make up an index, and its settings.

While a writer has the index open the catalog is in WAL mode; closing it folds everything back into
one file and seals it: `catalog.seal` holds the file's length and xxh3_128, so that a flipped bit at
rest is found before SQLite reads the file. Inside, every segment's rows carry a checksum, and one
more covers all of them and the settings. The database is treated as hostile: its schema must be
exactly ours, `trusted_schema` is off.
"""

import contextlib
import json
import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from fanns.arrayfile import ArrayRecord, FileRecord, check_records
from fanns.errors import CorruptIndexError, NotAnIndexError, StorageError
from fanns.files import failure, open_regular, reported, sync_directory

CATALOG = "catalog.sqlite"
SEAL = "catalog.seal"
APPLICATION_ID = 0x46414E4E  # "FANN"
FORMAT = 6
SCHEMA = (
    "CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE segment (id INTEGER PRIMARY KEY, meta TEXT NOT NULL, checksum TEXT NOT NULL)",
    "CREATE TABLE file (segment INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL, "
    "checksum TEXT NOT NULL, bulk INTEGER NOT NULL, PRIMARY KEY (segment, name))",
    "CREATE TABLE array (segment INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL, "
    "dtype TEXT NOT NULL, shape TEXT NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL, "
    "checksum TEXT NOT NULL, bulk INTEGER NOT NULL, PRIMARY KEY (segment, name))",
)
BUSY_SECONDS = 5.0
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What the catalog knows of one segment. meta is any JSON object."""

    id: int
    meta: dict[str, Any]
    files: tuple[FileRecord, ...]
    arrays: tuple[ArrayRecord, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One committed state of an index."""

    settings: dict[str, Any]
    segments: tuple[SegmentRecord, ...]


def read_manifest(directory: Path) -> Manifest:
    """Reads the last state that the catalog has, beside a writer or not; closes it again.

    Raises NotAnIndexError, CorruptIndexError, or StorageError for a file that cannot be read.
    """
    path = directory / CATALOG
    find_catalog(directory)
    check_seal(directory)
    with described(path):
        try:
            with contextlib.closing(connect(path, "mode=ro")) as connection:
                return load(connection)
        except sqlite3.OperationalError as cause:
            # A WAL-mode catalog on a read-only medium has no shared memory; without a log it needs
            # none.
            name = getattr(cause, "sqlite_errorname", "")
            if not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) or has_log(path):
                raise
        with contextlib.closing(connect(path, "mode=ro&immutable=1")) as connection:
            return load(connection)


def find_catalog(directory: Path) -> None:
    """Raises NotAnIndexError unless the directory holds a catalog file."""
    try:
        status = os.lstat(directory / CATALOG)
    except FileNotFoundError as cause:
        what = "is a directory without one" if directory.exists() else "does not exist"
        raise NotAnIndexError(f"no fanns index at {directory}: it {what}") from cause
    except NotADirectoryError as cause:
        raise NotAnIndexError(f"{directory} is not a fanns index: it is a file") from cause
    except OSError as cause:
        raise failure("read", directory, cause) from cause
    if not stat.S_ISREG(status.st_mode):
        raise CorruptIndexError(f"{directory / CATALOG} is not a regular file")


def has_log(path: Path) -> bool:
    """Whether a write-ahead log with content lies beside the catalog."""
    try:
        return os.stat(f"{path}-wal").st_size > 0
    except OSError:
        return False


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection that runs nothing it finds in the file."""
    uri = f"{path.absolute().as_uri()}?{options}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


@contextlib.contextmanager
def described(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into ours, naming the file."""
    try:
        yield
    except UnicodeDecodeError as cause:
        raise CorruptIndexError(f"{path} is damaged: {cause}") from cause
    except sqlite3.DatabaseError as cause:
        name = getattr(cause, "sqlite_errorname", "") or ""
        if name.startswith(DAMAGE) or "decode" in str(cause):
            raise CorruptIndexError(f"{path} is damaged: {cause}") from cause
        raise StorageError(f"cannot use {path}: {cause} ({name})") from cause


def load(connection: sqlite3.Connection) -> Manifest:
    """Reads and checks everything in one transaction, that is, one snapshot."""
    connection.execute("BEGIN")
    check_identity(connection)
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise CorruptIndexError(f"the catalog is damaged: {problem}")
    state = dict(connection.execute("SELECT key, value FROM state"))
    rows = connection.execute("SELECT id, meta, checksum FROM segment ORDER BY id").fetchall()
    if state.get("checksum") != state_checksum(str(state.get("settings")), rows):
        raise CorruptIndexError("the catalog does not match its own checksum: a row was altered")
    segments = tuple(load_segment(connection, *row) for row in rows)
    return Manifest(parse_object(state["settings"]), segments)


def check_identity(connection: sqlite3.Connection) -> None:
    """Raises unless the database is a catalog of this format, and nothing besides."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    query = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
    ours = tuple(row[0] for row in connection.execute(query)) == SCHEMA
    if application != APPLICATION_ID:
        if ours:
            raise CorruptIndexError("the catalog's application id was altered")
        raise NotAnIndexError(f"{CATALOG} is the database of another application")
    if version > FORMAT:
        raise StorageError(
            f"the index has format version {version}, this fanns reads up to {FORMAT}; "
            "upgrade fanns"
        )
    if version != FORMAT or not ours:
        raise CorruptIndexError("the catalog's schema is not that of a fanns index")


def segment_rows(connection: sqlite3.Connection, number: int) -> tuple[list[Any], list[Any]]:
    """What the catalog says of a segment's files and of its arrays."""
    files = connection.execute(
        "SELECT name, bytes, checksum, bulk FROM file WHERE segment = ? ORDER BY name", (number,)
    ).fetchall()
    arrays = connection.execute(
        "SELECT name, file, dtype, shape, offset, bytes, checksum, bulk "
        "FROM array WHERE segment = ? ORDER BY name",
        (number,),
    ).fetchall()
    return files, arrays


def load_segment(
    connection: sqlite3.Connection, number: int, meta: str, checksum: str
) -> SegmentRecord:
    """Reads one segment's rows, compares them with their checksum and checks every record."""
    files, arrays = segment_rows(connection, number)
    if segment_checksum(number, meta, files, arrays) != checksum or number < 1:
        raise CorruptIndexError(f"the catalog's rows of segment {number} were altered")
    file_records = tuple(FileRecord(f[0], f[1], f[2], bool(f[3])) for f in files)
    array_records = tuple(
        ArrayRecord(a[0], a[1], a[2], parse_shape(a[3]), a[4], a[5], a[6], bool(a[7]))
        for a in arrays
    )
    check_records(file_records, array_records)
    return SegmentRecord(number, parse_object(meta), file_records, array_records)


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object out of the catalog."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as cause:
        raise CorruptIndexError(f"the catalog holds JSON that cannot be read: {cause}") from cause
    if not isinstance(value, dict):
        raise CorruptIndexError("the catalog holds JSON that is not an object")
    return value


def parse_shape(text: str) -> tuple[int, ...]:
    """The sides of an array, stored as "3,4"; check_records judges them."""
    try:
        if len(text) > 200:
            raise ValueError("too long")
        return tuple(int(side) for side in text.split(",") if side)
    except (ValueError, TypeError) as cause:
        raise CorruptIndexError(f"the catalog holds a shape that is none: {cause}") from cause


def digest(*parts: object) -> str:
    """xxh3_128 of values as SQLite gives them: ints, texts, floats, bytes, None, lists of rows."""
    return str(xxhash.xxh3_128_hexdigest(repr(parts).encode("utf-8", "surrogatepass")))


def segment_checksum(number: int, meta: str, files: list[Any], arrays: list[Any]) -> str:
    """Covers all that the catalog says of one segment."""
    return digest(number, meta, files, arrays)


def state_checksum(settings: str, segments: list[Any]) -> str:
    """Covers the settings and, through their checksums, all segments."""
    return digest(FORMAT, settings, [(row[0], row[2]) for row in segments])


def check_seal(directory: Path) -> None:
    """Compares the catalog with its seal, if it has one (a writer takes the seal off first)."""
    seal = read_seal(directory)
    if seal is None or has_log(directory / CATALOG) or seal_text(directory) == seal:
        return
    if read_seal(directory) == seal:
        raise CorruptIndexError(
            f"{directory / CATALOG} does not match {SEAL}: truncated or altered"
        )


def read_seal(directory: Path) -> bytes | None:
    """The content of the seal, or None where there is none."""
    try:
        descriptor, _ = open_regular(directory / SEAL)
    except FileNotFoundError:
        return None
    except StorageError:
        raise
    except OSError as cause:
        raise failure("read", directory / SEAL, cause) from cause
    try:
        return os.read(descriptor, 1000)
    finally:
        os.close(descriptor)


def seal_text(directory: Path) -> bytes:
    """What the seal of the catalog as it is now would say."""
    with reported("read", directory / CATALOG):
        content = (directory / CATALOG).read_bytes()
    return f"{len(content)} {xxhash.xxh3_128_hexdigest(content)}\n".encode("ascii")


class CatalogWriter:
    """The writer's connection. The caller holds the lock."""

    def __init__(self, directory: Path, create: bool = False) -> None:
        self.path = directory / CATALOG
        self._guard = threading.Lock()
        with reported("write", directory):
            # Without a seal from now on, durably so: a seal beside a newer catalog would cry wolf.
            (directory / SEAL).unlink(missing_ok=True)
            sync_directory(directory)
        with described(self.path):
            self._connection = connect(self.path, "mode=rwc" if create else "mode=rw")
        # A forgotten writer is closed when it is collected, but not by the exit of a forked child.
        weakref.finalize(self, self._connection.close).atexit = False
        try:
            with described(self.path):
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                # What a row said is overwritten when it goes, in the catalog as in the log.
                self._connection.execute("PRAGMA secure_delete=ON")
                if create:
                    self._create()
            with reported("write", directory):
                sync_directory(directory)
        except BaseException:
            self._connection.close()
            raise

    def _create(self) -> None:
        self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version={FORMAT}")
        with self._transaction() as connection:
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO state VALUES ('settings', '{}')")
            self._stamp(connection)

    def load(self) -> Manifest:
        """The state as it is now."""
        with self._guard, described(self.path):
            try:
                return load(self._connection)
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")

    def commit(
        self,
        added: Sequence[SegmentRecord] = (),
        replaced: Sequence[SegmentRecord] = (),
        removed: Iterable[int] = (),
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Adds, replaces and removes segments and replaces the settings, in one transaction."""
        with self._guard, described(self.path), self._transaction() as connection:
            for number in [*removed, *(record.id for record in replaced)]:
                for table, key in (("segment", "id"), ("file", "segment"), ("array", "segment")):
                    connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))
            for record in (*replaced, *added):
                self._insert(connection, record)
            if settings is not None:
                text = json.dumps(settings)
                connection.execute("UPDATE state SET value = ? WHERE key = 'settings'", (text,))
            self._stamp(connection)

    def scrub(self) -> None:
        """Leaves nothing in the file, or in its log, but what the catalog says now.

        Raises:
            StorageError: a reader kept the log for longer than the wait.
        """
        with self._guard, described(self.path):
            self._connection.execute("VACUUM")
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StorageError(
                f"a reader keeps {self.path}-wal from being emptied; erase again when it is done"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _insert(self, connection: sqlite3.Connection, segment: SegmentRecord) -> None:
        files = [
            (file.name, file.nbytes, file.checksum, int(file.bulk))
            for file in sorted(segment.files, key=lambda record: record.name.encode())
        ]
        arrays = [
            (a.name, a.file, a.dtype, ",".join(map(str, a.shape)), a.offset, a.nbytes, a.checksum,
             int(a.bulk))
            for a in sorted(segment.arrays, key=lambda record: record.name.encode())
        ]  # fmt: skip
        meta = json.dumps(segment.meta)
        checksum = segment_checksum(segment.id, meta, files, arrays)
        connection.execute("INSERT INTO segment VALUES (?, ?, ?)", (segment.id, meta, checksum))
        for table, rows in (("file", files), ("array", arrays)):
            if not rows:
                continue
            places = ", ".join("?" * (1 + len(rows[0])))
            connection.executemany(
                f"INSERT INTO {table} VALUES ({places})", [(segment.id, *row) for row in rows]
            )

    def _stamp(self, connection: sqlite3.Connection) -> None:
        settings = connection.execute("SELECT value FROM state WHERE key = 'settings'").fetchone()
        rows = connection.execute("SELECT id, meta, checksum FROM segment ORDER BY id").fetchall()
        connection.execute(
            "INSERT OR REPLACE INTO state VALUES ('checksum', ?)",
            (state_checksum(settings[0], rows),),
        )

    def close(self, must_seal: bool = False) -> None:
        """Folds the log into the catalog and seals it.

        A reader that holds the catalog for longer than the wait, or a full disk, leaves it in WAL
        mode or unsealed, which are states like any other; with `must_seal` they raise StorageError.
        """
        try:
            with described(self.path):
                self._connection.execute("PRAGMA journal_mode=DELETE")
            self._connection.close()
            if not has_log(self.path):
                write_seal(self.path.parent)
        except StorageError:
            if must_seal:
                raise
        finally:
            self._connection.close()


def write_seal(directory: Path) -> None:
    """Seals the catalog of a directory that nobody writes."""
    temporary = directory / f"{SEAL}.new"
    with reported("write", temporary):
        with open(temporary, "wb") as file:
            file.write(seal_text(directory))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory / SEAL)
        sync_directory(directory)
