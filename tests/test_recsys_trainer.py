"""The one training loop: best epoch kept, stops named, same seed same numbers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fanns.datasets.recsys_trainer import Training, fit
from fanns.errors import InputError


class Line(torch.nn.Module):
    """y = w x, by least squares; tells its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.steps: list[int] = []
        self.epochs: list[int] = []

    def loss(self, x: Any, y: Any) -> Any:
        return ((self.w * x - y) ** 2).mean()

    def after_step(self, step: int, optimizer: Any) -> None:
        self.steps.append(step)

    def after_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def batches(epoch: int) -> Iterator[tuple[Any, Any]]:
    x = np.random.default_rng(epoch).random(64).astype(np.float32)
    for part in (x[:32], x[32:]):
        yield part, 3 * part


TRAINING = Training(lr=0.1, epochs=40, eval_every=2, patience=3)


def test_learns_and_tells() -> None:
    model = Line()
    report = fit(model, batches, TRAINING, validate=lambda: -abs(model.w.item() - 3))
    assert abs(model.w.item() - 3) < 0.1
    assert report.best is not None and report.best == pytest.approx(-abs(model.w.item() - 3))
    assert model.steps[:3] == [1, 2, 3] and model.epochs[:2] == [1, 2]
    assert [line["epoch"] for line in report.curve if "score" in line][:2] == [2, 4]
    assert report.cpu_seconds > 0 and "torch" in report.versions
    again = fit(other := Line(), batches, TRAINING, validate=lambda: -abs(other.w.item() - 3))
    assert [line["loss"] for line in again.curve] == [line["loss"] for line in report.curve]
    assert again.config_hash == report.config_hash == report.as_json()["config_hash"]
    assert replace(report, config={}).config_hash != report.config_hash


def test_the_best_epoch_is_kept() -> None:
    model = Line()
    scores = iter([1.0, 5.0, 2.0, 2.0, 2.0, 9.0])
    kept: list[float] = []

    def validate() -> float:
        kept.append(model.w.item())
        return next(scores)

    report = fit(model, batches, TRAINING, validate=validate)
    assert report.stopped == "patience" and report.best_epoch == 4 and report.best == 5.0
    assert model.w.item() == kept[1]


def test_ends() -> None:
    assert fit(Line(), batches, replace(TRAINING, epochs=3)).best_epoch == 3
    assert fit(Line(), batches, replace(TRAINING, seconds=0.0)).stopped == "seconds"
    with pytest.raises(InputError, match="loss is nan in epoch 1, step 1"):
        fit(Line(), lambda _: [(np.array([np.nan], np.float32),) * 2], TRAINING)
    with pytest.raises(InputError, match="no batch"):
        fit(Line(), lambda _: [], TRAINING)
    with pytest.raises(InputError, match="unknown optimizer"):
        fit(Line(), batches, replace(TRAINING, optimizer="magic"))
