"""The engines compared, behind one call: a query under its filter, end to end, to row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fanns import Index
from fanns.bench.workload import Cell, Condition, Postings, Rows

Vectors = NDArray[np.float32]


class Engine(Protocol):
    """What the measurement needs of an engine.

    Attributes:
        name: as in peers.toml; settings: to try, in order of rising cost.
        filter_seconds: time spent so far on making selectors from posting lists.
    """

    name: str
    settings: Sequence[Any]
    filter_seconds: float

    def prepare(self, cell: Cell, query: int) -> None:
        """Work that is not measured."""

    def search(self, cell: Cell, query: int, setting: Any) -> Rows:
        """At most k row numbers; -1 stands for none."""


class Fanns:
    """fanns: the filter's text is constant, its parameters are bound for each query."""

    name = "fanns"

    def __init__(self, index: Index, queries: Vectors, k: int, recall: Sequence[float]) -> None:
        self.index = index
        self.queries = queries
        self.k = k
        self.settings = recall
        self.filter_seconds = 0.0

    def prepare(self, cell: Cell, query: int) -> None:
        """Nothing."""

    def search(self, cell: Cell, query: int, setting: float) -> Rows:
        hits = self.index.search(
            self.queries[query],
            self.k,
            where=cell.where,
            params=cell.params[query] or None,
            recall=setting,
        )
        return np.asarray(hits.ids)


class FaissFlat:
    """Exhaustive search over the ids of the posting list (IDSelectorArray)."""

    name = "faiss_flat"
    settings: Sequence[Any] = ("exact",)

    def __init__(self, vectors: Vectors, queries: Vectors, k: int, postings: Postings) -> None:
        import faiss

        self.faiss: Any = faiss
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.queries = queries
        self.k = k
        self.postings = postings
        self.filter_seconds = 0.0

    def prepare(self, cell: Cell, query: int) -> None:
        """Nothing."""

    def search(self, cell: Cell, query: int, setting: Any) -> Rows:
        start = perf_counter()
        condition = cell.conditions[query]
        parameters = None
        if not condition.empty:
            rows = np.ascontiguousarray(self.postings.rows(condition))
            selector = self.faiss.IDSelectorArray(len(rows), self.faiss.swig_ptr(rows))
            parameters = self.faiss.SearchParameters(sel=selector)
        self.filter_seconds += perf_counter() - start
        _, found = self.index.search(self.queries[query : query + 1], self.k, params=parameters)
        return np.asarray(found[0])


class FaissHNSW:
    """IndexHNSWFlat under an IDSelectorBitmap made from the posting list."""

    name = "faiss_hnsw"

    def __init__(
        self,
        vectors: Vectors,
        queries: Vectors,
        k: int,
        postings: Postings,
        options: Mapping[str, Any],
    ) -> None:
        import faiss

        self.faiss: Any = faiss
        self.queries = queries
        self.k = k
        self.postings = postings
        self.settings = options["ef_search"]
        self.filter_seconds = 0.0
        metric = faiss.METRIC_INNER_PRODUCT
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], options["m"], metric)
        self.index.hnsw.efConstruction = options["ef_construction"]
        start = perf_counter()
        self.index.add(vectors)
        self.build_seconds = perf_counter() - start

    def prepare(self, cell: Cell, query: int) -> None:
        """Nothing."""

    def search(self, cell: Cell, query: int, setting: int) -> Rows:
        start = perf_counter()
        condition = cell.conditions[query]
        selector = None if condition.empty else self._bitmap(condition)
        parameters = self.faiss.SearchParametersHNSW(efSearch=setting, sel=selector)
        self.filter_seconds += perf_counter() - start
        _, found = self.index.search(self.queries[query : query + 1], self.k, params=parameters)
        return np.asarray(found[0])

    def _bitmap(self, condition: Condition) -> Any:
        passing = np.zeros(self.index.ntotal, dtype=bool)
        passing[self.postings.rows(condition)] = True
        self._bits = np.packbits(passing, bitorder="little")  # faiss keeps the address only
        return self.faiss.IDSelectorBitmap(len(self._bits), self.faiss.swig_ptr(self._bits))


class Slice:
    """The oracle: the passing vectors stand in an index of their own before the clock starts."""

    name = "slice"
    settings: Sequence[Any] = ("exact",)

    def __init__(self, vectors: Vectors, queries: Vectors, k: int, postings: Postings) -> None:
        import faiss

        self.faiss: Any = faiss
        self.vectors = vectors
        self.queries = queries
        self.k = k
        self.postings = postings
        self.filter_seconds = 0.0

    def prepare(self, cell: Cell, query: int) -> None:
        """Copies the passing vectors together."""
        self.rows = self.postings.rows(cell.conditions[query])
        self.index = self.faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors[self.rows])

    def search(self, cell: Cell, query: int, setting: Any) -> Rows:
        _, found = self.index.search(self.queries[query : query + 1], self.k)
        return np.asarray(self.rows[found[0][found[0] >= 0]])
