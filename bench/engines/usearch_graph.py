"""usearch: a graph without filters in Python, so more is fetched than wanted, and then filtered."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

_FILE = "index.usearch"


class Bound(NamedTuple):
    """Rows that pass, their mask (either may be None where the other is enough), their number."""

    rows: Rows | None
    mask: NDArray[np.bool_] | None
    matches: int


class Answer(NamedTuple):
    """Row numbers, and the distances that were computed for them."""

    rows: Rows
    compared: int


class USearch(Engine):
    """Fetches k / selectivity rows and a margin, and four times as many until k of them pass.

    The filter's row count is known from the posting lists, so a user sees beforehand where that
    is dearer than usearch's exact search over the passing vectors, gathered, and takes this then.
    """

    name = "usearch"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        _load()
        return {"usearch": metadata.version("usearch")}

    def build(self, items: Items, folder: Path, threads: int) -> None:
        build = self.options["build"]
        index = _load().Index(
            ndim=items.vectors.shape[1],
            metric=_metric(items.metric),
            dtype=build["dtype"],
            connectivity=build["connectivity"],
            expansion_add=build["expansion_add"],
        )
        index.add(np.arange(len(items.vectors)), items.vectors, threads=threads)
        index.save(folder / _FILE)

    def open(self, items: Items, folder: Path) -> None:
        self.usearch = _load()
        self.index = self.usearch.Index.restore(folder / _FILE)
        self.vectors = items.vectors
        self.metric = _metric(items.metric)
        self.postings = Postings(items.attributes)
        self.n = len(items.vectors)

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        self.index.expansion_search = int(setting["expansion"])
        self.margin = float(setting["margin"])
        self.scan = float(self.options["scan"])

    def bind(self, params: Params) -> Bound:
        if self.filter is None:
            return Bound(None, None, self.n)
        found = self.filter.find(params)
        rows = found.rows()
        return Bound(rows, found.mask(), len(rows))

    def search(self, query: Vector, params: Params, k: int) -> Answer:
        if self.filter is None:
            return self._fetch(query, k)
        found = self.filter.find(params)
        if self._scans(found.most, self._first(found.most, k)):
            rows = found.rows()
            return self._gathered(query, Bound(rows, None, len(rows)), k)
        mask = found.mask()
        return self.search_bound(query, Bound(None, mask, int(np.count_nonzero(mask))), k)

    def search_bound(self, query: Vector, bound: Bound, k: int) -> Answer:
        if bound.mask is None:  # no filter
            return self._fetch(query, k)
        wanted = min(k, bound.matches)
        fetch, compared = self._first(bound.matches, k), 0
        while not self._scans(bound.matches, fetch):
            near = self._fetch(query, min(fetch, self.n))
            compared += near.compared
            passing = near.rows[bound.mask[near.rows]]
            if len(passing) >= wanted:
                return Answer(passing[:wanted], compared)
            fetch *= 4
        rows, scanned = self._gathered(query, bound, k)
        return Answer(rows, compared + scanned)

    def rows(self, answer: Answer) -> Rows:
        return answer.rows.astype(np.int64)

    def work(self, answer: Answer) -> Work:
        return Work(answer.compared)

    def _first(self, count: int, k: int) -> int:
        """How many rows to fetch so that k of them should pass."""
        return max(k, round(self.margin * k * self.n / max(1, count)))

    def _scans(self, count: int, fetch: int) -> bool:
        """Whether so many rows are compared sooner than so many are fetched."""
        return count <= self.scan * fetch

    def _fetch(self, query: Vector, count: int) -> Answer:
        found = self.index.search(query, count, threads=1)
        return Answer(found.keys, found.computed_distances)

    def _gathered(self, query: Vector, bound: Bound, k: int) -> Answer:
        """usearch's exact search over copies of the passing vectors."""
        rows = bound.rows
        if rows is None:
            assert bound.mask is not None
            rows = np.flatnonzero(bound.mask)
        if not len(rows):
            return Answer(rows, 0)
        found = self.usearch.search(
            self.vectors[rows], query, min(k, len(rows)), self.metric, exact=True, threads=1
        )
        return Answer(rows[found.keys], len(rows))


def _metric(metric: str) -> str:
    """usearch's name; vectors of unit length make the cosine an inner product."""
    return "l2sq" if metric == "l2" else "ip"


def _load() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise AbsentError(f"usearch is not installed: pip install usearch ({error})") from error
    return usearch.index
