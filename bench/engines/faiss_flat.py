"""faiss, exhaustive: the rows of the posting lists, compared one by one where they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from fanns.bench.engines.engine import Items, Kind, Params, Rows, Setting, Vector, Work
from fanns.bench.engines.faiss_base import Bound, FaissEngine, load_faiss, metric_of


class FaissFlat(FaissEngine):
    """IndexFlat under an IDSelectorArray, for which faiss computes those rows only."""

    name = "faiss-flat"
    kind: ClassVar[Kind] = "exact"

    def make(self, items: Items) -> Any:
        index = load_faiss().IndexFlat(items.vectors.shape[1], metric_of(items))
        index.add(items.vectors)
        return index

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep: the index is the vectors."""

    def open(self, items: Items, folder: Path) -> None:
        from fanns.bench.engines.rows import Postings

        self.faiss = load_faiss()
        self.faiss.omp_set_num_threads(1)
        self.index = self.make(items)
        self.postings = Postings(items.attributes)

    def parameters(self, setting: Setting) -> tuple[Any, Any]:
        parameters = self.faiss.SearchParameters()
        return parameters, parameters

    def search_bound(self, query: Vector, bound: Bound, k: int) -> Any:
        return super().search_bound(query, bound, k), bound.held

    def rows(self, answer: Any) -> Rows:
        return super().rows(answer[0])

    def work(self, answer: Any) -> Work:
        held = answer[1]
        return Work(self.index.ntotal if held is None else len(held[1]), "exact")

    def _select(self, whole: Any, inner: Any, params: Params) -> Bound:
        if self.filter is None:
            return Bound(whole, None)
        rows = self.filter.find(params).rows()
        selector = self.faiss.IDSelectorArray(len(rows), self.faiss.swig_ptr(rows))
        inner.sel = selector
        return Bound(whole, (selector, rows))
