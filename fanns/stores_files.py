"""A native store in a folder of its own, beside a table of items: for exchange, checksummed.

    items.store/
        store.json     what it is, where its arrays stand, and their checksums
        store.bin      the arrays (arrayfile.py)

Nothing is trusted that is read: lengths, places and checksums are proved before a store is made,
and a store checks whatever its kernels depend on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.arrayfile import ArrayRecord, FileRecord, MappedFile, check_records, write_pack
from fanns.errors import CorruptIndexError, IndexExistsError, InputError, NotAnIndexError
from fanns.files import install, make_temporary, reported, sync_directory, sync_file

if TYPE_CHECKING:
    from fanns.stores_base import NativeStore

DESCRIPTION, VALUES = "store.json", "store.bin"
FORMAT = 1
MOST_BYTES = 1 << 20  # of the description


def write_store(store: NativeStore, folder: Path, overwrite: bool) -> None:
    """Write a store to a folder; see `NativeStore.save`."""
    with reported("write", folder):
        if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
            if not overwrite:
                raise IndexExistsError(f"{folder} exists; choose another, or pass overwrite=True")
            if not (folder / DESCRIPTION).is_file():
                raise NotAnIndexError(f"{folder} is no folder of a store, so it is not overwritten")
        temporary = make_temporary(folder)
        try:
            file, records = write_pack(temporary / VALUES, store.arrays(), False)
            told = {
                "format": FORMAT,
                "store": store.describe(),
                "bytes": file.nbytes,
                "checksum": file.checksum,
                "arrays": [_told(record) for record in records],
            }
            with open(temporary / DESCRIPTION, "xb") as out:
                out.write(json.dumps(told, indent=2).encode())
                sync_file(out)
            sync_directory(temporary)
            old = install(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def read_store(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The description and the mapped arrays of a folder, every byte compared with its checksum.

    Raises:
        NotAnIndexError: there is no store. CorruptIndexError: it is damaged. StorageError.
    """
    path = folder / DESCRIPTION
    with reported("read", folder):
        if not path.is_file():
            raise NotAnIndexError(f"{folder} holds no store: there is no {DESCRIPTION}")
        if path.stat().st_size > MOST_BYTES:
            raise CorruptIndexError(f"{path}: longer than {MOST_BYTES:,} bytes")
        text = path.read_bytes()
    try:
        told = json.loads(text.decode("utf-8"))
        if told["format"] != FORMAT:
            raise InputError(f"format {told['format']!r}, this fanns reads {FORMAT}")
        file = FileRecord(VALUES, told["bytes"], told["checksum"], False)
        records = [_record(one) for one in told["arrays"]]
        description = told["store"]
        if not isinstance(description, dict):
            raise InputError("its store is no object")
        check_records([file], records)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptIndexError(f"{path}: {error}") from error
    with reported("read", folder):
        mapped = MappedFile(folder / VALUES, file)
        try:
            if mapped.digest(0, file.nbytes) != file.checksum:
                raise CorruptIndexError(f"{folder / VALUES} was altered: another checksum")
            arrays = {record.name: mapped.array(record) for record in records}
        finally:
            mapped.close()
    return description, arrays


def _told(record: ArrayRecord) -> dict[str, Any]:
    names = ("name", "dtype", "offset", "nbytes", "checksum")
    return {name: getattr(record, name) for name in names} | {"shape": list(record.shape)}


def _record(told: Mapping[str, Any]) -> ArrayRecord:
    return ArrayRecord(
        str(told["name"]),
        VALUES,
        told["dtype"],
        tuple(told["shape"]),
        told["offset"],
        told["nbytes"],
        told["checksum"],
        False,
    )
