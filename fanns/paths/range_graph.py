"""The graph of an ordered column: walks within any interval of its values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fanns.errors import CorruptIndexError
from fanns.kernels.graph_parts import HIGH, LOW, SHIFTS, WIDTH
from fanns.kernels.jit import Array, frozen
from fanns.once import once
from fanns.paths import Answers, Budget, Ready
from fanns.paths.column_path import (
    FEWEST,
    Covering,
    PostingLists,
    check_column_links,
    narrowest,
    title_of,
)
from fanns.paths.graph import NO_ROWS, GraphParameters, GraphPath, Links
from fanns.selection import Selection

FOLDER = "range_graphs"


class RangeGraph:
    """Levels of links between rows that stand near in a column's order; see `graph_parts`.

    `links` int32[n, width * (1 + levels)], `shifts` int64[levels].
    """

    def __init__(
        self, graph: GraphPath, postings: PostingLists, column: str, links: Array, shifts: Array
    ) -> None:
        self._graph, self.postings, self.title = graph, postings, title_of(FOLDER, column)
        self._links = frozen(links)
        self._part = np.zeros(SHIFTS + len(shifts), np.int64)
        self._part[WIDTH] = self._links.shape[1] // (1 + len(shifts))
        self._part[SHIFTS:] = shifts

    @classmethod
    def load(
        cls, arrays: Mapping[str, Array], graph: GraphPath, postings: PostingLists, column: str
    ) -> RangeGraph:
        """Raises CorruptIndexError when a walk could not trust the arrays."""
        links, shifts = frozen(arrays["links"]), arrays["shifts"]
        if shifts.dtype != np.int64 or shifts.ndim != 1 or not len(shifts):
            raise CorruptIndexError(f"shifts: expected int64[levels], got {shifts.dtype}")
        if (shifts < 1).any() or (shifts > 30).any() or (np.diff(shifts) >= 0).any():
            raise CorruptIndexError(f"shifts: not the sizes of segments: {shifts.tolist()}")
        check_column_links(links, postings.n, postings.n)
        if links.shape[1] % (1 + len(shifts)):
            raise CorruptIndexError(f"links: {links.shape[1]} places on {1 + len(shifts)} levels")
        return cls(graph, postings, column, links, shifts)

    @once
    def _ranks(self) -> npt.NDArray[np.int32]:
        """The place of each row in the column's order."""
        ranks = np.empty(self.postings.n, np.int32)
        ranks[self.postings.rows] = np.arange(self.postings.n, dtype=np.int32)
        return frozen(ranks)

    def _interval(self, bounds: list[int]) -> tuple[int, int]:
        offsets = self.postings.offsets.item
        return offsets(bounds[0] + 1), offsets(bounds[1] + 1)

    def covering(self, bounds: list[int]) -> Covering | None:
        """See `ColumnPath`; a single interval of at least FEWEST rows."""
        if len(bounds) != 2:
            return None
        low, high = self._interval(bounds)
        return Covering(self.title, high - low, 1) if high - low >= FEWEST else None

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """See `ColumnPath`; whole values around a random interval."""
        n, offsets = self.postings.n, self.postings.offsets
        first = int(rng.integers(0, n - rows + 1))
        low = int(np.searchsorted(offsets, first, "right")) - 1
        high = max(int(np.searchsorted(offsets, first + rows)), low + 1)
        return [low - 1, high - 1]

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: Selection,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows that a walk through the interval finds."""
        by, count = self._within(selection)
        everything = selection.count == count
        return self._graph.walk(queries, selection, k, parameters, budget, by, everything)

    def ready(self, selection: Selection, k: int, parameters: GraphParameters) -> Ready | None:
        """See `Ready`; of an interval alone."""
        by, count = self._within(selection)
        if selection.count != count:
            return None
        return self._graph.ready_by(count, k, parameters, by)

    def _within(self, selection: Selection) -> tuple[Links, int]:
        """The links of a selection's interval, and how many rows are in it."""
        low, high = self._interval(narrowest(self, selection.spans))
        part = self._part.copy()
        part[LOW], part[HIGH] = low, high
        part.setflags(write=False)
        return Links(self._links, self._ranks, NO_ROWS, part), high - low
