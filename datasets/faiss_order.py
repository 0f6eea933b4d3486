"""Recall against speed of three faiss indexes on some vectors: which is fastest at equal recall?

A data set that stands for another one should put them in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import MissingDependencyError

K = 10
TARGETS = (0.9, 0.95)  # recalls at which speeds are compared
ROUNDS = 3  # of every setting; the fastest counts
EFFORTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
Floats = NDArray[np.float32]


class Curve(NamedTuple):
    """One index: recall@10 and queries a second of each effort, both float64[e]."""

    name: str
    recall: NDArray[np.float64]
    speed: NDArray[np.float64]

    def at(self, target: float) -> float | None:
        """Queries a second at a recall, between efforts by logarithms; None beyond the last."""
        reached = np.flatnonzero(self.recall >= target)
        if not len(reached):
            return None
        end = int(reached[0])
        if end == 0:
            return float(self.speed[0])
        low, high = self.recall[end - 1], self.recall[end]
        part = (target - low) / (high - low)
        logs = np.log(self.speed[[end - 1, end]])
        return float(np.exp(logs[0] + part * (logs[1] - logs[0])))


def loaded() -> Any:
    """The module faiss. Raises MissingDependencyError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "comparing data sets needs faiss: pip install 'fanns[bench]'"
        ) from error
    return faiss


def curves(vectors: Floats, queries: Floats) -> list[Curve]:
    """HNSW, inverted lists, and inverted lists of product codes with a second look, on one thread.

    vectors [n, d] and queries [m, d] of unit length. Raises MissingDependencyError without faiss.
    """
    faiss = loaded()
    threads = faiss.omp_get_max_threads()
    base, asked = np.ascontiguousarray(vectors), np.ascontiguousarray(queries)
    flat = faiss.IndexFlatIP(base.shape[1])
    flat.add(base)
    truth = flat.search(asked, K)[0][:, -1]
    found = []
    try:
        made = _indexes(faiss, base)
        faiss.omp_set_num_threads(1)
        for name, (index, search) in made.items():
            found.append(_curve(name, index, search, base, asked, truth))
    finally:
        faiss.omp_set_num_threads(threads)
    return found


def order(found: list[Curve], target: float) -> list[str]:
    """Names, the fastest at this recall first; those that miss it are left out."""
    reached = {one.name: one.at(target) for one in found}
    return sorted(
        (name for name, speed in reached.items() if speed is not None),
        key=lambda name: -(reached[name] or 0.0),
    )


Search = Callable[[Any, Floats, int], NDArray[np.int64]]


def _indexes(faiss: Any, base: Floats) -> dict[str, tuple[Any, Search]]:
    """Three built indexes, with how each is searched at an effort."""
    rows, dimensions = base.shape
    lists = max(1, int(2 * rows**0.5))
    # The largest divisor up to a quarter: four dimensions or more a code.
    codes = next(m for m in range(max(1, dimensions // 4), 0, -1) if dimensions % m == 0)
    kind = faiss.METRIC_INNER_PRODUCT
    graph = faiss.IndexHNSWFlat(dimensions, 32, kind)
    made: dict[str, tuple[Any, Search]] = {
        "HNSW32": (graph, _graph_search),
        f"IVF{lists}": (faiss.index_factory(dimensions, f"IVF{lists},Flat", kind), _list_search),
        f"IVF{lists}, PQ{codes}x4, refined": (
            faiss.index_factory(dimensions, f"IVF{lists},PQ{codes}x4fs,RFlat", kind),
            _refined_search,
        ),
    }
    for index, _ in made.values():
        index.train(base)
        index.add(base)
    return made


def _graph_search(index: Any, queries: Floats, effort: int) -> NDArray[np.int64]:
    index.hnsw.efSearch = max(K, 4 * effort)
    return index.search(queries, K)[1]  # type: ignore[no-any-return]


def _list_search(index: Any, queries: Floats, effort: int) -> NDArray[np.int64]:
    index.nprobe = effort
    return index.search(queries, K)[1]  # type: ignore[no-any-return]


def _refined_search(index: Any, queries: Floats, effort: int) -> NDArray[np.int64]:
    import faiss

    lists: Any = faiss.downcast_index(index.base_index)
    lists.nprobe = effort
    index.k_factor = 10.0
    return index.search(queries, K)[1]  # type: ignore[no-any-return]


def _curve(
    name: str, index: Any, search: Search, base: Floats, queries: Floats, truth: NDArray[Any]
) -> Curve:
    recalls, speeds = [], []
    for effort in EFFORTS:
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            ids = search(index, queries, effort)
            seconds.append(time.perf_counter() - started)
        scores = np.einsum("qkd,qd->qk", base[np.maximum(ids, 0)], queries)
        recalls.append(float(((scores >= truth[:, None] - 1e-6) & (ids >= 0)).mean()))
        speeds.append(len(queries) / min(seconds))
        if recalls[-1] > 0.995:
            break
    return Curve(name, np.array(recalls), np.array(speeds))
