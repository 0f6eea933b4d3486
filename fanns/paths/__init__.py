"""Access paths: ways to find the nearest neighbours of queries among the rows of a selection.

A path knows arrays and kernels, not filters. Every path answers `search`; a new one is a new file.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fanns.kernels.scan import APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE

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
    "RowSet",
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
