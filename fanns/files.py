"""Durable file operations under an index directory: descriptors, fsync, atomic replacement, the
lock.

A new index is built in a temporary directory beside its target, `.<name>.<pid>-<random>.building`,
and renamed when it is complete. Over an existing index the two directories are exchanged in one
step (renameat2 with RENAME_EXCHANGE, Linux), so that a crash leaves the old index or the new one.
File systems without that call get two renames; a crash between them leaves the old index beside the
target, under the temporary name with the ending `.replaced`.
"""

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from fanns.errors import CorruptIndexError, IndexLockedError, StorageError

LOCK = "writer.lock"
HOLDER = "writer.pid"
RENAME_EXCHANGE = 2
AT_FDCWD = -100

_later = threading.local()

HINTS = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
    errno.EFBIG: "the limit on the size of files (ulimit -f) ends it",
    errno.EROFS: "choose a path on a writable file system",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def failure(action: str, path: str | Path, cause: OSError) -> StorageError:
    """The StorageError for a failed system call: what was tried, where, why, what to do."""
    reason = cause.strerror or str(cause)
    hint = HINTS.get(cause.errno or 0)
    error = StorageError(f"cannot {action} {path}: {reason}" + (f" ({hint})" if hint else ""))
    error.errno = cause.errno
    return error


@contextlib.contextmanager
def reported(action: str, path: str | Path) -> Iterator[None]:
    """Turns an OSError of the body into a StorageError that names `path` and the cause."""
    try:
        yield
    except StorageError:
        raise
    except OSError as cause:
        raise failure(action, path, cause) from cause


def open_regular(path: Path) -> tuple[int, int]:
    """A read-only descriptor and the length of a regular file; links and devices are refused.

    O_NONBLOCK keeps a named pipe from hanging the call; it means nothing to a regular file.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as cause:
        if cause.errno == errno.ELOOP:
            raise CorruptIndexError(f"{path} is a symbolic link; an index holds none") from cause
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise CorruptIndexError(f"{path} is not a regular file")
    return descriptor, status.st_size


@contextlib.contextmanager
def deferring(paths: list[Path]) -> Iterator[None]:
    """Inside, this thread notes in `paths` what is to be synced, and syncs nothing."""
    _later.paths = paths
    try:
        yield
    finally:
        del _later.paths


def sync_file(file: IO[bytes]) -> None:
    """Makes the content of a file that was opened by its path durable."""
    paths = getattr(_later, "paths", None)
    if paths is not None:
        file.flush()
        paths.append(Path(file.name))
        return
    file.flush()
    os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Makes a file or a directory durable; one that is there no more needs nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_again(path: Path) -> None:
    """Puts a durable copy in the place of a file; one that is there no more needs nothing.

    After a failed fsync the system takes the file's pages for written, and a second one says
    nothing of them (Rebello et al., "Can applications recover from fsync failures?", 2020).
    """
    again = path.with_name(f"{path.name}.again")
    try:
        with open(path, "rb") as source, open(again, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(again, path)
    except FileNotFoundError:
        return
    except BaseException:
        with contextlib.suppress(OSError):
            again.unlink()
        raise


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable (a no-op where directories cannot be opened)."""
    if sys.platform == "win32":
        return
    paths = getattr(_later, "paths", None)
    if paths is not None:
        paths.append(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> bool:
    """Swaps two directories in one step; False where the system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if function(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def install(temporary: Path, target: Path) -> Path | None:
    """Gives the finished `temporary` the name `target`; returns what stood there, to be removed."""
    if not target.exists() or not any(target.iterdir()):
        os.rename(temporary, target)
        old = None
    elif exchange(temporary, target):
        old = temporary
    else:
        old = temporary.with_name(temporary.name.removesuffix(".building") + ".replaced")
        os.rename(target, old)
        os.rename(temporary, target)
    sync_directory(target.parent)
    return old


def make_temporary(target: Path) -> Path:
    """A new empty directory beside `target`, whose name says which process builds in it."""
    path = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.building")
    path.mkdir()
    return path


def remove_stale(target: Path) -> None:
    """Removes what dead processes left of building `target`.

    Stale means: no process of that number lives here, and nobody holds the lock inside (a process
    of another container that shares the disk would).
    """
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)-[0-9a-f]{{8}}\.building")
    for entry in list(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or entry.is_symlink() or process_lives(int(match[1])):
            continue
        lock = WriterLock(entry)
        with contextlib.suppress(StorageError):
            lock.acquire()
            shutil.rmtree(entry, ignore_errors=True)
            lock.release()


def process_lives(pid: int) -> bool:
    """Whether a process of this number exists."""
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def lock_file(file: IO[bytes]) -> None:
    """Lock an open file until it is closed, where the system can; OSError when another one has."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class WriterLock:
    """The lock of the one writer: held by the process, released by the system when that process
    ends.

    The lock file stays in place (unlinking it would let two writers lock two files of one name); a
    second small file says who holds it, for the message only. A forked child shares the lock with
    its parent.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = FileLock(directory / LOCK, thread_local=False)

    def acquire(self, wait: float = 0.0) -> None:
        """Takes the lock, or raises IndexLockedError after so many seconds.

        Another index may take the directory's name meanwhile: then that one's lock is waited for.
        """
        end = time.monotonic() + wait
        while True:
            held = self._identity()
            self._take(max(0.0, end - time.monotonic()))
            if self._identity() == held:
                break
            self._lock.release()
        with contextlib.suppress(OSError):
            (self.directory / HOLDER).write_text(str(os.getpid()), encoding="ascii")

    def _identity(self) -> tuple[int, int] | None:
        """Which directory has the name now, None where none has."""
        with contextlib.suppress(OSError):
            status = os.stat(self.directory)
            return status.st_dev, status.st_ino
        return None

    def _take(self, wait: float) -> None:
        try:
            self._lock.acquire(timeout=wait)
        except Timeout:
            raise IndexLockedError(
                f"{self.directory} is open for writing{self._holder()}; close that index first, "
                "or wait for it (wait=)"
            ) from None
        except OSError as cause:
            raise failure("lock for writing", self.directory, cause) from cause

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                (self.directory / HOLDER).unlink()
            self._lock.release()

    def _holder(self) -> str:
        try:
            with open(self.directory / HOLDER, "rb") as file:
                return f" by process {int(file.read(20))}"
        except (OSError, ValueError):
            return " by another process"
