"""Access paths: ways to find the nearest neighbours of queries among the rows of a selection.

A path knows arrays and kernels, not filters. Every path answers `search`; a new one is a new file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fanns.kernels.jit import frozen
from fanns.kernels.scan import ALL, APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE, ROWS, WORDS

__all__ = [
    "APPROXIMATE",
    "EXACT",
    "EXHAUSTED",
    "INCOMPLETE",
    "NO_BUDGET",
    "STATUS_NAMES",
    "Answers",
    "Budget",
    "Path",
    "Ready",
    "RowSet",
    "form_of",
    "no_answers",
]

STATUS_NAMES = ("exact", "approximate", "incomplete", "exhausted")
"""Names of the status numbers; `exhausted` stays inside: the caller goes on with another path."""


class Budget(NamedTuple):
    """What one query may spend: distances computed, and a time on `kernels.intrinsics.clock_ns`."""

    max_work: int = 0
    deadline_ns: int = 0


NO_BUDGET = Budget()


class Answers(NamedTuple):
    """Results of m queries; places beyond `found` hold row -1 and an infinite distance.

    `work` counts codes compared, full-precision distances, predicate checks and hops.
    """

    rows: npt.NDArray[np.int32]  # [m, k]
    distances: npt.NDArray[np.float64]  # [m, k]
    found: npt.NDArray[np.int32]  # [m]
    status: npt.NDArray[np.int8]  # [m]
    work: npt.NDArray[np.int64]  # [m, 4]


Ready = Callable[[npt.NDArray[np.float32], Answers], None]
"""A search of which all is settled but the queries, float32[m, d], and where the answers go.

Graphs, clusters and the paths of columns make one of (selection, k, parameters), for selections
that come again with other queries; None where it would have to hold the selected rows, since some
of those that it meets do not pass. It has no budget.
"""


class RowSet(Protocol):
    """What a path asks of a selection: its size, and its rows in one form or another."""

    @property
    def n(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def is_all(self) -> bool: ...
    @property
    def has_rows(self) -> bool: ...
    def rows(self) -> npt.NDArray[np.int32]: ...
    def words(self) -> npt.NDArray[np.uint64]: ...


_NO_ROWS = frozen(np.empty(0, np.int32))
_NO_WORDS = frozen(np.empty(0, np.uint64))


def form_of(selection: RowSet) -> tuple[int, npt.NDArray[np.int32], npt.NDArray[np.uint64]]:
    """A selection as scans take it: form, rows, words."""
    if selection.is_all:
        return ALL, _NO_ROWS, _NO_WORDS
    if selection.has_rows:
        return ROWS, selection.rows(), _NO_WORDS
    return WORDS, _NO_ROWS, selection.words()


def no_answers(m: int, k: int) -> Answers:
    """Places for the results of m queries, not yet written."""
    return Answers(
        np.empty((m, k), np.int32),
        np.empty((m, k), np.float64),
        np.empty(m, np.int32),
        np.empty(m, np.int8),
        np.empty((m, 4), np.int64),
    )


class Path(Protocol):
    """One way to search a segment."""

    name: str

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        k: int,
        parameters: Any,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows of each query (float32[m, d], C-contiguous), best first.

        One thread, which does not hold the GIL. `parameters` is the path's own NamedTuple.
        """
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What to write down for this path, apart from vectors and codes."""
        ...

    @property
    def nbytes(self) -> int: ...
