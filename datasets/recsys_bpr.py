"""Matrix factorisation by Bayesian personalised ranking (Rendle et al. 2009).

A user and an item are an embedding each, and score by their inner product. The tables may be of
any kind that gives rows of one width, so that compressed ones are trained in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_interactions import Interactions
from .recsys_pairwise import Pairwise, Settings, embedding
from .recsys_torch import torch

Floats = NDArray[np.float32]
RIDGE = 0.1  # of a new user's vector, times the mean square length of items
EVERYONE = 0.02  # weight of items that a new user did not touch


class Bpr(Pairwise):
    """users, items: torch modules from row numbers int64[...] to embeddings [..., d]."""

    def __init__(self, users: Any, items: Any, n_users: int, n_items: int, decay: float) -> None:
        super().__init__()
        self.users, self.items, self.decay = users, items, decay
        self._counts = n_users, n_items

    def propagated(self) -> tuple[Any, Any]:
        users, items = (torch.arange(count) for count in self._counts)
        return self.users(users), self.items(items)

    def gathered(self, users: Any, positives: Any, negatives: Any) -> tuple[Any, Any, Any]:
        return self.users(users), self.items(positives), self.items(negatives)

    def weighed(self, rows: tuple[Any, Any, Any], found: tuple[Any, Any, Any]) -> list[Any]:
        return list(found)

    def after_step(self, step: int, optimizer: Any) -> None:
        for table in (self.users, self.items):
            if (after := getattr(table, "after_step", None)) is not None:
                after(step, optimizer)

    def after_epoch(self, epoch: int) -> None:
        for table in (self.users, self.items):
            if (after := getattr(table, "after_epoch", None)) is not None:
                after(epoch)


def build(data: Interactions, settings: Settings, items: Any = None) -> Bpr:
    """A model with first embeddings; items: a table in place of a plain one, of equal width."""
    generator = torch.Generator().manual_seed(settings.training.seed)
    users = embedding(data.n_users, settings.dimensions, settings.spread, generator)
    if items is None:
        items = embedding(data.n_items, settings.dimensions, settings.spread, generator)
    return Bpr(users, items, data.n_users, data.n_items, settings.decay)


def fold_in(items: Floats, rows: Interactions) -> Floats:
    """Vectors float32[n_users, d] of users that training did not see, from what they touched.

    items: float32[n_items, d]. Each is the ridge regression onto 1 for items touched and, with a
    small weight, 0 for all (Hu, Koren and Volinsky 2008); nobody without items gets anything but
    zeros.
    """
    wide = items.astype(np.float64)
    square = EVERYONE * wide.T @ wide
    square += RIDGE * np.square(wide).sum(axis=1).mean() * np.eye(wide.shape[1])
    made = np.zeros((rows.n_users, wide.shape[1]))
    for user in np.flatnonzero(rows.user_counts):
        own = wide[rows.items_of(int(user))]
        made[user] = np.linalg.solve(square + own.T @ own, own.sum(axis=0))
    return made.astype(np.float32)
