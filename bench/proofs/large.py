"""Simulated rows of any number, and indexes over them, made in bounded memory and kept.

A folder holds vectors.npy (float32[n, d], mapped, never read whole), attributes.parquet, index/
and, written last, large.json. The first rows of a larger set are those of a smaller one, block by
block. Attributes: primary_category, categories, submitted_date, and for each size asked for a
column group_<size> whose every value but the last has exactly that many rows, drawn by chance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import fanns
from fanns.bench.engines.ours import Fanns
from fanns.bench.workloads.truth import Report
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors

COLUMNS = ["primary_category", "categories", "submitted_date"]
TUNE = 200  # sample queries for the build
_STAMP, _VECTORS, _ATTRIBUTES = "large.json", "vectors.npy", "attributes.parquet"


class Large:
    """What lies in such a folder, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def index(self) -> Path:
        """Of the saved index."""
        return self.folder / "index"

    def vectors(self) -> NDArray[np.float32]:
        """float32[n, d] of unit length, mapped."""
        held: NDArray[np.float32] = np.load(self.folder / _VECTORS, mmap_mode="r")
        return held

    def attributes(self) -> pa.Table:
        return pq.read_table(self.folder / _ATTRIBUTES)


def prepare(
    rows: int,
    dimensions: int,
    groups: Sequence[int],
    home: Path,
    report: Report | None = None,
    keep: bool = False,
    ranged: Sequence[str] = (),
) -> Large:
    """The set of so many rows below `home`, made when it is not there, of other code, or without
    some of the groups; then it keeps those that it had.

    keep: an index that other code made is taken as it is, if it has these groups. ranged: columns
    with graphs of their own; sets with and without them lie side by side.
    """
    folder = home / "-".join([f"{rows}x{dimensions}", *ranged])
    made = Large(folder)
    found = _read(folder / _STAMP) or {}
    kept = found.get("groups", [])
    usable = keep or found == {"groups": kept, **Fanns.version()}
    if found and usable and {*groups} <= {*kept}:
        return made
    groups = sorted({*groups, *kept})
    stamp = {"groups": groups, **Fanns.version()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STAMP).unlink(missing_ok=True)
    attributes = _write(rows, dimensions, folder, report)
    for size in groups:
        attributes = attributes.append_column(column(size), pa.array(_groups(rows, size)))
    pq.write_table(attributes, folder / _ATTRIBUTES)
    _build(made, dimensions, ranged, report)
    (folder / _STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    return made


def asked(count: int, dimensions: int) -> NDArray[np.float32]:
    """Queries to measure with, float32[count, d]; none of those that an index is calibrated on."""
    every = arxiv_like.queries(TUNE + count, dimensions)
    return np.ascontiguousarray(vectors(every)[TUNE:])


def column(size: int) -> str:
    return f"group_{size}"


def group_filters(rows: int, size: int, count: int) -> list[tuple[str, dict[str, int]]]:
    """`count` filters that each pass one group of so many rows, drawn by chance."""
    drawn = np.random.default_rng(size).integers(0, max(1, rows // size), count)
    return [(f"{column(size)} = :group", {"group": int(group)}) for group in drawn]


def _write(rows: int, dimensions: int, folder: Path, report: Report | None) -> pa.Table:
    """Write the vectors block by block; gives the attributes."""
    shape = (rows, dimensions)
    kept = np.lib.format.open_memmap(folder / _VECTORS, mode="w+", dtype=np.float32, shape=shape)
    parts, done = [], 0
    for batch in arxiv_like.batches(rows, dimensions):
        table = pa.Table.from_batches([batch])
        kept[done : done + len(batch)] = vectors(table)
        parts.append(table.select(COLUMNS).replace_schema_metadata(None))
        done += len(batch)
        if report is not None:
            report(f"{rows:,} rows", done, rows)
    kept.flush()
    return pa.concat_tables(parts).combine_chunks()


def _groups(rows: int, size: int) -> NDArray[np.int32]:
    places = np.random.default_rng([size, rows]).permutation(rows)
    return np.asarray(places // size, np.int32)


def _build(made: Large, dimensions: int, ranged: Sequence[str], report: Report | None) -> None:
    every = vectors(arxiv_like.queries(TUNE, dimensions))
    column = pa.FixedSizeListArray.from_arrays(made.vectors().reshape(-1), dimensions)
    attributes = made.attributes()
    fanns.Index.build(
        attributes.append_column("embedding", column),
        vector="embedding",
        attributes=attributes.column_names,
        range_index=ranged,
        queries=np.ascontiguousarray(every),
        path=made.index,
        overwrite=True,
        progress=report,
    ).close()


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
