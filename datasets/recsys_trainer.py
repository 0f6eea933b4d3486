"""One training loop for all models, and the report of what it did.

    report = fit(model, lambda epoch: batches_of(epoch), Training(lr=1e-3), validate=ndcg)

The model is a torch module with `loss(*batch)`. Validation says when to stop and which epoch is
kept; without it the last one is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from fanns.errors import InputError

from .recsys_report import FitReport, versions
from .recsys_torch import torch

Validate = Callable[[], float]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        optimizer: "adam" or "sgd". lr: rate of learning. weight_decay: of the optimiser.
        batch: examples of a step, for whoever makes the batches.
        epochs: at most. eval_every: epochs between validations. patience: validations without a
            better figure after which training ends.
        seed: of all that is drawn. threads: of torch; None leaves it as it is.
        seconds: of processor time after which training ends, None for any.
    """

    lr: float = 1e-3
    batch: int = 2048
    epochs: int = 100
    eval_every: int = 5
    patience: int = 10
    optimizer: str = "adam"
    weight_decay: float = 0.0
    seed: int = 0
    threads: int | None = None
    seconds: float | None = None


class Model(Protocol):
    """A torch module that knows its loss; `after_step` and `after_epoch` may be there as well."""

    def parameters(self) -> Iterable[Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def loss(self, *batch: Any) -> Any: ...


def fit(
    model: Any,
    batches: Callable[[int], Iterable[tuple[Any, ...]]],
    training: Training,
    *,
    validate: Validate | None = None,
    name: str | None = None,
    config: dict[str, Any] | None = None,
    data_hash: str | None = None,
    optimizer: Any = None,
    say: Say | None = None,
) -> FitReport:
    """Trains a `Model` in place and keeps its best epoch.

    batches: of an epoch, numbered from 1: tuples that `loss` takes, numpy arrays or tensors.
    validate: called with the model in evaluation mode; higher is better. config: the model's own
    settings, for the report. optimizer: a torch optimiser in place of the training's own. After
    every step and epoch the model's `after_step(step, optimizer)` and `after_epoch(epoch)` are
    called, where it has them.

    Raises InputError for a loss that is not a number, naming epoch and step.
    """
    report = FitReport(
        name or type(model).__name__,
        {"training": asdict(training)} | (config or {}),
        data_hash,
        versions=versions("torch"),
    )
    clock, wall = time.process_time(), time.perf_counter()
    with settings(training.threads):
        if optimizer is None:
            optimizer = _optimizer(model, training)
        kept, step, since = None, 0, 0
        for epoch in range(1, training.epochs + 1):
            model.train(True)
            loss, step = _epoch(model, batches(epoch), optimizer, epoch, step)
            line = {"epoch": float(epoch), "loss": loss, "cpu": time.process_time() - clock}
            report.curve.append(line)
            due = epoch % training.eval_every == 0 or epoch == training.epochs
            if validate is not None and due:
                model.train(False)
                with torch.no_grad():
                    line["score"] = validate()
                since += 1
                if report.best is None or line["score"] > report.best:
                    report.best, report.best_epoch, since = line["score"], epoch, 0
                    kept = {key: value.clone() for key, value in model.state_dict().items()}
            if say is not None:
                say(" ".join(f"{key} {value:.5g}" for key, value in line.items()))
            if validate is not None and since >= training.patience:
                report.stopped = "patience"
                break
            if training.seconds is not None and line["cpu"] > training.seconds:
                report.stopped = "seconds"
                break
        if kept is not None:
            model.load_state_dict(kept)
        elif report.curve:
            report.best_epoch = int(report.curve[-1]["epoch"])
        model.train(False)
    report.cpu_seconds = time.process_time() - clock
    report.wall_seconds = time.perf_counter() - wall
    return report


@contextmanager
def settings(threads: int | None) -> Any:
    """torch with so many threads, and with the smallest numbers flushed to zero.

    Embeddings that decay pass through denormal numbers, which processors add ten times slower.
    """
    before = torch.get_num_threads()
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def _optimizer(model: Any, training: Training) -> Any:
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    if training.optimizer not in kinds:
        raise InputError(
            f"unknown optimizer {training.optimizer!r}; expected one of {', '.join(kinds)}"
        )
    kind = kinds[training.optimizer]
    return kind(model.parameters(), lr=training.lr, weight_decay=training.weight_decay)


def _epoch(
    model: Any, batches: Iterable[tuple[Any, ...]], optimizer: Any, epoch: int, step: int
) -> tuple[float, int]:
    """The mean loss of an epoch, and the number of steps so far."""
    losses = []
    after = getattr(model, "after_step", None)
    for batch in batches:
        loss = model.loss(*(_tensor(part) for part in batch))
        value = float(loss.detach())
        step += 1
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} in epoch {epoch}, step {step}: try a lower lr, and look for "
                "odd values in the data"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if after is not None:
            after(step, optimizer)
        losses.append(value)
    if not losses:
        raise InputError(f"epoch {epoch} has no batch: there is nothing to train on")
    if (ended := getattr(model, "after_epoch", None)) is not None:
        ended(epoch)
    return float(np.mean(losses)), step


def _tensor(part: Any) -> Any:
    return torch.from_numpy(part) if isinstance(part, np.ndarray) else part
