"""Click models: what they share, how they are fitted, and logistic regression to compare with.

    fields = fit_fields(train)
    model = AutoInt(fields)                       # or Logistic, Fgcnn, OptInter, Din
    report = fit_clicks(model, Clicks.of(fields, train, labels), valid, Training(batch=1024))
    chances = predict(model, test.columns)

A model gives one logit per row of columns; its field vectors can be exported as those of items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_ctr_metrics import auc, gauc, logloss
from .recsys_field_embedding import STD, FieldEmbedding, Tables
from .recsys_fields import Columns, Field, encode, take
from .recsys_report import FitReport
from .recsys_torch import functional, nn, torch
from .recsys_trainer import Training, fit

AT_ONCE = 8192  # rows scored at a time


@dataclass(frozen=True)
class Clicks:
    """Rows of columns and what came of them.

    Attributes:
        columns: tensors by name, n rows each. labels: float32[n], 0 or 1.
        groups: int64[n], whose AUC counts by itself (users); None where nobody asks.
    """

    columns: Columns
    labels: NDArray[np.float32]
    groups: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        fields: Sequence[Field],
        table: pa.Table,
        labels: Any,
        groups: NDArray[np.int64] | None = None,
    ) -> Clicks:
        """The rows of a table; raises InputError for labels of another number, or not 0 or 1."""
        given = np.asarray(labels, np.float32)
        if given.shape != (len(table),) or not np.isin(given, (0, 1)).all():
            raise InputError(f"labels: expected {len(table)} zeros and ones, got {given.shape}")
        return cls(encode(fields, table), given, groups)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, seed: int) -> Callable[[int], Iterator[tuple[Any, Any]]]:
        """(columns, labels) of every row once an epoch, in an order of the epoch's own."""

        def epoch(number: int) -> Iterator[tuple[Any, Any]]:
            order = np.random.default_rng([seed, number]).permutation(len(self))
            for first in range(0, len(order), size):
                rows = torch.from_numpy(order[first : first + size])
                yield take(self.columns, rows), torch.from_numpy(self.labels)[rows]

        return epoch


class ClickModel(torch.nn.Module):
    """Base of click models: columns in, logits float32[n] out, by `forward`.

    Attributes:
        embedding: the vectors of the fields.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int,
        *,
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        """std: of the entries of untrained vectors, where `tables` does not make them."""
        super().__init__()
        torch.manual_seed(seed)  # of all layers that a model makes after this
        self.embedding = FieldEmbedding(fields, dim, tables=tables, std=std, seed=seed)

    def loss(self, columns: Columns, labels: Any) -> Any:
        """Mean log loss of a batch."""
        return functional.binary_cross_entropy_with_logits(self(columns), labels)

    def after_step(self, step: int, optimizer: Any) -> None:
        """Lets tables do what they do between steps."""
        self.embedding.after_step(step, optimizer)

    def after_epoch(self, epoch: int) -> None:
        """Lets tables do what they do between epochs."""
        self.embedding.after_epoch(epoch)

    def vectors(self, columns: Columns, names: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of some fields side by side, float32[n, len(names) * dim], for an index.

        Rows are items (or users) and `names` the fields that tell of them.
        """
        with torch.no_grad():
            parts = [self.embedding.one(name, columns[name]) for name in names]
            return np.ascontiguousarray(torch.cat(parts, dim=-1).numpy(), np.float32)


class Logistic(ClickModel):
    """Logistic regression on the same fields: a weight for each value, none for pairs."""

    def __init__(self, fields: Sequence[Field], *, seed: int = 0) -> None:
        super().__init__(fields, 1, seed=seed)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, columns: Columns) -> Any:
        return self.embedding(columns).sum(dim=(1, 2)) + self.bias


def mlp(width: int, layers: Sequence[int], *, dropout: float = 0.0, out: int = 1) -> Any:
    """Linear layers with ReLU between them, and a last one of `out` columns."""
    made: list[Any] = []
    for size in layers:
        made += [nn.Linear(width, size), nn.ReLU()]
        if dropout:
            made.append(nn.Dropout(dropout))
        width = size
    return nn.Sequential(*made, nn.Linear(width, out))


def fit_clicks(
    model: ClickModel,
    train: Clicks,
    valid: Clicks | None,
    training: Training,
    *,
    optimizer: Any = None,
    config: dict[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> FitReport:
    """Trains on log loss and keeps the epoch of the best AUC on `valid`, where there is one."""

    def validate() -> float:
        assert valid is not None
        return auc(valid.labels, predict(model, valid.columns))

    return fit(
        model,
        train.batches(training.batch, training.seed),
        training,
        validate=validate if valid is not None else None,
        config=config,
        optimizer=optimizer,
        say=say,
    )


def predict(model: ClickModel, columns: Columns) -> NDArray[np.float64]:
    """Chances float64[n] of a click, with the model in evaluation mode."""
    rows = len(next(iter(columns.values())))
    before, made = model.training, np.empty(rows, np.float64)
    model.train(False)
    with torch.no_grad():
        for first in range(0, rows, AT_ONCE):
            part = model(take(columns, slice(first, first + AT_ONCE)))
            made[first : first + AT_ONCE] = torch.sigmoid(part.double()).numpy()
    model.train(before)
    return made


def measure(model: ClickModel, test: Clicks) -> dict[str, float]:
    """`auc`, `logloss`, and `gauc` where rows have groups."""
    chances = predict(model, test.columns)
    figures = {"auc": auc(test.labels, chances), "logloss": logloss(test.labels, chances)}
    if test.groups is not None:
        figures["gauc"] = gauc(test.labels, chances, test.groups).value
    return figures
