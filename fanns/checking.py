"""Recall measured on the user's own queries and filters, with an honest interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.hits import BatchHits, Hits

if TYPE_CHECKING:
    from fanns.index import Index

Z95 = 1.96


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Recall of a search against exact answers.

    Attributes:
        recall: mean over queries of the share of returned rows that are at most as far as the
            true k-th, of min(k, matches); queries without matches are left out.
        low, high: 95 % interval of that mean.
        queries: how many were asked; empty: how many of them had no match.
        short: queries that returned fewer than min(k, matches) rows (0 unless a limit ended one).
        statuses: how many answers were exact, approximate, incomplete.
        target: the recall asked for; per_query: float64[queries], NaN where nothing matches.
    """

    recall: float
    low: float
    high: float
    queries: int
    empty: int
    short: int
    k: int
    target: float
    statuses: dict[str, int]
    per_query: np.ndarray

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {status}" for status, count in self.statuses.items())
        verdict = "reached" if self.recall >= self.target else "missed"
        return (
            f"<CheckReport: recall@{self.k} {self.recall:.4f} [{self.low:.4f}, {self.high:.4f}], "
            f"target {self.target:g} {verdict}; {self.queries} queries ({self.empty} without "
            f"matches, {self.short} short): {told}>"
        )


def check_recall(
    index: Index,
    queries: Any,
    where: Any,
    params: Mapping[str, Any] | None,
    k: int,
    target: float,
    nulls: str | None,
    threads: int,
) -> CheckReport:
    """Search as asked and exactly, and compare; see `CheckReport`."""
    found = index.search(queries, k, where, params, recall=target, nulls=nulls, threads=threads)
    truth = index.search(queries, k, where, params, exact=True, nulls=nulls, threads=threads)
    if isinstance(found, Hits):
        found, truth = BatchHits([found]), BatchHits([truth])
    recalls = np.array(
        [recall_of(ours.distances, best.distances) for ours, best in zip(found, truth, strict=True)]
    )
    valid = recalls[~np.isnan(recalls)]
    mean = float(valid.mean()) if len(valid) else 1.0
    low, high = interval(valid, k)
    return CheckReport(
        recall=mean,
        low=low,
        high=high,
        queries=len(recalls),
        empty=int(np.isnan(recalls).sum()),
        short=sum(len(a) < len(b) for a, b in zip(found, truth, strict=True)),
        k=k,
        target=target,
        statuses=dict(Counter(found.statuses)),
        per_query=recalls,
    )


def recall_of(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of found distances within the last true one (ties count); NaN when nothing matches."""
    if not len(truth):
        return math.nan
    limit = truth[-1] + 1e-9 * max(1.0, abs(float(truth[-1])))
    return float((found <= limit).sum()) / len(truth)


def interval(recalls: np.ndarray, k: int) -> tuple[float, float]:
    """95 % interval of a mean of per-query recalls, the wider of two.

    The spread between queries (normal approximation) fails where all queries agree; Wilson's
    interval over queries, each counted as one trial, does not, and never claims certainty.
    """
    m = len(recalls)
    if m == 0:
        return 0.0, 1.0
    mean = float(recalls.mean())
    half = Z95 * float(recalls.std(ddof=1)) / math.sqrt(m) if m > 1 else 1.0
    trials = m * k if half > 0 else m
    scale = 1 + Z95**2 / trials
    centre = (mean + Z95**2 / (2 * trials)) / scale
    spread = Z95 * math.sqrt(mean * (1 - mean) / trials + Z95**2 / (4 * trials**2)) / scale
    return max(0.0, min(mean - half, centre - spread)), min(1.0, max(mean + half, centre + spread))
