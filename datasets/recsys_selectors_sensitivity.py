"""Selectors that ask a trained model what it would lose without a field.

Each takes a `Task` and gives importances float64[fields].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recsys_ctr import AT_ONCE, ClickModel, predict
from .recsys_ctr_metrics import auc
from .recsys_fields import take
from .recsys_selection import Task
from .recsys_torch import functional, torch

REPEATS = 3  # orders that a permuted field is put into
BATCHES = 100  # of training that gradients of masks are taken from

Importances = NDArray[np.float64]


def permutation(task: Task) -> Importances:
    """The AUC on validation that is lost when a field's values change rows (Breiman 2001)."""
    model, valid = task.fitted(), task.valid
    random = np.random.default_rng(task.seed)
    whole = auc(valid.labels, predict(model, valid.columns))
    made = np.zeros(len(task.fields))
    for place, name in enumerate(task.names):
        for _ in range(REPEATS):
            rows = torch.from_numpy(random.permutation(len(valid)))
            mixed = valid.columns | {name: valid.columns[name][rows]}
            made[place] += (whole - auc(valid.labels, predict(model, mixed))) / REPEATS
    return made


def sfs(task: Task) -> Importances:
    """How steeply the loss changes with a factor at each field's vector, at the factor 1.

    The mean size of that gradient over batches of training (Wang et al. 2023, "Single-shot feature
    selection for multi-task recommendations").
    """
    model = task.fitted()
    mask = torch.ones(len(task.fields), requires_grad=True)
    total, batches = torch.zeros(len(task.fields)), 0
    with _watched(model, lambda vectors: vectors * mask.unsqueeze(-1)):
        epoch = task.train.batches(task.training.batch, task.seed)(1)
        for columns, labels in islice(epoch, BATCHES):
            (gradient,) = torch.autograd.grad(model.loss(columns, labels), mask)
            total += gradient.abs()
            batches += 1
    return np.asarray((total / batches).double().numpy())


def shark(task: Task) -> Importances:
    """What the loss would change if a field's vector were its mean, to first order.

    The mean over validation of |dL/de (mean - e)| (Zhang et al. 2023, "SHARK: a lightweight model
    compression approach for large-scale recommender systems").
    """
    model, valid = task.fitted(), task.valid
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(valid), AT_ONCE)]
    with torch.no_grad():
        sums = sum(model.embedding(take(valid.columns, rows)).double().sum(0) for rows in parts)
    mean = (sums / len(valid)).float()
    labels = torch.from_numpy(valid.labels)
    made = torch.zeros(len(task.fields), dtype=torch.float64)
    seen: list[Any] = []
    with _watched(model, seen.append):
        for rows in parts:
            logits = model(take(valid.columns, rows))
            loss = functional.binary_cross_entropy_with_logits(
                logits, labels[rows], reduction="sum"
            )
            vectors = seen.pop()
            (gradient,) = torch.autograd.grad(loss, vectors)
            made += (gradient * (mean - vectors)).sum(-1).abs().double().sum(0).detach()
    return np.asarray((made / len(valid)).numpy())


@contextmanager
def _watched(model: ClickModel, change: Any) -> Iterator[None]:
    """Field vectors float32[n, fields, dim] go through a call, which may give others instead."""
    handle = model.embedding.register_forward_hook(lambda _, __, vectors: change(vectors))
    try:
        yield
    finally:
        handle.remove()
