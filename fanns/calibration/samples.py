"""What calibration runs on: stand-ins for queries, synthetic selections, true answers, recall."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from fanns.paths import Answers, Budget
from fanns.paths.locality import FAR
from fanns.paths.scan import ScanParameters
from fanns.selection import Selection

# Standard errors by which a setting must be above its target. With one, a filter that half avoids
# the queries reached 0.946 of 0.95.
SAFETY = 2.0
# Neighbours of a query that are known.
MOST = 100
# Rows of fewer clusters than this are found all or none, which tells nothing of larger sets.
FEWEST_CLUSTERS = 5
# Fewer far queries than this tell nothing.
FEWEST_FAR = 16


Nearest = Callable[[np.ndarray, Selection, int], Answers]
"""The k nearest selected rows of each query float32[m, d], as the scan path finds them."""


class Bench(Protocol):
    """What calibration needs of a segment; a segment satisfies it."""

    n: int

    @property
    def has_bits(self) -> bool: ...
    @property
    def scan(self) -> Any: ...
    @property
    def graph(self) -> Any: ...
    @property
    def scan_clusters(self) -> Any: ...
    @property
    def centroids(self) -> Any: ...
    @property
    def clusters(self) -> Any: ...
    @property
    def locality(self) -> Any: ...
    @property
    def column_graphs(self) -> Any: ...


class Trial(NamedTuple):
    """Queries under one selection: a share of the rows, `far` when the selection avoids them.

    `truth` holds the nearest rows of each, up to MOST of them.
    """

    share: float
    far: bool
    selection: Selection
    queries: np.ndarray
    truth: Answers

    def best(self, k: int) -> Answers:
        """The true k nearest."""
        rows, distances, found, status, work = self.truth
        return Answers(rows[:, :k], distances[:, :k], np.minimum(found, k), status, work)

    def head(self, m: int) -> Trial:
        """The same for the first m queries."""
        rows, distances, found, status, work = self.truth
        truth = Answers(rows[:m], distances[:m], found[:m], status[:m], work[:m])
        return self._replace(queries=self.queries[:m], truth=truth)


def sample_queries(vectors: np.ndarray, seed: int, count: int = 256) -> np.ndarray:
    """Stand-ins for queries, float32[count, d]: rows moved part of the way to another row.

    A row itself would be found at once, being in the graph; moved away from its place it is
    harder, as queries of another kind than the data are.
    """
    rng = np.random.default_rng(seed)
    n = len(vectors)
    ours = np.asarray(vectors[np.sort(rng.integers(0, n, count))], np.float32)
    others = np.asarray(vectors[np.sort(rng.integers(0, n, count))], np.float32)
    rng.shuffle(others)
    share = rng.uniform(0.2, 0.5, (count, 1)).astype(np.float32)
    mixed = ours * (1 - share) + others * share
    # Opposite rows may cancel; such a stand-in would have no direction under cosine.
    mixed[np.linalg.norm(mixed, axis=1) == 0] = ours[np.linalg.norm(mixed, axis=1) == 0]
    return np.ascontiguousarray(mixed)


def trial(
    segment: Bench,
    share: float,
    far: bool,
    selection: Selection,
    queries: np.ndarray,
    nearest: Nearest | None = None,
) -> Trial:
    """A trial with its true answers, by int8 codes and full precision."""
    k = min(MOST, selection.count)
    if nearest is None:
        truth = segment.scan.search(queries, selection, k, ScanParameters(4 * k), Budget())
    else:
        truth = nearest(queries, selection, k)
    return Trial(share, far, selection, queries, truth)


def trials(
    segment: Bench,
    queries: np.ndarray,
    s: float,
    rng: np.random.Generator,
    nearest: Nearest | None = None,
) -> list[Trial]:
    """A random selection of a share s; and one that some queries are far from, with just those."""
    n = segment.n
    if s >= 1.0:
        return [trial(segment, 1.0, False, Selection.all(n), queries, nearest)]
    random = Selection.from_mask(rng.random(n) < s)
    out = [trial(segment, s, False, random, queries, nearest)]
    # Rows around a random centre: most queries lie far from it.
    offsets, centroids, _ = segment.clusters
    centre = centroids[rng.integers(len(centroids))]
    near = np.argsort(((centroids - centre) ** 2).sum(1), kind="stable")
    sizes = np.diff(offsets)[near]
    mask = np.zeros(n, bool)
    chosen = near[: max(1, int(np.searchsorted(np.cumsum(sizes), s * n)))]
    if len(chosen) < FEWEST_CLUSTERS:
        return out
    for cluster in chosen:
        mask[offsets[cluster] : offsets[cluster + 1]] = True
    selection = Selection.from_mask(mask)
    far = segment.locality.lift(queries, selection) < FAR
    if far.sum() >= FEWEST_FAR:
        some = np.ascontiguousarray(queries[far])
        out.append(trial(segment, s, True, selection, some, nearest))
    return out


def recalls(found: Answers, truth: Answers) -> np.ndarray:
    """Share of rows at most as far as the k-th true one, float64[m]; ties admitted."""
    counts = truth.found
    limit = truth.distances[np.arange(len(counts)), counts - 1]
    slack = 1e-9 * np.maximum(1.0, np.abs(limit))
    good = (found.rows >= 0) & (found.distances <= (limit + slack)[:, None])
    valid = np.arange(found.rows.shape[1])[None] < found.found[:, None]
    return np.asarray((good & valid).sum(1) / counts)


def reached(shares: np.ndarray, target: float) -> bool:
    """Whether recalls float64[m] of a sample are surely at a target; perfect on all is enough."""
    sure = shares.mean() - SAFETY * shares.std() / math.sqrt(len(shares))
    return bool(sure >= target or shares.mean() >= max(target, 0.9995))
