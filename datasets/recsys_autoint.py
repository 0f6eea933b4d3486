"""AutoInt: fields attend to each other, layer by layer, and the attention can be read.

Song et al., "AutoInt: automatic feature interaction learning via self-attentive neural networks"
(2019); with the ReLU on queries, keys and values and the normalisation of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .recsys_ctr import AT_ONCE, ClickModel, mlp
from .recsys_field_embedding import STD, Tables
from .recsys_fields import Columns, Field, take
from .recsys_torch import functional, nn, torch


class Interacting(torch.nn.Module):
    """One layer of self-attention over fields: float32[n, M, width] to float32[n, M, units]."""

    def __init__(self, width: int, units: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.query, self.key, self.value, self.residual = (
            nn.Linear(width, units) for _ in range(4)
        )
        self.norm = nn.LayerNorm(units)

    def forward(self, vectors: Any) -> Any:
        return self.attend(vectors)[0]

    def attend(self, vectors: Any) -> tuple[Any, Any]:
        """The new vectors, and the attention float32[n, heads, M, M] of each field to all."""
        query, key, value = (
            self._split(functional.relu(layer(vectors)))
            for layer in (self.query, self.key, self.value)
        )
        sums = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights = sums.softmax(dim=-1)
        made = (self.dropout(weights) @ value).transpose(1, 2).flatten(-2)
        made = functional.relu(made + functional.relu(self.residual(vectors)))
        return self.norm(made), weights

    def _split(self, vectors: Any) -> Any:
        rows, fields, units = vectors.shape
        return vectors.view(rows, fields, self.heads, units // self.heads).transpose(1, 2)


class AutoInt(ClickModel):
    """Field vectors through `Interacting` layers to one logit.

    deep: widths of the layers of a network beside the attention, on the same vectors (AutoInt+).
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 16,
        *,
        layers: int = 3,
        units: int = 64,
        heads: int = 2,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        deep: Sequence[int] = (),
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(fields, dim, tables=tables, std=std, seed=seed)
        widths = [dim] + [units] * layers
        self.layers = nn.ModuleList(
            Interacting(width, units, heads, attention_dropout) for width in widths[:-1]
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(len(fields) * units, 1)
        self.deep = mlp(len(fields) * dim, deep, dropout=dropout) if deep else None

    def forward(self, columns: Columns) -> Any:
        first = vectors = self.dropout(self.embedding(columns))
        for layer in self.layers:
            vectors = layer(vectors)
        logit = self.output(vectors.flatten(1))
        if self.deep is not None:
            logit = logit + self.deep(first.flatten(1))
        return logit.squeeze(-1)

    def attention(self, columns: Columns) -> pa.Table:
        """How much each field attends to each other one: `field`, `other`, `weight`, largest first.

        The mean over rows, layers and heads: the paper's global interactions (its figure 7). The
        weights of a field add up to 1.
        """
        rows = len(next(iter(columns.values())))
        total = np.zeros((len(self.embedding.fields),) * 2)
        self.train(False)
        with torch.no_grad():
            for first in range(0, rows, AT_ONCE):
                vectors = self.embedding(take(columns, slice(first, first + AT_ONCE)))
                for layer in self.layers:
                    vectors, weights = layer.attend(vectors)
                    total += weights.double().mean(dim=1).sum(dim=0).numpy()
        total /= rows * len(self.layers)
        names = np.array([field.name for field in self.embedding.fields], object)
        order = np.argsort(-total, axis=None, kind="stable")
        field, other = np.divmod(order, len(names))
        return pa.table(
            {
                "field": pa.array(names[field], pa.string()),
                "other": pa.array(names[other], pa.string()),
                "weight": pa.array(total.reshape(-1)[order], pa.float64()),
            }
        )
