"""Tables that learn which dimensions each block of rows needs, and drop the others.

Cheng, Shen and Huang, "Differentiable neural input search for recommender systems" (2020): rows are
cut into blocks by frequency; a block's vectors are multiplied by alpha in [0, 1] for each
dimension. Weights learn from training batches and alpha, in turns, from validation batches; what
counts least is pruned at last, and the rest goes on training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.stores import Masked

from .recsys_table import STD, Budget, EmbeddingTable, Store, check_budget, frequency_blocks
from .recsys_torch import Tensor, functional, generator, normal, torch

SHARES = (0.1, 0.2, 0.2, 0.2, 0.3)  # of the rows in each block, the most frequent first
RATE, PENALTY = 1e-2, 1e-5  # of the steps of alpha, and of its sum


class SelectedTable(EmbeddingTable):
    """e(x) * alpha[block of x], until `prune` keeps the entries that count and no others.

    Attributes:
        blocks: int64[rows]. alpha: float32[blocks, dim]; 1 at first, and 0 or 1 once pruned.
        budget: numbers to keep; a (block, dimension) is kept or dropped as a whole.
        warm_steps: steps of the optimiser before alpha moves. search_epochs: after so many epochs
            the table is pruned.
    """

    def __init__(
        self,
        rows: int,
        dim: int,
        blocks: NDArray[np.int64],
        budget: int,
        *,
        warm_steps: int = 0,
        search_epochs: int = 5,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(rows, dim)
        if blocks.shape != (rows,) or blocks.min() < 0:
            raise InputError(f"blocks: expected {rows} numbers from 0 on")
        self.sizes = np.bincount(blocks)
        check_budget("a selected table", budget, int(self.sizes.min()))
        self.budget, self.warm_steps, self.search_epochs = budget, warm_steps, search_epochs
        self.register_buffer("blocks", torch.from_numpy(blocks.astype(np.int64)))
        self.register_buffer("pruned", torch.tensor(False))
        # No parameter: the optimiser of the weights must not see it.
        self.register_buffer("alpha", torch.ones((len(self.sizes), dim)))
        self.weight = normal((rows, dim), std, generator(seed))
        self._validation: Callable[[], Tensor] | None = None

    @classmethod
    def within(cls, budget: Budget) -> Self:
        blocks = frequency_blocks(budget.known("a selected table").counts, SHARES)
        rows, dim = budget.rows, budget.dim
        return cls(rows, dim, blocks, budget.params, std=budget.std, seed=budget.seed)

    @property
    def num_params(self) -> int:
        """Numbers kept: all while the search is on."""
        kept = self.alpha.count_nonzero(dim=1).numpy() if self.pruned else self.dim
        return int((self.sizes * kept).sum())

    def watch(self, validation: Callable[[], Tensor]) -> None:
        """Let alpha learn from the loss of a fresh validation batch at each call."""
        self._validation = validation

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight) * self.alpha[self.blocks[ids]]

    def after_step(self, step: int, optimizer: Any) -> None:
        if self._validation is not None and not self.pruned and step > self.warm_steps:
            self.select(self._validation)

    def after_epoch(self, epoch: int) -> None:
        if not self.pruned and epoch >= self.search_epochs:
            self.prune()

    def select(self, validation: Callable[[], Tensor]) -> None:
        """One step of alpha down the gradient of a validation loss, of unit length; then [0, 1].

        The first-order form: weights are taken as they are.
        """
        self.alpha.requires_grad_(True)
        (gradient,) = torch.autograd.grad(validation(), self.alpha)
        self.alpha.requires_grad_(False)
        gradient = gradient / gradient.norm().clamp_min(1e-12) + PENALTY
        self.alpha.sub_(gradient, alpha=RATE).clamp_(0.0, 1.0)

    def prune(self) -> None:
        """Keep the (block, dimension) pairs that weigh most, to the budget; alpha goes into them.

        What a pair weighs is the mean square of its entries times alpha.
        """
        with torch.no_grad():
            self.weight.mul_(self.alpha[self.blocks])
            energy = torch.zeros_like(self.alpha).index_add_(0, self.blocks, self.weight.square())
        mean = energy.numpy() / self.sizes[:, None]
        order = np.argsort(-mean, axis=None, kind="stable")
        costs = self.sizes[order // self.dim]
        kept = np.zeros(mean.size, np.bool_)
        left = self.budget
        for place, cost in zip(order, costs, strict=True):
            if cost <= left and mean.flat[place] > 0:
                kept[place] = True
                left -= cost
        self.alpha.copy_(torch.from_numpy(kept.reshape(mean.shape)))
        with torch.no_grad():
            self.weight.mul_(self.alpha[self.blocks])
        self.pruned.fill_(True)

    def to_store(self) -> Store:
        mask = self.alpha.numpy()[self.blocks.numpy()] > 0
        return Masked(mask, self.decode()[mask])

    def widths(self) -> list[NDArray[np.int64]]:
        """The dimensions that each block holds, ascending."""
        return [np.flatnonzero(row) for row in self.alpha.numpy()]
