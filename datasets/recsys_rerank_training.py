"""Training rerankers on what users took of their shortlists.

Boosted trees by LightGBM's LambdaMART (Burges 2010, "From RankNet to LambdaRank to LambdaMART"),
and a network of two hidden layers under a listwise softmax (Cao et al. 2007, "Learning to rank:
from pairwise approach to listwise approach", top-one probabilities).
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_frame import FrameColumns
from .recsys_rerank import (
    HIDDEN,
    KINDS,
    Examples,
    Model,
    Network,
    Reranker,
    Trees,
    spread,
)

LEAVES, RATE, TREES, LEAST_ROWS, STOP_AFTER = 63, 0.05, 300, 20, 30
EPOCHS, STEP, DECAY, USERS_A_STEP, PATIENCE = 60, 1e-3, 1e-5, 32, 5


def train(
    kind: str, columns: FrameColumns, examples: Examples, *, seed: int = 0, threads: int = 1
) -> Reranker:
    """A reranker of KINDS; a fifth of the shortlists tells when to stop.

    Raises:
        InputError: fewer than two shortlists with something taken; an unknown kind.
        MissingDependencyError: LightGBM or torch is not installed.
    """
    if kind not in KINDS:
        raise InputError(f"a reranker is one of {', '.join(KINDS)}, got {kind!r}")
    starts = np.concatenate([[0], np.cumsum(examples.sizes)[:-1]]).astype(np.int64)
    useful = np.add.reduceat(examples.labels, starts) > 0 if len(starts) else np.empty(0, bool)
    if useful.sum() < 2:
        raise InputError(
            f"{int(useful.sum())} shortlists hold an item that the user took next: a reranker "
            "needs at least two, and hundreds to be worth it; lengthen the shortlists"
        )
    fitted, held = examples.chosen(useful).parted(0.8, seed)
    begun = time.process_time()
    make = _trees if kind == "lightgbm" else _network
    model, settings = make(columns, fitted, held, seed, threads)
    told = settings | {"shortlists": int(useful.sum()), "seed": seed}
    return Reranker(columns, model, told | {"cpu_seconds": time.process_time() - begun})


def _trees(
    columns: FrameColumns, fitted: Examples, held: Examples, seed: int, threads: int
) -> tuple[Model, dict[str, Any]]:
    from .recsys_lightgbm import lightgbm

    settings = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "num_leaves": LEAVES,
        "learning_rate": RATE,
        "min_data_in_leaf": LEAST_ROWS,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "seed": seed,
        "verbosity": -1,
    }
    names = [f"f{i}" for i in range(len(columns.names))]  # its own names know no spaces
    coded = [names[columns.names.index(name)] for name in columns.coded]

    def data(part: Examples, reference: Any = None) -> Any:
        features = part.features.copy()
        for name in columns.coded:  # negative codes are missing to LightGBM, which warns of them
            values = features[:, columns.names.index(name)]
            values[values < 0] = np.nan
        return lightgbm.Dataset(
            features,
            part.labels,
            group=part.sizes,
            feature_name=names,
            categorical_feature=coded,
            reference=reference,
            free_raw_data=False,
        )

    first = data(fitted)
    stop = lightgbm.early_stopping(STOP_AFTER, verbose=False)
    booster = lightgbm.train(
        settings, first, TREES, valid_sets=[data(held, first)], callbacks=[stop]
    )
    told = {"leaves": LEAVES, "rate": RATE, "trees": int(booster.best_iteration)}
    return Trees(booster), told


def _network(
    columns: FrameColumns, fitted: Examples, held: Examples, seed: int, threads: int
) -> tuple[Model, dict[str, Any]]:
    from .recsys_torch import torch

    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    arrays = _scales(columns, fitted)
    widths = [spread(fitted.features[:1], arrays).shape[1], *HIDDEN, 1]
    layers = []
    for before, after in pairwise(widths):
        weight = torch.randn((after, before), generator=generator) * (2.0 / before) ** 0.5
        layers += [weight.requires_grad_(), torch.zeros(after, requires_grad=True)]
    optimiser = torch.optim.Adam(layers, lr=STEP, weight_decay=DECAY)

    def loss(part: tuple[Any, Any, Any], chosen: Any) -> Any:
        wide, labels, filled = (one[chosen] for one in part)
        for place in range(0, len(layers), 2):
            wide = torch.nn.functional.linear(wide, layers[place], layers[place + 1])
            wide = torch.relu(wide) if place + 2 < len(layers) else wide
        scores = wide[..., 0].masked_fill(~filled, -1e9)
        likely = torch.log_softmax(scores, dim=1)
        return -(labels * likely).sum(1).div(labels.sum(1)).mean()

    first, second = (_padded(part, arrays) for part in (fitted, held))
    best, since, kept, epochs = float("inf"), 0, [layer.detach().clone() for layer in layers], 0
    everything = torch.arange(len(held.sizes))
    for _ in range(EPOCHS):
        order = torch.randperm(len(fitted.sizes), generator=generator)
        for chosen in order.split(USERS_A_STEP):
            optimiser.zero_grad()
            loss(first, chosen).backward()
            optimiser.step()
        with torch.no_grad():
            now = float(loss(second, everything))
        since = 0 if now < best else since + 1
        if now < best:
            best, kept = now, [layer.detach().clone() for layer in layers]
            epochs += 1
        if since >= PATIENCE:
            break
    for place in range(0, len(kept), 2):
        arrays[f"w{place // 2}"] = kept[place].numpy()
        arrays[f"b{place // 2}"] = kept[place + 1].numpy()
    return Network(arrays), {"hidden": list(HIDDEN), "rate": STEP, "epochs": epochs}


def _scales(columns: FrameColumns, examples: Examples) -> dict[str, NDArray[Any]]:
    """What `spread` needs, from the features."""
    features = examples.features.astype(np.float64)
    filled = np.isfinite(features)
    counts = np.maximum(filled.sum(axis=0), 1)
    mean = np.where(filled, features, 0.0).sum(axis=0) / counts
    spread_ = np.sqrt(np.where(filled, (features - mean) ** 2, 0.0).sum(axis=0) / counts)
    sizes = np.array([columns.coded.get(name, 0) for name in columns.names], np.int64)
    scale = np.where(spread_ > 0, spread_, 1.0)
    return {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32), "sizes": sizes}


def _padded(part: Examples, arrays: dict[str, NDArray[Any]]) -> tuple[Any, Any, Any]:
    """Features [g, most, w], labels and which places are filled [g, most]."""
    filled = np.arange(int(part.sizes.max())) < part.sizes[:, None]
    wide = spread(part.features, arrays)
    features = np.zeros((*filled.shape, wide.shape[1]), np.float32)
    labels = np.zeros(filled.shape, np.float32)
    features[filled], labels[filled] = wide, part.labels
    from .recsys_torch import torch

    return torch.from_numpy(features), torch.from_numpy(labels), torch.from_numpy(filled)
