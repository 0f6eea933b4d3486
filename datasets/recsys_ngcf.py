"""Neural graph collaborative filtering (Wang et al., SIGIR 2019), as its official code works.

With S = D^-1 (A + I) E, a layer's next E is leaky(S W1 + b1) + leaky((E * S) W2 + b2), with dropout
on it; its rows of unit length are appended to the embedding that is searched, which begins with
layer 0 as it is. Decay is of the searched rows. The paper's operator is the symmetric one; its
published figures are of this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_graph import Operator, adjacency
from .recsys_interactions import Interactions
from .recsys_pairwise import Pairwise, Settings
from .recsys_torch import torch

Floats = NDArray[np.float32]
DROPOUT = 0.1
SLOPE = 0.2  # of the leaky part, as tensorflow has it


class Ngcf(Pairwise):
    """One table of all nodes, users first, and two linear maps a layer."""

    def __init__(self, data: Interactions, settings: Settings) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(settings.training.seed)
        width = settings.dimensions
        nodes = data.n_users + data.n_items
        self.table = torch.nn.Parameter(_xavier(nodes, width, generator))
        self.sums, self.products = (
            torch.nn.ModuleList(_linear(width, generator) for _ in range(settings.layers))
            for _ in range(2)
        )
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.decay = settings.decay
        self._first_item = data.n_users
        self._operator = Operator(adjacency(data, "left", loops=True))

    def _layer(self, level: int, own: Any, spread: Any) -> Any:
        leaky = torch.nn.functional.leaky_relu
        return leaky(self.sums[level](spread), SLOPE) + leaky(
            self.products[level](own * spread), SLOPE
        )

    def layers(self) -> list[Any]:
        """The embeddings [nodes, d] of every layer from 0 on, not of unit length."""
        made = [self.table]
        for level in range(len(self.sums)):
            made.append(self.dropout(self._layer(level, made[-1], self._operator(made[-1]))))
        return made

    def propagated(self) -> tuple[Any, Any]:
        whole = _joined(self.layers())
        return whole[: self._first_item], whole[self._first_item :]

    def weighed(self, rows: tuple[Any, Any, Any], found: tuple[Any, Any, Any]) -> list[Any]:
        return list(found)

    def fold_in(self, rows: Interactions) -> Floats:
        """Vectors float32[n_users, d] of users that training did not see, from what they touched.

        Layer 0 of a new user is zero; the others follow from the items' as for any user.
        """
        matrix = rows.matrix()
        divisor = torch.from_numpy((rows.user_counts + 1).astype(np.float32))[:, None]
        with torch.no_grad():
            items = [layer[self._first_item :].numpy() for layer in self.layers()]
            made = [torch.zeros(rows.n_users, self.table.shape[1])]
            for level in range(len(self.sums)):
                received = torch.from_numpy(np.asarray(matrix @ items[level], np.float32))
                made.append(self._layer(level, made[-1], (received + made[-1]) / divisor))
            return np.asarray(_joined(made).numpy(), np.float32)


def _joined(layers: list[Any]) -> Any:
    unit = [torch.nn.functional.normalize(layer, dim=1) for layer in layers[1:]]
    return torch.cat([layers[0], *unit], dim=1)


def _xavier(rows: int, columns: int, generator: Any) -> Any:
    bound = float(np.sqrt(6 / (rows + columns)))
    return torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)


def _linear(width: int, generator: Any) -> Any:
    layer = torch.nn.Linear(width, width)
    layer.weight.data = _xavier(width, width, generator)
    layer.bias.data = _xavier(1, width, generator)[0]
    return layer
