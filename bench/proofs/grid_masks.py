"""Selections of a given size that lean to a query, avoid it, or know nothing of it.

Each row scores lean * z + sqrt(1 - lean^2) * noise, where z is its similarity to the query in
standard deviations and the noise is standard normal; the share of rows with the best scores pass.
What comes of it is measured as affinity. Nothing here knows of clusters or graphs.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.proofs.rows import Rows
from fanns.bench.workloads.truth import neighbourhood
from fanns.bench.workloads.workload import affinity
from fanns.datasets import exact

Correlation = Literal["none", "positive", "negative"]
LEANS: dict[Correlation, float] = {"none": 0.0, "positive": 0.5, "negative": -0.5}
_SPARE = 32  # candidates beyond k, for what float32 rounds


class Selected(NamedTuple):
    """Selections for every query and their exact answers.

    rows: int64[count] of each query, rising. distances: float64[m, k] of the nearest of them;
    infinite beyond the last. affinity: measured, in [-1, 1]; see `workload.Cell`.
    """

    rows: list[NDArray[np.int64]]
    distances: NDArray[np.float64]
    affinity: float


def similarities(rows: Rows) -> NDArray[np.float32]:
    """float32[m, n], larger is nearer: inner products, or minus squared distances under l2."""
    products = rows.queries @ rows.vectors.T
    if rows.metric == "l2":
        products *= 2
        products -= np.square(rows.vectors).sum(axis=1)
    return products


def select(
    rows: Rows,
    similar: NDArray[np.float32],
    selectivity: float,
    correlation: Correlation,
    depth: int,
    seed: int = 0,
) -> Selected:
    """A selection for each query and its `depth` nearest rows. similar: as `similarities` gives.

    The same arguments give the same selections.
    """
    n: int = len(rows.vectors)
    lean, count = LEANS[correlation], int(min(n, max(1, round(selectivity * n))))
    chosen: list[NDArray[np.int64]] = []
    near = np.empty(len(similar))
    best = np.full((len(similar), depth), np.inf)
    shares = np.full(len(similar), count / n)
    for number, found in enumerate(similar):
        rng = np.random.default_rng([seed, number, count])
        score = math.sqrt(1 - lean * lean) * rng.standard_normal(n, np.float32)
        if lean:
            spread = max(float(np.std(found)), 1e-12)
            score += lean / spread * (found - found.mean())
        passing = np.sort(np.argpartition(-score, count - 1)[:count])
        chosen.append(passing)
        inside = np.argpartition(-found, neighbourhood(n) - 1)[: neighbourhood(n)]
        near[number] = np.isin(inside, passing).mean()
        nearest = _nearest(rows, found, passing, number, depth)
        best[number, : len(nearest)] = nearest
    return Selected(chosen, best, affinity(near, shares))


def _nearest(
    rows: Rows,
    found: NDArray[np.float32],
    passing: NDArray[np.int64],
    number: int,
    depth: int,
) -> NDArray[np.float64]:
    """Distances of the nearest passing rows of one query, in float64, best first."""
    reach = depth + _SPARE
    if reach < len(passing):
        passing = passing[np.argpartition(-found[passing], reach)[:reach]]
    distances = exact.distances(rows.vectors[passing], rows.queries[number], rows.metric)
    return np.sort(distances)[:depth]


def recall(rows: Rows, number: int, ids: NDArray[np.int64], limit: float, wanted: int) -> float:
    """Share of `wanted` that an answer's rows at most as far as `limit` are; ties admitted."""
    distances = exact.distances(rows.vectors[ids], rows.queries[number], rows.metric)
    good = int(np.count_nonzero(distances <= limit + 1e-9 * max(1.0, abs(limit))))
    return min(good, wanted) / wanted
