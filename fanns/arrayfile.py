"""Arrays and Arrow tables in files, and the records by which the catalog knows them.

A pack file holds plain little-endian C-contiguous arrays, one after another, each at a multiple of
64 bytes. A table file is an Arrow IPC file, uncompressed. Both are written once and then
memory-mapped. Nothing here trusts what it reads: every record is checked against the length of its
file before a byte is mapped.
"""

import contextlib
import math
import mmap
import os
import re
import struct
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from fanns.errors import CorruptIndexError, InputError
from fanns.files import open_regular, sync_file

ALIGNMENT = 64
CHUNK = 1 << 22
TABLE = "arrow"
SPARSE = "vectors-bulk.bin"
"""The originals: a search reads a few rows of them, here and there. With the system's read-ahead
around each (8 MB on some), 200 queries brought all of 1.5 GB into memory."""

SPARSE_BYTES = 32 << 20  # smaller ones may come whole, in few reads
DTYPES = frozenset(np.dtype(code).newbyteorder("<").str for code in ("?", *"bhiqBHIQefd"))
FILE_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}\.(bin|arrow)")
CHECKSUM = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a segment: name, length in bytes, xxh3_128 of the whole."""

    name: str
    nbytes: int
    checksum: str
    bulk: bool


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """One array in a pack file, or one table that fills its file.

    A table has dtype "arrow" and shape (rows, columns).

    bulk: checked by verify only; otherwise structural, checked when it is first touched.
    """

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    checksum: str
    bulk: bool


def write_pack(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], bulk: bool
) -> tuple[FileRecord, list[ArrayRecord]]:
    """Writes arrays to a new file, durably; InputError for a dtype that is not plain."""
    whole = xxhash.xxh3_128()
    records = []
    position = 0
    with open(path, "xb") as file:
        for name, array in arrays.items():
            padding = bytes(-position % ALIGNMENT)
            whole.update(padding)
            file.write(padding)
            position += len(padding)
            dtype = storable(name, array)
            plain = np.ascontiguousarray(array, dtype=dtype)
            own = xxhash.xxh3_128()
            if plain.size:
                flat = plain.reshape(-1).view(np.uint8)
                for start in range(0, flat.size, CHUNK):
                    piece = flat[start : start + CHUNK].data
                    own.update(piece)
                    whole.update(piece)
                    file.write(piece)
            records.append(
                ArrayRecord(
                    name, path.name, dtype.str, array.shape, position, plain.nbytes,
                    own.hexdigest(), bulk,
                )
            )  # fmt: skip
            position += plain.nbytes
        sync_file(file)
    return FileRecord(path.name, position, whole.hexdigest(), bulk), records


def storable(name: str, array: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """The little-endian dtype an array is stored as; InputError unless plain numbers or bools."""
    dtype: np.dtype[Any] = array.dtype.newbyteorder("<")
    if dtype.str not in DTYPES:
        raise InputError(
            f"array {name!r} has dtype {array.dtype}; only bools and numbers are stored"
        )
    return dtype


def write_table(
    path: Path, name: str, table: pa.Table, bulk: bool
) -> tuple[FileRecord, ArrayRecord]:
    """Writes an Arrow table to a new file and makes it durable."""
    with open(path, "xb") as file:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
            writer.write_table(table)
        sync_file(file)
    whole = xxhash.xxh3_128()
    length = 0
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            whole.update(piece)
            length += len(piece)
    checksum = whole.hexdigest()
    shape = (table.num_rows, table.num_columns)
    record = ArrayRecord(name, path.name, TABLE, shape, 0, length, checksum, bulk)
    return FileRecord(path.name, length, checksum, bulk), record


def check_records(files: Iterable[FileRecord], arrays: Iterable[ArrayRecord]) -> None:
    """CorruptIndexError unless every record is well-formed, within its file, and overlaps none."""
    known: dict[str, FileRecord] = {}
    for file in files:
        require(isinstance(file.name, str) and FILE_NAME.fullmatch(file.name), "file name", file)
        require(is_size(file.nbytes) and is_checksum(file.checksum), "length or checksum", file)
        known[file.name] = file
    ends: dict[str, int] = {}
    placed = list(arrays)
    for array in placed:
        require(is_size(array.offset) and is_size(array.nbytes), "offset or length", array)
    for array in sorted(placed, key=lambda a: (a.offset, a.nbytes)):
        owner = known.get(array.file)
        if owner is None:
            raise CorruptIndexError(f"the catalog places {array.name!r} in a file it does not list")
        require(is_checksum(array.checksum), "checksum", array)
        require(array.offset >= ends.get(owner.name, 0), "offset: it overlaps another array", array)
        require(array.offset + array.nbytes <= owner.nbytes, "extent: beyond its file", array)
        check_shape(array, owner)
        ends[owner.name] = array.offset + array.nbytes


def check_shape(array: ArrayRecord, owner: FileRecord) -> None:
    """The part of check_records that compares dtype and shape with the number of bytes."""
    require(len(array.shape) <= 8 and all(map(is_size, array.shape)), "shape", array)
    if array.dtype == TABLE:
        require(array.offset == 0 and array.nbytes == owner.nbytes, "extent", array)
        return
    require(array.dtype in DTYPES, "dtype: not a plain number", array)
    require(array.offset % ALIGNMENT == 0, "offset: not aligned", array)
    size = np.dtype(array.dtype).itemsize
    require(math.prod(array.shape) * size == array.nbytes, "shape: unlike its length", array)
    # numpy multiplies the other dimensions of an empty array too
    require(math.prod(max(side, 1) for side in array.shape) * size < 2**62, "shape", array)


def require(condition: object, what: str, record: FileRecord | ArrayRecord) -> None:
    """Raises CorruptIndexError naming the record when the condition fails."""
    if not condition:
        raise CorruptIndexError(f"the catalog's entry for {record.name!r} has an impossible {what}")


def is_size(value: object) -> bool:
    """Whether a value read from the catalog can be a length, an offset or a side of a shape."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def is_checksum(value: object) -> bool:
    """Whether a value read from the catalog looks like a checksum."""
    return isinstance(value, str) and CHECKSUM.fullmatch(value) is not None


def advise(mapped: mmap.mmap, name: str) -> None:
    """Tell the system how a map will be read, where it can be told."""
    advice = getattr(mmap, name, None)
    if advice is not None:
        with contextlib.suppress(OSError):  # advice only
            mapped.madvise(advice)


class MappedFile:
    """A file of a segment: its descriptor from opening on, its memory map from the first touch on.

    A file that is cut short in place while it is mapped ends the process with SIGBUS, as with any
    memory map; fanns itself never changes a file that a catalog names.
    """

    def __init__(self, path: Path, record: FileRecord) -> None:
        self.path = path
        self.record = record
        self._descriptor, length = open_regular(path)
        # Segments that a commit replaced are closed when nobody looks at them any more.
        self._closing = weakref.finalize(self, os.close, self._descriptor)
        self._closing.atexit = False
        self._map: mmap.mmap | None = None
        if length != record.nbytes:
            self.close()
            raise CorruptIndexError(
                f"{path} is {length} bytes long, the catalog says {record.nbytes}: "
                "truncated or altered"
            )

    def map(self) -> mmap.mmap:
        """The read-only memory map (of a file that is not empty)."""
        if self._map is None:
            made = mmap.mmap(self._descriptor, self.record.nbytes, access=mmap.ACCESS_READ)
            if self.record.name == SPARSE and self.record.nbytes >= SPARSE_BYTES:
                advise(made, "MADV_RANDOM")
            self._map = made
        return self._map

    def will_need(self) -> None:
        """Have the system read the whole file ahead, in the background."""
        if self.record.nbytes:
            advise(self.map(), "MADV_WILLNEED")

    def array(self, record: ArrayRecord) -> np.ndarray[Any, Any]:
        """A read-only array over the map; the record was checked by check_records."""
        if record.nbytes == 0:
            empty: np.ndarray[Any, Any] = np.empty(record.shape, dtype=record.dtype)
            empty.setflags(write=False)
            return empty
        dtype = np.dtype(record.dtype)
        count = record.nbytes // dtype.itemsize
        flat = np.frombuffer(self.map(), dtype=dtype, count=count, offset=record.offset)
        return flat.reshape(record.shape)

    def digest(self, offset: int, nbytes: int) -> str:
        """xxh3_128 of a part of the map: of what a kernel will read."""
        if nbytes == 0:
            return str(xxhash.xxh3_128_hexdigest(b""))
        with memoryview(self.map()) as view, view[offset : offset + nbytes] as part:
            return str(xxhash.xxh3_128_hexdigest(part))

    def table(self, record: ArrayRecord) -> pa.Table:
        """The Arrow table that fills this file, in place; CorruptIndexError if it is not one."""
        try:
            table = read_table(pa.py_buffer(self.map()), full=not record.bulk)
        except (pa.ArrowException, OSError, MemoryError, ValueError, struct.error) as cause:
            raise CorruptIndexError(
                f"{self.path} does not hold a readable table: {cause}"
            ) from cause
        if (table.num_rows, table.num_columns) != record.shape:
            raise CorruptIndexError(f"{self.path}: its table is not of shape {record.shape}")
        return table

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes by way of the descriptor, not the map: verify leaves no pages mapped."""
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, nbytes, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, nbytes)

    def close(self) -> None:
        """Closes the descriptor; arrays that were handed out stay valid."""
        self._closing()
        self._descriptor = -1
        self._map = None


def read_table(buffer: pa.Buffer, full: bool) -> pa.Table:
    """Reads the stream inside an Arrow IPC file, in place.

    Compressed batches are refused: fanns writes none, and their header could ask for any amount of
    memory.
    """
    stream = buffer.slice(8)  # after the magic word
    messages = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            break
        if is_compressed(message.metadata.to_pybytes()):
            raise ValueError("it is compressed, which fanns never writes")
    table = pa.ipc.open_stream(stream).read_all()
    table.validate(full=full)
    return table


def is_compressed(metadata: bytes) -> bool:
    """Whether an Arrow message (flatbuffer, Message.fbs) is a batch with a `compression`."""

    def field(table: int, index: int) -> int:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        slot = 4 + 2 * index
        if slot >= struct.unpack_from("<H", metadata, vtable)[0]:
            return 0
        offset: int = struct.unpack_from("<H", metadata, vtable + slot)[0]
        return table + offset if offset else 0

    def follow(position: int) -> int:
        return position + int(struct.unpack_from("<I", metadata, position)[0])

    root = follow(0)
    kind_at, header_at = field(root, 1), field(root, 2)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (2, 3) or not header_at:
        return False
    header = follow(header_at)
    if kind == 2:  # a dictionary batch wraps a record batch
        data_at = field(header, 1)
        if not data_at:
            return False
        header = follow(data_at)
    return field(header, 3) != 0
