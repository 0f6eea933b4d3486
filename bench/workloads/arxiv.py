"""Real arXiv records in a folder as a corpus: papers-*.parquet and queries.parquet."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fanns.bench.workloads.board import Corpus
from fanns.bench.workloads.synthetic import attributes
from fanns.datasets.dataset import vectors
from fanns.errors import InputError

COLUMNS = [
    "abstract",
    "primary_category",
    "categories",
    "authors",
    "submitted_date",
    "updated_date",
    "comments",
    "embedding",
]


def corpus(folder: Path, rows: int, queries: int, seed: int = 0) -> Corpus:
    """The first `rows` records of papers-*.parquet, in the order of the files' names, and the
    first `queries` of queries.parquet.

    Raises InputError when the folder has not got them, or not in these columns.
    """
    files, asking = _files(folder)
    tables, left = [], rows
    for file in files:
        if left <= 0:
            break
        tables.append(_read(file).slice(0, left))
        left -= tables[-1].num_rows
    if left > 0:
        raise InputError(f"{folder} has {rows - left} records, fewer than {rows}")
    items, asked = pa.concat_tables(tables), _read(asking).slice(0, queries)
    return Corpus(
        vectors=np.ascontiguousarray(vectors(items), np.float32),
        attributes=attributes(items),
        queries=np.ascontiguousarray(vectors(asked), np.float32),
        asked=asked.select(["primary_category", "categories"]),
        source=f"arXiv records, the first {rows}",
        seed=seed,
    )


def origin(folder: Path) -> str:
    """Tells folders of records apart, by the names and sizes of their files. Raises InputError when
    the folder has not got them.
    """
    papers, asking = _files(folder)
    sizes = "\n".join(f"{file.name} {file.stat().st_size}" for file in [*papers, asking])
    return f"arXiv records {hashlib.sha256(sizes.encode()).hexdigest()[:16]}"


def _files(folder: Path) -> tuple[list[Path], Path]:
    """papers-*.parquet in the order of their names, and queries.parquet."""
    papers, asking = sorted(folder.glob("papers-*.parquet")), folder / "queries.parquet"
    if not papers or not asking.is_file():
        raise InputError(f"{folder} has no papers-*.parquet and queries.parquet")
    return papers, asking


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file, columns=COLUMNS)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{file} cannot be read as arXiv records: {error}") from error
