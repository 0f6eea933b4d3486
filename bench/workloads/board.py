"""What filters are drawn from: the data, its values, their rows and their nearness to queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.workloads import candidates, truth
from fanns.bench.workloads.candidates import Candidates
from fanns.bench.workloads.windows import Ordered
from fanns.schema import ColumnType

RANDOM = "random"  # the column of uniform random numbers


@dataclass(frozen=True)
class Corpus:
    """Data to make a workload of.

    Attributes:
        vectors: float32[n, d]. attributes: n rows.
        queries: float32[m, d]. asked: m rows, what is known of the queries (their own category),
            in columns that are named as those of the items; may have no columns.
        seed: of the filters that are drawn, and of the data where it is synthetic.
    """

    vectors: NDArray[np.float32]
    attributes: pa.Table
    queries: NDArray[np.float32]
    asked: pa.Table
    metric: str = "cosine"
    source: str | None = None
    model: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Declaration:
    """Which columns get which filters.

    Attributes:
        equality: columns of single values. contains: list columns. range: ordered columns (numbers,
            dates, timestamps). correlate_with: the column whose values tell what a row is about;
            by default the first of equality, else of contains.
        random: whether a column of random numbers is added, for filters that mean nothing.
    """

    equality: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    range: tuple[str, ...] = ()
    correlate_with: str | None = None
    random: bool = True

    @property
    def topic(self) -> str | None:
        return self.correlate_with or next(iter(self.equality + self.contains), None)


def with_random(corpus_attributes: pa.Table, seed: int) -> pa.Table:
    """The attributes with a column `random`: float64, uniform in [0, 1), the same for one seed."""
    drawn = np.random.default_rng([seed, 7]).random(corpus_attributes.num_rows)
    return corpus_attributes.append_column(RANDOM, pa.array(drawn))


@dataclass
class Board:
    """A corpus with its declaration; what is computed from it is kept."""

    corpus: Corpus
    declaration: Declaration
    _candidates: dict[str, Candidates] = field(default_factory=dict)
    _pairs: dict[str, Candidates] = field(default_factory=dict)
    _ordered: dict[str, Ordered] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.corpus.vectors)

    @property
    def queries(self) -> int:
        return len(self.corpus.queries)

    @property
    def columns(self) -> set[str]:
        return set(self.corpus.attributes.column_names)

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """int64[m, c]: the neighbourhood of every query."""
        count = truth.neighbourhood(self.rows)
        corpus = self.corpus
        return truth.nearest_rows(corpus.vectors, corpus.queries, corpus.metric, count)

    def kind(self, column: str) -> ColumnType:
        return ColumnType.from_arrow(self.corpus.attributes.schema.field(column).type)

    def candidates(self, column: str) -> Candidates:
        """The values of a column."""
        if column not in self._candidates:
            self._candidates[column] = candidates.of_column(self.corpus.attributes[column])
        return self._candidates[column]

    def pairs(self, column: str) -> Candidates:
        """The pairs of values that occur in one list of a column."""
        if column not in self._pairs:
            self._pairs[column] = candidates.pairs(self.candidates(column), self.rows)
        return self._pairs[column]

    def ordered(self, column: str) -> Ordered:
        if column not in self._ordered:
            self._ordered[column] = Ordered(self.corpus.attributes[column])
        return self._ordered[column]

    def similarity(self, column: str, found: Candidates, chosen: NDArray[Any]) -> NDArray[Any]:
        """float32[m, c]: nearness of the chosen values to every query; the query's own come first.

        Values that the query itself has in this column count as nearest of all: a paper is about
        its category, whatever the mean of the category's vectors.
        """
        corpus = self.corpus
        scores = found.similarity(chosen, corpus.vectors, corpus.queries, corpus.metric)
        if column not in corpus.asked.column_names:
            return scores
        places = {found.values[value]: at for at, value in enumerate(chosen.tolist())}
        bonus = np.float32(np.abs(scores).max(initial=0.0) * 2 + 1)
        for query, own in enumerate(corpus.asked[column].to_pylist()):
            for rank, value in enumerate(own if isinstance(own, list) else [own]):
                at = places.get(value) if value is not None else None
                if at is not None:
                    scores[query, at] += bonus / np.float32(1 + rank)
        return scores
