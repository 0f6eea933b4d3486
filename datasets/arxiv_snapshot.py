"""JSON lines as a source of records: arXiv's metadata snapshot, plain, gzipped or zipped, and any
file of like objects. Streamed: a line is held at a time, however large the file.

Nothing is unpacked to disk, so an archive's names lead nowhere. A file that expands more than two
hundredfold (metadata do four- or fivefold) is refused as a bomb; lines over 16 MiB are broken.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import xxhash

from fanns.errors import InputError

from .arxiv_records import Broken, Raw

ENDINGS = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".zip")
LONGEST_LINE = 1 << 24  # bytes
EXPANSION = 200
HARMLESS = 1 << 26  # bytes that anything may expand to
_BOM = b"\xef\xbb\xbf"


def digest(path: Path) -> str:
    """A checksum of a file's bytes. Raises InputError when it cannot be read."""
    found = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                found.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return found.hexdigest()


class JsonLines:
    """A file of JSON objects, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "xxh3": digest(self.path)}

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        """Objects by line; blank lines count, and are left out.

        A line that is no UTF-8, no JSON, no object or too long is Broken, as is the end of an
        archive that was cut off. Raises InputError for a file that cannot be opened or is a bomb.
        """
        number = 0
        try:
            with _opened(self.path) as stream:
                for number, line in enumerate(_lines(stream), start=1):
                    if number > after and (found := _parsed(number, line)) is not None:
                        yield found
        except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            if number == 0:
                raise InputError(f"{self.path} cannot be read: {error}") from error
            reason = f"the archive is damaged or ends early, and the rest is lost: {error}"
            if number + 1 > after:
                yield Broken(number + 1, reason)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error


def _parsed(number: int, line: bytes | None) -> Raw | Broken | None:
    """What a line holds; None for a blank one."""
    if line is None:
        return Broken(number, f"the line is longer than {LONGEST_LINE >> 20} MiB")
    if not line.strip():
        return None
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Broken(number, f"no UTF-8: {error.reason} at byte {error.start} of the line")
    except json.JSONDecodeError as error:
        return Broken(number, f"no JSON: {error.msg} at character {error.pos} of the line")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        return Broken(number, f"no JSON: {str(error)[:80]}")
    if not isinstance(fields, dict):
        return Broken(number, "no JSON object")
    return Raw(number, fields)


def _lines(stream: _Counted) -> Iterator[bytes | None]:
    """The lines of a stream; None for those over LONGEST_LINE, which are not held."""
    first = True
    while line := stream.readline(LONGEST_LINE):
        if first:
            line, first = line.removeprefix(_BOM), False
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE)
        yield None


class _Counted(NamedTuple):
    """A stream of lines that grows no more than a real file of its size on disk would."""

    stream: IO[bytes]
    path: Path
    limit: int  # bytes

    def readline(self, size: int) -> bytes:
        """Raises InputError beyond the limit."""
        line = self.stream.readline(size)
        if self.stream.tell() > self.limit:
            raise InputError(
                f"{self.path} expands more than {EXPANSION} times: that is no metadata, but a file "
                "made to fill memory or disk"
            )
        return line


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Counted]:
    """The text inside, whether or not it is compressed: told by the first bytes, not the name."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.open(path) as stream:
            yield _Counted(cast(IO[bytes], stream), path, _limit(path.stat().st_size))
    elif magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(path) as archive:
            member = _member(archive, path)
            try:
                inside = archive.open(member)
            except (RuntimeError, NotImplementedError) as error:  # a password, another compression
                raise InputError(f"{path}: {member.filename} cannot be read: {error}") from error
            with inside as stream:
                yield _Counted(stream, path, _limit(member.compress_size))
    else:
        with path.open("rb") as stream:
            yield _Counted(stream, path, max(path.stat().st_size, HARMLESS))


def _limit(compressed: int) -> int:
    return max(HARMLESS, EXPANSION * compressed)


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one file of JSON lines in an archive."""
    found = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and member.filename.endswith((".json", ".jsonl", ".ndjson"))
        and not member.filename.startswith("__MACOSX/")
    ]
    if len(found) != 1:
        named = ", ".join(member.filename[:80] for member in found[:5]) or "none"
        raise InputError(
            f"{path} should hold one .json or .jsonl file, found {len(found)} ({named}): take the "
            "right one out, and give that"
        )
    return found[0]
