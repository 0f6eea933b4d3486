"""Coarse to fine: rows are found by the first coordinates of their vectors, compared by all.

The index is an ordinary one, of the first coordinates under l2; the whole vectors stand in a stored
column, of which a search reads those of the rows found. How many are found for k wanted is measured
on sample queries. The distance between first coordinates is at most that between vectors, by which
`exact=True` is proved. This saves memory and the time of a build, not that of searches: int8 codes
of all coordinates order rows better for as many bytes (`bench/NOTES.md`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa

from fanns.arguments import check_recall, check_whole
from fanns.errors import InputError
from fanns.hits import BatchHits, Hits
from fanns.index import Index
from fanns.ingest import read_table, split
from fanns.kernels.distance import L2
from fanns.transforms import Transforms, Truncate
from fanns.vectors import accept_queries

WHOLE = "whole_vector"
"""The stored column that vectors stand in."""

POOL = 1000
"""Rows found for a sample query, among which its nearest are looked for."""

NEAREST = 10
"""Of these the places in the pool are noted."""

SAMPLES = 64
"""Sample queries that are asked; fewer than a quarter of them tell too little."""


class CoarseToFine:
    """An index of first coordinates whose hits are compared by whole vectors.

    Attributes:
        index: the index that is searched, for deletes, updates, `save` and the rest.
    """

    def __init__(self, index: Index, queries: Any) -> None:
        """Over an index that `build` made (and `fanns.open` opened).

        Args:
            queries: float32[m, d], at least 16, on which it is measured how many rows to find.

        Raises:
            InputError: it is another index, or there are too few queries.
        """
        steps = index.transforms.steps
        if not steps or not isinstance(steps[-1], Truncate) or WHOLE not in index.schema:
            raise InputError("this is no index that CoarseToFine.build made")
        self.index = index
        self._whole, self._width = Transforms(steps[:-1]), steps[-1].dimensions
        sample = accept_queries(queries, index.dimensions, L2)[:SAMPLES]
        if len(sample) < SAMPLES // 4:
            raise InputError(f"{len(sample)} queries tell too little, give at least {SAMPLES // 4}")
        self._places = np.sort(np.concatenate([self._measured(query) for query in sample]))

    @classmethod
    def build(
        cls,
        data: Any,
        prefix: int,
        queries: Any,
        *,
        transforms: Any = None,
        vector: str | None = None,
        **options: Any,
    ) -> Self:
        """Build the index.

        Args:
            data: as for `Index.build`. prefix: how many coordinates are searched.
            queries: float32[m, d]; see `__init__`.
            transforms: what brings the coordinates that matter most to the front, such as a `PCA`
                of full width or an `OrderedHead`; distances are Euclidean between its vectors.
            vector, options: as for `Index.build`.

        Raises:
            InputError: data or options cannot be used.
        """
        table = read_table(data)
        part = split(table, vector, None, (), ())
        whole = Transforms.of(transforms)
        width = whole.width if whole else part.vectors.shape[1]
        chain = Transforms([*whole.steps, Truncate(width, prefix)])
        if options.get("store") is not None:
            options["store"] = [*options["store"], WHOLE]
        options |= {"vector": part.vector, "metric": "l2", "transforms": chain, "queries": queries}
        return cls(Index.build(_with_whole(table, part.vectors, whole), **options), queries)

    def add(self, data: Any) -> None:
        """Add rows; as `Index.add`."""
        table = read_table(data)
        name = self.index._recipe.vector_name
        vectors = split(table, name, None, (), ()).vectors
        self.index.add(_with_whole(table, vectors, self._whole))

    def search(
        self,
        q: Any,
        k: int = 10,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        recall: float = 0.95,
        exact: bool = False,
    ) -> Any:
        """The k nearest passing rows by whole vectors: `Hits`, or `BatchHits` for many queries.

        Arguments are those of `Index.search`; min(k, matches) rows come back.
        """
        check_whole("k", k, 1)
        check_recall(recall)
        queries = accept_queries(q, self.index.dimensions, L2)
        found = [self._one(query, k, where, params, recall, exact) for query in queries]
        return found[0] if np.ndim(q) == 1 else BatchHits(found)

    def _one(
        self, query: np.ndarray, k: int, where: Any, params: Any, recall: float, exact: bool
    ) -> Hits:
        share = (1.0 + recall) / 2.0  # half of what may be missed is left to each of the two steps
        wanted = math.ceil(k * max(1.0, float(np.quantile(self._places, share)) / NEAREST))
        while True:
            found: Hits = self.index.search(query, wanted, where, params, recall=share, exact=exact)
            distances, order = self._compared(found, query)
            kept = order[:k]
            proven = found.status == "exact" and (
                len(found) == found.matches or found.distances[-1] > distances[kept[-1]]
            )
            if proven or not exact:
                status = "exact" if proven else "approximate"
                nearest = found.subset(kept)
                return nearest.restated(distances[kept], "l2", status, found.explain)
            wanted *= 4

    def _compared(self, found: Hits, query: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Distances between whole vectors, and the hits in their order, ties by id."""
        rows = found.columns([WHOLE]).column(0).combine_chunks()
        whole = np.asarray(rows.flatten(), np.float64).reshape(len(found), self._width)
        asked = self._whole.queries(query[None])[0] if self._whole else query
        distances = np.linalg.norm(whole - asked, axis=1)
        ids = list(found.ids)
        return distances, sorted(range(len(ids)), key=lambda i: (distances[i], ids[i]))

    def _measured(self, query: np.ndarray) -> np.ndarray:
        """How many rows are to be found for each of the nearest to be among them."""
        found = self.index.search(query, POOL, recall=0.99)
        _, order = self._compared(found, query)
        return np.array(order[:NEAREST], np.float64) + 1.0


def _with_whole(table: pa.Table, vectors: np.ndarray, whole: Transforms) -> pa.Table:
    """A table with the vectors that go through transforms as a column of their own."""
    rows = np.ascontiguousarray(whole.rows(vectors) if whole else vectors, np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    return table.append_column(WHOLE, flat)
