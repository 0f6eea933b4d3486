"""Tables that are sparse from the first step on: weak entries die, promising ones take their place.

Wang et al., "Dynamic sparse learning: a novel paradigm for efficient recommendation" (2024). Unlike
the authors' code, an entry that is grown anew begins without the moments of the one before it.
"""

from __future__ import annotations

import math
from typing import Any, Self

from fanns.errors import InputError
from fanns.stores import Masked

from .recsys_table import STD, Budget, EmbeddingTable, Store
from .recsys_torch import Tensor, array, forget, functional, generator, normal, torch

PERIOD = 100  # steps between changes of the mask
FIRST_SHARE, LAST_SHARE = 0.5, 0.005  # of the live entries that a change replaces, over training
HORIZON = 10_000  # steps over which the share falls, unless told otherwise


class SparseTable(EmbeddingTable):
    """A table of which `alive` entries are not zero, at every step.

    Attributes:
        mask: bool[rows, dim], the live entries. alive: how many.
        period: steps between changes. horizon: steps after which nothing changes any more.
    """

    def __init__(
        self,
        rows: int,
        dim: int,
        alive: int,
        *,
        period: int = PERIOD,
        horizon: int = HORIZON,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(rows, dim)
        if not 1 <= alive <= rows * dim:
            raise InputError(f"alive: expected 1 to {rows * dim} entries, got {alive}")
        if period < 1 or horizon < 1:
            raise InputError(f"period and horizon: expected at least 1, got {period}, {horizon}")
        self.alive, self.period, self.horizon = alive, period, horizon
        random = generator(seed)
        chosen = torch.randperm(rows * dim, generator=random)[:alive]
        mask = torch.zeros(rows * dim, dtype=torch.bool)
        mask[chosen] = True
        self.register_buffer("mask", mask.reshape(rows, dim))
        # Fewer entries make a vector: larger ones keep its length.
        self.weight = normal((rows, dim), std * math.sqrt(rows * dim / alive), random)
        with torch.no_grad():
            self.weight.mul_(self.mask)

    @classmethod
    def within(cls, budget: Budget) -> Self:
        budget.allow("a sparse table", 1)
        alive = min(budget.params, budget.rows * budget.dim)
        return cls(budget.rows, budget.dim, alive, std=budget.std, seed=budget.seed)

    @property
    def num_params(self) -> int:
        """The live entries."""
        return self.alive

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight)

    def after_step(self, step: int, optimizer: Any) -> None:
        """Keeps dead entries at zero; every `period` steps, changes which ones are dead."""
        if self.weight.grad is not None and step and step % self.period == 0:
            share = self.share(step)
            if share > 0:
                self._change(share, optimizer)
        with torch.no_grad():
            self.weight.mul_(self.mask)

    def to_store(self) -> Store:
        mask = self.mask.numpy()
        return Masked(mask, array(self.weight)[mask])

    def share(self, step: int) -> float:
        """The share of live entries replaced at a step: a falling half cosine, then none."""
        if step >= self.horizon:
            return 0.0
        wave = (1 + math.cos(math.pi * step / self.horizon)) / 2
        return LAST_SHARE + (FIRST_SHARE - LAST_SHARE) * wave

    def _change(self, share: float, optimizer: Any) -> None:
        """Drops the smallest live entries and grows as many dead ones of the largest gradient."""
        mask, weight = self.mask.view(-1), self.weight.detach().view(-1)
        pull = self.weight.grad.view(-1).abs()
        count = min(int(share * self.alive), len(mask) - self.alive)
        if count < 1:
            return
        sizes = torch.where(mask, weight.abs(), torch.inf)
        dropped = sizes.topk(count, largest=False).indices
        grown = torch.where(mask, -1.0, pull).topk(count).indices
        mask[dropped], mask[grown] = False, True
        weight[dropped] = 0.0
        weight[grown] = 0.0
        forget(optimizer, self.weight, grown)
