"""hnswlib: a graph whose walk asks a Python function about every row that it meets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fanns.bench.engines.engine import (
    AbsentError,
    Engine,
    Items,
    Mode,
    Params,
    Rows,
    Setting,
    Vector,
)
from fanns.bench.engines.rows import Filter, Postings

_FILE = "index.hnswlib"
_SMALL = 1_000  # so many rows make a set in about the time of a mask


class Bound(NamedTuple):
    """The function that hnswlib asks, and as many rows as pass, or more."""

    admits: Callable[[int], Any] | None
    most: int


class Hnswlib(Engine):
    """The filter is a method of C code, without a Python frame of its own.

    Of what can be asked so, a set's `__contains__` is the fastest but dear to make from many rows;
    a bytes object's `__getitem__` is a tenth slower and copied from a mask in a microsecond.
    """

    name = "hnswlib"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        load_hnswlib()
        return {"hnswlib": metadata.version("hnswlib")}

    def build(self, items: Items, folder: Path, threads: int) -> None:
        build = self.options["build"]
        index = make_graph(items.vectors, items.metric, build["m"], build["ef_construction"])
        index.add_items(items.vectors, np.arange(len(items.vectors)), num_threads=threads)
        index.save_index(str(folder / _FILE))

    def open(self, items: Items, folder: Path) -> None:
        n, dims = items.vectors.shape
        self.index = load_hnswlib().Index(space_of(items.metric), dims)
        self.index.load_index(str(folder / _FILE), max_elements=n)
        self.index.set_num_threads(1)
        self.postings = Postings(items.attributes)
        self.n = n
        self._widening = threading.Lock()

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        self.ef = int(setting["ef_search"])
        self.index.set_ef(self.ef)

    def bind(self, params: Params) -> Bound:
        if self.filter is None:
            return Bound(None, self.n)
        found = self.filter.find(params)
        if found.most <= _SMALL:
            rows = frozenset(found.rows().tolist())
            return Bound(rows.__contains__, len(rows))
        mask = found.mask()
        return Bound(mask.tobytes().__getitem__, int(np.count_nonzero(mask)))

    def search(self, query: Vector, params: Params, k: int) -> Rows:
        return self.search_bound(query, self.bind(params), k)

    def search_bound(self, query: Vector, bound: Bound, k: int) -> Rows:
        wanted = min(k, bound.most)
        if not wanted:
            return np.empty(0, np.int64)
        try:
            found: Rows = self.index.knn_query(query, wanted, 1, bound.admits)[0][0]
            return found
        except RuntimeError:  # its walk met fewer rows that pass than were asked for
            return self._wider(query, bound, wanted)

    def rows(self, answer: Any) -> Rows:
        return np.asarray(answer).astype(np.int64)

    def _wider(self, query: Vector, bound: Bound, wanted: int) -> Rows:
        """Again with four times the width, up to all rows; then for half as many results."""
        with self._widening:
            try:
                ef = max(self.ef, wanted)
                while wanted:
                    widest = ef >= self.n
                    ef = min(4 * ef, self.n)
                    self.index.set_ef(ef)
                    try:
                        found: Rows = self.index.knn_query(query, wanted, 1, bound.admits)[0][0]
                        return found
                    except RuntimeError:
                        wanted = wanted // 2 if widest else wanted
                return np.empty(0, np.int64)
            finally:
                self.index.set_ef(self.ef)


def make_graph(vectors: Vector, metric: str, m: int, ef_construction: int) -> Any:
    """An empty index with room for the vectors."""
    index = load_hnswlib().Index(space_of(metric), vectors.shape[1])
    index.init_index(max(1, len(vectors)), M=m, ef_construction=ef_construction, random_seed=0)
    return index


def space_of(metric: str) -> str:
    """hnswlib's name; vectors of unit length make the cosine an inner product."""
    return "l2" if metric == "l2" else "ip"


def load_hnswlib() -> Any:
    """The module. Raises AbsentError where it is missing."""
    try:
        import hnswlib
    except ImportError as error:
        raise AbsentError(f"hnswlib is not installed: pip install hnswlib ({error})") from error
    return hnswlib
