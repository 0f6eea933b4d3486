"""A workload: items, queries under filters in named cells, and their exact answers.

On disk it is a data set (`fanns.datasets.dataset`) whose queries carry a cell:

queries.parquet   embedding, where, params (JSON text; dates in ISO form), and
                  cell, family string; target float64 (selectivity asked for; null: none),
                  correlation string ("positive", "none", "negative", "natural");
                  role string ("tune": for choosing settings, "measure"); matches int64;
                  near float64 (share of the query's nearest rows, filter aside, that pass:
                  of the nearest hundredth of all rows, at least 100)
truth.parquet     the nearest passing rows of each query, best first

`write` makes such a folder, `load` opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.bench.workloads import mapped, typed_params
from fanns.datasets import dataset
from fanns.datasets.dataset import Dataset
from fanns.datasets.exact import METRICS
from fanns.errors import InputError

QUERY_COLUMNS = {
    "embedding": None,
    "where": pa.string(),
    "params": pa.string(),
    "cell": pa.string(),
    "family": pa.string(),
    "target": pa.float64(),
    "correlation": pa.string(),
    "role": pa.string(),
    "matches": pa.int64(),
    "near": pa.float64(),
}
CORRELATIONS = ("positive", "none", "negative", "natural")
ROLES = ("tune", "measure")
_NAME, _DEPTH = b"fanns.workload", b"fanns.depth"


class WorkloadError(InputError):
    """A folder that is no workload, or is incomplete or altered; the text says which and how."""


@dataclass(frozen=True)
class Cell:
    """Queries under one kind of filter: a constant text, and parameters for each query.

    Attributes:
        name: for people, unique in the workload. family: such as "range_date".
        where: SQL text with :parameters, or None.
        target: the selectivity asked for, or None. correlation: what was asked for.
        measure, tune: numbers of its queries in the workload, in order.
        selectivity: mean share of rows that pass, measured.
        affinity: measured correlation of filter and query in [-1, 1]: (near - s) / (near + s) of
            the means over queries of near and of their selectivity s. 0: independent. (The mean of
            the queries' own ratios would lean to -1 where few rows pass, whatever the filter.)
    """

    name: str
    family: str
    where: str | None
    target: float | None
    correlation: str
    measure: NDArray[np.int64]
    tune: NDArray[np.int64]
    selectivity: float
    affinity: float


@dataclass(frozen=True)
class Workload:
    """A workload in memory.

    Attributes:
        vectors: float32[n, d], read-only, mapped from a file that processes share; of unit length
            when the metric is "cosine". attributes: n rows, without id and embedding.
        queries: float32[m, d]; params: for each query its parameters, typed (dates as
            datetime.date); matches: int64[m], passing rows.
        depth: how many true neighbours are known. truth_rows int64, truth_distances float64,
            truth_offsets int64[m + 1]: those of query i are offsets[i]:offsets[i + 1].
        fingerprint: of everything above, from the checksums of the files.
    """

    name: str
    metric: str
    vectors: NDArray[np.float32]
    attributes: pa.Table
    queries: NDArray[np.float32]
    params: list[Mapping[str, Any]]
    matches: NDArray[np.int64]
    cells: list[Cell]
    depth: int
    truth_rows: NDArray[np.int64]
    truth_distances: NDArray[np.float64]
    truth_offsets: NDArray[np.int64]
    fingerprint: str


def write(
    path: str | os.PathLike[str],
    items: pa.Table,
    queries: pa.Table,
    truth: pa.Table,
    metric: str,
    *,
    depth: int,
    name: str | None = None,
    source: str | None = None,
    model: str | None = None,
    seed: int | None = None,
    transforms: Sequence[str] = (),
) -> Path:
    """Write a workload into the folder `path`, made if needed.

    Args:
        items: id (int64 or string, unique), embedding (fixed-size list of float32), attributes.
        queries: the columns that the head of this module names.
        truth: query, rank, id, distance; see `fanns.datasets.dataset.truth_table`.
        depth: how many true neighbours each query has (fewer where fewer rows pass).

    Vectors are made unit length under "cosine". Raises WorkloadError for tables of another shape.
    """
    _check_queries(queries)
    if metric not in METRICS:
        raise WorkloadError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
    if metric == "cosine":
        items, queries = _normalised(items, "items"), _normalised(queries, "queries")
    folder = Path(path)
    queries = queries.replace_schema_metadata(
        {
            **(queries.schema.metadata or {}),
            _NAME: (name or folder.resolve().name).encode(),
            _DEPTH: str(depth).encode(),
        }
    )
    made = Dataset(items, queries, truth, None, seed, source, model, metric, list(transforms))
    return dataset.write(made, folder)


def load(path: str | os.PathLike[str], share: Path | None = None) -> Workload:
    """Open the workload in a folder.

    Vectors, queries and true neighbours are brought once into .npy files in the folder `share`
    (default: `.mapped` in the workload's) and mapped from there, so that processes share memory.
    Raises WorkloadError when the folder holds no workload, or one that was altered.
    """
    folder = Path(path)
    manifest = _manifest(folder)
    fingerprint = _fingerprint(manifest)
    names = [column for column in QUERY_COLUMNS if column != "embedding"]
    try:
        queries = pq.read_table(folder / "queries.parquet", columns=names)
        schema = pq.read_schema(folder / "items.parquet")
        columns = [name for name in schema.names if name not in ("id", "embedding")]
        attributes = pq.read_table(folder / "items.parquet", columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise WorkloadError(f"{folder} cannot be read as a workload: {error}") from error
    _check_queries(queries, embedding=False)
    metadata = pq.read_schema(folder / "queries.parquet").metadata or {}
    told = _depth(folder, metadata)
    matches = np.asarray(queries["matches"]).astype(np.int64)
    try:
        arrays = mapped.arrays(folder, share or folder / ".mapped", fingerprint, manifest["metric"])
        params = typed_params.read(queries["where"], queries["params"], attributes.schema)
    except (OSError, pa.ArrowException, KeyError, InputError) as error:
        raise WorkloadError(f"{folder}: {error}") from error
    depth = told or int(np.diff(arrays.offsets).max(initial=0))
    _check_truth(folder, arrays, matches, depth, attributes.num_rows)
    return Workload(
        name=metadata.get(_NAME, folder.resolve().name.encode()).decode(),
        metric=manifest["metric"],
        vectors=arrays.vectors,
        attributes=_bare(attributes),
        queries=arrays.queries,
        params=params,
        matches=matches,
        cells=_cells(queries, attributes.num_rows),
        depth=depth,
        truth_rows=arrays.truth_rows,
        truth_distances=arrays.truth_distances,
        truth_offsets=arrays.offsets,
        fingerprint=fingerprint,
    )


def affinity(near: NDArray[np.float64], selectivity: NDArray[np.float64]) -> float:
    """How a cell's filters favour what is near their queries; see `Cell`. 0 where none passes."""
    inside, outside = float(near.sum()), float(selectivity.sum())
    return (inside - outside) / (inside + outside) if inside + outside else 0.0


def _manifest(folder: Path) -> dict[str, Any]:
    if problems := dataset.verify(folder):
        raise WorkloadError(f"{folder} is no usable workload: {'; '.join(problems)}")
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for table in ("queries", "truth"):
        if f"{table}.parquet" not in manifest["files"]:
            raise WorkloadError(f"{folder} has no {table}.parquet: `fanns bench make` writes it")
    return manifest


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    parts = [f"metric {manifest['metric']}"]
    parts += [f"{name} {entry['sha256']}" for name, entry in sorted(manifest["files"].items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _check_queries(queries: pa.Table, embedding: bool = True) -> None:
    """WorkloadError for a missing column, one of another type, or a word that has no meaning."""
    for name, kind in QUERY_COLUMNS.items():
        if name not in queries.schema.names:
            if name == "embedding" and not embedding:
                continue
            raise WorkloadError(f"the queries have no column {name!r}")
        found = queries.schema.field(name).type
        if kind is not None and found != kind:
            raise WorkloadError(f"the queries' column {name!r} is {found}, expected {kind}")
    for name, words in (("correlation", CORRELATIONS), ("role", ROLES)):
        strange = set(queries[name].unique().to_pylist()) - set(words)
        if strange:
            raise WorkloadError(f"the queries' {name} is {strange}, expected one of {words}")


def _normalised(table: pa.Table, what: str) -> pa.Table:
    """The table with vectors of unit length; those that are so already keep their bits."""
    try:
        vectors = dataset.vectors(table)
    except (KeyError, AttributeError) as error:
        raise WorkloadError(f"{what} need a column embedding, a fixed-size list") from error
    unit = mapped.unit(vectors, what)
    if unit is vectors:
        return table
    column = pa.FixedSizeListArray.from_arrays(pa.array(unit.reshape(-1)), unit.shape[1])
    return table.set_column(table.schema.get_field_index("embedding"), "embedding", column)


def _depth(folder: Path, metadata: Mapping[bytes, bytes]) -> int:
    """How many true neighbours the queries' metadata tells of; 0 where it does not."""
    told = metadata.get(_DEPTH, b"0")
    if not told.isdigit() or len(told) > 9:
        raise WorkloadError(f"{folder}: its depth is {told!r}, expected a count")
    return int(told)


def _check_truth(
    folder: Path, arrays: mapped.Arrays, matches: NDArray[np.int64], depth: int, rows: int
) -> None:
    known = np.diff(arrays.offsets)
    if len(known) != len(matches):
        raise WorkloadError(f"{folder}: truth of {len(known)} queries for {len(matches)}")
    short = np.flatnonzero(known != np.minimum(matches, depth))
    if len(short):
        query = int(short[0])
        raise WorkloadError(
            f"{folder}: query {query} has {known[query]} true neighbours, expected "
            f"{min(int(matches[query]), depth)} ({len(short)} queries are so)"
        )
    if len(arrays.vectors) != rows:
        raise WorkloadError(f"{folder}: {len(arrays.vectors)} vectors for {rows} rows")


def _bare(attributes: pa.Table) -> pa.Table:
    """Without the schema's metadata; Arrow would forget the rows of a table of no column."""
    return attributes.replace_schema_metadata(None) if attributes.num_columns else attributes


def _cells(queries: pa.Table, rows: int) -> list[Cell]:
    """The cells in the order of their first query."""
    codes = queries["cell"].combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    numbers = np.asarray(codes.indices)
    measured = np.asarray(pc.equal(queries["role"], "measure"))
    near = np.asarray(queries["near"])
    shares = np.asarray(queries["matches"]) / max(1, rows)
    cells = []
    for place, name in enumerate(names):
        own = np.flatnonzero(numbers == place)
        told = ("family", "where", "target", "correlation")
        row = queries.select(told).take(pa.array(own)).group_by(list(told)).aggregate([])
        if row.num_rows != 1:
            raise WorkloadError(f"cell {name!r} has queries of several families or filter texts")
        cells.append(
            Cell(
                name=name,
                **row.to_pylist()[0],
                measure=own[measured[own]],
                tune=own[~measured[own]],
                selectivity=float(shares[own].mean()),
                affinity=affinity(near[own], shares[own]),
            )
        )
    return cells
