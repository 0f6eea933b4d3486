"""faiss's graph: the walk passes through every row and keeps those that the bitmap admits."""

from __future__ import annotations

from typing import Any

from fanns.bench.engines.engine import Items, Setting
from fanns.bench.engines.faiss_base import FaissEngine, load_faiss, metric_of


class FaissHNSW(FaissEngine):
    """IndexHNSWFlat."""

    name = "faiss-hnsw"

    def make(self, items: Items) -> Any:
        build = self.options["build"]
        metric = metric_of(items)
        index = load_faiss().IndexHNSWFlat(items.vectors.shape[1], build["m"], metric)
        index.hnsw.efConstruction = build["ef_construction"]
        index.add(items.vectors)
        return index

    def parameters(self, setting: Setting) -> tuple[Any, Any]:
        parameters = self.faiss.SearchParametersHNSW(efSearch=setting["ef_search"])
        return parameters, parameters

    def statistics(self) -> Any:
        return self.faiss.cvar.hnsw_stats
