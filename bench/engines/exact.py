"""Exact search with numpy alone: distances of the passing rows, gathered, by one product."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.engine import (
    Engine,
    Items,
    Kind,
    Mode,
    Params,
    Rows,
    Setting,
    Vector,
    Work,
)
from fanns.bench.engines.rows import Filter, Postings


class Exact(Engine):
    """What a careful user writes without any library for vectors."""

    name = "exact"
    kind: ClassVar[Kind] = "exact"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"numpy": np.__version__}

    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Nothing to keep: the vectors are the index."""

    def open(self, items: Items, folder: Path) -> None:
        self.vectors = items.vectors
        self.l2 = items.metric == "l2"
        if self.l2:
            self.squares = np.einsum("ij,ij->i", items.vectors, items.vectors)
        self.postings = Postings(items.attributes)

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        """Nothing is kept from query to query."""

    def bind(self, params: Params) -> Rows | None:
        return None if self.filter is None else self.filter.find(params).rows()

    def search(self, query: Vector, params: Params, k: int) -> tuple[Rows, int]:
        return self.search_bound(query, self.bind(params), k)

    def search_bound(self, query: Vector, bound: Rows | None, k: int) -> tuple[Rows, int]:
        vectors = self.vectors if bound is None else self.vectors[bound]
        keys = vectors @ query
        if self.l2:
            keys = 2.0 * keys - (self.squares if bound is None else self.squares[bound])
        best = _largest(keys, k)
        return (best if bound is None else bound[best]), len(keys)

    def rows(self, answer: Any) -> Rows:
        found: Rows = answer[0]
        return found

    def work(self, answer: Any) -> Work:
        return Work(answer[1], "exact")


def _largest(keys: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the k largest keys, largest first."""
    if len(keys) <= k:
        return np.argsort(-keys)
    best = np.argpartition(keys, len(keys) - k)[len(keys) - k :]
    return best[np.argsort(-keys[best])]
