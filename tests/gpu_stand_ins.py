"""Stand-ins for faiss's GPU part and for cuVS, on the processor.

Their calls have the parameters, names, types and ways of the real ones (faiss-gpu 1.15.1,
faiss-gpu-cuvs 1.15.1, cuvs-cu13 26.10), as far as the engines use them; what they compute is
numpy's and faiss-cpu's. So tests show that answers are read right, not how fast they come.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import faiss as faiss_cpu
import numpy as np
import pytest

faiss: Any = faiss_cpu  # whose stubs lack what it adds at run time

MOST = 2_048


class _Config:
    use_cuvs = False
    useFloat16LookupTables = False
    interleavedLayout = False


class _ClonerOptions:
    use_cuvs = False
    useFloat16 = False


class _OnGpu:
    """An index of faiss-cpu as its GPU twin answers: selectors are heeded by cuVS alone."""

    def __init__(self, held: Any, use_cuvs: bool, heeds: bool) -> None:
        self.held, self.use_cuvs, self.heeds = held, use_cuvs, heeds

    @property
    def nlist(self) -> int:
        return int(self.held.nlist)

    @property
    def ntotal(self) -> int:
        return int(self.held.ntotal)

    def train(self, x: Any) -> None:
        self.held.train(x)

    def add(self, x: Any) -> None:
        self.held.add(x)

    def search(self, x: Any, k: int, *, params: Any = None, D: Any = None, I: Any = None) -> Any:  # noqa: E741
        assert x.dtype == np.float32 and x.ndim == 2 and k > 0
        if k > MOST and not self.use_cuvs:
            raise RuntimeError("GPU index only supports min/max-K selection up to 2048")
        if params is not None and not (self.use_cuvs and self.heeds):
            nprobe = getattr(params, "nprobe", None)
            params = None if nprobe is None else faiss.SearchParametersIVF(nprobe=nprobe)
        return self.held.search(x, k, params=params)


class FaissGpu(ModuleType):
    """The module `faiss` with its GPU part.

    cuvs: whether it was compiled in. heeds: whether its kernels obey selectors, as they do.
    """

    def __init__(self, cuvs: bool, heeds: bool = True, gpus: int = 1) -> None:
        super().__init__("faiss")
        self._cuvs, self._heeds, self._gpus = cuvs, heeds, gpus
        self.GpuIndexFlatConfig = self.GpuIndexIVFFlatConfig = self.GpuIndexIVFPQConfig = _Config
        self.GpuClonerOptions = _ClonerOptions

    def __getattr__(self, name: str) -> Any:
        return getattr(faiss, name)

    class StandardGpuResources:
        pass

    def get_num_gpus(self) -> int:
        return self._gpus

    def get_compile_options(self) -> str:
        return "OPTIMIZE AVX2 GPU NVIDIA_CUVS " if self._cuvs else "OPTIMIZE AVX2 GPU "

    def _made(self, held: Any, config: Any) -> _OnGpu:
        if config.use_cuvs and not self._cuvs:
            raise RuntimeError("cuVS has not been compiled into the current version")
        return _OnGpu(held, config.use_cuvs, self._heeds)

    def GpuIndexFlat(self, provider: Any, dims: int, metric: int, config: Any) -> _OnGpu:
        return self._made(faiss.IndexFlat(dims, metric), config)

    def GpuIndexIVFFlat(
        self, provider: Any, dims: int, nlist: int, metric: int, config: Any
    ) -> _OnGpu:
        held = faiss.IndexIVFFlat(faiss.IndexFlat(dims, metric), dims, nlist, metric)
        return self._made(held, config)

    def GpuIndexIVFPQ(
        self, provider: Any, dims: int, nlist: int, parts: int, bits: int, metric: int, config: Any
    ) -> _OnGpu:
        assert bits == 8 and dims % parts == 0
        quantizer = faiss.IndexFlat(dims, metric)
        held = faiss.IndexIVFPQ(quantizer, dims, nlist, parts, bits, metric)
        return self._made(held, config)

    def index_gpu_to_cpu(self, index: _OnGpu) -> Any:
        return index.held

    def index_cpu_to_gpu(
        self, provider: Any, device: int, index: Any, options: Any = None
    ) -> _OnGpu:
        assert device == 0
        return self._made(index, options or _ClonerOptions())

    def knn_gpu(
        self, res: Any, xq: Any, xb: Any, k: int, D: Any = None, I: Any = None,  # noqa: E741
        metric: int = faiss.METRIC_L2, device: int = -1, use_cuvs: bool = False,
        vectorsMemoryLimit: int = 0, queriesMemoryLimit: int = 0,
    ) -> Any:  # fmt: skip
        assert xb.flags.c_contiguous and k <= len(xb)
        return faiss.knn(xq, xb, k, metric=metric)


class DeviceArray:
    """pylibraft.common.device_ndarray: a copy that only `copy_to_host` gives back."""

    def __init__(self, np_ndarray: Any) -> None:
        assert type(np_ndarray) is np.ndarray and np_ndarray.flags.c_contiguous
        self._held = np_ndarray.copy()
        self.dtype, self.shape = self._held.dtype, self._held.shape

    def copy_to_host(self) -> Any:
        return self._held.copy()


class _Prefilter:
    def __init__(self, kind: str, array: DeviceArray) -> None:
        assert array.dtype == np.uint32 and len(array.shape) == 1
        self.kind, self.parent = kind, array

    def masks(self, m: int, n: int) -> Any:
        rows = m if self.kind == "bitmap" else 1
        assert self.parent.shape[0] == -(-rows * n // 32)
        bits = np.unpackbits(self.parent._held.view(np.uint8), count=rows * n, bitorder="little")
        return np.broadcast_to(bits.reshape(rows, n).astype(bool), (m, n))


def _search(
    index: Any, queries: Any, k: int, neighbors: Any, distances: Any, chosen: Any, far: float
) -> Any:
    """The nearest rows; places without one keep a row number that is none, and a distance `far`."""
    x, q = index.vectors, queries._held
    assert q.dtype == np.float32 and neighbors.shape == distances.shape == (len(q), k)
    assert distances.dtype == np.float32
    greater = index.metric == "inner_product"
    keys = -(q @ x.T) if greater else ((q[:, None] - x) ** 2).sum(axis=2)
    if chosen is not None:
        keys = np.where(chosen.masks(len(q), len(x)), keys, np.inf)
    order = np.argsort(keys, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(keys, order, axis=1)
    free = np.isinf(found)
    neighbors._held[:] = np.where(free, 0xFFFFFFFF, order)
    distances._held[:] = np.where(free, -far if greater else far, -found if greater else found)
    return distances, neighbors


def _cuvs(devices: int) -> dict[str, Any]:
    class Resources:
        def __init__(self, stream: Any = None) -> None:
            self.synced = True

        def sync(self) -> None:
            self.synced = True

    def brute_build(
        dataset: Any, metric: str = "sqeuclidean", metric_arg: float = 2.0, resources: Any = None
    ) -> Any:
        return SimpleNamespace(vectors=dataset._held, metric=metric)

    def brute_search(
        index: Any, queries: Any, k: int, neighbors: Any = None, distances: Any = None,
        resources: Any = None, prefilter: Any = None,
    ) -> Any:  # fmt: skip
        assert neighbors.dtype == np.int64
        return _search(index, queries, k, neighbors, distances, prefilter, np.inf)

    class IndexParams:
        def __init__(
            self, *, metric: str = "sqeuclidean", intermediate_graph_degree: int = 128,
            graph_degree: int = 64, build_algo: str = "ivf_pq", nn_descent_niter: int = 20,
        ) -> None:  # fmt: skip
            assert metric in ("sqeuclidean", "inner_product", "cosine")
            self.degree = graph_degree

    class SearchParams:
        def __init__(
            self, *, max_queries: int = 0, itopk_size: int = 64, max_iterations: int = 0,
            algo: str = "auto", search_width: int = 1,
        ) -> None:  # fmt: skip
            self.itopk_size = itopk_size

    def cagra_build(index_params: Any, dataset: Any, resources: Any = None) -> Any:
        graph = np.zeros((dataset.shape[0], index_params.degree), np.uint32)
        return SimpleNamespace(graph=DeviceArray(graph))

    def from_graph(
        graph: Any, dataset: Any, metric: str = "sqeuclidean", resources: Any = None
    ) -> Any:
        assert graph.dtype == np.uint32 and graph.shape[0] == dataset.shape[0]
        return SimpleNamespace(vectors=dataset._held, metric=metric)

    def cagra_search(
        search_params: Any, index: Any, queries: Any, k: int, neighbors: Any = None,
        distances: Any = None, resources: Any = None, filter: Any = None,
    ) -> Any:  # fmt: skip
        assert neighbors.dtype == np.uint32 and k <= search_params.itopk_size
        assert filter is None or filter.kind == "bitset"
        most = float(np.finfo(np.float32).max)
        return _search(index, queries, k, neighbors, distances, filter, most)

    return {
        "cuvs": dict(__version__="26.10.00"),
        "cuvs.common": dict(Resources=Resources),
        "cuvs.neighbors": dict(
            brute_force=SimpleNamespace(build=brute_build, search=brute_search),
            cagra=SimpleNamespace(
                IndexParams=IndexParams, SearchParams=SearchParams, build=cagra_build,
                from_graph=from_graph, search=cagra_search,
            ),
            filters=SimpleNamespace(
                from_bitset=lambda bitset: _Prefilter("bitset", bitset),
                from_bitmap=lambda bitmap: _Prefilter("bitmap", bitmap),
            ),
        ),
        "cuda": {},
        "cuda.bindings": dict(
            runtime=SimpleNamespace(cudaGetDeviceCount=lambda: (0 if devices else 35, devices))
        ),
        "pylibraft": {},
        "pylibraft.common": dict(device_ndarray=DeviceArray),
        "rmm": {},
        "rmm.mr": dict(
            CudaMemoryResource=lambda: None,
            PoolMemoryResource=lambda upstream_mr, initial_pool_size=None: None,
            set_current_device_resource=lambda mr: None,
        ),
    }  # fmt: skip


def use_faiss_gpu(
    patch: pytest.MonkeyPatch, cuvs: bool, heeds: bool = True, gpus: int = 1
) -> FaissGpu:
    made = FaissGpu(cuvs, heeds, gpus)
    patch.setitem(sys.modules, "faiss", made)
    return made


def use_cuvs(patch: pytest.MonkeyPatch, devices: int = 1) -> None:
    for name, contents in _cuvs(devices).items():
        module = ModuleType(name)
        vars(module).update(contents)
        patch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name in ("rmm", "rmm.mr")]:
        if name == "rmm":
            vars(sys.modules[name])["mr"] = sys.modules["rmm.mr"]
