"""Work and time of the scan of a column's blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanns.calibration.needs import TARGETS, Needs, column_of

SHARES = (0.4, 0.5, 0.6, 0.75, 0.85, 1.0)
"""Shares of the rows that are enough for TARGETS where nothing was measured; of 5,000 abstracts a
third is for recall 0.95, of 1,000 a half."""

SLACK = 1.0
"""Standard errors by which estimates are lowered where nothing was measured."""


@dataclass(frozen=True, slots=True)
class BlockModel:
    """`needs`: rows that are enough, by the share of a segment's rows that an interval or a value
    has; nothing where none was measured. Nanoseconds of a search, of each block that is ranked, and
    of each that is looked at.
    """

    needs: Needs
    fixed_ns: float
    centre_ns: float
    block_ns: float

    def enough(self, rows: int, n: int, k: int, target: float) -> float | None:
        """Rows that are enough of so many of n; None where that is not known.

        Beyond the most that was measured, the same share of them.
        """
        if self.needs.shares:
            last = self.needs.shares[-1]
            found = self.needs.at(rows / n, k, target) * max(1.0, rows / n / last)
            return None if found == math.inf else found
        column = column_of(target)
        return None if column is None else max(SHARES[column] * rows, float(k))

    def cost(self, blocks: int, share: float) -> float:
        """Nanoseconds where so many blocks are ranked, and a share of them looked at."""
        return self.fixed_ns + blocks * (self.centre_ns + min(share, 1.0) * self.block_ns)


# Rounded from measurements on 100,000 abstracts x 384 (cosine, one core).
DEFAULT_BLOCKS = BlockModel(Needs((), (), ()), 45_000.0, 35.0, 380.0)
assert len(SHARES) == len(TARGETS)
