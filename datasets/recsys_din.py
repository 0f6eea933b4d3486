"""DIN: a candidate attends to the user's history, so that what matters for it is what counts.

Zhou et al., "Deep interest network for click-through rate prediction" (2018), with the attention of
the authors' code: scaled and, by default, normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_ctr import ClickModel
from .recsys_field_embedding import STD, Tables
from .recsys_fields import LIST, Columns, Field, encode
from .recsys_torch import functional, generator, nn, normal, torch

HISTORY = "_history"  # after a field's name: the column of the same in the user's history
NOTHING = -1e9  # before a softmax: no weight


def with_histories(
    fields: Sequence[Field], items: Sequence[str], table: pa.Table, *, most: int = 50
) -> Columns:
    """The columns of all fields, and those of the items' histories under their names.

    table: has a list column `<name>_history` for each of `items`, oldest first and as long as each
    other; the last `most` of each list count.
    """
    columns = encode(fields, table)
    known = {field.name: field for field in fields}
    for name in items:
        if name + HISTORY not in table.column_names:
            raise InputError(f"no column {name + HISTORY!r}: lists of what came before each row")
        lists = table[name + HISTORY].combine_chunks()
        longest = pc.max(pc.list_value_length(lists)).as_py() or 1
        field = replace(known[name], kind=LIST, most=longest)
        rows = field.encode(lists)
        ends = (rows >= 0).sum(axis=1)
        columns[name + HISTORY] = torch.from_numpy(_last(rows, ends, min(most, longest)))
    return columns


def _last(rows: NDArray[np.int64], ends: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """int64[n, most]: the last entries of lists int64[n, T] that fill `ends` places each."""
    places = np.maximum(ends - most, 0)[:, None] + np.arange(most)
    taken = np.take_along_axis(rows, np.minimum(places, rows.shape[1] - 1), axis=1)
    return np.where(places < ends[:, None], taken, -1)


class Dice(torch.nn.Module):
    """f(s) = p s + (1 - p) alpha s with p = sigmoid of s, normalised over the batch.

    In evaluation p goes by moving averages of mean and variance.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-8)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, scores: Any) -> Any:
        share = torch.sigmoid(self.norm(scores.flatten(0, -2)).view_as(scores))
        return share * scores + (1 - share) * self.alpha * scores


class ActivationUnit(torch.nn.Module):
    """A weight float32[n, T] for each item of a history, given the candidate."""

    def __init__(self, width: int, layers: Sequence[int], activation: str) -> None:
        super().__init__()
        sizes = [4 * width, *layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activations = nn.ModuleList(_activation(activation, size) for size in layers)
        self.output = nn.Linear(sizes[-1], 1)

    def forward(self, candidate: Any, history: Any) -> Any:
        wide = candidate.unsqueeze(1).expand_as(history)
        scores = torch.cat((wide, history, wide - history, wide * history), dim=-1)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            scores = activation(layer(scores))
        return self.output(scores).squeeze(-1)


class Din(ClickModel):
    """Item fields, the same in the user's history, and an attention from one to the other.

    items: names of the fields that make an item; columns `<name>_history` are lists of the same
    values, and are encoded by the items' fields (`with_histories`), whose tables they share. All
    other fields are profile and context.
    activation: "sigmoid" (the authors' code) or "dice". normalise: softmax over the history, or raw
    weights (the paper: they keep how strong an interest is).
    regularisation: lambda of the mini-batch-aware L2: rows that a batch holds decay by
    lambda / how often they come up in all.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        items: Sequence[str],
        dim: int = 64,
        *,
        attention: Sequence[int] = (80, 40),
        layers: Sequence[int] = (80, 40),
        activation: str = "dice",
        normalise: bool = True,
        regularisation: float = 0.0,
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(fields, dim, tables=tables, std=std, seed=seed)
        self.items, self.normalise, self.regularisation = list(items), normalise, regularisation
        for name in self.items:
            field = self.embedding.fields[self.embedding.place(name)]
            if field.kind != "categorical":
                raise InputError(f"item field {name!r} is {field.kind}, expected categorical")
        self.others = [f.name for f in fields if f.name not in self.items]
        width = dim * len(self.items)
        self.unit = ActivationUnit(width, attention, activation)
        self.pooled = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, width))
        sizes = [3 * width + dim * len(self.others), *layers]
        parts: list[Any] = [nn.BatchNorm1d(sizes[0])]
        for before, after in pairwise(sizes):
            parts += [nn.Linear(before, after), _activation(activation, after)]
        self.head = nn.Sequential(*parts, nn.Linear(sizes[-1], 1))
        first = self.embedding.table(self.items[0])
        self.bias = normal((first.rows, 1), 0.0, generator(seed))

    def forward(self, columns: Columns) -> Any:
        candidate, history, present = self._items(columns)
        weights = self._weights(candidate, history, present)
        user = self.pooled((weights.unsqueeze(-1) * history).sum(dim=1))
        parts = [user, candidate, user * candidate]
        parts += [self.embedding.one(name, columns[name]) for name in self.others]
        bias = functional.embedding(columns[self.items[0]], self.bias).squeeze(-1)
        return self.head(torch.cat(parts, dim=-1)).squeeze(-1) + bias

    def weights(self, columns: Columns) -> Any:
        """float32[n, T]: how much each item of the history counts for the candidate; 0 for none."""
        with torch.no_grad():
            return self._weights(*self._items(columns))

    def loss(self, columns: Columns, labels: Any) -> Any:
        loss = super().loss(columns, labels)
        if self.regularisation:
            loss = loss + self.regularisation / 2 * self.decay(columns)
        return loss

    def decay(self, columns: Columns) -> Any:
        """Sum over the rows that a batch holds of |row|^2 / count (mini-batch-aware L2)."""
        total = torch.zeros(())
        for field in self.embedding.fields:
            if field.counts is None:
                continue
            names = [field.name] + [field.name + HISTORY] * (field.name in self.items)
            ids = torch.cat([columns[name].reshape(-1) for name in names]).unique()
            ids = ids[ids >= 0]
            counts = torch.from_numpy(field.counts).clamp_min(1)[ids]
            rows = self.embedding.table(field.name)(ids)
            total = total + (rows.square().sum(dim=-1) / counts).sum()
        return total

    def _items(self, columns: Columns) -> tuple[Any, Any, Any]:
        """Candidates float32[n, width], histories float32[n, T, width], bool[n, T] of what is."""
        one = self.embedding.one
        candidate = torch.cat([one(name, columns[name]) for name in self.items], dim=-1)
        present = columns[self.items[0] + HISTORY] >= 0
        history = torch.cat(
            [one(name, columns[name + HISTORY].clamp_min(0)) for name in self.items], dim=-1
        )
        return candidate, history, present

    def _weights(self, candidate: Any, history: Any, present: Any) -> Any:
        scores = self.unit(candidate, history)
        if not self.normalise:
            return scores * present
        scores = (scores / math.sqrt(candidate.shape[-1])).masked_fill(~present, NOTHING)
        return scores.softmax(dim=-1) * present


def _activation(name: str, width: int) -> Any:
    if name == "dice":
        return Dice(width)
    if name == "sigmoid":
        return nn.Sigmoid()
    raise InputError(f'activation: expected "dice" or "sigmoid", got {name!r}')
