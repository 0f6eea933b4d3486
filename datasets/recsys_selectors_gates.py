"""Selectors that are trained: each field's vector goes through a gate, which learns to close.

Each takes a `Task` and gives importances float64[fields].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_ctr import predict
from .recsys_ctr_metrics import auc
from .recsys_fields import Columns
from .recsys_selection import Task
from .recsys_torch import generator, nn, torch
from .recsys_trainer import fit

EVERY = 10  # steps between those of AutoField's gates
WARMEST, COOLING, COLDEST = 1.0, 5e-5, 0.01  # temperature of its draws: falls with every step
FIRST, SHRINKING, PERIOD = 0.1, 0.9978, 100  # LPFS: epsilon, its factor every so many steps
SLOPE = 10.0  # LPFS: of the arc tangent

Importances = NDArray[np.float64]


def autofield(task: Task) -> Importances:
    """Chances of keeping a field, drawn with Gumbel noise and learned on validation.

    Wang et al., "AutoField: automating feature selection in deep recommender systems" (2022):
    weights learn from training, and gates, in turns, from validation.
    """
    gates = AutoField(task)
    _train(task, gates)
    kept: NDArray[np.float32] = gates.choice.detach().softmax(dim=-1)[:, 1].numpy()
    return kept.astype(np.float64)


def lpfs(task: Task) -> Importances:
    """Sizes of gates that go to exactly nothing in a smooth way, learned with the weights.

    Guo et al., "LPFS: learnable polarizing feature selection for click-through rate prediction"
    (2022), in its second form (LPFS++), whose gates have a slope at zero.
    """
    gates = Polarizing(task)
    _train(task, gates)
    sizes: NDArray[np.float32] = gates.gates().detach().abs().numpy()
    return sizes.astype(np.float64)


class Gated(torch.nn.Module, ABC):
    """A click model whose field vectors are multiplied by gates, a number for each field."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model(task.fields, task.seed)
        self.model.embedding.register_forward_hook(
            lambda _, __, vectors: vectors * self.gates().unsqueeze(-1)
        )

    @abstractmethod
    def gates(self) -> Any:
        """float32[fields]."""

    def forward(self, columns: Columns) -> Any:
        return self.model(columns)

    def loss(self, columns: Columns, labels: Any) -> Any:
        """Mean log loss of a batch."""
        return self.model.loss(columns, labels)

    def after_step(self, step: int, optimizer: Any) -> None:
        """Lets tables do what they do between steps."""
        self.model.after_step(step, optimizer)


class AutoField(Gated):
    """`choice` float32[fields, 2]: logits of dropping and keeping each field.

    No parameter: neither the optimiser of the weights nor going back to their best epoch concerns
    it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.choice = torch.full((len(task.fields), 2), 0.5, requires_grad=True)
        self.temperature = WARMEST
        self._random = generator(task.seed)
        self._optimizer = torch.optim.Adam([self.choice], lr=task.training.lr)
        self._valid, self._epoch = task.valid.batches(task.training.batch, task.seed), 0
        self._batches = self._valid(0)

    def gates(self) -> Any:
        """Draws while training, chances else."""
        logits = self.choice
        if self.training:
            noise = torch.empty_like(logits).exponential_(generator=self._random).log()
            logits = logits - noise
        return (logits / self.temperature).softmax(dim=-1)[:, 1]

    def after_step(self, step: int, optimizer: Any) -> None:
        """Every so often, a step of the gates on a batch of validation."""
        super().after_step(step, optimizer)
        self.temperature = max(self.temperature - COOLING, COLDEST)
        if step % EVERY == 0:
            self._optimizer.zero_grad()
            (self.choice.grad,) = torch.autograd.grad(self.loss(*self._drawn()), self.choice)
            self._optimizer.step()

    def _drawn(self) -> tuple[Columns, Any]:
        """The next batch of validation, whose epochs follow each other."""
        while (batch := next(self._batches, None)) is None:
            self._epoch += 1
            self._batches = self._valid(self._epoch)
        return batch


class Polarizing(Gated):
    """`strength` float32[fields], of which g(x) = sign(x) x^2 / (x^2 + eps) + 10 sqrt(eps) atan(x)
    makes gates; eps shrinks, and with it what lies between open and closed.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.strength = nn.Parameter(torch.ones(len(task.fields)))
        self.epsilon = FIRST

    def gates(self) -> Any:
        """g of the strengths."""
        square = self.strength.square()
        open_ = self.strength.sign() * square / (square + self.epsilon)
        return open_ + SLOPE * self.epsilon**0.5 * self.strength.atan()

    def after_step(self, step: int, optimizer: Any) -> None:
        """Shrinks epsilon."""
        super().after_step(step, optimizer)
        if step % PERIOD == 0:
            self.epsilon *= SHRINKING


def _train(task: Task, gates: Gated) -> None:
    model: Any = gates

    def validate() -> float:
        return auc(task.valid.labels, predict(model, task.valid.columns))

    fit(
        gates,
        task.train.batches(task.training.batch, task.training.seed),
        task.training,
        validate=validate,
    )
