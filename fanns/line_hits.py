"""Hits as the kernels of `lists.py` write them: one line of numbers, cut up when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.execution import FIRST
from fanns.hits import Hits, RowSource

if TYPE_CHECKING:
    from fanns.explanation import Explanation


class LineHits(Hits):
    """See `Hits`; made in a tenth of the time of the arrays that it stands for.

    `line` int64[3 k + WORDS] as described in `kernels/lists.py`, of which `size` answers are there;
    `keyed`: its ties are the ids. Rows are those of the first segment. `told` is what a `Quick` can
    explain the search by: itself, what was asked, the plan, when it ended.
    """

    __slots__ = ("_k", "_keyed", "_line", "_size", "_told")

    def __init__(
        self,
        line: np.ndarray,
        k: int,
        size: int,
        keyed: bool,
        status: str,
        matches: int,
        metric: str,
        source: RowSource,
        told: tuple[Any, ...],
    ) -> None:
        self._ids = None
        self._line = line
        self._k = k
        self._size = size
        self._keyed = keyed
        self.status = status
        self.matches = matches
        self.metric = metric
        self._source = source
        self._told = told
        self.prefetched = ()

    @property
    def ids(self) -> Any:
        if self._ids is None:
            if self._keyed:
                self._ids = self._line[: self._size]
            else:
                self._ids = self._source.ids_at(*self._place())
        return self._ids

    @property
    def distances(self) -> np.ndarray:
        return self._line.view(np.float64)[self._k : self._k + self._size]

    @property
    def work(self) -> np.ndarray:
        codes, full = self._line[3 * self._k : 3 * self._k + 2].tolist()
        return np.array([codes, full, 0, 0], np.int64)

    def _place(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self._line[2 * self._k : 2 * self._k + self._size].astype(np.int32)
        if self._size <= len(FIRST):
            return FIRST[: self._size], rows
        return np.zeros(self._size, np.int32), rows

    def __len__(self) -> int:
        return self._size

    def explain(self) -> Explanation:
        quick, asked, plan, ended = self._told
        told: Explanation = quick.explanation(self, asked, plan, ended)
        return told
