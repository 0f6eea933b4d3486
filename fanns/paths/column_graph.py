"""What graphs of columns share: how they are named, found and asked.

A filter on a column with a graph of its own is searched as if a graph had been built of its rows;
what else the filter asks, and which rows were deleted, is tested on the way. `range_graph` serves
any interval of an ordered column, `label_graph` the frequent values of any column. What a filter
says of a column reaches them as a `Span` of the selection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fanns.errors import CorruptIndexError
from fanns.kernels.graph_search import check_links
from fanns.kernels.jit import Array
from fanns.paths import Answers, Budget
from fanns.paths.graph import MOST_PLACES, GraphParameters
from fanns.selection import Selection, Span

FEWEST = 1_024
"""Rows of an interval or a value below which a scan takes as little time as a walk."""

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


def check_column_links(links: Array, length: int, n: int) -> None:
    """Raises CorruptIndexError unless links have `length` lists, of rows below n."""
    if links.dtype != np.int32 or links.ndim != 2 or len(links) != length:
        raise CorruptIndexError(
            f"links: expected int32[{length}, places], got {links.dtype}{links.shape}"
        )
    if not 1 < links.shape[1] <= MOST_PLACES:
        raise CorruptIndexError(f"links: {links.shape[1]} places a row; rebuild")
    wrong = int(check_links(links, n))
    if wrong >= 0:
        raise CorruptIndexError(f"links: place {wrong} leads to a row outside 0..{n - 1}")
