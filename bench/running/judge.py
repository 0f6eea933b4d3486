"""What answers are worth: every distance recomputed, every row checked against the filter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.workloads.masks import Masks, Table
from fanns.bench.workloads.workload import Cell, Workload
from fanns.errors import InputError

TIES = 1e-6  # relative and absolute: engines compute in float32

Rows = NDArray[np.int64]


class Verdict(NamedTuple):
    """Of each of q answers.

    recall: float64[q], share of the min(k, matches) nearest rows found; 1 where nothing matches.
    returned: int64[q], rows answered. wanted: min(k, matches). invalid: rows that are no row
    numbers, repeated, or past k. violations: valid rows that fail the filter.
    """

    recall: NDArray[np.float64]
    returned: Rows
    wanted: Rows
    violations: Rows
    invalid: Rows


class Judge:
    """Judges answers to one cell after the other."""

    def __init__(self, workload: Workload, k: int) -> None:
        """Raises InputError when the workload does not know k neighbours of each query."""
        if k > workload.depth:
            raise InputError(
                f"k = {k}, but the workload {workload.name!r} knows {workload.depth} neighbours"
            )
        self._workload = workload
        self._k = k
        self._table = Table(workload.attributes)

    def enter(self, cell: Cell) -> None:
        """Begins a cell. The rows that pass a query's filter are kept, packed, until the next."""
        self._masks = None if cell.where is None else Masks(self._table, cell.where)
        self._packed: dict[int, NDArray[np.uint8]] = {}

    def judge(self, queries: Rows, ids: Rows, offsets: Rows) -> Verdict:
        """Judges answers to queries int64[q] of the cell; those of i are ids[offsets[i:i + 2]]."""
        owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
        place = np.arange(len(ids)) - offsets[owner]
        valid = (ids >= 0) & (ids < len(self._workload.vectors)) & (place < self._k)
        valid &= ~_repeated(owner, ids)
        passing = valid.copy()
        if self._masks is not None:
            for i, query in enumerate(queries):
                mine = slice(offsets[i], offsets[i + 1])
                passing[mine] &= self._pass(int(query), np.where(valid[mine], ids[mine], 0))
        count = len(queries)
        wanted = np.minimum(self._k, self._workload.matches[queries])
        near = self._near(queries, owner[passing], ids[passing], wanted)
        found = np.bincount(owner[passing][near], minlength=count)
        return Verdict(
            np.where(wanted == 0, 1.0, np.minimum(found / np.maximum(wanted, 1), 1.0)),
            np.diff(offsets),
            wanted,
            np.bincount(owner[valid & ~passing], minlength=count),
            np.bincount(owner[~valid], minlength=count),
        )

    def _pass(self, query: int, rows: Rows) -> NDArray[np.bool_]:
        assert self._masks is not None
        packed = self._packed.get(query)
        if packed is None:
            packed = np.packbits(self._masks(self._workload.params[query]), bitorder="little")
            self._packed[query] = packed
        return np.asarray((packed[rows >> 3] >> (rows & 7)) & 1 == 1)

    def _near(self, queries: Rows, owner: Rows, ids: Rows, wanted: Rows) -> NDArray[np.bool_]:
        """Which rows are at most as far as the last row wanted by the query that they answer."""
        work = self._workload
        last = np.full(len(queries), -np.inf)
        some = wanted > 0
        last[some] = work.truth_distances[work.truth_offsets[queries[some]] + wanted[some] - 1]
        bound = last[owner] + TIES * np.maximum(1.0, np.abs(last[owner]))
        far = paired_distances(work.vectors[ids], work.queries[queries[owner]], work.metric)
        return np.asarray(far <= bound)


def paired_distances(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: str
) -> NDArray[np.float64]:
    """Distances float64[m] of vectors [m, d] to queries [m, d], row by row, smaller is nearer."""
    x, q = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.asarray(np.sqrt(((x - q) ** 2).sum(axis=1)))
    products = (x * q).sum(axis=1)
    if metric == "ip":
        return np.asarray(-products)
    return np.asarray(1.0 - products / np.sqrt((x * x).sum(axis=1) * (q * q).sum(axis=1)))


def columns(verdict: Verdict) -> dict[str, pa.Array]:
    """A verdict as columns of samples."""
    counts = {name: value for name, value in verdict._asdict().items() if name != "recall"}
    return {"recall": pa.array(verdict.recall)} | {
        name: pa.array(value, pa.int32()) for name, value in counts.items()
    }


def _repeated(owner: Rows, ids: Rows) -> NDArray[np.bool_]:
    """Rows that stand earlier in the same answer."""
    order = np.lexsort((ids, owner))  # stable: the first of equals stays first
    same = (np.diff(owner[order]) == 0) & (np.diff(ids[order]) == 0)
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order[1:][same]] = True
    return repeated
