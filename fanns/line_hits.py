"""Hits as the kernels of `lists.py` write them: one line of numbers, cut up when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.execution import FIRST
from fanns.hits import STATUSES, Hits, LazyBatch, RowSource

if TYPE_CHECKING:
    from fanns.explanation import Explanation


class LineHits(Hits):
    """See `Hits`; made in a tenth of the time of the arrays that it stands for.

    `line` int64[3 width + WORDS] as described in `kernels/lists.py`, with `size` answers; `keyed`:
    its ties are the ids. Rows are those of the first segment. `told` is what a `Quick` can explain
    the search by: itself, what was asked, the plan, when it ended, the fallback and the lift.
    """

    __slots__ = ("_keyed", "_line", "_size", "_told", "_width")

    def __init__(
        self,
        line: np.ndarray,
        width: int,
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
        self._width = width
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
        return self._line.view(np.float64)[self._width : self._width + self._size]

    @property
    def work(self) -> np.ndarray:
        return self._line[3 * self._width :].copy()

    def _place(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self._line[2 * self._width : 2 * self._width + self._size].astype(np.int32)
        if self._size <= len(FIRST):
            return FIRST[: self._size], rows
        return np.zeros(self._size, np.int32), rows

    def __len__(self) -> int:
        return self._size

    def explain(self) -> Explanation:
        quick, *asked = self._told
        told: Explanation = quick.explanation(self, *asked)
        return told


class LineBatch(LazyBatch):
    """See `LazyBatch`; `lines` int64[m, 3 width + WORDS] and `told` int64[m] are those of
    `many_lists`; `keyed`: ties are the ids.
    """

    def __init__(
        self,
        lines: np.ndarray,
        told: np.ndarray,
        width: int,
        keyed: bool,
        make: Callable[[int], LineHits],
    ) -> None:
        sizes = told >> 2
        super().__init__(sizes, make)
        self._lines = lines
        self._told = told
        self._width = width
        self._keyed = keyed
        self._filled = np.arange(width) < sizes[:, None]

    @property
    def ids(self) -> Any:
        return self._lines[:, : self._width][self._filled] if self._keyed else super().ids

    @property
    def distances(self) -> np.ndarray:
        found: np.ndarray = self._lines.view(np.float64)[:, self._width : 2 * self._width]
        return found[self._filled]

    @property
    def statuses(self) -> list[str]:
        return [STATUSES[code & 3] for code in self._told.tolist()]
