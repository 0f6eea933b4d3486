"""The files of a run that may be killed at any moment: written whole or not at all, and stamped.

A stage whose file is there is done. A run's folder is stamped with all that its files depend on, so
that it is not gone on with under other settings.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fanns.errors import InputError, StorageError

STAMP = "stamp.json"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; at the end it is made durable and takes its name.

    Raises StorageError where that fails, and leaves nothing half written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_names(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and not isinstance(error, (StorageError, InputError)):
            raise failure(f"write {path}", error) from error
        raise


def failure(action: str, error: OSError) -> StorageError:
    """The StorageError for a failed call: what was tried, and why."""
    found = StorageError(
        f"cannot {action}: {error.strerror or error}; once that is mended, the same command goes on"
    )
    found.errno = error.errno
    return found


def write_table(path: Path, table: pa.Table, about: Mapping[str, Any] | None = None) -> Path:
    """A Parquet file; `about` goes into its metadata as JSON, see `about`."""
    if about is not None:
        told = {**(table.schema.metadata or {}), b"fanns.about": json.dumps(about).encode()}
        table = table.replace_schema_metadata(told)
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
    return path


def about(path: Path) -> dict[str, Any]:
    """What `write_table` was told about a file. Raises StorageError when it cannot be read."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        found: dict[str, Any] = json.loads(metadata[b"fanns.about"])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(
            f"{path} is damaged ({error}): remove its folder, the run then begins anew"
        ) from error
    return found


def write_json(path: Path, value: Any) -> Path:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def stamp(work: Path, settings: Mapping[str, Any], name: str = STAMP) -> None:
    """Marks a folder of unfinished work with what it depends on, or compares.

    Raises InputError when it was marked with other settings, naming those that differ.
    """
    path = work / name
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, settings)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(before, dict)
    except (OSError, ValueError, AssertionError) as error:
        raise StorageError(f"{path} is damaged: remove {work}, and begin anew") from error
    differ = [
        f"{key} was {_short(before.get(key))}, is {_short(settings.get(key))}"
        for key in {**before, **settings}
        if before.get(key) != settings.get(key)
    ]
    if differ:
        raise InputError(
            f"{work} holds an unfinished run with other settings: {'; '.join(differ)}. Go on with "
            "those, choose another output, or begin anew with --overwrite"
        )


def numbered(folder: Path, stage: str) -> list[Path]:
    """The shards of a stage that are there, from 0 on without a gap."""
    found: list[Path] = []
    while (path := shard(folder, stage, len(found))).exists():
        found.append(path)
    return found


def shard(folder: Path, stage: str, number: int) -> Path:
    return folder / f"{stage}-{number:05d}.parquet"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _sync_names(folder: Path) -> None:
    """Makes the names in a folder durable, where the system lets folders be opened."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
