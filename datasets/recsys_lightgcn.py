"""LightGCN (He et al., SIGIR 2020): embeddings that are spread over the user-item graph.

Layer k + 1 is D^-1/2 A D^-1/2 times layer k, and the embedding searched is the mean of all layers:
no weights, no activation, no self-loops. What decays are the rows of layer 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_graph import Operator, adjacency
from .recsys_interactions import Interactions
from .recsys_pairwise import Pairwise, Settings, embedding
from .recsys_torch import torch

Floats = NDArray[np.float32]


class LightGcn(Pairwise):
    """One table of all nodes, users first, and the operator that spreads it."""

    def __init__(self, data: Interactions, settings: Settings, norm: str = "symmetric") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(settings.training.seed)
        nodes = data.n_users + data.n_items
        self.table = embedding(nodes, settings.dimensions, settings.spread, generator)
        self.decay, self.depth = settings.decay, settings.layers
        self._first_item = data.n_users
        self._operator = Operator(adjacency(data, norm))

    def layers(self) -> list[Any]:
        """The embeddings [nodes, d] of every layer from 0 on."""
        made = [self.table.weight]
        for _ in range(self.depth):
            made.append(self._operator(made[-1]))
        return made

    def propagated(self) -> tuple[Any, Any]:
        whole = sum(self.layers()) / (self.depth + 1)
        return whole[: self._first_item], whole[self._first_item :]

    def weighed(self, rows: tuple[Any, Any, Any], found: tuple[Any, Any, Any]) -> list[Any]:
        users, positives, negatives = rows
        items = self._first_item
        return [self.table(users), self.table(positives + items), self.table(negatives + items)]

    def fold_in(self, rows: Interactions, item_counts: NDArray[np.int64]) -> Floats:
        """Vectors float32[n_users, d] of users that training did not see: one more propagation.

        item_counts: int64[n_items], of training. Layer 0 of a new user is zero; all others are
        what the items that they touched send, as they would to a user of training.
        """
        from scipy.sparse import dia_array

        with torch.no_grad():
            layers = [layer[self._first_item :].numpy() for layer in self.layers()[:-1]]
        senders = 1 / np.sqrt(np.maximum(item_counts, 1))
        receivers = 1 / np.sqrt(np.maximum(rows.user_counts, 1))
        matrix = rows.matrix()
        left = dia_array((receivers[None], [0]), shape=(rows.n_users,) * 2)
        right = dia_array((senders[None], [0]), shape=(rows.n_items,) * 2)
        operator = left @ matrix @ right
        total = sum((operator @ layer for layer in layers), np.zeros((rows.n_users, 1)))
        return np.asarray(total / (self.depth + 1), np.float32)
