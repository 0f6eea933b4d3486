"""The one on-disk form of data sets: Parquet tables, exact answers, and a manifest of checksums.

items.parquet     id, embedding, attribute columns
users.parquet     optional: id, embedding, attributes, seen
queries.parquet   embedding, where (filter text or null), params (JSON text or null), ...
truth.parquet     query, rank, id, distance: the exact answers, best first
manifest.json     format, seed, source, model, transforms, metric, rows and sha256 of each file
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .exact import Truth

FORMAT = 1
TABLES = ("items", "users", "queries", "truth")


class DatasetError(ValueError):
    """A data set on disk that is incomplete, altered or of another format."""


@dataclass
class Dataset:
    """Tables of one data set and where they come from; see the module's head for the columns."""

    items: pa.Table
    queries: pa.Table | None = None
    truth: pa.Table | None = None
    users: pa.Table | None = None
    seed: int | None = None
    source: str | None = None
    model: str | None = None  # the encoder of the vectors; "simulated" where there was none
    metric: str = "cosine"
    transforms: list[str] = field(default_factory=list)

    def vectors(self, table: str = "items", column: str = "embedding") -> NDArray[np.float32]:
        """The vectors of a table as an array [n, d], without a copy where Arrow allows."""
        return vectors(getattr(self, table), column)


def vectors(table: pa.Table, column: str = "embedding") -> NDArray[np.float32]:
    """A fixed-size-list column as an array [n, d], without a copy where it is one chunk."""
    combined = table[column].combine_chunks()
    if isinstance(combined, pa.ChunkedArray):  # an empty table has no chunk
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else None
    size = table.schema.field(column).type.list_size
    if combined is None:
        return np.empty((0, size), np.float32)
    return np.asarray(combined.flatten()).reshape(-1, size)


def truth_table(truth: Truth) -> pa.Table:
    """Exact answers as a table: query int32, rank int32 (from 0), id, distance float64."""
    counts = np.diff(truth.offsets)
    starts = np.repeat(truth.offsets[:-1], counts)
    return pa.table(
        {
            "query": pa.array(np.repeat(np.arange(len(counts)), counts), pa.int32()),
            "rank": pa.array(np.arange(len(truth.rows)) - starts, pa.int32()),
            "id": pa.array(truth.ids),
            "distance": pa.array(truth.distances, pa.float64()),
        }
    )


def write(
    dataset: Dataset, path: str | os.PathLike[str], *, details: dict[str, Any] | None = None
) -> Path:
    """Write a data set into the folder `path`, made if needed; the manifest comes last.

    details: whatever else tells how it was made, for the manifest.
    A folder whose writing was cut short has no manifest, or one that `verify` finds wrong.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = getattr(dataset, name)
        target = folder / f"{name}.parquet"
        if table is None:
            target.unlink(missing_ok=True)
            continue
        partial = folder / f"{name}.parquet.partial"
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, target)
    keys = ("seed", "source", "model", "metric", "transforms")
    return seal(folder, details=details, **{key: getattr(dataset, key) for key in keys})


def seal(
    path: str | os.PathLike[str],
    *,
    seed: int | None,
    source: str | None,
    model: str | None,
    metric: str,
    transforms: list[str],
    details: dict[str, Any] | None = None,
) -> Path:
    """Write the manifest of the tables that lie in a folder, which makes it a data set.

    details: whatever else tells how the data set was made, for JSON.
    """
    folder = Path(path)
    files = {
        target.name: {"rows": pq.read_metadata(target).num_rows, "sha256": _sha256(target)}
        for name in TABLES
        if (target := folder / f"{name}.parquet").exists()
    }
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "seed": seed,
        "source": source,
        "model": model,
        "metric": metric,
        "transforms": transforms,
        **({} if details is None else {"details": details}),
        "files": files,
    }
    partial = folder / "manifest.json.partial"
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / "manifest.json")
    return folder


def read(path: str | os.PathLike[str]) -> Dataset:
    """Read a data set; raises DatasetError when it is not one. Checksums: see `verify`."""
    folder = Path(path)
    manifest = read_manifest(folder)
    tables: dict[str, Any] = {}
    for name in TABLES:
        if f"{name}.parquet" in manifest["files"]:
            try:
                tables[name] = pq.read_table(folder / f"{name}.parquet")
            except (OSError, pa.ArrowInvalid) as error:
                raise DatasetError(f"{folder / name}.parquet cannot be read: {error}") from error
    keys = ("seed", "source", "model", "metric", "transforms")
    return Dataset(**tables, **{key: manifest[key] for key in keys})


def verify(path: str | os.PathLike[str]) -> list[str]:
    """Problems found in a data set's files, each naming its file; empty when there are none."""
    folder = Path(path)
    try:
        manifest = read_manifest(folder)
    except DatasetError as error:
        return [str(error)]
    problems = []
    for name, expected in manifest["files"].items():
        if not (folder / name).is_file():
            problems.append(f"{name}: missing")
        elif _sha256(folder / name) != expected["sha256"]:
            problems.append(f"{name}: its checksum is not the one in manifest.json")
    return problems


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json, checked; raises DatasetError when it is not that of a data set."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a manifest: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DatasetError(f"{path} is not a data set of format {FORMAT}; write it again")
    files = manifest.get("files")
    if not isinstance(files, dict) or "items.parquet" not in files:
        raise DatasetError(f"{path} names no items.parquet")
    known = {f"{name}.parquet" for name in TABLES}
    if strange := sorted(set(files) - known):
        raise DatasetError(f"{path} names files that are not part of a data set: {strange}")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
