"""The graph of a column's frequent values: walks among the rows of one, or of a few in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fanns.errors import CorruptIndexError
from fanns.kernels.jit import Array, frozen
from fanns.paths import Answers, Budget, Ready, RowSet
from fanns.paths.column_path import (
    Covering,
    PostingLists,
    check_column_links,
    codes_of,
    narrowest,
    title_of,
    united,
)
from fanns.paths.graph import NO_ROWS, GraphParameters, GraphPath, Links
from fanns.selection import Selection

FOLDER = "label_graphs"

EXAMPLES = 4
"""Values of about a size to calibrate on."""


class LabelGraph:
    """Links among the rows of each frequent value: the postings' order, value after value.

    `links` int32[rows of all values, places], `values` int32[v] their codes, rising.
    """

    def __init__(
        self, graph: GraphPath, postings: PostingLists, column: str, links: Array, values: Array
    ) -> None:
        self._graph, self.postings, self.title = graph, postings, title_of(FOLDER, column)
        self._links = frozen(links)
        sizes = postings.offsets[values + 2] - postings.offsets[values + 1]
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        starts = [0, *ends[:-1]]
        self._place = dict(zip(values.tolist(), zip(starts, ends, strict=True), strict=True))

    @classmethod
    def load(
        cls, arrays: Mapping[str, Array], graph: GraphPath, postings: PostingLists, column: str
    ) -> LabelGraph:
        """Raises CorruptIndexError when a walk could not trust the arrays."""
        links, values = frozen(arrays["links"]), arrays["values"]
        if values.dtype != np.int32 or values.ndim != 1:
            raise CorruptIndexError(f"values: expected int32[values], got {values.dtype}")
        known = len(postings.offsets) - 2
        if (values < -1).any() or (values >= known).any() or (np.diff(values) <= 0).any():
            raise CorruptIndexError("values: codes that the column does not have, or out of order")
        sizes = postings.offsets[values + 2] - postings.offsets[values + 1]
        check_column_links(links, int(sizes.sum(dtype=np.int64)), postings.n)
        return cls(graph, postings, column, links, values)

    def covering(self, bounds: list[int]) -> Covering | None:
        """See `ColumnPath`; a few frequent values."""
        codes = codes_of(bounds)
        if codes is None or any(code not in self._place for code in codes):
            return None
        rows = sum(stop - start for start, stop in map(self._place.__getitem__, codes))
        return Covering(self.title, rows, len(codes))

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """See `ColumnPath`; one of the values nearest in size."""
        sizes = {code: stop - start for code, (start, stop) in self._place.items()}
        near = sorted(sizes, key=lambda code: abs(math.log(sizes[code] / rows)))
        code = int(rng.choice(near[:EXAMPLES]))
        return [code, code + 1]

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: Selection,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        """The k nearest selected rows that a walk through the rows of each value finds."""
        codes = codes_of(narrowest(self, selection.spans)) or []
        if len(codes) == 1:
            return self._walk(queries, selection, codes[0], k, parameters, budget)
        if budget.max_work:
            budget = budget._replace(max_work=max(1, budget.max_work // len(codes)))
        found = []
        for code in codes:
            own = selection & self.postings.slot(code)
            if own.count:
                some = min(k, own.count)
                found.append(self._walk(queries, own, code, some, parameters, budget))
        return united(found, self._graph.ties, k, selection.count)

    def ready(self, selection: Selection, k: int, parameters: GraphParameters) -> Ready | None:
        """See `Ready`; of a single value alone."""
        codes = codes_of(narrowest(self, selection.spans)) or []
        if len(codes) != 1:
            return None
        by = self._links_of(codes[0])
        if len(by.members) != selection.count:
            return None
        return self._graph.ready_by(selection.count, k, parameters, by)

    def _walk(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        code: int,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        by = self._links_of(code)
        everything = selection.count == len(by.members)
        return self._graph.walk(queries, selection, k, parameters, budget, by, everything)

    def _links_of(self, code: int) -> Links:
        """The links among the rows with a value."""
        start, stop = self._place[code]
        first = self.postings.offsets.item(code + 1)
        members = self.postings.rows[first : first + stop - start]
        return Links(self._links[start:stop], NO_ROWS, members)
