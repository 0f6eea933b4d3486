"""OptInter: each pair of fields is memorised, factorised or left out, as a search finds best.

Lyu et al., "Memorize, factorize, or be naive: learning optimal feature interaction methods for CTR
prediction" (2022). The search mixes all three by a softmax that hardens step by step; the model is
then trained anew with the method that each pair settled on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.errors import InputError

from .recsys_crosses import Crosses
from .recsys_ctr import ClickModel
from .recsys_field_embedding import STD, FieldEmbedding, Tables, full
from .recsys_fields import CATEGORICAL, Columns, Field
from .recsys_table import STD as TABLE_STD
from .recsys_torch import nn, torch

MEMORISE, FACTORISE, DROP = "memorise", "factorise", "drop"
METHODS = (MEMORISE, FACTORISE, DROP)
COSTS = (1.0, 0.25, 0.0)  # of the methods, in prices
COOLING = 5e-5  # by which the temperature falls each step
COLDEST = 0.01

Pair = tuple[str, str]


class OptInter(ClickModel):
    """Field vectors and one vector for each pair of categorical fields, through a network.

    crosses: the value pairs to memorise, fitted on training rows. choice: the method of each pair;
    without it the model searches for one (`found` tells it). width: of the pairs' vectors.
    price: of a memory: added to the loss for each pair, by the weight of the method, and a quarter
    of it for factors. The paper has none; its search has no reason to drop what does no harm.
    cooling: by how much a step lowers the temperature of the softmax. warm_steps: before the choice
    begins to move; the paper has none, but factors, which are slow at first, need them.
    cross_decay: L2 on the memories of pairs.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        crosses: Crosses,
        dim: int = 20,
        *,
        width: int = 10,
        layers: Sequence[int] = (700,) * 5,
        choice: Mapping[Pair, str] | None = None,
        price: float = 0.0,
        cooling: float = COOLING,
        warm_steps: int = 0,
        cross_decay: float = 3e-8,
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(fields, dim, tables=tables, std=std, seed=seed)
        categorical = [f for f in fields if f.kind == CATEGORICAL]
        self.pairs: list[Pair] = list(combinations([f.name for f in categorical], 2))
        if not self.pairs:
            raise InputError("OptInter needs at least two categorical fields")
        self.choice = None if choice is None else _checked(choice, self.pairs)
        self.width, self.price, self.cooling = width, price, cooling
        self.warm_steps, self.cross_decay, self.step = warm_steps, cross_decay, 0
        self.crosses = crosses
        kept = self._of(MEMORISE)
        self.memories = nn.ModuleList(
            crosses.table(*pair, width, seed=seed + 1000 + at) for at, pair in enumerate(kept)
        )
        # Products of two factors begin as large as what is memorised.
        factors = full(TABLE_STD**0.5)
        self.factors = FieldEmbedding(categorical, width, tables=factors, seed=seed + 500)
        self.register_buffer("costs", torch.tensor(COSTS), persistent=False)
        if self.choice is None:
            self.alpha = nn.Parameter(torch.empty((len(self.pairs), len(METHODS))))
            nn.init.xavier_normal_(self.alpha)
        used = sum(method != DROP for method in (self.choice or dict.fromkeys(self.pairs)).values())
        size, parts = dim * len(fields) + width * used, []
        for after in layers:
            parts += [nn.Linear(size, after), nn.LayerNorm(after), nn.ReLU()]
            size = after
        self.head = nn.Sequential(*parts, nn.Linear(size, 1))

    def forward(self, columns: Columns) -> Any:
        parts = [self.embedding(columns).flatten(1)]
        factors = dict(
            zip([f.name for f in self.factors.fields], self.factors(columns).unbind(1), strict=True)
        )
        memories = dict(zip(self._of(MEMORISE), self.memories, strict=True))
        weights = None if self.choice is not None else self.shares()
        for at, pair in enumerate(self.pairs):
            memory = memories[pair](self.crosses.ids(*pair, columns)) if pair in memories else None
            if weights is not None:
                product = factors[pair[0]] * factors[pair[1]]
                parts.append(weights[at, 0] * memory + weights[at, 1] * product)
            elif memory is not None:
                parts.append(memory)
            elif self.choice is not None and self.choice[pair] == FACTORISE:
                parts.append(factors[pair[0]] * factors[pair[1]])
        return self.head(torch.cat(parts, dim=1)).squeeze(-1)

    def loss(self, columns: Columns, labels: Any) -> Any:
        loss = super().loss(columns, labels)
        if self.cross_decay:
            squares = [p.square().sum() for m in self.memories for p in m.parameters()]
            loss = loss + self.cross_decay * sum(squares)
        if self.choice is None and self.price:
            loss = loss + self.price * (self.shares() * self.costs).sum()
        return loss

    def shares(self) -> Any:
        """float32[pairs, methods]: the weight of each method, at the present temperature."""
        heat = max(COLDEST, 1.0 - self.cooling * self.step)
        alpha = self.alpha.detach() if self.step < self.warm_steps else self.alpha
        return (alpha / heat).softmax(dim=-1)

    def after_step(self, step: int, optimizer: Any) -> None:
        super().after_step(step, optimizer)
        self.step = step

    def optimizer(self, lr: float = 1e-4, alpha_lr: float = 1e-3) -> Any:
        """Adam with a rate of its own for the choice of methods, as the paper's search has it."""
        alpha = [] if self.choice is not None else [self.alpha]
        rest = [p for n, p in self.named_parameters() if n != "alpha"]
        groups = [{"params": rest, "lr": lr}] + [{"params": alpha, "lr": alpha_lr}] * bool(alpha)
        return torch.optim.Adam(groups)

    def found(self) -> dict[Pair, str]:
        """The method of each pair: the one chosen, or the likeliest so far."""
        if self.choice is not None:
            return dict(self.choice)
        best = self.alpha.detach().argmax(dim=1).tolist()
        return {pair: METHODS[at] for pair, at in zip(self.pairs, best, strict=True)}

    def report(self) -> pa.Table:
        """`field`, `other`, `method` and, of a search, the weight of each method."""
        found = self.found()
        columns: dict[str, Any] = {
            "field": [pair[0] for pair in self.pairs],
            "other": [pair[1] for pair in self.pairs],
            "method": [found[pair] for pair in self.pairs],
        }
        if self.choice is None:
            shares = self.shares().detach().numpy().astype(np.float64)
            columns |= {method: shares[:, at] for at, method in enumerate(METHODS)}
        return pa.table(columns)

    def _of(self, method: str) -> list[Pair]:
        """Pairs of a method; all while the search is on."""
        if self.choice is None:
            return self.pairs
        return [pair for pair in self.pairs if self.choice[pair] == method]


def _checked(choice: Mapping[Pair, str], pairs: Sequence[Pair]) -> dict[Pair, str]:
    if set(choice) != set(pairs) or not set(choice.values()) <= set(METHODS):
        raise InputError(f"choice: expected one of {', '.join(METHODS)} for each of {pairs}")
    return dict(choice)
