"""Figures of click models: AUC, AUC within groups of users, and log loss.

AUC is the chance that a positive scores above a negative, ties counting half; GAUC is the mean of
each user's AUC, weighted by their impressions, over users with both classes (Zhou et al., "Deep
interest network for click-through rate prediction", 2018). With one positive and one negative of
each user it is the accuracy of pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

CLIP = 1e-7  # chances nearer to 0 or 1 are counted as this near

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Gauc(NamedTuple):
    """Weighted mean of the groups' AUC, groups that count, and groups of one class only."""

    value: float
    groups: int
    skipped: int


def auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Area under the ROC curve; raises InputError with one class only, or scores that are NaN."""
    whole = gauc(labels, scores, np.zeros(len(np.asarray(labels)), np.int64))
    if whole.groups == 0:
        raise InputError("the labels are all alike: AUC needs positives and negatives")
    return whole.value


def gauc(labels: NDArray[Any], scores: NDArray[Any], groups: NDArray[Any]) -> Gauc:
    """AUC within groups; 0 with no groups that count.

    labels: 0 or 1, [n]. scores: [n], higher is likelier. groups: whole numbers [n].
    """
    positive, values = _checked(labels, scores)
    if np.shape(groups) != values.shape:
        raise InputError(f"groups have shape {np.shape(groups)}, scores {values.shape}")
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    order = np.lexsort((values, group))
    group, values, positive = group[order], values[order], positive[order]
    ranks = _mean_ranks(group, values)
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    ones = np.bincount(group, positive)
    sums = np.bincount(group, positive * (ranks - starts[group]))
    zeros = sizes - ones
    both = (ones > 0) & (zeros > 0)
    areas = (sums[both] - ones[both] * (ones[both] + 1) / 2) / (ones[both] * zeros[both])
    weights = sizes[both]
    value = float(areas @ weights / weights.sum()) if both.any() else 0.0
    return Gauc(value, int(both.sum()), int((~both).sum()))


def logloss(labels: NDArray[Any], chances: NDArray[Any]) -> float:
    """Mean of -log of the chance given to what happened, natural logarithm, clipped by CLIP."""
    positive, values = _checked(labels, chances)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise InputError("chances must lie between 0 and 1: apply the sigmoid first")
    values = np.clip(values, CLIP, 1 - CLIP)
    return float(-(positive * np.log(values) + (1 - positive) * np.log(1 - values)).mean())


def _checked(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[Doubles, Doubles]:
    positive, values = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if positive.shape != values.shape or positive.ndim != 1:
        raise InputError(f"labels have shape {positive.shape}, scores {values.shape}")
    if not len(positive):
        raise InputError("there are no labels: nothing to measure")
    if not np.isin(positive, (0, 1)).all():
        raise InputError("labels must be 0 or 1")
    if np.isnan(values).any():
        raise InputError(f"score {int(np.isnan(values).argmax())} is not a number")
    return positive, values


def _mean_ranks(group: Ints, values: Doubles) -> Doubles:
    """Ranks from 1 over everything, those of equal values within a group averaged."""
    new = np.append(True, (group[1:] != group[:-1]) | (values[1:] != values[:-1]))
    run = np.cumsum(new) - 1
    sizes = np.bincount(run)
    ends = np.cumsum(sizes)
    return np.asarray((ends - (sizes - 1) / 2)[run])
