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
from .exact import METRICS, Truth
from .passing import Passing
from .products import Products, engine
from .vector_blocks import Vectors, opened

DEPTH = 100
MEMORY = 2 << 30  # bytes
STAGE = "exact answers"
_PAIR_BYTES = 1 << 19  # of float64 copies for exact distances at a time: they stay in cache
_CELL_BYTES = 32  # of a key, its masks and, at worst, its place among the candidates
_FIXED = 128 << 20  # bytes of merges, of exact distances, of buffers of BLAS and of Parquet
_LEAST, _MOST = 256, 16_384  # rows of a block
_LONGEST = 1e18  # of vectors: squares of longer ones overflow float32
Report = Callable[[str, int, int], None]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


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
    asked = _Asked(np.ascontiguousarray(queries, np.float32), metric, products)
    _check(source, asked, filters, k)
    sizes = plan(source, len(queries), len(filters), k, memory_limit)
    best = {name: Best(len(queries), k, ranks) for name in filters}
    state = None
    if work is not None:
        state = truth_state.State(work, _fingerprint(source, asked, filters, k, names))
    start = state.load(best) if state else 0
    saved = time.monotonic()
    while start < source.rows:
        for rows in source.blocks(start, sizes.rows):
            block = _Rows(rows, start, asked)
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


class _Asked:
    """Queries [m, d] with their lengths float64[m]; of unit length for products under cosine."""

    def __init__(self, queries: Floats, metric: str, products: Products) -> None:
        if metric not in METRICS:
            raise InputError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
        if queries.ndim != 2:
            raise InputError(f"expected queries float32[m, d], got {list(queries.shape)}")
        self.metric, self.products = metric, products
        self.queries = queries
        self.lengths = _lengths(queries, 0, "query", metric)

    def part(self, queries: slice) -> Floats:
        """The queries to multiply with."""
        found = self.queries[queries]
        if self.metric == "cosine":
            return np.asarray(found / self.lengths[queries, None], np.float32)
        return found


class _Rows:
    """A block of rows: vectors float32[r, d], lengths float64[r]."""

    def __init__(self, rows: NDArray[Any], first: int, asked: _Asked) -> None:
        self.vectors: Floats = np.ascontiguousarray(rows, np.float32)
        self.first, self.asked = first, asked
        self.lengths = _lengths(self.vectors, first, "row", asked.metric)

    def keys(self, queries: slice) -> Block:
        """Distances in float32 (squares under l2) and how far they may be off."""
        asked = self.asked
        keys = asked.products(asked.part(queries), self.vectors)
        off = asked.products.error(self.vectors.shape[1])
        longest = float(self.lengths.max(initial=0.0))
        own = asked.lengths[queries]
        if asked.metric == "cosine":
            keys *= (-1.0 / self.lengths).astype(np.float32)
            keys += np.float32(1.0)
            error = np.full(len(own), 2.0 * off)
        elif asked.metric == "ip":
            np.negative(keys, out=keys)
            error = off * own * longest
        else:
            keys *= np.float32(-2.0)
            keys += (self.lengths**2).astype(np.float32)
            keys += (own**2).astype(np.float32)[:, None]
            error = 2.0 * off * (own + longest) ** 2
        return Block(queries, self.first, keys, error, asked.metric == "l2", self.exactly)

    def exactly(self, query: NDArray[np.int64], row: NDArray[np.int64]) -> Doubles:
        """The distances of pairs, as `exact.distances` computes each."""
        found = np.empty(len(query))
        step = max(1, _PAIR_BYTES // (8 * max(1, self.vectors.shape[1])))
        for at in range(0, len(query), step):
            part = slice(at, at + step)
            found[part] = self._exactly(query[part], row[part])
        return found

    def _exactly(self, query: NDArray[np.int64], row: NDArray[np.int64]) -> Doubles:
        x = self.vectors[row].astype(np.float64)
        q = self.asked.queries[query].astype(np.float64)
        if self.asked.metric == "l2":
            x -= q
            return np.asarray(np.sqrt((x * x).sum(axis=1)))
        products = (x * q).sum(axis=1)
        if self.asked.metric == "ip":
            return np.asarray(-products)
        return np.asarray(1.0 - products / (self.lengths[row] * self.asked.lengths[query]))


def _lengths(vectors: Floats, first: int, what: str, metric: str) -> Doubles:
    """The length of every vector, in float64. InputError names the first that cannot be used."""
    found = np.empty(len(vectors))
    step = max(1, _PAIR_BYTES // (8 * max(1, vectors.shape[1])))
    for at in range(0, len(vectors), step):
        x = vectors[at : at + step].astype(np.float64)
        found[at : at + step] = np.sqrt((x * x).sum(axis=1))
    usable = found <= _LONGEST  # False for NaN
    if metric == "cosine":
        usable &= found >= 1.0 / _LONGEST
    if not usable.all():
        at = int(np.argmin(usable))
        raise InputError(
            f"the vector of {what} {first + at} has length {found[at]}: "
            f"exact answers need finite vectors, for cosine not of zero, and at most {_LONGEST:g}"
        )
    return found


def _check(source: Vectors, asked: _Asked, filters: Mapping[str, Passing | None], k: int) -> None:
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
    asked: _Asked,
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
        "ids": hashlib.sha256("\n".join(map(str, names.to_pylist())).encode()).hexdigest(),
    }


def _answers(best: Best, names: pa.Array) -> Answers:
    known = best.rows >= 0
    rows, distances = best.rows[known], best.distances[known]
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int64)
    ids = names.take(pa.array(rows)).to_numpy(zero_copy_only=False)
    return Answers(Truth(rows, ids, distances, offsets), best.matches)
