"""A description and its arrays in a folder of their own: for exchange, checksummed.

    items.store/
        store.json     what it is, where its arrays stand, and their checksums
        store.bin      the arrays (arrayfile.py)

Native stores and transforms are written so, each under a stem of its own. Nothing is trusted that
is read: lengths, places and checksums are proved before anything is made of it.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from fanns.arrayfile import (
    DTYPES,
    TABLE,
    ArrayRecord,
    FileRecord,
    MappedFile,
    check_records,
    write_pack,
)
from fanns.errors import CorruptIndexError, IndexExistsError, InputError, NotAnIndexError
from fanns.files import install, make_temporary, reported, sync_directory, sync_file

FORMAT = 1
MOST_BYTES = 1 << 20  # of the description


class Bundle(NamedTuple):
    """What is written: a JSON object, and arrays by name."""

    description: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]]

    @property
    def digest(self) -> str:
        """A checksum of all of it, however it is written down."""
        whole = xxhash.xxh3_128(json.dumps(self.description, sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            whole.update(f"{name} {plain.dtype.str} {array.shape} ".encode())
            whole.update(plain.data)
        return whole.hexdigest()


def write_bundle(folder: Path, stem: str, bundle: Bundle, overwrite: bool) -> None:
    """Write a bundle to a folder, all or nothing, durably.

    Raises:
        IndexExistsError: something is there and `overwrite` is False; NotAnIndexError: something
            else than such a folder. StorageError: it cannot be written.
    """
    with reported("write", folder):
        if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
            if not overwrite:
                raise IndexExistsError(f"{folder} exists; choose another, or pass overwrite=True")
            if not (folder / f"{stem}.json").is_file():
                raise NotAnIndexError(f"{folder} holds no {stem}, so it is not overwritten")
        temporary = make_temporary(folder)
        try:
            file, records = write_pack(temporary / f"{stem}.bin", bundle.arrays, False)
            told = {
                "format": FORMAT,
                stem: bundle.description,
                "bytes": file.nbytes,
                "checksum": file.checksum,
                "arrays": [_told(record) for record in records],
            }
            with open(temporary / f"{stem}.json", "xb") as out:
                out.write(json.dumps(told, indent=2).encode())
                sync_file(out)
            sync_directory(temporary)
            old = install(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def read_bundle(folder: Path, stem: str) -> Bundle:
    """The bundle of a folder, its arrays mapped, every byte of them compared with its checksum.

    Raises:
        NotAnIndexError: there is none. CorruptIndexError: it is damaged. StorageError.
    """
    path, values = folder / f"{stem}.json", f"{stem}.bin"
    with reported("read", folder):
        if not path.is_file():
            raise NotAnIndexError(f"{folder} holds no {stem}: there is no {path.name}")
        if path.stat().st_size > MOST_BYTES:
            raise CorruptIndexError(f"{path}: longer than {MOST_BYTES:,} bytes")
        text = path.read_bytes()
    try:
        told = json.loads(text.decode("utf-8"))
        if told["format"] != FORMAT:
            raise InputError(f"format {told['format']!r}, this fanns reads {FORMAT}")
        file = FileRecord(values, told["bytes"], told["checksum"], False)
        records = [_record(one, values) for one in told["arrays"]]
        if any(record.dtype == TABLE for record in records):
            raise InputError("it holds a table among its arrays")
        description = told[stem]
        if not isinstance(description, dict):
            raise InputError(f"its {stem} is no object")
        check_records([file], records)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptIndexError(f"{path}: {error}") from error
    with reported("read", folder):
        mapped = MappedFile(folder / values, file)
        try:
            if mapped.digest(0, file.nbytes) != file.checksum:
                raise CorruptIndexError(f"{folder / values} was altered: another checksum")
            arrays = {record.name: mapped.array(record) for record in records}
        finally:
            mapped.close()
    return Bundle(description, arrays)


def to_json(bundle: Bundle) -> dict[str, Any]:
    """A bundle as one JSON object, its arrays as text."""
    arrays = {}
    for name, array in bundle.arrays.items():
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        text = base64.b64encode(plain.tobytes()).decode("ascii")
        arrays[name] = {"dtype": plain.dtype.str, "shape": list(plain.shape), "data": text}
    return {"description": bundle.description, "arrays": arrays}


def from_json(raw: Any) -> Bundle:
    """The inverse of `to_json`.

    Raises:
        InputError: it is no bundle.
    """
    try:
        description, arrays = raw["description"], {}
        if not isinstance(description, dict):
            raise ValueError("its description is no object")
        for name, told in raw["arrays"].items():
            if told["dtype"] not in DTYPES:
                raise ValueError(f"{name!r} is of type {told['dtype']!r:.20}")
            flat = np.frombuffer(base64.b64decode(told["data"], validate=True), told["dtype"])
            arrays[name] = flat.reshape([int(side) for side in told["shape"]])
        return Bundle(description, arrays)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"arrays in JSON: {error!r:.100}") from error


def _told(record: ArrayRecord) -> dict[str, Any]:
    names = ("name", "dtype", "offset", "nbytes", "checksum")
    return {name: getattr(record, name) for name in names} | {"shape": list(record.shape)}


def _record(told: Mapping[str, Any], file: str) -> ArrayRecord:
    return ArrayRecord(
        str(told["name"]),
        file,
        told["dtype"],
        tuple(told["shape"]),
        told["offset"],
        told["nbytes"],
        told["checksum"],
        False,
    )
