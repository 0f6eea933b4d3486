"""Graphs of a column: walks among the rows of an interval, or of a value, alone.

A filter on the column is then searched as if a graph had been built of its rows; what else the
filter asks, and which rows were deleted, is tested on the way. `RangeGraph` serves any interval of
an ordered column, `LabelGraph` the frequent values of any column. What a filter says of a column
reaches them as a `Span` of the selection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fanns.errors import CorruptIndexError
from fanns.kernels.graph_parts import HIGH, LOW, SHIFTS, WIDTH
from fanns.kernels.graph_search import check_links
from fanns.kernels.jit import Array, frozen
from fanns.paths import EXACT, EXHAUSTED, INCOMPLETE, Answers, Budget, RowSet
from fanns.paths.graph import MOST_PLACES, NO_ROWS, GraphParameters, GraphPath, Links
from fanns.selection import Selection, Span

FEWEST = 1_024
"""Rows of an interval or a value below which a scan takes as little time as a walk."""

MOST_VALUES = 4
"""Values that are searched one after the other; the graph of all rows then does as well."""

EXAMPLES = 4
"""Values of about a size to calibrate on."""

RANGE, LABEL = "range", "label"
FOLDERS = {RANGE: "range_graphs", LABEL: "label_graphs"}
"""Where a segment keeps the arrays of each kind."""


class PostingLists(Protocol):
    """What a column's graph asks of its posting lists; see `attributes.postings`."""

    @property
    def n(self) -> int: ...
    @property
    def rows(self) -> npt.NDArray[np.int32]: ...
    @property
    def offsets(self) -> npt.NDArray[np.int32]: ...
    def slot(self, code: int) -> Selection: ...
    def select(self, bounds: list[int]) -> Selection: ...


class Covering(NamedTuple):
    """A graph, by its title, and what it would walk through: so many rows, in so many walks."""

    graph: str
    rows: int
    walks: int


class ColumnGraph(Protocol):
    """The graph of one column; its `title` tells it from others."""

    title: str
    postings: PostingLists

    def covering(self, bounds: list[int]) -> Covering | None:
        """The rows with codes within bounds; None where the graph does not serve these."""

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """Bounds that about so many rows are within, to calibrate on."""

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: Selection,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        """See `Path.search`; the selection has a span of this column that the graph covers."""


def narrowest(graph: ColumnGraph, spans: Iterable[Span]) -> list[int]:
    """Of what spans say of a column, the bounds that its graph covers with the fewest rows.

    A filter may say several things of a column: its lists hold this element, and that one, too.
    """
    best: Covering | None = None
    found: list[int] = []
    for span in spans:
        if span.postings is graph.postings:
            covering = graph.covering(span.bounds)
            if covering is not None and (best is None or covering.rows < best.rows):
                best, found = covering, span.bounds
    if best is None:
        raise ValueError(f"the {graph.title} covers none of the spans")
    return found


class RangeGraph:
    """Levels of links between rows that stand near in a column's order; see `graph_parts`.

    `links` int32[n, width * (1 + levels)], `shifts` int64[levels].
    """

    def __init__(
        self, graph: GraphPath, postings: PostingLists, column: str, links: Array, shifts: Array
    ) -> None:
        self._graph, self.postings, self.title = graph, postings, title_of(RANGE, column)
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
        _check_links(links, postings.n, postings.n)
        if links.shape[1] % (1 + len(shifts)):
            raise CorruptIndexError(f"links: {links.shape[1]} places on {1 + len(shifts)} levels")
        return cls(graph, postings, column, links, shifts)

    @cached_property
    def _ranks(self) -> npt.NDArray[np.int32]:
        """The place of each row in the column's order."""
        ranks = np.empty(self.postings.n, np.int32)
        ranks[self.postings.rows] = np.arange(self.postings.n, dtype=np.int32)
        return frozen(ranks)

    def _interval(self, bounds: list[int]) -> tuple[int, int]:
        offsets = self.postings.offsets.item
        return offsets(bounds[0] + 1), offsets(bounds[1] + 1)

    def covering(self, bounds: list[int]) -> Covering | None:
        """See `ColumnGraph`; a single interval of at least FEWEST rows."""
        if len(bounds) != 2:
            return None
        low, high = self._interval(bounds)
        return Covering(self.title, high - low, 1) if high - low >= FEWEST else None

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """See `ColumnGraph`; whole values around a random interval."""
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
        low, high = self._interval(narrowest(self, selection.spans))
        part = self._part.copy()
        part[LOW], part[HIGH] = low, high
        part.setflags(write=False)
        by = Links(self._links, self._ranks, NO_ROWS, part)
        everything = selection.count == high - low
        return self._graph.walk(queries, selection, k, parameters, budget, by, everything)

    @property
    def nbytes(self) -> int:
        return int(self._links.nbytes)


class LabelGraph:
    """Links among the rows of each frequent value: the postings' order, value after value.

    `links` int32[rows of all values, places], `values` int32[v] their codes, rising.
    """

    def __init__(
        self, graph: GraphPath, postings: PostingLists, column: str, links: Array, values: Array
    ) -> None:
        self._graph, self.postings, self.title = graph, postings, title_of(LABEL, column)
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
        _check_links(links, int(sizes.sum(dtype=np.int64)), postings.n)
        return cls(graph, postings, column, links, values)

    def covering(self, bounds: list[int]) -> Covering | None:
        """See `ColumnGraph`; a few frequent values."""
        codes = codes_of(bounds)
        if codes is None or any(code not in self._place for code in codes):
            return None
        rows = sum(stop - start for start, stop in map(self._place.__getitem__, codes))
        return Covering(self.title, rows, len(codes))

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """See `ColumnGraph`; one of the values nearest in size."""
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
        return _united(found, self._graph.ties, k, selection.count)

    def _walk(
        self,
        queries: npt.NDArray[np.float32],
        selection: RowSet,
        code: int,
        k: int,
        parameters: GraphParameters,
        budget: Budget,
    ) -> Answers:
        start, stop = self._place[code]
        first = self.postings.offsets.item(code + 1)
        members = self.postings.rows[first : first + stop - start]
        by = Links(self._links[start:stop], NO_ROWS, members)
        everything = selection.count == stop - start
        return self._graph.walk(queries, selection, k, parameters, budget, by, everything)

    @property
    def nbytes(self) -> int:
        return int(self._links.nbytes)


KINDS: dict[str, type[RangeGraph] | type[LabelGraph]] = {RANGE: RangeGraph, LABEL: LabelGraph}


def title_of(kind: str, column: str) -> str:
    """What tells a graph from others, and `explain` prints."""
    return f"{kind} graph of {column}"


def graphs_among(names: Iterable[str]) -> list[tuple[str, str]]:
    """Kind and column of the graphs among the names of a segment's arrays."""
    found = []
    for name in names:
        folder, _, rest = name.partition("/")
        for kind, own in FOLDERS.items():
            if folder == own and rest.endswith("/links"):
                found.append((kind, rest.removesuffix("/links")))
    return found


def codes_of(bounds: list[int]) -> list[int] | None:
    """The single codes of bounds, None where they are more than MOST_VALUES."""
    if len(bounds) == 2 and bounds[1] == bounds[0] + 1:
        return bounds[:1]
    ends = list(zip(bounds[::2], bounds[1::2], strict=True))
    if sum(stop - start for start, stop in ends) > MOST_VALUES:
        return None
    return [code for start, stop in ends for code in range(start, stop)]


def _check_links(links: Array, length: int, n: int) -> None:
    if links.dtype != np.int32 or links.ndim != 2 or len(links) != length:
        raise CorruptIndexError(
            f"links: expected int32[{length}, places], got {links.dtype}{links.shape}"
        )
    if not 1 < links.shape[1] <= MOST_PLACES:
        raise CorruptIndexError(f"links: {links.shape[1]} places a row; rebuild")
    wrong = int(check_links(links, n))
    if wrong >= 0:
        raise CorruptIndexError(f"links: place {wrong} leads to a row outside 0..{n - 1}")


def _united(parts: list[Answers], ties: Array, k: int, count: int) -> Answers:
    """The k best of several answers, whose rows may repeat; `count` rows are selected in all."""
    rows = np.concatenate([part.rows for part in parts], axis=1)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    out_rows = np.full((len(rows), k), -1, np.int32)
    out_distances = np.full((len(rows), k), np.inf)
    found = np.empty(len(rows), np.int32)
    for i in range(len(rows)):
        kept, first = np.unique(rows[i], return_index=True)
        first = first[kept >= 0]
        order = np.lexsort((ties[rows[i, first]], distances[i, first]))[:k]
        best = first[order]
        found[i] = len(best)
        out_rows[i, : len(best)], out_distances[i, : len(best)] = rows[i, best], distances[i, best]
    statuses = np.stack([part.status for part in parts])
    status = statuses.max(axis=0)  # EXACT < APPROXIMATE
    for worse in (EXHAUSTED, INCOMPLETE):
        status[(statuses == worse).any(axis=0)] = worse
    short = (found < min(k, count)) & (status != INCOMPLETE) & (status != EXACT)
    status[short] = EXHAUSTED
    work: Any = np.sum([part.work for part in parts], axis=0)
    return Answers(out_rows, out_distances, found, status, work)
