"""What is asked of a GPU: families of filters over a simulated set, one for all queries or each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.proofs.asking import nearest, recalls
from fanns.bench.proofs.large import TUNE, Large, asked, group_filters
from fanns.bench.reporting.wording import percent
from fanns.bench.workloads import grid, making, truth
from fanns.bench.workloads.board import Corpus, Declaration
from fanns.bench.workloads.masks import Masks, Table
from fanns.datasets import arxiv_like

K = 10
SHARES = (0.001, 0.01, 0.1, 0.5)
NO_FILTER = "no filter"
CELLS = (
    "equality-0.02-positive",
    "contains_one-0.02-negative",
    "in-0.1-positive",
    "in-0.1-negative",
    "contains_any-0.2-positive",
    "range_date-0.1-none",
    "range_date-0.001-none",
    "and2-0.01-none",
    "not-1-negative",
)
"""Of the runner's families; groups of rows by chance and no filter stand beside them."""

DECLARATION = Declaration(
    equality=("primary_category",),
    contains=("categories",),
    range=("submitted_date",),
    correlate_with="primary_category",
    random=False,
)


@dataclass(frozen=True)
class Ask:
    """m queries under one kind of filter.

    Attributes:
        kind: in words. each: whether every query has a filter of its own; else one holds for all.
        where: the filter's text, None for none; params: one for all queries, or one for each.
        best: distances of the true nearest rows of each query. passing: share of the rows that
            pass, mean. affinity: of filter and query, as `workload.Cell` has it.
        bits: uint8, the packed mask of each of `params`, empty without a filter.
    """

    kind: str
    each: bool
    where: str | None
    params: Sequence[Mapping[str, Any]]
    queries: NDArray[np.float32]
    best: Sequence[NDArray[np.float64]]
    passing: float
    affinity: float
    bits: Sequence[NDArray[np.uint8]]

    def batch(self, size: int) -> tuple[NDArray[np.float32], list[Mapping[str, Any]]]:
        """So many queries, the same again and again, and their filters: one, or one for each."""
        places = np.resize(np.arange(len(self.queries)), size)
        chosen = (
            [self.params[place] for place in places.tolist()] if self.each else list(self.params)
        )
        return np.ascontiguousarray(self.queries[places]), chosen

    def judged(
        self, vectors: NDArray[np.float32], rows: Sequence[NDArray[np.int64]]
    ) -> tuple[float, int]:
        """Mean recall of answers to the queries, and how many rows in them are wrong: such that
        fail the filter, are repeated, or are none.
        """
        wrong, valid = 0, []
        for number, found in enumerate(rows):
            inside = (found >= 0) & (found < len(vectors))
            kept = np.unique(found[inside])
            if self.where is not None:
                bits = self.bits[number if self.each else 0]
                kept = kept[(bits[kept >> 3] >> (kept & 7)) & 1 == 1]
            wrong += len(found) - len(kept)
            valid.append(kept)
        return float(recalls(vectors, self.queries, valid, self.best).mean()), wrong


def groups(rows: int) -> list[int]:
    """Rows in the groups that a set of so many rows needs."""
    return [max(1, round(share * rows)) for share in SHARES]


def asks(
    held: Large, count: int, report: truth.Report | None = None
) -> tuple[list[Ask], list[str]]:
    """Every kind of filter, with one for all of `count` queries and with one for each, and what
    the set could not give, in words.
    """
    vectors, attributes = held.vectors(), held.attributes()
    queries, told = asked(count, vectors.shape[1]), list[str]()
    kinds: dict[str, tuple[str | None, list[Mapping[str, Any]]]] = {NO_FILTER: (None, [{}])}
    for share, size in zip(SHARES, groups(len(vectors)), strict=True):
        drawn = group_filters(len(vectors), size, count)
        kinds[f"{percent(share)} by chance"] = drawn[0][0], [params for _, params in drawn]
    own = arxiv_like.queries(TUNE + count, vectors.shape[1]).select(["primary_category"])
    corpus = Corpus(vectors, attributes, queries, own.slice(TUNE))
    wanted = [grid.asked(name) for name in CELLS]
    _, drafted = making.plan(corpus, DECLARATION, wanted, told.append, report)
    for one in drafted:
        kinds[_words(one.asked)] = one.draft.where, list(one.draft.params)
    listed = [
        (kind, each, where, params if each else params[:1])
        for kind, (where, params) in kinds.items()
        for each in ((False, True) if where is not None else (False,))
    ]
    return _answered(vectors, attributes, queries, listed, report), told


def _answered(
    vectors: NDArray[np.float32],
    attributes: pa.Table,
    queries: NDArray[np.float32],
    listed: Sequence[tuple[str, bool, str | None, Sequence[Mapping[str, Any]]]],
    report: truth.Report | None,
) -> list[Ask]:
    m, table = len(queries), Table(attributes)
    wheres = [where for _, _, where, _ in listed for _ in range(m)]
    params = [one for _, each, _, own in listed for one in (own if each else [*own] * m)]
    every = np.tile(queries, (len(listed), 1))
    found = truth.solve(vectors, attributes, every, wheres, params, depth=K, report=report)
    best, made = nearest(found), []
    for number, (kind, each, where, own) in enumerate(listed):
        part = slice(number * m, (number + 1) * m)
        share = float(found.matches[part].mean()) / len(vectors)
        near = float(found.near[part].mean())
        masks = None if where is None else Masks(table, where)
        bits = [] if masks is None else [np.packbits(masks(p), bitorder="little") for p in own]
        affinity = (near - share) / (near + share) if near + share else 0.0
        made.append(Ask(kind, each, where, own, queries, best[part], share, affinity, bits))
    return made


def _words(cell: grid.Asked) -> str:
    """A family in words, with its share of the rows and how the query stands to it."""
    names = {
        "equality": "value", "contains_one": "value of a list", "in": "any of some values",
        "contains_any": "any of a list", "range_date": "interval", "not": "all but a value",
        "and2": "values and interval",
    }  # fmt: skip
    share = "" if cell.target in (None, 1.0) else f", {percent(float(cell.target or 0))}"
    stands = {"positive": ", near the query", "negative": ", far from the query"}
    return names[cell.family] + share + stands.get(cell.correlation, "")
