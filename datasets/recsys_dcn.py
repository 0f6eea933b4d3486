"""DCN-V2: crosses of all fields beneath a network; the head that unified embeddings were judged by.

Wang et al., "DCN V2: improved deep and cross network" (2021), in its stacked form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .recsys_ctr import ClickModel, mlp
from .recsys_field_embedding import STD, Tables
from .recsys_fields import Columns, Field
from .recsys_torch import nn


class Dcn(ClickModel):
    """x' = x0 * (W x + b) + x for each cross layer, then a network."""

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 30,
        *,
        crosses: int = 1,
        layers: Sequence[int] = (192,),
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(fields, dim, tables=tables, std=std, seed=seed)
        width = dim * len(fields)
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(crosses))
        self.head = mlp(width, layers)

    def forward(self, columns: Columns) -> Any:
        first = vectors = self.embedding(columns).flatten(1)
        for cross in self.crosses:
            vectors = first * cross(vectors) + vectors
        return self.head(vectors).squeeze(-1)
