"""The k nearest passing rows of many queries, kept up to date while blocks of rows go by.

A block comes with keys: distances in float32 that may be off by a known bound. Rows that the bound
cannot rule out get their distance in float64, each computed alone as in `exact.distances`; only
those decide. So the answer does not depend on blocks, on threads or on what multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
# From numbers of queries and of rows inside the block, to distances.
Exactly = Callable[[Ints, Ints], Doubles]
_MOST = 1 << 20  # places that one merge may sort
_NONE = np.iinfo(np.int64).max  # the rank of a place that is empty


class Block(NamedTuple):
    """A block of rows beside some of the queries: row is the number of the first row, keys is
    float32[q, r], error float64[q] the most that a key can be off. squared: keys are squares of
    distances. exactly: gives exact distances.
    """

    queries: slice
    row: int
    keys: NDArray[np.float32]
    error: Doubles
    squared: bool
    exactly: Exactly


class Best:
    """State of m queries: distances float64[m, k] (inf where there are fewer), rows int64[m, k]
    (-1 there), best first; matches int64[m], the passing rows so far.
    """

    def __init__(self, queries: int, k: int, ranks: Ints) -> None:
        """ranks: int64[n], the place of each row's id in the order of ids, which breaks ties."""
        self.k = k
        self._ranks = ranks
        self.distances: Doubles = np.full((queries, k), np.inf)
        self.rows: Ints = np.full((queries, k), -1, np.int64)
        self.matches: Ints = np.zeros(queries, np.int64)

    def offer(self, block: Block, mask: NDArray[np.bool_] | None) -> None:
        """Take in a block. mask: bool[q, r], the rows that pass, None: all; it is written to."""
        count, width = block.keys.shape
        own = np.full(count, width) if mask is None else np.count_nonzero(mask, axis=1)
        self.matches[block.queries] += own
        bound = self._bound(block, mask, own)
        inside = block.keys <= bound[:, None]
        if mask is not None:
            inside &= mask
        query, row = np.divmod(np.flatnonzero(inside), width)  # faster than nonzero in two axes
        if len(query):
            self._merge(query + block.queries.start, row, block)

    def _bound(
        self, block: Block, mask: NDArray[np.bool_] | None, own: Ints
    ) -> NDArray[np.float32]:
        """float32[q]: the largest key that a row among the k nearest can have."""
        known = self.distances[block.queries, -1]
        known = known * known if block.squared else known
        bound = known + block.error
        # Of a query without k rows yet, the k-th smallest key of the block says as much.
        for query in np.flatnonzero(np.isinf(known) & (own > self.k)).tolist():
            keys = block.keys[query] if mask is None else block.keys[query, mask[query]]
            kth = np.partition(keys, self.k - 1)[self.k - 1]
            bound[query] = float(kth) + 2.0 * block.error[query]
        return np.nextafter(bound.astype(np.float32), np.float32(np.inf))

    def _merge(self, query: Ints, row: Ints, block: Block) -> None:
        """Pairs of query (ascending) and row of the block that may belong to the best."""
        for part in _portions(query, self.k):
            asked, place, counts = np.unique(query[part], return_inverse=True, return_counts=True)
            starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
            column = self.k + np.arange(len(place)) - starts[place]
            shape = (len(asked), self.k + int(counts.max()))
            distances, rows = np.full(shape, np.inf), np.full(shape, -1, np.int64)
            distances[:, : self.k], rows[:, : self.k] = self.distances[asked], self.rows[asked]
            distances[place, column] = block.exactly(query[part], row[part])
            rows[place, column] = row[part] + block.row
            ranks = np.where(rows >= 0, self._ranks[rows], _NONE)
            order = np.lexsort((ranks, distances), axis=-1)[:, : self.k]
            self.distances[asked] = np.take_along_axis(distances, order, axis=1)
            self.rows[asked] = np.take_along_axis(rows, order, axis=1)


def _portions(query: Ints, k: int) -> Iterator[slice]:
    """Parts of the pairs that hold all of their queries, and are not too much for one merge."""
    ends = np.flatnonzero(np.diff(query, append=query[-1] + 1)) + 1
    start = first = widest = 0
    for number, end in enumerate(ends.tolist()):
        begin = int(ends[number - 1]) if number else 0
        wide = max(widest, end - begin)
        if begin > start and (k + wide) * (number - first + 1) > _MOST:
            yield slice(start, begin)
            start, first, wide = begin, number, end - begin
        widest = wide
    yield slice(start, len(query))
