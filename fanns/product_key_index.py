"""An inverted multi-index over vectors alone: rows in very many small cells, and a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fanns.cells import Cells
from fanns.codes import Int8Codes
from fanns.errors import InputError
from fanns.hits import STATUSES
from fanns.kernels.distance import METRICS
from fanns.key_hits import KeyHits
from fanns.paths import NO_BUDGET
from fanns.paths.cells import CellParameters, CellsPath
from fanns.selection import Selection
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors, accept_queries, accept_vectors, check_vectors

CHUNK = 16
"""Queries of one task; what threads share out."""

ENOUGH = 4_000
"""Passing rows looked at by default."""

LEAST_RERANK, RERANK = 40, 4
"""Rows compared in full precision by default: so many times k, and never fewer."""


class RowHits(KeyHits):
    """As `KeyHits`, with row numbers for ids.

    Attributes:
        statuses: "exact" or "approximate", one for each query.
        work: int64[m, 4]; codes compared, full-precision distances, predicate checks, cells.
    """

    def __init__(
        self,
        parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
        work: npt.NDArray[np.int64],
        metric: str,
        statuses: list[str],
    ) -> None:
        super().__init__(parts, work, metric)
        self.statuses = statuses

    def __repr__(self) -> str:
        return f"<RowHits: {len(self)} queries, {len(self.ids)} rows, {self.metric}>"


class ProductKeyIndex:
    """Vectors in the order of product-key cells, searched cell by cell (in memory, immutable).

    Two codebooks of half vectors make c_a * c_b cells, of which a query takes the nearest in
    multi-sequence order until enough passing rows were looked at (Babenko and Lempitsky 2012, "The
    inverted multi-index", section 3; under a mask a row that does not pass counts for nothing).
    Their int8 codes are compared, and the best in full precision. For attributes, filters in words
    and a recall to aim at, use `Index`, whose clusters are level at hundreds of dimensions; this is
    for halves that tell different things (composed embeddings), and for comparisons.

    Attributes:
        metric: "cosine", "l2" or "ip".
        cells: the codebooks and where cells begin.
    """

    def __init__(self, path: CellsPath, cells: Cells, order: npt.NDArray[np.int32], metric: str):
        """For `build`; row i in the order of the cells was given as row order[i]."""
        self.metric, self.cells = metric, cells
        self._path, self._order = path, order
        self._dimensions = cells.half_a.shape[1] + cells.half_b.shape[1]

    @classmethod
    def build(
        cls,
        vectors: npt.ArrayLike,
        metric: str = "cosine",
        *,
        halves: tuple[int, int] | None = None,
        seed: int = 0,
        threads: int | None = 1,
    ) -> ProductKeyIndex:
        """Learn two codebooks and put the rows in the order of their cells.

        Args:
            vectors: [n, d >= 2], float32, float16 or int8 (float64 is rounded).
            metric: "cosine", "l2" or "ip".
            halves: (c_a, c_b), the sizes of the codebooks; by default equal, for about four rows a
                cell.
            seed: of the codebooks; threads do not change the result.

        Raises:
            InputError: vectors or arguments that cannot be used.
        """
        if metric not in METRICS:
            raise InputError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
        given = accept_vectors(vectors)
        check_vectors(given, METRICS[metric], threads)
        store = DenseVectors.from_array(given, METRICS[metric], threads)
        order, cells = Cells.build(store, seed, threads, halves)
        store = DenseVectors.from_array(
            np.ascontiguousarray(given[order]), METRICS[metric], threads
        )
        codes = Int8Codes.build(store, threads)
        return cls(CellsPath(store, codes, order.astype(np.int64), cells), cells, order, metric)

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return (
            f"<ProductKeyIndex: {len(self):,} rows of {self._dimensions} dimensions, {self.cells}>"
        )

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        mask: Any = None,
        *,
        enough: int = ENOUGH,
        rerank: int | None = None,
        threads: int | None = 1,
    ) -> RowHits:
        """The k nearest passing rows of each query, among those of the nearest cells.

        Args:
            queries: float32[m, d], or one query float32[d].
            k: rows wanted; exactly min(k, passing rows) come back, nearest first.
            mask: bool[n] in the order in which rows were given, or row numbers; None for all.
            enough: passing rows to look at, at least k; where no more pass, all are scanned.
            rerank: most rows compared in full precision; by default 4 k, and at least 40.
            threads: over the queries.

        Raises:
            InputError: a query, mask or number that cannot be used.
        """
        for name, value in (("k", k), ("enough", enough), ("rerank", rerank or 1)):
            if type(value) is not int or value < 1:
                raise InputError(f"{name}: expected a whole number of at least 1, got {value!r}")
        asked = accept_queries(queries, self._dimensions, METRICS[self.metric])
        selection = self._selection(mask)
        width = min(k, selection.count)
        if width == 0:
            none = (np.zeros((len(asked), 0), np.int64), np.zeros((len(asked), 0)))
            work = np.zeros((len(asked), 4), np.int64)
            return RowHits([none], work, self.metric, ["exact"] * len(asked))
        parameters = CellParameters(enough, rerank or max(LEAST_RERANK, RERANK * k))
        found: list[Any] = [None] * -(-len(asked) // CHUNK)

        def task(start: int, stop: int) -> None:
            part = np.ascontiguousarray(asked[start:stop])
            found[start // CHUNK] = self._path.search(part, selection, width, parameters, NO_BUDGET)

        run_chunks(task, len(asked), CHUNK, threads)
        parts = [(self._order[one.rows].astype(np.int64), one.distances) for one in found]
        work = np.concatenate([one.work for one in found] or [np.zeros((0, 4), np.int64)])
        statuses = [STATUSES[code] for one in found for code in one.status.tolist()]
        return RowHits(parts, work, self.metric, statuses)

    def _selection(self, mask: Any) -> Selection:
        """The passing rows, in the order of the cells."""
        n = len(self)
        if mask is None:
            return Selection.all(n)
        given = np.asarray(mask)
        if given.dtype == np.bool_:
            if given.shape != (n,):
                raise InputError(f"mask: expected {n} booleans, got shape {given.shape}")
            return Selection.from_mask(given[self._order])
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise InputError(
                f"mask: expected bool[{n}] or row numbers, got {given.dtype}{given.shape}"
            )
        if given.size and (given.min() < 0 or given.max() >= n):
            raise InputError(f"mask: row numbers must lie within 0..{n - 1}")
        chosen = np.zeros(n, np.bool_)
        chosen[given] = True
        return Selection.from_mask(chosen[self._order])
