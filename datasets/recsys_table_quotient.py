"""Quotient-remainder tables: a row's vector from two small tables, unique for every row.

Shi et al., "Compositional embeddings using complementary partitions for memory-efficient
recommendation systems" (2019): rows x and y that agree in x mod m differ in x div m.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

from fanns.errors import InputError
from fanns.stores import QuotientRemainder

from .recsys_table import STD, Budget, EmbeddingTable, Store
from .recsys_torch import Tensor, array, functional, generator, normal, torch

OPERATIONS = ("concat", "add", "mult")


class QuotientTable(EmbeddingTable):
    """e(x) = op(W1[x mod m], W2[x div m]).

    Attributes:
        buckets: m, the rows of W1; W2 has ceil(rows / m).
        op: "concat" (W1 gives the first half of the vector, W2 the rest), "add" or "mult".
    """

    op: ClassVar[str] = "concat"

    def __init__(
        self, rows: int, dim: int, buckets: int, *, std: float = STD, seed: int = 0
    ) -> None:
        super().__init__(rows, dim)
        if not 1 <= buckets <= rows:
            raise InputError(f"buckets: expected 1 to {rows}, got {buckets}")
        self.buckets = buckets
        random = generator(seed)
        first, second = self._widths(dim)
        # The sum of two entries has the deviation asked for, and so has a product with near 1.
        spread = std / math.sqrt(2.0) if self.op == "add" else std
        mean = 1.0 if self.op == "mult" else 0.0
        self.remainders = normal((buckets, first), spread, random)
        self.quotients = normal((-(-rows // buckets), second), spread, random, mean)

    @classmethod
    def within(cls, budget: Budget) -> Self:
        """As many buckets as the budget allows, and half the rows at most: then W2 has two rows."""
        rows, widths = budget.rows, cls._widths(budget.dim)
        least = min(_size(m, rows, widths) for m in _around_root(rows))
        budget.allow(f"a quotient-remainder table ({cls.op})", least)
        low = max(m for m in _around_root(rows) if _size(m, rows, widths) <= budget.params)
        high = -(-rows // 2)
        while low < high:  # from the root on, sizes grow with the buckets
            middle = (low + high + 1) // 2
            if _size(middle, rows, widths) <= budget.params:
                low = middle
            else:
                high = middle - 1
        return cls(rows, budget.dim, low, std=budget.std, seed=budget.seed)

    @classmethod
    def _widths(cls, dim: int) -> tuple[int, int]:
        if cls.op != "concat":
            return dim, dim
        if dim < 2:
            raise InputError(f"concat needs at least two dimensions, got {dim}")
        return -(-dim // 2), dim // 2

    def forward(self, ids: Tensor) -> Tensor:
        first = functional.embedding(ids % self.buckets, self.remainders)
        second = functional.embedding(
            torch.div(ids, self.buckets, rounding_mode="floor"), self.quotients
        )
        if self.op == "concat":
            return torch.cat((first, second), dim=-1)
        return first + second if self.op == "add" else first * second

    def to_store(self) -> Store:
        tables = array(self.remainders), array(self.quotients)
        return QuotientRemainder(tables, self.rows, self.op)


class QuotientSum(QuotientTable):
    """e(x) = W1[x mod m] + W2[x div m]."""

    op = "add"


class QuotientProduct(QuotientTable):
    """e(x) = W1[x mod m] * W2[x div m], entry by entry; W2 begins near 1."""

    op = "mult"


def _size(buckets: int, rows: int, widths: tuple[int, int]) -> int:
    return buckets * widths[0] + -(-rows // buckets) * widths[1]


def _around_root(rows: int) -> range:
    """Buckets around the square root of the rows, where both tables together are smallest."""
    root = math.isqrt(rows)
    return range(max(1, root - 1), min(rows, root + 1) + 1)
