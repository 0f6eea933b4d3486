"""Text vectors aligned with behaviour by contrast, after EasyRec (Ren and Huang, EMNLP 2025).

Two small networks, for users and for items, turn the frozen vectors of any text encoder so that a
user comes near what they took. Of a batch of users, each with an item of theirs and one that is
not, every user is to find their own item among all items of the batch:

    loss = cross entropy of cos(u_i, item_j) / temperature, over positives and negatives j, at j = i

A user's text vector is the mean of their items' without the one to be found, which would otherwise
be told. New items need their text only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import recsys_sampling as sampling
from .recsys_interactions import Interactions
from .recsys_metrics import evaluate, inner_products
from .recsys_report import FitReport
from .recsys_text import profiles, unit
from .recsys_torch import torch
from .recsys_trainer import Say, Training, fit

Floats = NDArray[np.float32]
VALIDATED = 20


@dataclass(frozen=True)
class Settings:
    """temperature: what cosines are divided by. training: how long, how fast."""

    temperature: float = 0.05
    training: Training = field(default_factory=lambda: Training(lr=1e-3, batch=256, epochs=50))


class Aligned(torch.nn.Module):
    """A residual layer for users and one for items, over text vectors float32[n_items, d]."""

    def __init__(self, texts: Floats, data: Interactions, settings: Settings) -> None:
        super().__init__()
        width = texts.shape[1]
        self._texts = torch.from_numpy(np.ascontiguousarray(texts))
        self._sums = torch.from_numpy(np.asarray(data.matrix() @ texts, np.float32))
        self._temperature = settings.temperature
        self.of_users, self.of_items = (torch.nn.Linear(width, width) for _ in range(2))
        for layer in (self.of_users, self.of_items):  # begin with the text alone
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def _turned(self, layer: Any, rows: Any) -> Any:
        rows = torch.nn.functional.normalize(rows, dim=1)
        return torch.nn.functional.normalize(rows + torch.tanh(layer(rows)), dim=1)

    def loss(self, users: Any, positives: Any, negatives: Any) -> Any:
        own = self._texts[positives]
        found = self._turned(self.of_users, self._sums[users] - own)
        items = self._turned(self.of_items, torch.cat([own, self._texts[negatives]]))
        logits = found @ items.T / self._temperature
        return torch.nn.functional.cross_entropy(logits, torch.arange(len(users)))

    def items(self, texts: Floats | None = None) -> Floats:
        """float32[n, d] of unit length, of the items trained on or of any texts' vectors."""
        given = self._texts if texts is None else torch.from_numpy(texts)
        with torch.no_grad():
            return np.asarray(self._turned(self.of_items, given).numpy())

    def users(self, rows: Interactions) -> Floats:
        """float32[n_users, d] of any users, from what they touched; zeros without items."""
        texts = torch.from_numpy(profiles(self._texts.numpy(), rows))
        with torch.no_grad():
            made = self._turned(self.of_users, texts).numpy()
        return unit(made * (rows.user_counts > 0)[:, None])


def train(
    texts: Floats,
    data: Interactions,
    valid: Interactions | None,
    settings: Settings,
    *,
    say: Say | None = None,
) -> tuple[Aligned, FitReport]:
    """The model at the epoch of the best NDCG on validation, and what the training did."""
    random = np.random.default_rng(settings.training.seed)
    model = Aligned(texts, data, settings)

    def batches(_: int) -> Iterator[tuple[Any, ...]]:
        for triples in sampling.epoch(data, settings.training.batch, random, way="interaction"):
            # who has one item alone has no text without it
            keep = data.user_counts[triples.users] > 1
            if keep.any():
                yield tuple(part[keep] for part in triples)

    def validate() -> float:
        assert valid is not None
        scores = inner_products(model.users(data), model.items())
        return evaluate(scores, valid, seen=data, ks=(VALIDATED,))[f"ndcg@{VALIDATED}"]

    report = fit(
        model,
        batches,
        settings.training,
        validate=None if valid is None or not len(valid) else validate,
        name="aligned",
        config={"temperature": settings.temperature},
        data_hash=data.data_hash,
        say=say,
    )
    return model, report
