"""faiss's inverted lists of whole vectors; of the lists probed, rows that the bitmap admits."""

from __future__ import annotations

from typing import Any

from fanns.bench.engines.engine import Items, Setting
from fanns.bench.engines.faiss_base import (
    FaissEngine,
    inverted_lists,
    load_faiss,
    metric_of,
    quantizer,
    train,
)


class FaissIVF(FaissEngine):
    """IndexIVFFlat."""

    name = "faiss-ivf"

    def make(self, items: Items) -> Any:
        dims = items.vectors.shape[1]
        lists = inverted_lists(items, self.options["build"]["lists_per_root"])
        centroids = quantizer(items)
        index = load_faiss().IndexIVFFlat(centroids, dims, lists, metric_of(items))
        train(index, items, lists)
        return index

    def parameters(self, setting: Setting) -> tuple[Any, Any]:
        nprobe = min(setting["nprobe"], self.index.nlist)
        parameters = self.faiss.SearchParametersIVF(nprobe=nprobe)
        return parameters, parameters

    def statistics(self) -> Any:
        return self.faiss.cvar.indexIVF_stats
