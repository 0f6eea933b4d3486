"""Queries put to an index one by one, as users put them: how long they take, what answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.workloads.truth import Answers
from fanns.datasets import exact
from fanns.explanation import SegmentReport

Filter = tuple[str | fanns.Prepared | None, Mapping[str, Any] | None]
"""As `search` takes it: text with its parameters, or a prepared filter and None."""


class Answered(NamedTuple):
    """ids: int64[up to k] of each query. parts: what explain says, of each query."""

    ids: list[NDArray[np.int64]]
    parts: list[tuple[SegmentReport, ...]]

    @property
    def paths(self) -> dict[str, int]:
        """How many searches of segments each path answered, the most frequent first."""
        counts: dict[str, int] = {}
        for part in (one for parts in self.parts for one in parts):
            name = part.path if part.fallback is None else f"{part.path} + {part.fallback}"
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


@dataclass
class Taken:
    """What the same queries found and took, over rounds.

    Attributes:
        recalls: float64[m], of each query. paths: how many queries each path answered.
        seconds: float64[m] of each round.
    """

    recalls: NDArray[np.float64]
    paths: dict[str, int]
    seconds: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def typical(self) -> NDArray[np.float64]:
        """Seconds of each query, medians over rounds."""
        return np.asarray(np.median(self.seconds, axis=0))


class Asking:
    """Queries float32[m, d], each under a filter of its own, at one k and recall target."""

    def __init__(
        self,
        index: fanns.Index,
        queries: NDArray[np.float32],
        filters: Sequence[Filter],
        k: int,
        recall: float,
    ) -> None:
        self.index, self.queries, self.filters = index, queries, filters
        self.k, self.recall = k, recall

    def answered(self) -> Answered:
        """All answers, untimed."""
        ids, parts = [], []
        for query, (where, params) in zip(self.queries, self.filters, strict=True):
            hits = self.index.search(query, self.k, where, params, recall=self.recall)
            ids.append(np.asarray(hits.ids, np.int64))
            parts.append(tuple(hits.explain().segments))
        return Answered(ids, parts)

    def timed(self) -> NDArray[np.float64]:
        """Seconds of each query, float64[m]: filter in, ids out. The selections of filters are
        forgotten before each, which is not timed.
        """
        taken = np.empty(len(self.queries))
        for number, query in enumerate(self.queries):
            where, params = self.filters[number]
            self.index.clear_cache()
            begun = perf_counter()
            hits = self.index.search(query, self.k, where, params, recall=self.recall)
            hits.ids  # noqa: B018 - read when first asked for: part of the answer
            taken[number] = perf_counter() - begun
        return taken


def nearest(answers: Answers) -> list[NDArray[np.float64]]:
    """Distances of the true nearest rows of each query, best first."""
    return [np.asarray(part) for part in np.split(answers.distances, answers.offsets[1:-1])]


def recalls(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    ids: Sequence[NDArray[np.int64]],
    best: Sequence[NDArray[np.float64]],
    metric: str = "cosine",
) -> NDArray[np.float64]:
    """Of each query the share of its true nearest rows that it found, float64[m]; rows tied with
    the last count, and 1 where no row passes. ids: row numbers; best: as `nearest` gives.
    """
    found = np.ones(len(queries))
    for number, (rows, true) in enumerate(zip(ids, best, strict=True)):
        if len(true):
            limit = true[-1] + 1e-9 * max(1.0, abs(true[-1]))
            got = exact.distances(vectors[rows], queries[number], metric)
            found[number] = min(int(np.count_nonzero(got <= limit)), len(true)) / len(true)
    return found
