"""What an engine could reach that knew the filter beforehand: bounds to measure against.

Everything is made in `bind`, which the clock does not see, and kept only so far as a budget allows:
where a cell's filters pass too many rows to copy, it is refused.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fanns.bench.engines.engine import (
    Engine,
    Items,
    Kind,
    Mode,
    Params,
    Rows,
    Setting,
    UnsupportedError,
    Vector,
    Work,
)
from fanns.bench.engines.faiss_base import load_faiss, metric_of
from fanns.bench.engines.hnswlib_graph import Hnswlib, load_hnswlib, make_graph
from fanns.bench.engines.rows import Filter, Postings


class Prebuilt:
    """An index over the passing rows alone."""

    def __init__(self, rows: Rows, index: Any) -> None:
        self.rows = rows
        self.index = index


class Oracle(Engine):
    """An index for every filter, shared by queries with the same passing rows."""

    kind: ClassVar[Kind] = "oracle"
    modes: ClassVar[tuple[Mode, ...]] = ("prepared",)

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep: the filters are not known yet."""

    def open(self, items: Items, folder: Path) -> None:
        self.items = items
        self.postings = Postings(items.attributes)
        self._made: Any = {}

    def start(self, where: str | None) -> None:
        if where is None:
            raise UnsupportedError("without a filter there is nothing to know beforehand")
        self.filter = self.postings.compile(where)

    def search(self, query: Vector, params: Params, k: int) -> Any:
        raise UnsupportedError(f"{self.name} is an oracle: its filters are prepared beforehand")

    def bind(self, params: Params) -> Prebuilt:
        assert isinstance(self.filter, Filter)
        rows = np.sort(self.filter.find(params).rows())
        key = rows.tobytes()
        found: Prebuilt | None = self._made.get(key)
        if found is None:
            found = self._made[key] = Prebuilt(rows, self.make(rows))
        return found

    @abstractmethod
    def make(self, rows: Rows) -> Any:
        """The index over these rows. Raises UnsupportedError beyond the budget."""


class Slice(Oracle):
    """faiss's IndexFlat over copies of the passing vectors."""

    name = "slice"

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"faiss": str(load_faiss().__version__)}

    def open(self, items: Items, folder: Path) -> None:
        super().open(items, folder)
        load_faiss().omp_set_num_threads(1)
        self._made = weakref.WeakValueDictionary()  # copies live as long as what is bound

    def use(self, setting: Setting) -> None:
        self.limit = int(self.options["limit_bytes"])

    def make(self, rows: Rows) -> Any:
        dims = self.items.vectors.shape[1]
        held = sum(len(one.rows) for one in self._made.values()) + len(rows)
        if held * dims * 4 > self.limit:
            raise UnsupportedError(f"copies of the passing rows take more than {self.limit:,} B")
        index = load_faiss().IndexFlat(dims, metric_of(self.items))
        index.add(self.items.vectors[rows])
        return index

    def search_bound(self, query: Vector, bound: Prebuilt, k: int) -> tuple[Rows, Prebuilt]:
        _, found = bound.index.search(query[None], k)
        return found[0], bound

    def rows(self, answer: tuple[Rows, Prebuilt]) -> Rows:
        found, bound = answer
        return bound.rows[found[found >= 0]]

    def work(self, answer: tuple[Rows, Prebuilt]) -> Work:
        return Work(len(answer[1].rows), "exact")


class SubIndex(Oracle):
    """A graph of hnswlib's over the passing rows, kept for the whole cell."""

    name = "subindex"

    @classmethod
    def version(cls) -> dict[str, str]:
        return Hnswlib.version()

    def open(self, items: Items, folder: Path) -> None:
        super().open(items, folder)
        load_hnswlib()

    def start(self, where: str | None) -> None:
        super().start(where)
        self._made = {}
        self.held = 0

    def use(self, setting: Setting) -> None:
        self.ef = int(setting["ef_search"])

    def bind(self, params: Params) -> Prebuilt:
        found = super().bind(params)
        if found.index is not None:
            found.index.set_ef(self.ef)
        return found

    def make(self, rows: Rows) -> Any:
        if not len(rows):  # of which hnswlib makes no index
            return None
        limit = int(self.options["limit_rows"])
        self.held += len(rows)
        if self.held > limit:
            raise UnsupportedError(f"graphs over more than {limit:,} passing rows take too long")
        build = self.options["build"]
        vectors = self.items.vectors[rows]
        index = make_graph(vectors, self.items.metric, build["m"], build["ef_construction"])
        index.add_items(vectors, np.arange(len(rows)), num_threads=1)
        index.set_num_threads(1)
        return index

    def search_bound(self, query: Vector, bound: Prebuilt, k: int) -> tuple[Rows, Prebuilt]:
        wanted = min(k, len(bound.rows))
        if not wanted:
            return np.empty(0, np.int64), bound
        return bound.index.knn_query(query, wanted, 1)[0][0], bound

    def rows(self, answer: tuple[Any, Prebuilt]) -> Rows:
        found, bound = answer
        return np.asarray(bound.rows[found.astype(np.int64)])
