"""Selectors of fields by name; see `recsys_selection` for how they are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .recsys_selection import Selector, Task
from .recsys_selectors_gates import autofield, lpfs
from .recsys_selectors_sensitivity import permutation, sfs, shark

TREES, RATE, LEAVES, STOP_AFTER = 100, 0.1, 31, 10


def gain(task: Task) -> NDArray[np.float64]:
    """What splits on a field gain boosted trees (LightGBM) in all.

    A known flaw: fields of many values offer more splits, and gain by chance. A list counts by the
    sum over its places.
    """
    from .recsys_lightgbm import lightgbm

    parts = [
        [np.asarray(clicks.columns[name]).reshape(len(clicks), -1) for name in task.names]
        for clicks in (task.train, task.valid)
    ]
    widths = [part.shape[1] for part in parts[0]]
    first, second = (np.concatenate(part, axis=1).astype(np.float32) for part in parts)
    data = lightgbm.Dataset(first, task.train.labels)
    settings = {
        "objective": "binary",
        "metric": "auc",
        "num_leaves": LEAVES,
        "learning_rate": RATE,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": task.training.threads or 1,
        "seed": task.seed,
        "verbosity": -1,
    }
    booster = lightgbm.train(
        settings,
        data,
        TREES,
        valid_sets=[lightgbm.Dataset(second, task.valid.labels, reference=data)],
        callbacks=[lightgbm.early_stopping(STOP_AFTER, verbose=False)],
    )
    gains = np.asarray(booster.feature_importance("gain"), np.float64)
    return np.add.reduceat(gains, np.concatenate([[0], np.cumsum(widths)[:-1]]))


def by_chance(task: Task) -> NDArray[np.float64]:
    """A random order, to compare with."""
    return np.random.default_rng(task.seed).random(len(task.fields))


SELECTORS: dict[str, Selector] = {
    "gain": gain,
    "permutation": permutation,
    "sfs": sfs,
    "shark": shark,
    "autofield": autofield,
    "lpfs": lpfs,
    "random": by_chance,
}
