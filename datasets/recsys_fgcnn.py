"""FGCNN: convolutions over neighbouring fields make new features, and all pairs are multiplied.

Liu et al., "Feature generation by convolutional neural network for click-through rate prediction"
(2019), with inner products as the classifier (IPNN: Qu et al., "Product-based neural networks for
user response prediction", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fanns.errors import InputError

from .recsys_ctr import ClickModel, mlp
from .recsys_field_embedding import STD, FieldEmbedding, Tables
from .recsys_fields import Columns, Field
from .recsys_torch import nn, torch


class Generator(torch.nn.Module):
    """New features from the image float32[n, M, dim] of the fields, in their order.

    A layer convolves along the fields (kernel x 1), takes the largest of `pool` neighbours, and
    brings what is left of the image, flat, to `recombine` vectors for each of its rows.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        pool: int,
        recombine: int,
    ) -> None:
        super().__init__()
        if len(channels) != len(kernels) or not channels:
            raise InputError(f"one kernel for each layer, got {len(kernels)} for {len(channels)}")
        self.dim, self.features = dim, 0
        self.convolutions, self.recombinations = nn.ModuleList(), nn.ModuleList()
        self.pool = nn.MaxPool2d((pool, 1), ceil_mode=True)
        before, height = 1, fields
        for count, kernel in zip(channels, kernels, strict=True):
            self.convolutions.append(nn.Conv2d(before, count, (kernel, 1), padding="same"))
            height = -(-height // pool)
            self.recombinations.append(nn.Linear(height * dim * count, height * dim * recombine))
            self.features += height * recombine
            before = count

    def forward(self, image: Any) -> Any:
        """float32[n, features, dim]."""
        image, made = image.unsqueeze(1), []
        for convolution, recombination in zip(self.convolutions, self.recombinations, strict=True):
            image = self.pool(torch.tanh(convolution(image)))
            new = torch.tanh(recombination(image.flatten(1)))
            made.append(new.reshape(len(new), -1, self.dim))
        return torch.cat(made, dim=1)


class Fgcnn(ClickModel):
    """Raw and generated vectors, the inner products of all pairs, and a network on top.

    The generator has tables of its own (the paper's), unless `share` lets it have the classifier's.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 16,
        *,
        channels: Sequence[int] = (6, 8),
        kernels: Sequence[int] = (3, 3),
        pool: int = 2,
        recombine: int = 2,
        layers: Sequence[int] = (128, 64),
        share: bool = False,
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(fields, dim, tables=tables, std=std, seed=seed)
        self.source = (
            None if share else FieldEmbedding(fields, dim, tables=tables, std=std, seed=seed + 7919)
        )
        self.generator = Generator(len(fields), dim, channels, kernels, pool, recombine)
        count = len(fields) + self.generator.features
        first, second = torch.triu_indices(count, count, offset=1)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.head = mlp(count * dim + len(first), layers)

    def generated(self, columns: Columns) -> Any:
        """The new features float32[n, features, dim]."""
        return self.generator((self.source or self.embedding)(columns))

    def forward(self, columns: Columns) -> Any:
        vectors = torch.cat((self.embedding(columns), self.generated(columns)), dim=1)
        products = (vectors @ vectors.transpose(1, 2))[:, self.first, self.second]
        return self.head(torch.cat((vectors.flatten(1), products), dim=1)).squeeze(-1)

    def after_step(self, step: int, optimizer: Any) -> None:
        super().after_step(step, optimizer)
        if self.source is not None:
            self.source.after_step(step, optimizer)

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        if self.source is not None:
            self.source.after_epoch(epoch)
