"""How many rows a search must look at for a number of results and a recall target."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.999)


def column_of(target: float) -> int | None:
    """The place of the least of TARGETS that is not below a target, None above the last."""
    column = bisect_left(TARGETS, target - 1e-9)
    return column if column < len(TARGETS) else None


def _interpolated(x: float, places: Sequence[float], values: Sequence[float]) -> float:
    """The value at x > 0, log-log between places (rising); the ends hold beyond them."""
    after = bisect_left(places, x)
    if after == 0 or after == len(places):
        return values[min(after, len(places) - 1)]
    low, high = places[after - 1], places[after]
    share = math.log(x / low) / math.log(high / low)
    a, b = values[after - 1], values[after]
    return a if a == b else math.exp(math.log(a) * (1 - share) + math.log(b) * share)


@dataclass(frozen=True, slots=True)
class Needs:
    """Passing rows that are enough: `rows[i][j][t]` for `shares[i]` of the rows passing, `ks[j]`
    results and `TARGETS[t]`; shares and ks rise.
    """

    shares: tuple[float, ...]
    ks: tuple[int, ...]
    rows: tuple[tuple[tuple[float, ...], ...], ...]

    def at(self, share: float, k: int, target: float) -> float:
        """Rows for k results at a recall target; infinity where no target is as high."""
        column = column_of(target)
        if column is None or not self.shares:
            return math.inf
        by_k = [
            _interpolated(share, self.shares, [row[j][column] for row in self.rows])
            for j in range(len(self.ks))
        ]
        stretch = max(1.0, k / self.ks[-1])
        return max(_interpolated(k, self.ks, by_k) * stretch, float(k))

    def scaled(self, scales: Sequence[float]) -> Needs:
        """The same with the rows of each target multiplied."""
        rows = tuple(
            tuple(tuple(a * b for a, b in zip(line, scales, strict=True)) for line in by_k)
            for by_k in self.rows
        )
        return Needs(self.shares, self.ks, rows)
