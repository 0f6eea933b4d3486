"""What a search on the device costs, measured once on its own rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

REPEATED = 5


class DeviceCosts(NamedTuple):
    """Nanoseconds of a batch, from the call to its answers, and of each row that is compared."""

    batch_ns: float
    row_ns: float

    def predicted(self, rows: float) -> float:
        """Nanoseconds of a batch whose queries compare so many rows in all."""
        return self.batch_ns + rows * self.row_ns


def measure(few: Callable[[], object], many: Callable[[], object], rows: int) -> DeviceCosts:
    """From a search that compares hardly a row and one that compares so many; each may compile."""
    least, most = _fastest(few), _fastest(many)
    return DeviceCosts(least, max(most - least, 0.0) / max(rows, 1))


def _fastest(call: Callable[[], object]) -> float:
    """Nanoseconds of the fastest of a few calls, the first not counted."""
    call()
    taken = []
    for _ in range(REPEATED):
        begun = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - begun)
    return float(min(taken))
