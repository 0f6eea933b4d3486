"""How many passing rows the nearest clusters must hold, and what looking at them costs.

Nothing need be searched for that: a neighbour is found when its cluster is taken, which happens
when the nearer clusters hold fewer passing rows than are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fanns.calibration.model import ClusterModel, ClusterTimes
from fanns.calibration.needs import TARGETS, Needs
from fanns.calibration.samples import MOST, Bench, Trial, reached, recalls
from fanns.calibration.timing import TURNS, Job, Timed
from fanns.paths import Answers, Budget
from fanns.paths.clusters import DENSE_SHARE, NO_ESTIMATES, ClusterParameters
from fanns.selection import Selection

KS = (1, 10, MOST)
SLACKS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
STEPS = 60
# Shortlists are timed at two lengths where at least so many rows are enough.
LONGER, MANY = 10, 4_000
# Steps by which rows are scaled to the user's own queries, and the fewest of these that tell.
SCALES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0)
FEWEST = 16
# Shares of the rows at which time is measured, and passing rows that are enough there.
TIMED = (
    (1.0, 2_000),
    (1.0, 8_000),
    (1.0, 24_000),
    (0.5, 1_500),
    (0.5, 9_000),
    (0.1, 300),
    (0.1, 1_200),
    (0.1, 4_000),
    (0.02, 200),
    (0.02, 900),
)
# Of small segments, which are scanned whole anyway; rounded from measurements on one core.
DEFAULT_TIMES = ClusterTimes(12_000.0, 60.0, 6.0, 3.0, 300.0)


def model(
    segment: Bench,
    every: Sequence[Trial],
    hard: Sequence[Trial],
    shortlist: int,
) -> ClusterModel:
    """The model of a segment's clusters from trials at many shares, its times still to be taken.

    Args:
        segment: its path of clusters, centroids and vectors.
        every: the trials; the first has all rows.
        hard: those on which estimates are tried.
        shortlist: rows that are compared in full precision.
    """
    count = len(segment.centroids)
    slacks = _slacks(segment, hard) if segment.has_bits else (NO_ESTIMATES,) * len(TARGETS)
    near, far = (
        _needs(segment, [one for one in every if one.far == side]) for side in (False, True)
    )
    share = _exact_share(segment, every[0], shortlist)
    return ClusterModel(count, slacks, near, far, DEFAULT_TIMES, share)


def fitted(
    segment: Bench, made: ClusterModel, own: Sequence[Trial], k: int, rerank: int
) -> ClusterModel:
    """The model with its rows scaled, by target, to what trials of the user's own need.

    Real filters follow or avoid queries in ways that synthetic ones do not. The scale is the least
    step with which searches surely reach the target; the last where none does.
    """
    if sum(len(one.queries) for one in own) < FEWEST:
        return made
    scales = [_scale(segment, made, own, k, target, rerank) for target in TARGETS]
    return replace(made, near=made.near.scaled(scales), far=made.far.scaled(scales))


def _scale(
    segment: Bench, made: ClusterModel, part: Sequence[Trial], k: int, target: float, rerank: int
) -> float:
    for scale in SCALES:
        shares = []
        for one in part:
            scaled = replace(
                made,
                near=made.near.scaled([scale] * len(TARGETS)),
                far=made.far.scaled([scale] * len(TARGETS)),
            )
            parameters = scaled.parameters(one.share, k, target, rerank)
            if parameters is None:
                return 1.0
            size = min(k, one.selection.count)
            found = segment.scan_clusters.search(
                one.queries, one.selection, size, parameters, Budget()
            )
            shares.append(recalls(found, one.best(size)))
        if reached(np.concatenate(shares), target):
            return scale
    return SCALES[-1]


def _needs(segment: Bench, trials: Sequence[Trial]) -> Needs:
    """The least numbers of rows that surely reach the targets."""
    chosen = sorted(trials, key=lambda one: one.share)
    table = []
    for one in chosen:
        passed = segment.scan_clusters.passing_before(one.queries, one.selection, one.truth.rows)
        most = one.selection.count
        ladder = np.unique(np.geomspace(1, most + 1, STEPS).astype(np.int64))
        table.append(tuple(enough(passed, ladder, k, most) for k in KS))
    return Needs(tuple(one.share for one in chosen), KS, tuple(table))


def enough(passed: np.ndarray, ladder: np.ndarray, k: int, most: int) -> tuple[float, ...]:
    """The first step of a ladder for each target; `most` where none reaches it."""
    out = [float(most)] * len(TARGETS)
    left = list(range(len(TARGETS)))
    for enough in ladder:
        shares = (passed[:, :k] < enough).mean(axis=1)
        while left and reached(shares, TARGETS[left[0]]):
            out[left.pop(0)] = float(enough)
        if not left:
            break
    return tuple(out)


def _slacks(segment: Bench, hard: Sequence[Trial]) -> tuple[float, ...]:
    """Standard errors per target: estimates may lose a tenth of what may be lost."""
    out = [NO_ESTIMATES] * len(TARGETS)
    everything = (math.inf,)
    for slack in SLACKS:
        worst = 1.0
        for one in hard:
            part = one.head(64)
            truth = part.best(10)
            parameters = ClusterParameters(everything, math.inf, 20, slack)
            k = truth.rows.shape[1]
            path = segment.scan_clusters
            found = path.search(part.queries, one.selection, k, parameters, Budget())
            worst = min(worst, float(recalls(found, truth).mean()))
        for j, target in enumerate(TARGETS):
            if out[j] == NO_ESTIMATES and worst >= 1 - (1 - target) / 10:
                out[j] = slack
        if out[-1] >= 0:
            break
    return tuple(out)


def _exact_share(segment: Bench, one: Trial, shortlist: int) -> float:
    """Share of all rows that the bound leaves to be compared, on average."""
    parameters = ClusterParameters((math.inf,), math.inf, shortlist, NO_ESTIMATES)
    queries = one.queries[:32]
    found = segment.scan_clusters.search(queries, one.selection, 10, parameters, Budget())
    return float(found.work[:, 0].mean() / segment.n)


class ClusterKey(NamedTuple):
    """A scan of clusters that is timed: a share of the rows passes, and so many are enough."""

    share: float
    enough: int
    rerank: int


def jobs(
    segment: Bench, queries: np.ndarray, shortlist: int, slack: float, rng: np.random.Generator
) -> dict[ClusterKey, Job]:
    """The searches whose times tell what clusters, rows and shortlists cost."""
    kept: dict[float, list[Selection]] = {}

    def job(key: ClusterKey) -> Job:
        if key.share not in kept:
            masks = [rng.random(segment.n) < key.share for _ in range(TURNS)]
            kept[key.share] = [Selection.from_mask(mask) for mask in masks]
        selections, enough = kept[key.share], float(key.enough)
        parameters = ClusterParameters((enough,), enough, key.rerank, slack)

        def run(turn: int) -> Answers:
            query, selection = queries[turn % len(queries)][None], selections[turn]
            path, k = segment.scan_clusters, min(10, key.rerank)
            found: Answers = path.search(query, selection, k, parameters, Budget())
            return found

        return run

    wanted = [ClusterKey(*one, shortlist) for one in TIMED if one[0] * segment.n >= 2 * one[1]]
    wanted += [one._replace(rerank=LONGER * shortlist) for one in wanted if one.enough >= MANY]
    return {key: job(key) for key in wanted}


def times(taken: Mapping[Any, Timed], n: int, count: int) -> ClusterTimes:
    """The times of `count` clusters that explain those of the jobs, by least relative squares."""
    rows, spent = [], []
    for key, one in taken.items():
        if isinstance(key, ClusterKey):
            is_dense = key.share >= DENSE_SHARE
            dense, sparse = (key.enough / key.share, 0) if is_dense else (0, key.enough)
            visits = min(key.enough * count / (key.share * n), count)
            rows.append((1.0, visits, sparse, dense, key.rerank))
            spent.append(one.ns)
    if len(rows) < 8:
        return DEFAULT_TIMES
    weights = 1.0 / np.array(spent)
    fitted, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], np.ones(len(rows)), rcond=None)
    least = (5_000.0, 20.0, 1.0, 0.5, 50.0)
    return ClusterTimes(*(max(float(a), b) for a, b in zip(fitted, least, strict=True)))
