"""The arrays of a workload as files that processes map, made once from its Parquet tables."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.datasets import dataset
from fanns.errors import InputError

_UNIT = 1e-5  # how far from 1 the length of a unit vector in float32 may be


class Arrays(NamedTuple):
    """vectors float32[n, d], queries float32[m, d]; the true neighbours of query i are
    truth_rows (int64) and truth_distances (float64) from offsets[i] to offsets[i + 1].
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    truth_rows: NDArray[np.int64]
    truth_distances: NDArray[np.float64]
    offsets: NDArray[np.int64]


def arrays(folder: Path, share: Path, fingerprint: str, metric: str) -> Arrays:
    """The arrays of the workload in `folder`, mapped read-only from below `share`.

    What another fingerprint left there stays: someone may have it open. Raises InputError when
    the tables do not fit each other or `share` cannot be written.
    """
    target = share / fingerprint[:16]
    if not target.is_dir():
        try:
            share.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".partial-", dir=share))
        except OSError as error:
            raise InputError(f"{share} cannot be written ({error}): name another folder") from error
        try:
            for name, array in _read(folder, metric)._asdict().items():
                np.save(work / f"{name}.npy", array, allow_pickle=False)
            _publish(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    found: dict[str, Any] = {
        name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in Arrays._fields
    }
    return Arrays(**found)


def unit(vectors: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """The vectors at unit length: the array itself where all are. InputError names a zero row."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.all(np.isfinite(lengths)) or np.any(lengths == 0.0):
        row = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0.0)))[0])
        raise InputError(f"the {what}' vector {row} has no direction: zero, NaN or infinite")
    if np.all(np.abs(lengths - 1.0) <= _UNIT):
        return vectors
    return np.asarray(vectors / lengths[:, None], np.float32)


def _publish(work: Path, target: Path) -> None:
    try:
        os.rename(work, target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise


def _read(folder: Path, metric: str) -> Arrays:
    items = pq.read_table(folder / "items.parquet", columns=["id", "embedding"])
    vectors = _vectors(items, "items", metric)
    asked = pq.read_table(folder / "queries.parquet", columns=["embedding"])
    queries = _vectors(asked, "queries", metric)
    if queries.shape[1] != vectors.shape[1]:
        raise InputError(
            f"{folder}: queries of {queries.shape[1]} dimensions, items of {vectors.shape[1]}"
        )
    truth = pq.read_table(folder / "truth.parquet").sort_by(
        [("query", "ascending"), ("rank", "ascending")]
    )
    rows = pc.index_in(truth["id"], value_set=items["id"].combine_chunks())
    if rows.null_count:
        raise InputError(f"{folder}: truth.parquet names ids that items.parquet does not have")
    counts = np.bincount(_asked(truth["query"], len(queries)), minlength=len(queries))
    return Arrays(
        vectors,
        queries,
        np.asarray(rows).astype(np.int64),
        np.asarray(truth["distance"]).astype(np.float64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _asked(column: pa.ChunkedArray, queries: int) -> NDArray[np.int64]:
    """The numbers of queries that the truth has. InputError for what is none of them."""
    if not pa.types.is_integer(column.type) or column.null_count:
        found = "nulls" if column.null_count else column.type
        raise InputError(f"truth.parquet has {found} for numbers of queries")
    numbers = np.asarray(column)
    outside = (numbers < 0) | (numbers >= queries)
    if outside.any():
        raise InputError(
            f"truth.parquet names query {numbers[outside][0]}: there are {queries}, counted from 0"
        )
    return numbers.astype(np.int64)


def _vectors(table: pa.Table, what: str, metric: str) -> NDArray[np.float32]:
    found = np.ascontiguousarray(dataset.vectors(table), np.float32)
    return unit(found, what) if metric == "cosine" else found
