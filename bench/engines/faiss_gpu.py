"""faiss on a GPU: brute force, and inverted lists of vectors or product-quantized codes.

faiss's own kernels take a selector and pay no heed to it. Where cuVS is compiled in (faiss-gpu-cuvs
from 1.15 on) its kernels do, from a bitmap; so each index is asked, when it is opened, whether it
does. Where it does not, brute force stays exact in other ways, and inverted lists take no filter.
A selector holds for a whole call: queries with filters of their own are asked one by one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.batches import BatchEngine, nothing
from fanns.bench.engines.engine import (
    AbsentError,
    Items,
    Kind,
    Params,
    Rows,
    UnsupportedError,
    Work,
)
from fanns.bench.engines.faiss_base import inverted_lists, load_faiss, metric_of, train

MOST = 2_048
"""Rows that faiss's own kernels keep for a query."""

MARGIN = 1.5
"""Times as many rows are fetched as should be needed until k pass."""

CODE_BYTES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)
"""Bytes of a code that faiss's GPU kernels are compiled for."""

_FILE = "index.faiss"


class Chosen(NamedTuple):
    """A filter: its bitmap and the selector over it, and its rows where no selector helps."""

    selector: Any
    bits: NDArray[np.uint8] | None
    rows: Rows | None


NO_FILTER = Chosen(None, None, None)


def load_faiss_gpu() -> Any:
    """The module. Raises AbsentError without its GPU part, or without a GPU."""
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        raise AbsentError(
            "this faiss has no GPU part: install faiss-gpu-cuvs in place of faiss-cpu"
        )
    if faiss.get_num_gpus() < 1:
        raise AbsentError("faiss sees no GPU")
    return faiss


def has_cuvs(faiss: Any) -> bool:
    """Whether this build of faiss holds cuVS's kernels."""
    return "CUVS" in faiss.get_compile_options()


class FaissGpu(BatchEngine):
    """An index of faiss on the first GPU."""

    @classmethod
    def version(cls) -> dict[str, str]:
        faiss = load_faiss_gpu()
        return {"faiss": str(faiss.__version__), "kernels": "cuVS" if has_cuvs(faiss) else "own"}

    @abstractmethod
    def parameters(self, selector: Any) -> Any:
        """Search parameters under the setting, with a selector or None."""

    @abstractmethod
    def on_device(self, items: Items, folder: Path) -> Any:
        """The index, on the GPU."""

    def open(self, items: Items, folder: Path) -> None:
        super().open(items, folder)
        self.faiss = load_faiss_gpu()
        self.resources = self.faiss.StandardGpuResources()
        self.vectors = items.vectors
        self.metric = metric_of(items)
        self.index = self.on_device(items, folder)
        self.selects = self._heeds_selectors()

    def bind_batch(self, params: Sequence[Params]) -> list[Chosen]:
        if self.filter is None:
            return [NO_FILTER]
        found = [self.filter.find(one) for one in params]
        if not self.selects:
            return [Chosen(None, None, one.rows()) for one in found]
        return [self._selector(one.bits()) for one in found]

    def search_batch(self, queries: NDArray[np.float32], bound: Any, k: int) -> Rows:
        if len(bound) == 1:
            return self.search_chosen(queries, bound[0], k)
        parts = [self.search_chosen(queries[i : i + 1], one, k) for i, one in enumerate(bound)]
        return np.concatenate(parts)

    def search_chosen(self, queries: NDArray[np.float32], chosen: Chosen, k: int) -> Rows:
        """As `search_batch`, all queries under one filter."""
        params = self.parameters(chosen.selector)
        found: Rows = self.index.search(queries, k, params=params)[1]
        return found

    def _selector(self, bits: NDArray[np.uint8]) -> Chosen:
        selector = self.faiss.IDSelectorBitmap(len(bits), self.faiss.swig_ptr(bits))
        return Chosen(selector, bits, None)

    def _heeds_selectors(self) -> bool:
        """Whether a search near the last row, of which the first alone is selected, obeys."""
        if not has_cuvs(self.faiss) or self.n < 2:
            return has_cuvs(self.faiss)
        self.use(self.settings()[0])
        bits = np.zeros(-(-self.n // 8), np.uint8)
        bits[0] = 1
        found = self.search_chosen(self.vectors[-1:], self._selector(bits), min(2, self.n))
        return bool((found[found >= 0] == 0).all())


class FaissGpuFlat(FaissGpu):
    """GpuIndexFlat, under a selector where it is heeded.

    Else the nearest rows, filter aside, are fetched if k of them should pass, or the passing rows
    are copied to the GPU and compared there (`knn_gpu`): exact either way.
    """

    name = "faiss-gpu-flat"
    kind: ClassVar[Kind] = "exact"

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep: the index is the vectors."""

    def on_device(self, items: Items, folder: Path) -> Any:
        config = self.faiss.GpuIndexFlatConfig()
        config.use_cuvs = has_cuvs(self.faiss)
        dims = items.vectors.shape[1]
        index = self.faiss.GpuIndexFlat(self.resources, dims, self.metric, config)
        index.add(items.vectors)
        return index

    def parameters(self, selector: Any) -> Any:
        return None if selector is None else self.faiss.SearchParameters(sel=selector)

    def search_chosen(self, queries: NDArray[np.float32], chosen: Chosen, k: int) -> Rows:
        if chosen.rows is None:
            return super().search_chosen(queries, chosen, k)
        matches = len(chosen.rows)
        fetch = min(self.n, round(MARGIN * k * self.n / max(1, matches)))
        if matches and fetch <= MOST:
            passing = np.zeros(self.n, np.bool_)
            passing[chosen.rows] = True
            found = self.index.search(queries, fetch)[1]
            kept = passing[found] & (found >= 0)
            if (np.count_nonzero(kept, axis=1) >= min(k, matches)).all():
                return _first(found, kept, k)
        return self._gathered(queries, chosen.rows, k)

    def work(self, answer: Rows) -> Work:
        return Work(None, "exact")

    def _gathered(self, queries: NDArray[np.float32], rows: Rows, k: int) -> Rows:
        out, kept = nothing(len(queries), k), min(k, len(rows))
        if kept:
            some = np.ascontiguousarray(self.vectors[rows])
            found = self.faiss.knn_gpu(self.resources, queries, some, kept, metric=self.metric)[1]
            out[:, :kept] = rows[found]
        return out


class _FaissGpuLists(FaissGpu):
    """Inverted lists, trained and filled on the GPU and kept as faiss keeps them."""

    @abstractmethod
    def empty(self, faiss: Any, resources: Any, items: Items, lists: int) -> Any:
        """The index, untrained."""

    def configure(self, config: Any, faiss: Any) -> Any:
        config.use_cuvs = has_cuvs(faiss)
        return config

    def build(self, items: Items, folder: Path, threads: int) -> None:
        faiss = load_faiss_gpu()
        lists = inverted_lists(items, self.options["build"]["lists_per_root"])
        index = self.empty(faiss, faiss.StandardGpuResources(), items, lists)
        train(index, items, lists)
        faiss.write_index(faiss.index_gpu_to_cpu(index), str(folder / _FILE))

    def on_device(self, items: Items, folder: Path) -> Any:
        options = self.faiss.GpuClonerOptions()
        options.use_cuvs = has_cuvs(self.faiss)
        options.useFloat16 = True  # tables of codes, as faiss advises; vectors stay as they are
        held = self.faiss.read_index(str(folder / _FILE))
        return self.faiss.index_cpu_to_gpu(self.resources, 0, held, options)

    def start(self, where: str | None) -> None:
        if where is not None and not self.selects:
            raise UnsupportedError(
                "faiss's own GPU kernels pay no heed to selectors; faiss-gpu-cuvs brings others"
            )
        super().start(where)

    def parameters(self, selector: Any) -> Any:
        nprobe = min(int(self.setting["nprobe"]), self.index.nlist)
        return self.faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)


class FaissGpuIVF(_FaissGpuLists):
    """GpuIndexIVFFlat."""

    name = "faiss-gpu-ivf"

    def empty(self, faiss: Any, resources: Any, items: Items, lists: int) -> Any:
        config = self.configure(faiss.GpuIndexIVFFlatConfig(), faiss)
        dims = items.vectors.shape[1]
        return faiss.GpuIndexIVFFlat(resources, dims, lists, metric_of(items), config)


class FaissGpuIVFPQ(_FaissGpuLists):
    """GpuIndexIVFPQ: 8 bits for a few dimensions; the host compares the best in full."""

    name = "faiss-gpu-ivfpq"

    def empty(self, faiss: Any, resources: Any, items: Items, lists: int) -> Any:
        config = self.configure(faiss.GpuIndexIVFPQConfig(), faiss)
        config.useFloat16LookupTables = True
        config.interleavedLayout = has_cuvs(faiss)  # the only one that cuVS has
        dims = items.vectors.shape[1]
        size = code_bytes(dims, self.options["build"]["dims_per_code"])
        return faiss.GpuIndexIVFPQ(resources, dims, lists, size, 8, metric_of(items), config)

    def search_chosen(self, queries: NDArray[np.float32], chosen: Chosen, k: int) -> Rows:
        fetch = min(MOST, self.n, k * int(self.setting["k_factor"]))
        found = super().search_chosen(queries, chosen, max(k, fetch))
        near = self.vectors[np.maximum(found, 0)]
        if self.metric == self.faiss.METRIC_L2:
            keys = ((near - queries[:, None]) ** 2).sum(axis=2)
        else:
            keys = -np.einsum("mkd,md->mk", near, queries)
        order = np.argsort(np.where(found >= 0, keys, np.inf), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, axis=1)


def code_bytes(dims: int, dims_per_code: int) -> int:
    """Bytes of a code that divide the dimensions, the most up to one for `dims_per_code`."""
    most = max(1, dims // dims_per_code)
    return max(size for size in CODE_BYTES if size <= most and dims % size == 0)


def _first(found: Rows, kept: NDArray[np.bool_], k: int) -> Rows:
    """The first k rows of each line that are kept."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    out = np.take_along_axis(np.where(kept, found, -1), order, axis=1)
    if out.shape[1] == k:
        return out
    wide = nothing(len(out), k)
    wide[:, : out.shape[1]] = out
    return wide
