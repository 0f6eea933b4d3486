"""What the access paths for filters on one column share: how they are named, found and asked.

A filter on a column with such paths is searched as if an index had been built of its rows; what
else the filter asks, and which rows were deleted, is tested on the way. `column_blocks` serves
intervals and values of some thousand rows; where more rows pass, `range_graph` any interval of an
ordered column and `label_graph` the frequent values of any column. What a filter says of a column
reaches them as a `Span` of the selection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fanns.errors import CorruptIndexError
from fanns.kernels.graph_search import check_links
from fanns.kernels.jit import Array
from fanns.paths import EXACT, EXHAUSTED, INCOMPLETE, Answers, Budget, Ready
from fanns.paths.graph import MOST_PLACES
from fanns.selection import Selection, Span

FEWEST = 1_024
"""Rows of an interval or a value below which links are no better than a scan, and no values are
given links or blocks of their own."""

BLOCKS_LEAST = 512
"""Rows of an interval below which blocks are not asked what they would cost: a scan takes less."""

BLOCKS_MOST = 32_768
"""Rows of an interval or a value up to which blocks serve it; a walk takes less time beyond."""

MOST_VALUES = 4
"""Values that are searched one after the other; the graph of all rows then does as well."""

RANGE, LABEL = "range", "label"
FOLDERS = {
    "range_graphs": RANGE,
    "range_blocks": RANGE,
    "label_graphs": LABEL,
    "label_blocks": LABEL,
}
"""Where a segment keeps the arrays of paths, and of which kind these are."""

TITLES = {
    "range_graphs": "range graph",
    "range_blocks": "range blocks",
    "label_graphs": "label graph",
    "label_blocks": "label blocks",
}


class PostingLists(Protocol):
    """What paths need of a column's index: rows by value, slot by slot (0 for null)."""

    @property
    def n(self) -> int: ...
    @property
    def single(self) -> bool: ...
    @property
    def offsets(self) -> Array: ...
    @property
    def rows(self) -> Array: ...
    def select(self, bounds: list[int]) -> Selection: ...
    def slot(self, code: int) -> Selection: ...


class Covering(NamedTuple):
    """What the planner needs of a path that covers a filter: its title, the rows that it searches
    among, in how many walks, and how many blocks these rows are in (0 of a graph).
    """

    path: str
    rows: int
    walks: int
    blocks: int = 0


class ColumnPath(Protocol):
    """Searches among the rows that a filter on its column leaves."""

    title: str
    postings: PostingLists

    def covering(self, bounds: list[int]) -> Covering | None:
        """The rows with codes within bounds; None where the path does not serve these."""

    def example(self, rows: int, rng: np.random.Generator) -> list[int]:
        """Bounds that about so many rows are within, to calibrate on."""

    def search(
        self,
        queries: npt.NDArray[np.float32],
        selection: Selection,
        k: int,
        parameters: Any,
        budget: Budget,
    ) -> Answers:
        """See `Path.search`; the selection has a span of this column that the path covers."""

    def ready(self, selection: Selection, k: int, parameters: Any) -> Ready | None:
        """See `Ready`; the same."""


def narrowest(path: ColumnPath, spans: Sequence[Span]) -> list[int]:
    """Of what spans say of a column, the bounds that a path covers with the fewest rows.

    A filter may say several things of a column: its lists hold this element, and that one, too.
    """
    best: Covering | None = None
    found: list[int] = []
    if len(spans) == 1 and spans[0].postings is path.postings:
        return spans[0].bounds
    for span in spans:
        if span.postings is path.postings:
            covering = path.covering(span.bounds)
            if covering is not None and (best is None or covering.rows < best.rows):
                best, found = covering, span.bounds
    if best is None:
        raise ValueError(f"the {path.title} covers none of the spans")
    return found


def title_of(folder: str, column: str) -> str:
    """What tells a path from others, and `explain` prints; `folder` of FOLDERS."""
    return f"{TITLES[folder]} of {column}"


def paths_among(names: Iterable[str]) -> list[tuple[str, str]]:
    """Folder and column of the paths among the names of a segment's arrays."""
    found = {
        (folder, rest.rpartition("/")[0])
        for folder, _, rest in (name.partition("/") for name in names)
        if folder in FOLDERS
    }
    return sorted(found)


def codes_of(bounds: list[int]) -> list[int] | None:
    """The single codes of bounds, None where they are more than MOST_VALUES."""
    if len(bounds) == 2 and bounds[1] == bounds[0] + 1:
        return bounds[:1]
    ends = list(zip(bounds[::2], bounds[1::2], strict=True))
    if sum(stop - start for start, stop in ends) > MOST_VALUES:
        return None
    return [code for start, stop in ends for code in range(start, stop)]


def united(parts: list[Answers], ties: Array, k: int, count: int) -> Answers:
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
