"""The checksum of a whole exported file, kept in its own footer.

Parquet's page checksums leave headers and the footer out. The footer's metadata therefore have an
entry `fanns.checksum`, "xxh3_128:" and 32 hexadecimal digits, of the file as it would be with 32
zeros in their place. Other programs that rewrite the file drop the entry, and then nothing is
compared.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import xxhash

from fanns.errors import InputError

KEY = b"fanns.checksum"
MARK = b"xxh3_128:"
ZEROS = b"0" * 32
ENTRY = {KEY.decode(): (MARK + ZEROS).decode()}
CHUNK = 1 << 22
LARGEST_FOOTER = 1 << 28


def seal(file: BinaryIO) -> None:
    """Puts the checksum of a finished file, open for reading and writing, into it."""
    place = find(file)
    assert place is not None
    digest = whole(file, place)
    file.seek(place)
    file.write(digest)


def check(path: Path) -> None:
    """Raises InputError unless a file is what was exported; files without the entry pass."""
    with open(path, "rb") as file:
        place = find(file)
        if place is None:
            return
        file.seek(place)
        told = file.read(len(ZEROS))
        if whole(file, place) != told:
            raise InputError("it does not match its own checksum: it was altered or damaged")


def find(file: BinaryIO) -> int | None:
    """Where the digits are; None where there is no entry.

    Raises:
        InputError: there is no footer, or an entry that cannot be.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or length > min(end - 8, LARGEST_FOOTER):
        raise InputError("cannot be read as Parquet: its footer is damaged")
    file.seek(end - 8 - length)
    footer = file.read(length)
    entries = [found.end() for found in re.finditer(re.escape(KEY), footer)]
    if not entries:
        return None
    mark = footer.find(MARK, entries[0], entries[0] + 16)
    if len(entries) > 1 or mark < 0 or mark + len(MARK) + len(ZEROS) > length:
        raise InputError("its checksum is damaged")
    return end - 8 - length + mark + len(MARK)


def whole(file: BinaryIO, place: int) -> bytes:
    """The digits for a file with zeros at `place`."""
    digest = xxhash.xxh3_128()
    file.seek(0)
    left = place
    while left:
        piece = file.read(min(CHUNK, left))
        digest.update(piece)
        left -= len(piece)
    digest.update(ZEROS)
    file.seek(place + len(ZEROS))
    while piece := file.read(CHUNK):
        digest.update(piece)
    return str(digest.hexdigest()).encode("ascii")
