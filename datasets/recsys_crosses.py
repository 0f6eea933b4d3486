"""Pairs of values of two fields as values of their own, with rare ones held as one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_fields import CATEGORICAL, Columns, Field
from .recsys_table import STD, EmbeddingTable, FrequencyStats, FullTable
from .recsys_tables import table_for
from .recsys_torch import torch

RARE = 20  # a pair of values that comes up less often shares a row with all others like it


class Crosses:
    """Row numbers of value pairs, for every two categorical fields.

    Row 0 of each two fields stands for pairs of values that came up less than `least` times. kind,
    share: of the tables that memorise them (`recsys_tables.KINDS`, "full" holds all), and how much
    of what full ones hold they may take.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        columns: Columns,
        *,
        least: int = RARE,
        kind: str = "full",
        share: float = 1.0,
    ) -> None:
        categorical = [f for f in fields if f.kind == CATEGORICAL]
        self._rows = {f.name: f.rows for f in categorical}
        self.kind, self.share = kind, share
        self.known: dict[tuple[str, str], NDArray[np.int64]] = {}
        self._counts: dict[tuple[str, str], NDArray[np.int64]] = {}
        for pair in combinations(self._rows, 2):
            keys, counts = np.unique(self._keys(*pair, columns), return_counts=True)
            kept = counts >= least
            self.known[pair] = keys[kept]
            rare = int(counts[~kept].sum())
            self._counts[pair] = np.concatenate(([rare], counts[kept])).astype(np.int64)

    def ids(self, first: str, second: str, columns: Columns) -> Any:
        """Row numbers int64[n] of the pairs of values in some rows."""
        known, keys = self.known[first, second], self._keys(first, second, columns)
        if not len(known):
            return torch.zeros(len(keys), dtype=torch.int64)
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return torch.from_numpy(np.where(known[place] == keys, place + 1, 0))

    def rows(self, first: str, second: str) -> int:
        """Of the table that memorises a pair of fields."""
        return len(self.known[first, second]) + 1

    def table(self, first: str, second: str, dim: int, *, seed: int = 0) -> EmbeddingTable:
        """An untrained table for the value pairs of two fields."""
        rows = self.rows(first, second)
        if self.kind == "full":
            return FullTable(rows, dim, std=STD, seed=seed)
        stats = FrequencyStats(self._counts[first, second])
        return table_for(self.kind, rows, dim, int(self.share * rows * dim), stats, seed=seed)

    def _keys(self, first: str, second: str, columns: Columns) -> NDArray[np.int64]:
        one, other = (np.asarray(columns[name], np.int64) for name in (first, second))
        return one * self._rows[second] + other
