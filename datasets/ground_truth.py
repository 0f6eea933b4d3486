"""Exact filtered nearest rows of many queries over sets larger than memory, by blocked products.

Blocks of rows are read once, in order. Each is multiplied with all queries in float32, and the
product serves every kind of filter that the same queries are asked under. Rows that could belong
to the k nearest, given the largest error of the product, are compared in float64 (`best_rows`).
Ties go to the smaller id. The state is saved from time to time; a run that was killed goes on from
there, to the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from . import truth_state
from .best_rows import Best, Block
from .exact import Truth
from .keyed_rows import Asked, Rows
from .passing import Passing
from .products import engine
from .vector_blocks import Vectors, opened

DEPTH = 100
MEMORY = 2 << 30  # bytes
STAGE = "exact answers"
_CELL_BYTES = 32  # of a key, its masks and, at worst, its place among the candidates
_FIXED = 128 << 20  # bytes of merges, of exact distances, of buffers of BLAS and of Parquet
_LEAST, _MOST = 256, 16_384  # rows of a block
Report = Callable[[str, int, int], None]
Floats = NDArray[np.float32]


class Answers(NamedTuple):
    """truth: the nearest passing rows of every query; matches: int64[m], its passing rows."""

    truth: Truth
    matches: NDArray[np.int64]


class Sizes(NamedTuple):
    """rows of a block, and queries that meet it at a time."""

    rows: int
    queries: int


def solve(
    vectors: NDArray[Any] | Sequence[Path] | Vectors,
    queries: Floats,
    filters: Mapping[str, Passing | None],
    *,
    k: int = DEPTH,
    metric: str = "cosine",
    ids: pa.Array | pa.ChunkedArray | NDArray[Any] | None = None,
    memory_limit: int = MEMORY,
    work: Path | None = None,
    report: Report | None = None,
    gpu: bool | None = None,
    save_every: float = 30.0,
) -> dict[str, Answers]:
    """The k nearest passing rows of each query, under each of several sets of filters.

    Args:
        vectors: float32 or float16 [n, d]: an array, a memory map, or Parquet shards in order.
        queries: float32[m, d]. filters: by name; None lets every row pass.
        metric: "cosine", "l2" or "ip", distances as in `exact`.
        ids: int64 or strings [n], which break ties; default: row numbers.
        memory_limit: bytes that this call may add, `queries` and `filters` not counted.
        work: a folder for the state; without it nothing is saved. save_every: seconds.
        report: gets STAGE, rows done and rows in all. gpu: as `products.engine`.

    Raises InputError for shapes that do not fit, a vector that is not finite (or, under cosine,
    zero), and a limit that is too small; StorageError when `work` holds the state of other
    vectors, queries, filters or settings, or cannot be written.
    """
    source, products = opened(vectors), engine(gpu)
    names, ranks = _ranked(ids, source.rows)
    asked = Asked(np.ascontiguousarray(queries, np.float32), metric, products)
    _check(source, asked, filters, k)
    sizes = plan(source, len(queries), len(filters), k, memory_limit)
    best = {name: Best(len(queries), k, ranks) for name in filters}
    state = None
    if work is not None:
        state = truth_state.State(work, _fingerprint(source, asked, filters, k, names))
    start = state.load(best) if state else 0
    saved = time.monotonic()
    for rows in source.blocks(start, sizes.rows):
        block = Rows(rows, start, asked)
        for at in range(0, len(queries), sizes.queries):
            part = slice(at, min(at + sizes.queries, len(queries)))
            _offer(best, filters, block.keys(part))
        start += len(rows)
        if report is not None:
            report(STAGE, start, source.rows)
        if state and (time.monotonic() - saved >= save_every or start == source.rows):
            state.save(best, start)
            saved = time.monotonic()
    return {name: _answers(one, names) for name, one in best.items()}


def plan(source: Vectors, queries: int, sets: int, k: int, memory_limit: int) -> Sizes:
    """How large blocks may be. Raises InputError when the limit does not allow the smallest."""
    row = 12 * max(1, source.dimensions)  # bytes: as it was read, in float32, and the next one
    fixed = queries * sets * (k + 1) * 16 + 8 * source.rows + _FIXED
    left = memory_limit - fixed
    rows = min(_MOST, max(1, source.rows), left // 2 // row)
    cells = (left - rows * row) // _CELL_BYTES
    if rows < min(_LEAST, source.rows) or cells < rows:
        least = fixed + 2 * _LEAST * (row + _CELL_BYTES)
        raise InputError(
            f"{queries:,} queries over {source.rows:,} vectors of {source.dimensions} dimensions "
            f"need a memory limit of {least:,} bytes at least, not {memory_limit:,}"
        )
    return Sizes(int(rows), int(max(1, min(queries, cells // rows))))


def _offer(best: Mapping[str, Best], filters: Mapping[str, Passing | None], block: Block) -> None:
    rows = slice(block.row, block.row + block.keys.shape[1])
    for name, passing in filters.items():
        mask = None if passing is None else passing.block(block.queries, rows)
        best[name].offer(block, mask)


def _check(source: Vectors, asked: Asked, filters: Mapping[str, Passing | None], k: int) -> None:
    shape = asked.queries.shape
    if source.rows and shape[0] and shape[1] != source.dimensions:
        raise InputError(
            f"queries of {shape[1]} dimensions, vectors of {source.dimensions}: embed both alike"
        )
    if k < 1:
        raise InputError(f"k is {k}, expected 1 or more")
    for name, one in filters.items():
        if one is not None and (one.queries, one.rows) != (shape[0], source.rows):
            raise InputError(
                f"filters {name!r} are of {one.queries} queries and {one.rows} rows; "
                f"there are {shape[0]} and {source.rows}"
            )


def _ranked(ids: Any, rows: int) -> tuple[pa.Array, NDArray[np.int64]]:
    """The ids as an array, and the place of each in their order."""
    if ids is None:
        return pa.array(np.arange(rows)), np.arange(rows)
    names = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else pa.array(ids)
    if isinstance(names, pa.ChunkedArray):  # an empty one, or one too long for a single array
        names = pa.concat_arrays([pa.array([], names.type), *names.chunks])
    if len(names) != rows or names.null_count:
        raise InputError(
            f"{len(names)} ids for {rows} vectors, {names.null_count} of them null: "
            "every vector needs one"
        )
    ranks = np.empty(rows, np.int64)
    ranks[np.asarray(pc.array_sort_indices(names))] = np.arange(rows)
    return names, ranks


def _fingerprint(
    source: Vectors,
    asked: Asked,
    filters: Mapping[str, Passing | None],
    k: int,
    names: pa.Array,
) -> dict[str, str]:
    """What a saved state belongs to, by name."""
    keys = [f"{name} {one.digest if one else 'all'}" for name, one in filters.items()]
    return {
        "vectors": source.digest,
        "queries": hashlib.sha256(asked.queries.data).hexdigest(),
        "filters": "; ".join(keys),
        "k": str(k),
        "metric": asked.metric,
        "ids": _digest(names),
    }


def _digest(names: pa.Array) -> str:
    found = hashlib.sha256(str(names.type).encode())
    for start in range(0, len(names), _MOST):
        found.update("\n".join(map(str, names.slice(start, _MOST).to_pylist())).encode())
    return found.hexdigest()


def _answers(best: Best, names: pa.Array) -> Answers:
    known = best.rows >= 0
    rows, distances = best.rows[known], best.distances[known]
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int64)
    ids = names.take(pa.array(rows)).to_numpy(zero_copy_only=False)
    return Answers(Truth(rows, ids, distances, offsets), best.matches)
