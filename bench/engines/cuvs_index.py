"""cuVS, NVIDIA's own library: brute force under a bitmap, and CAGRA's graph under a bitset.

Brute force takes one bit for each query and row. CAGRA's filter holds for a whole call: queries
with filters of their own are asked one by one. Both leave places free where fewer rows pass than
are wanted; a place counts as free where its distance is none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.batches import BatchEngine, nothing
from fanns.bench.engines.engine import AbsentError, Items, Kind, Params, Rows, Work

POOL = 1 << 30  # bytes of the pool that searches borrow from, as cuVS advises; it grows
AT_ONCE = 1_024  # filters of their own in one call, which bounds their bitmaps
LEAST_ITOPK = 32  # CAGRA keeps a multiple of this many rows
_GRAPH = "graph.npy"


class Modules(NamedTuple):
    """What is used of cuVS and of what it brings along."""

    brute_force: Any
    cagra: Any
    filters: Any
    array: Any
    resources: Any
    version: str


def load_cuvs() -> Modules:
    """cuVS's modules. Raises AbsentError where they are missing, or no GPU is there."""
    try:
        import cuvs
        from cuda.bindings import runtime
        from cuvs.common import Resources
        from cuvs.neighbors import brute_force, cagra, filters
        from pylibraft.common import device_ndarray
    except ImportError as error:
        raise AbsentError(f"cuVS is not installed: pip install cuvs-cu13 ({error})") from error
    state, devices = runtime.cudaGetDeviceCount()
    if int(state) != 0 or devices < 1:
        raise AbsentError("cuVS sees no GPU")
    return Modules(brute_force, cagra, filters, device_ndarray, Resources, str(cuvs.__version__))


class Cuvs(BatchEngine):
    """An index of cuVS on the current GPU; vectors of unit length make cosines inner products."""

    row_type: ClassVar[Any]

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"cuvs": load_cuvs().version}

    @abstractmethod
    def on_device(self, items: Items, folder: Path) -> Any:
        """The index."""

    @abstractmethod
    def ask(self, queries: Any, k: int, rows: Any, distances: Any, chosen: Any) -> None:
        """Puts a search on the stream: rows and distances are device arrays [m, k]."""

    def open(self, items: Items, folder: Path) -> None:
        super().open(items, folder)
        self.cuvs = load_cuvs()
        take_pool()
        self.resources = self.cuvs.resources()
        self.metric = metric_name(items.metric)
        self.index = self.on_device(items, folder)

    def bind_batch(self, params: Sequence[Params]) -> list[Any]:
        """For each call the filter of its queries, on the device."""
        if self.filter is None:
            return [None]
        return self.filters_of([self.filter.find(one).bits() for one in params])

    def filters_of(self, bits: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """cuVS's filters of bitmaps, one for each call."""
        return [self.cuvs.filters.from_bitset(self._words(one)) for one in bits]

    def search_batch(self, queries: NDArray[np.float32], bound: Any, k: int) -> Rows:
        step = len(queries) if len(bound) == 1 else self.queries_of_call()
        parts = [
            self._search(queries[i * step : (i + 1) * step], one, k) for i, one in enumerate(bound)
        ]
        return np.concatenate(parts)

    def queries_of_call(self) -> int:
        """Queries with filters of their own that one call takes."""
        return 1

    def _search(self, queries: NDArray[np.float32], chosen: Any, k: int) -> Rows:
        m, kept = len(queries), min(k, self.n)
        worst = np.inf if self.smaller else -np.inf
        rows = self.cuvs.array(np.zeros((m, kept), self.row_type))
        distances = self.cuvs.array(np.full((m, kept), worst, np.float32))
        asked = self.cuvs.array(np.ascontiguousarray(queries))
        self.ask(asked, kept, rows, distances, chosen)
        self.resources.sync()
        found, far = rows.copy_to_host().astype(np.int64), distances.copy_to_host()
        out = nothing(m, k)
        out[:, :kept] = np.where(np.abs(far) < np.finfo(np.float32).max, found, -1)
        return out

    @property
    def smaller(self) -> bool:
        """Whether smaller distances are nearer."""
        return self.metric != "inner_product"

    def _words(self, bits: NDArray[np.uint8]) -> Any:
        """Bits as uint32 on the device."""
        return self.cuvs.array(np.pad(bits, (0, -len(bits) % 4)).view(np.uint32))


class CuvsBruteForce(Cuvs):
    """Exact: products with all rows where many pass, with those that pass where few do."""

    name = "cuvs-brute-force"
    kind: ClassVar[Kind] = "exact"
    row_type = np.int64

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep: the index is the vectors."""

    def on_device(self, items: Items, folder: Path) -> Any:
        self.held = self.cuvs.array(np.ascontiguousarray(items.vectors))
        return self.cuvs.brute_force.build(self.held, metric=self.metric)

    def filters_of(self, bits: Sequence[NDArray[np.uint8]]) -> list[Any]:
        if len(bits) == 1:
            return super().filters_of(bits)
        calls = (bits[start : start + AT_ONCE] for start in range(0, len(bits), AT_ONCE))
        return [
            self.cuvs.filters.from_bitmap(self._words(joined_bits(call, self.n))) for call in calls
        ]

    def queries_of_call(self) -> int:
        return AT_ONCE

    def ask(self, queries: Any, k: int, rows: Any, distances: Any, chosen: Any) -> None:
        self.cuvs.brute_force.search(
            self.index, queries, k, neighbors=rows, distances=distances,
            resources=self.resources, prefilter=chosen,
        )  # fmt: skip

    def work(self, answer: Rows) -> Work:
        return Work(None, "exact")


class CuvsCagra(Cuvs):
    """CAGRA; `itopk_size` rows are kept on a walk, which `search_width` rows go on from."""

    name = "cuvs-cagra"
    row_type = np.uint32

    def build(self, items: Items, folder: Path, threads: int) -> None:
        cuvs = load_cuvs()
        params = cuvs.cagra.IndexParams(
            metric=metric_name(items.metric), **self.options.get("build", {})
        )
        held = cuvs.array(np.ascontiguousarray(items.vectors))
        graph = cuvs.cagra.build(params, held).graph
        np.save(folder / _GRAPH, graph.copy_to_host())

    def on_device(self, items: Items, folder: Path) -> Any:
        self.held = self.cuvs.array(np.ascontiguousarray(items.vectors))
        self.graph = self.cuvs.array(np.load(folder / _GRAPH))
        return self.cuvs.cagra.from_graph(self.graph, self.held, metric=self.metric)

    def ask(self, queries: Any, k: int, rows: Any, distances: Any, chosen: Any) -> None:
        wanted = max(int(self.setting["itopk_size"]), -(-k // LEAST_ITOPK) * LEAST_ITOPK)
        params = self.cuvs.cagra.SearchParams(**{**self.setting, "itopk_size": wanted})
        self.cuvs.cagra.search(
            params, self.index, queries, k, neighbors=rows, distances=distances,
            resources=self.resources, filter=chosen,
        )  # fmt: skip


def metric_name(metric: str) -> str:
    """cuVS's name of a metric."""
    return "sqeuclidean" if metric == "l2" else "inner_product"


@cache
def take_pool() -> None:
    """Lets searches of this process borrow memory from a pool, in place of the driver's."""
    import rmm.mr

    rmm.mr.set_current_device_resource(
        rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size=POOL)
    )


def joined_bits(bits: Sequence[NDArray[np.uint8]], n: int) -> NDArray[np.uint8]:
    """Bitmaps of n rows one behind the other, without free bits between them."""
    if n % 8 == 0:
        return np.concatenate(bits)
    masks = [np.unpackbits(one, count=n, bitorder="little") for one in bits]
    return np.packbits(np.concatenate(masks), bitorder="little")
