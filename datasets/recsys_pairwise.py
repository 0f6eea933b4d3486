"""Models that learn to rank pairs: matrix factorisation, LightGCN and NGCF, and their training.

Bayesian personalised ranking (Rendle et al. 2009): of a user, an item of theirs and one that is
not, the first should score higher; the loss is softplus(negative - positive), and what embeddings
weigh is added, decay / 2 times their squares by triple.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import recsys_sampling as sampling
from .recsys_interactions import Interactions
from .recsys_metrics import evaluate, inner_products
from .recsys_report import FitReport
from .recsys_torch import torch
from .recsys_trainer import Say, Training, fit

Floats = NDArray[np.float32]
VALIDATED = 20  # the k of the NDCG on validation that tells when to stop


@dataclass(frozen=True)
class Settings:
    """Of a pairwise model.

    Attributes:
        dimensions: of an embedding. layers: of propagation, for models that have it.
        decay: weight of the squares of embeddings. spread: of the first embeddings, normal.
        way: to draw triples (see `recsys_sampling`). negatives: for each positive.
        training: how long, how fast.
    """

    dimensions: int = 64
    layers: int = 2
    decay: float = 1e-4
    spread: float = 0.1
    way: str = "user"
    negatives: int = 1
    training: Training = field(default_factory=lambda: Training(lr=2e-3, epochs=1000))


class Pairwise(torch.nn.Module, ABC):
    """What pairwise models share; `propagated` and `weighed` are theirs to say."""

    decay: float

    @abstractmethod
    def propagated(self) -> tuple[Any, Any]:
        """The embeddings that are searched: users [n_users, d] and items [n_items, d]."""

    @abstractmethod
    def weighed(self, rows: tuple[Any, Any, Any], found: tuple[Any, Any, Any]) -> list[Any]:
        """The embeddings whose squares are added, of users, positives and negatives."""

    def gathered(self, users: Any, positives: Any, negatives: Any) -> tuple[Any, Any, Any]:
        """The searched embeddings of a batch's users, positives and negatives."""
        all_users, all_items = self.propagated()
        return all_users[users], all_items[positives], all_items[negatives]

    def loss(self, users: Any, positives: Any, negatives: Any) -> Any:
        """Of a batch: rows [n], [n], and [n] or [n, m]."""
        rows = (users, positives, negatives)
        found = self.gathered(*rows)
        user, positive, negative = found
        wide = negative.dim() == 3
        low = ((user[:, None] if wide else user) * negative).sum(-1)
        high = (user * positive).sum(-1)
        ranking = torch.nn.functional.softplus(low - (high[:, None] if wide else high)).mean()
        squares = sum(part.square().sum() for part in self.weighed(rows, found))
        return ranking + self.decay / 2 * squares / len(users)

    def vectors(self) -> tuple[Floats, Floats]:
        """The embeddings that are searched, as arrays."""
        with torch.no_grad():
            users, items = self.propagated()
        return users.contiguous().numpy(), items.contiguous().numpy()


def embedding(rows: int, dimensions: int, spread: float, generator: Any) -> Any:
    """A torch embedding of normal numbers of this spread."""
    weight = torch.empty(rows, dimensions).normal_(0.0, spread, generator=generator)
    return torch.nn.Embedding(rows, dimensions, _weight=weight)


def train(
    model: Pairwise,
    data: Interactions,
    valid: Interactions | None,
    settings: Settings,
    *,
    name: str,
    say: Say | None = None,
) -> FitReport:
    """Trains a model in place, kept at the epoch of the best NDCG on validation."""
    random = np.random.default_rng(settings.training.seed)

    def batches(_: int) -> Iterator[tuple[Any, ...]]:
        yield from sampling.epoch(
            data, settings.training.batch, random, way=settings.way, each=settings.negatives
        )

    def validate() -> float:
        assert valid is not None
        scores = inner_products(*model.vectors())
        return evaluate(scores, valid, seen=data, ks=(VALIDATED,))[f"ndcg@{VALIDATED}"]

    config = {key: value for key, value in asdict(settings).items() if key != "training"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        return fit(
            model,
            batches,
            settings.training,
            validate=None if valid is None or not len(valid) else validate,
            name=name,
            config=config,
            data_hash=data.data_hash,
            say=say,
        )
