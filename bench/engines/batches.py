"""Engines that answer a batch of queries in one call, as those on a GPU do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.engine import Engine, Items, Mode, Params, Rows, Setting, Vector
from fanns.bench.engines.rows import Filter, Postings


class BatchEngine(Engine):
    """A search of one query is a batch of one.

    The filter is evaluated on the host, from posting lists, into a bitmap: none of these engines
    keeps attributes.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    def open(self, items: Items, folder: Any) -> None:
        self.n = len(items.vectors)
        self.postings = Postings(items.attributes)

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def bind_batch(self, params: Sequence[Params]) -> Any:
        """Filters ready to search with: one for all queries of a batch, or one for each."""

    @abstractmethod
    def search_batch(self, queries: NDArray[np.float32], bound: Any, k: int) -> Rows:
        """Rows int64[m, k] for queries float32[m, d], best first; -1 where there is none."""

    def bind(self, params: Params) -> Any:
        return self.bind_batch([params])

    def search(self, query: Vector, params: Params, k: int) -> Rows:
        return self.search_bound(query, self.bind_batch([params]), k)

    def search_bound(self, query: Vector, bound: Any, k: int) -> Rows:
        found: Rows = self.search_batch(query[None], bound, k)[0]
        return found

    def rows(self, answer: Rows) -> Rows:
        return answer[answer >= 0]


def nothing(m: int, k: int) -> Rows:
    """Answers without rows."""
    return np.full((m, k), -1, np.int64)
