"""faiss's inverted lists of small codes, scanned by table look-ups, best ones refined in full."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
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


class _Codes(FaissEngine):
    """IndexRefineFlat over an inverted file with fast scan; the bitmap goes to the latter."""

    @abstractmethod
    def coded(self, items: Items, centroids: Any, lists: int) -> Any:
        """The inverted file, untrained."""

    def make(self, items: Items) -> Any:
        lists = inverted_lists(items, self.options["build"]["lists_per_root"])
        centroids = quantizer(items)
        coded = self.coded(items, centroids, lists)
        index = load_faiss().IndexRefineFlat(coded)
        train(index, items, lists)
        return index

    def open(self, items: Items, folder: Path) -> None:
        super().open(items, folder)
        self.lists = self.faiss.extract_index_ivf(self.index.base_index).nlist

    def parameters(self, setting: Setting) -> tuple[Any, Any]:
        nprobe = min(setting["nprobe"], self.lists)
        coded, inner = self.probing(nprobe)
        whole = self.faiss.IndexRefineSearchParameters(
            k_factor=setting["k_factor"], base_index_params=coded
        )
        return whole, inner

    def probing(self, nprobe: int) -> tuple[Any, Any]:
        """Search parameters of the coded index, and of the inverted file in it."""
        parameters = self.faiss.SearchParametersIVF(nprobe=nprobe)
        return parameters, parameters

    def statistics(self) -> Any:
        return self.faiss.cvar.indexIVF_stats


class FaissIVFPQ(_Codes):
    """IndexIVFPQFastScan: product quantization, four bits for a few dimensions each."""

    name = "faiss-ivfpq"

    def coded(self, items: Items, centroids: Any, lists: int) -> Any:
        dims = items.vectors.shape[1]
        parts = max(1, dims // self.options["build"]["dims_per_code"])
        while dims % parts:
            parts -= 1
        kind = load_faiss().IndexIVFPQFastScan
        return kind(centroids, dims, lists, parts, 4, metric_of(items))


class FaissRaBitQ(_Codes):
    """IndexIVFRaBitQFastScan: one bit for each dimension of the residual, turned at random."""

    name = "faiss-rabitq"

    def coded(self, items: Items, centroids: Any, lists: int) -> Any:
        faiss, dims = load_faiss(), items.vectors.shape[1]
        file = faiss.IndexIVFRaBitQFastScan(centroids, dims, lists, metric_of(items))
        return faiss.IndexPreTransform(faiss.RandomRotationMatrix(dims, dims), file)

    def probing(self, nprobe: int) -> tuple[Any, Any]:
        parameters = self.faiss.IVFRaBitQSearchParameters(nprobe=nprobe)
        return self.faiss.SearchParametersPreTransform(index_params=parameters), parameters
