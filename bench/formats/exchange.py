"""Foreign benchmark data on its way into a workload: checked, and its answers computed anew.

Exact answers that come with foreign data are compared with our own and then replaced by them, so
that the distances are float64 and the depth is the usual one. What no foreign format holds, the
number of passing rows and the correlation of filter and query, is measured on the way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.formats.hostile import FormatError
from fanns.bench.workloads import mapped, truth, typed_params, workload
from fanns.bench.workloads.masks import Masks, Table
from fanns.datasets import exact
from fanns.datasets.dataset import truth_table

Report = Callable[[str, int, int], None]
_BLOCK = 1 << 16  # rows at a time
_IN_MEMORY = 1 << 28  # bytes of float32 vectors above which they are made in a file
_TOLERANCE = 1e-3  # relative error of distances that float32 computations of others may have


@dataclass(frozen=True)
class QuerySet:
    """Queries under one filter text: a cell to be.

    Attributes:
        name, family: as of a cell. where: SQL text with :parameters, or None.
        vectors: [m, d] of any number type. params: for each query, dates as datetime.date.
        file: where the answers stand, or None if there are none.
        rows, offsets: the answers: row numbers of query i are rows[offsets[i]:offsets[i + 1]].
        complete: an answer shorter than the longest one holds every passing row.
    """

    name: str
    family: str
    where: str | None
    vectors: NDArray[Any]
    params: Sequence[Mapping[str, Any]]
    file: Path | None = None
    rows: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int32))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    complete: bool = True


@dataclass(frozen=True)
class Foreign:
    """What a reader found. vectors [n, d] of any number type, often mapped; attributes: n rows."""

    source: str
    metric: str
    vectors: NDArray[Any]
    attributes: pa.Table
    sets: list[QuerySet]


def no_attributes(rows: int) -> pa.Table:
    """A table of so many rows without a column."""
    return pa.table({"": pa.nulls(rows)}).select([])


def write(
    foreign: Foreign,
    path: Path,
    queries: int | None = 1000,
    depth: int = truth.DEPTH,
    compare: bool = True,
    report: Report | None = None,
) -> Path:
    """Writes the workload into the folder `path`, made if needed, with exact answers.

    The first `queries` of each set are taken (None: all). With `compare`, FormatError is raised
    when answers of a file are not the nearest passing rows. Large vectors that are not float32
    rows as they stand are made so in a nameless file in `path`.
    """
    _check(foreign)
    _check_values(foreign)
    path.mkdir(parents=True, exist_ok=True)
    vectors = _ready(_floats(foreign.vectors, path), foreign.metric, "items")
    tables, parts = [], []
    for chosen in foreign.sets:
        count = len(chosen.vectors) if queries is None else min(queries, len(chosen.vectors))
        asked = np.ascontiguousarray(chosen.vectors[:count], np.float32)
        asked = _ready(asked, foreign.metric, f"queries of {chosen.name}")
        found = truth.solve(
            vectors,
            foreign.attributes,
            asked,
            [chosen.where] * count,
            chosen.params[:count],
            foreign.metric,
            depth,
            report,
        )
        if compare and chosen.file is not None:
            _compare(foreign, vectors, asked, chosen, found)
        tables.append(_queries(chosen, asked, found))
        parts.append(found)
    names = ["id", "embedding", *foreign.attributes.column_names]
    columns = [pa.array(np.arange(len(vectors))), _lists(vectors), *foreign.attributes.columns]
    return workload.write(
        path,
        pa.table(columns, names=names),
        pa.concat_tables(tables),
        truth_table(_joined(parts)),
        foreign.metric,
        depth=depth,
        source=foreign.source,
    )


def _check(foreign: Foreign) -> None:
    """Shapes and names."""
    n, d = foreign.vectors.shape
    if n == 0 or d == 0 or not any(len(one.vectors) for one in foreign.sets):
        raise FormatError(f"{foreign.source}: it holds no vectors, or no queries")
    if foreign.attributes.num_rows != n:
        rows = foreign.attributes.num_rows
        raise FormatError(f"{foreign.source}: {n:,} vectors, but attributes of {rows:,} rows")
    if taken := {"id", "embedding"} & set(foreign.attributes.column_names):
        raise FormatError(f"{foreign.source}: attributes must not be named {', '.join(taken)}")
    for chosen in foreign.sets:
        m = len(chosen.vectors)
        if chosen.vectors.shape[1] != d:
            wide = chosen.vectors.shape[1]
            raise FormatError(f"{foreign.source}: queries of {wide} dimensions, items of {d}")
        if len(chosen.params) != m:
            raise FormatError(
                f"{foreign.source}: {m:,} queries, but {len(chosen.params):,} filters of set "
                f"{chosen.name!r}"
            )
        if chosen.file is None:
            continue
        if len(chosen.offsets) != m + 1:
            answered = len(chosen.offsets) - 1
            raise FormatError(f"{chosen.file}: answers of {answered:,} queries; there are {m:,}")
        outside = (chosen.rows < 0) | (chosen.rows >= n)
        if outside.any():
            row = int(chosen.rows[int(outside.argmax())])
            raise FormatError(f"{chosen.file}: row {row:,} in an answer; there are {n:,} items")


def _check_values(foreign: Foreign) -> None:
    """Vectors that have distances: finite, and not zero where the metric is cosine."""
    for name, values in [("items", foreign.vectors), *((s.name, s.vectors) for s in foreign.sets)]:
        for start in range(0, len(values), _BLOCK):
            part = np.asarray(values[start : start + _BLOCK], np.float32)
            bad = ~np.isfinite(part).all(axis=1)
            what = "not finite"
            if foreign.metric == "cosine" and not bad.any():
                bad, what = ~part.any(axis=1), "zero, which has no cosine"
            if bad.any():
                row = start + int(bad.argmax())
                raise FormatError(f"{foreign.source}: vector {row:,} of {name} is {what}")


def _floats(vectors: NDArray[Any], scratch: Path) -> NDArray[np.float32]:
    """The vectors as C-contiguous float32."""
    if vectors.dtype == np.float32 and vectors.flags.c_contiguous:
        return vectors
    if 4 * vectors.size <= _IN_MEMORY:
        return np.ascontiguousarray(vectors, np.float32)
    with tempfile.TemporaryFile(dir=scratch) as file:
        made: NDArray[np.float32] = np.memmap(file, np.float32, mode="w+", shape=vectors.shape)
    for start in range(0, len(vectors), _BLOCK):
        made[start : start + _BLOCK] = vectors[start : start + _BLOCK]
    return made


def _ready(vectors: NDArray[np.float32], metric: str, what: str) -> NDArray[np.float32]:
    """The vectors as the workload will hold them: of unit length under cosine."""
    return mapped.unit(vectors, what) if metric == "cosine" else vectors


def _lists(vectors: NDArray[np.float32]) -> pa.Array:
    """Vectors as Arrow's fixed-size lists, without a copy."""
    flat = pa.Array.from_buffers(pa.float32(), vectors.size, [None, pa.py_buffer(vectors)])
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _queries(chosen: QuerySet, asked: NDArray[np.float32], found: truth.Answers) -> pa.Table:
    """The rows of queries.parquet of one set; every fifth query is for choosing settings."""
    m = len(asked)
    params = [
        None if chosen.where is None else typed_params.to_json(one) for one in chosen.params[:m]
    ]
    return pa.table(
        {
            "embedding": _lists(asked),
            "where": pa.array([chosen.where] * m, pa.string()),
            "params": pa.array(params, pa.string()),
            "cell": pa.array([chosen.name] * m, pa.string()),
            "family": pa.array([chosen.family] * m, pa.string()),
            "target": pa.nulls(m, pa.float64()),
            "correlation": pa.array(["natural"] * m, pa.string()),
            "role": pa.array(["tune" if i % 5 == 4 else "measure" for i in range(m)], pa.string()),
            "matches": pa.array(found.matches),
            "near": pa.array(found.near),
        }
    )


def _joined(parts: Sequence[truth.Answers]) -> exact.Truth:
    """The answers of all sets, one after another."""
    rows = np.concatenate([part.rows for part in parts])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    return exact.Truth(rows, rows, np.concatenate([part.distances for part in parts]), offsets)


def _compare(
    foreign: Foreign,
    vectors: NDArray[np.float32],
    asked: NDArray[np.float32],
    chosen: QuerySet,
    found: truth.Answers,
) -> None:
    """Raises FormatError where an answer of the file is not the nearest passing rows."""
    masks = Masks(Table(foreign.attributes), chosen.where) if chosen.where else None
    longest = int(np.diff(chosen.offsets).max(initial=0))
    for query, vector in enumerate(asked):
        rows = chosen.rows[chosen.offsets[query] : chosen.offsets[query + 1]]
        where = f"{chosen.file}: the answer of query {query:,}"
        hint = "; import with --own-answers to go without those of the file"
        if len(np.unique(rows)) < len(rows):
            raise FormatError(f"{where} holds a row twice{hint}")
        wanted = min(longest, int(found.matches[query]))
        if chosen.complete and len(rows) != wanted:
            raise FormatError(f"{where} has {len(rows)} rows, expected {wanted}{hint}")
        if masks is not None and not masks(chosen.params[query])[rows].all():
            raise FormatError(f"{where} holds a row that does not pass {chosen.where!r}{hint}")
        own = found.distances[found.offsets[query] : found.offsets[query + 1]]
        theirs = np.sort(exact.distances(vectors[rows], vector, foreign.metric))[: len(own)]
        far = np.abs(theirs - own[: len(theirs)])
        if (far > _TOLERANCE * max(1e-3, float(np.abs(own).max(initial=0)))).any():
            rank = int(far.argmax())
            raise FormatError(
                f"{where} has distance {theirs[rank]:.6g} at rank {rank}, expected "
                f"{own[rank]:.6g} under metric {foreign.metric!r}{hint}"
            )
