"""What the engines built on faiss share: files, metrics, and selectors over row bitmaps."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
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
    Work,
)
from fanns.bench.engines.rows import Filter, Postings

_FILE = "index.faiss"


class Bound(NamedTuple):
    """Search parameters with a selector, and the memory that the selector points to."""

    parameters: Any
    held: Any


class FaissEngine(Engine):
    """An index of faiss under an IDSelectorBitmap made from posting lists.

    The bitmap is the selector for walks and inverted lists: it is tested in a nanosecond, where
    IDSelectorArray searches its ids one by one and IDSelectorBatch hashes.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"faiss": str(load_faiss().__version__)}

    @abstractmethod
    def make(self, items: Items) -> Any:
        """An index, trained where it needs that, that holds all vectors."""

    @abstractmethod
    def parameters(self, setting: Setting) -> tuple[Any, Any]:
        """Search parameters, and the part of them that takes the selector (`sel`)."""

    def statistics(self) -> Any:
        """Where faiss counts the vectors or codes that searches of this index compare."""
        return None

    def build(self, items: Items, folder: Path, threads: int) -> None:
        faiss = load_faiss()
        faiss.omp_set_num_threads(threads)
        faiss.write_index(self.make(items), str(folder / _FILE))

    def open(self, items: Items, folder: Path) -> None:
        self.faiss = load_faiss()
        self.faiss.omp_set_num_threads(1)
        self.index = self.faiss.read_index(str(folder / _FILE))
        self.postings = Postings(items.attributes)

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        self.setting = setting
        self._own = threading.local()
        self._compared = self._count()

    def bind(self, params: Params) -> Bound:
        whole, inner = self.parameters(self.setting)
        return self._select(whole, inner, params)

    def search(self, query: Vector, params: Params, k: int) -> Rows:
        try:
            whole, inner = self._own.parameters
        except AttributeError:  # a thread's first search under this setting
            whole, inner = self._own.parameters = self.parameters(self.setting)
        return self.search_bound(query, self._select(whole, inner, params), k)

    def search_bound(self, query: Vector, bound: Bound, k: int) -> Rows:
        _, found = self.index.search(query[None], k, params=bound.parameters)
        rows: Rows = found[0]
        return rows

    def rows(self, answer: Any) -> Rows:
        found: Rows = answer[answer >= 0]  # faiss pads with -1 and says so
        return found

    def work(self, answer: Any) -> Work:
        before, self._compared = self._compared, self._count()
        if self._compared is None or before is None:
            return Work()
        return Work(self._compared - before)

    def _select(self, whole: Any, inner: Any, params: Params) -> Bound:
        if self.filter is None:
            return Bound(whole, inner)
        bits = self.filter.find(params).bits()
        selector = self.faiss.IDSelectorBitmap(len(bits), self.faiss.swig_ptr(bits))
        inner.sel = selector
        return Bound(whole, (inner, selector, bits))

    def _count(self) -> int | None:
        """What faiss has counted so far; None where searches of several threads mix."""
        if self.threads > 1 or self.statistics() is None:
            return None
        return int(self.statistics().ndis)


def load_faiss() -> Any:
    """The module. Raises AbsentError where it is missing."""
    try:
        import faiss
    except ImportError as error:
        raise AbsentError(f"faiss is not installed: pip install faiss-cpu ({error})") from error
    return faiss


def metric_of(items: Items) -> int:
    """faiss's number of a metric; vectors of unit length make the cosine an inner product."""
    faiss = load_faiss()
    return int(faiss.METRIC_L2 if items.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def inverted_lists(items: Items, per_root: float) -> int:
    """Lists for an inverted file: the power of two nearest to `per_root` times the root of n.

    At most one for 39 rows, the fewest that faiss trains a centroid with without a warning.
    """
    rows = max(1, len(items.vectors))
    lists = 1 << max(0, round(math.log2(per_root * math.sqrt(rows))))
    while lists > 1 and lists * 39 > rows:
        lists //= 2
    return lists


def quantizer(items: Items) -> Any:
    """An exact index for the centroids."""
    return load_faiss().IndexFlat(items.vectors.shape[1], metric_of(items))


def train(index: Any, items: Items, lists: int) -> None:
    """Train on as many rows as k-means takes, and add all."""
    rows = len(items.vectors)
    sample = np.random.default_rng(0).permutation(rows)[: max(256 * lists, 20_000)]
    index.train(np.ascontiguousarray(items.vectors[np.sort(sample)]))
    index.add(items.vectors)
