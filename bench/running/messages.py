"""What a worker is asked for and answers, in a module that both processes import by one name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.engine import Mode, Setting


class Order(NamedTuple):
    """One turn of a point.

    queries, warm: numbers of queries, timed and not. The turn ends after `limit` seconds of
    searching, but not before `least` queries are done.
    """

    setting: Setting
    mode: Mode
    k: int
    queries: NDArray[np.int64]
    warm: NDArray[np.int64]
    limit: float
    least: int


class Turn(NamedTuple):
    """What came of an order.

    micros float64[q]: around the call alone, for the first q queries of the order. ids int64:
    those of query i are offsets[i]:offsets[i + 1]. distances: int64[q], -1 where not told;
    statuses: what the engine said of each answer. seconds: of searching, wall clock where several
    threads searched, else the sum of micros.
    """

    micros: NDArray[np.float64]
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    distances: NDArray[np.int64]
    statuses: list[str | None]
    seconds: float


class Built(NamedTuple):
    """What a build took; peak_bytes: held at most meanwhile, by the whole process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    disk_bytes: int
