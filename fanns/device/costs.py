"""What a search on the device costs, measured once on its own rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from fanns.kernels.jit_cuda import SIMULATED

REPEATED = 1 if SIMULATED else 5
"""Calls that are timed. What a simulator takes means nothing, and one is soon over."""

MANY = 4 if SIMULATED else 64
"""Queries of the batches that are timed: enough to fill a device."""


class DeviceCosts(NamedTuple):
    """Nanoseconds: of a batch, from the call to its answers; of a row compared in full precision
    for one query; of a code for each of many queries that share a selection, and of many that have
    one each; of a code that a walk compares, for each of many queries; of choosing the rows of
    the nearest clusters, for each of many queries; of a row compared in full precision for each of
    many queries that share a selection, and of any row where products of matrices do that;
    of a row estimated by its codes of few bits, for each of many queries that have a selection
    each. Infinite where there is no graph, clusters are not calibrated, cuBLAS cannot be used, or
    codes of few bits are not there.
    """

    batch_ns: float
    row_ns: float
    shared_ns: float
    own_ns: float
    code_ns: float
    near_ns: float = math.inf
    full_ns: float = 0.0
    product_ns: float = math.inf
    bits_ns: float = math.inf

    def predicted(self, rows: float) -> float:
        """Nanoseconds of a batch whose queries compare so many rows in all."""
        return self.batch_ns + rows * self.row_ns


def fastest(call: Callable[[], object]) -> float:
    """Nanoseconds of the fastest of a few calls, the first, which may compile, not counted."""
    if not SIMULATED:
        call()
    taken = []
    for _ in range(REPEATED):
        begun = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - begun)
    return float(min(taken))
