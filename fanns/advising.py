"""Which paths of columns would pay for the filters that an index is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanns.arguments import check_recall, check_whole
from fanns.building import Recipe
from fanns.column_graphs import ColumnGraphs, counts_of, orderly, range_bytes, value_bytes
from fanns.errors import InputError
from fanns.paths.column_blocks import blocks_for
from fanns.paths.column_graph_builder import frequent_values
from fanns.paths.column_path import BLOCKS_MOST, FEWEST, LABEL, RANGE, Covering, codes_of, title_of
from fanns.planner import choose
from fanns.prepared import Snapshot, prepare
from fanns.segment import Segment
from fanns.selection import Selection


@dataclass(frozen=True, slots=True)
class Advice:
    """A path of a column that would save time: `index.index_column(column, **{option: True})`.

    Attributes:
        column, option: "range_index" or "label_index", as `Index.build` takes them too.
        filters: how many of the filters given it would serve better than what there is.
        saved: mean over all filters given, as a share of the predicted time of a search.
        nbytes: what it takes on disk and in memory.
    """

    column: str
    option: str
    filters: int
    saved: float
    nbytes: int

    def __str__(self) -> str:
        return (
            f"{self.option}=[{self.column!r}]: {self.filters} filters, {self.saved:.0%} of the"
            f" time, {self.nbytes / 1e6:,.1f} MB"
        )


def advise(
    snapshot: Snapshot, recipe: Recipe, filters: Sequence[Any], k: int, recall: float
) -> list[Advice]:
    """Paths worth having, those that save most for their bytes first; see `Index.advise`."""
    if isinstance(filters, str) or not isinstance(filters, Sequence) or not filters:
        raise InputError("filters is a list of filters, or of (filter, params)")
    check_whole("k", k, 1)
    check_recall(recall)
    before = 0.0
    served: dict[tuple[str, str], list[float]] = {}
    for given in filters:
        if isinstance(given, tuple) and len(given) != 2:
            raise InputError(f"filters: {given!r} is no pair (filter, params)")
        where, params = given if isinstance(given, tuple) else (given, None)
        selections = prepare(snapshot, where, params, None).selections()
        saved: dict[tuple[str, str], float] = {}
        for segment, selection in zip(snapshot.segments, selections, strict=True):
            if selection.count:
                spent, better = _predicted(segment, recipe.graphs, selection, k, recall)
                before += spent
                for graph, less in better.items():
                    saved[graph] = saved.get(graph, 0.0) + less
        for graph, less in saved.items():
            served.setdefault(graph, []).append(less)
    found = [
        Advice(
            column, f"{kind}_index", len(less), sum(less) / before, _bytes(snapshot, kind, column)
        )
        for (kind, column), less in served.items()
    ]
    return sorted(found, key=lambda one: (-one.saved / max(one.nbytes, 1), one.column, one.option))


def _predicted(
    segment: Segment, held: ColumnGraphs, selection: Selection, k: int, recall: float
) -> tuple[float, dict[tuple[str, str], float]]:
    """Nanoseconds of a search, and what each graph that there is not would save of them."""

    def cost(coverings: tuple[Covering, ...]) -> float:
        plan = choose(
            segment.calibration,
            segment.n,
            selection.count,
            min(k, selection.count),
            recall,
            has_graph=segment.has_graph,
            coverings=coverings,
        )
        return plan.predicted_ns

    known = segment.coverings(selection)
    spent = cost(known)
    saved: dict[tuple[str, str], float] = {}
    if segment.has_graph:
        columns = {id(segment.attributes.postings(name)): name for name in segment.indexed}
        for span in selection.spans:
            column = columns.get(id(span.postings))
            if column is None:
                continue
            for kind, covering in _candidates(segment, column, span.bounds):
                if column not in held.of(kind):
                    less = cost((*known, covering))
                    if less < spent:
                        saved[kind, column] = max(spent - less, saved.get((kind, column), 0.0))
    return spent, saved


def _candidates(segment: Segment, column: str, bounds: list[int]) -> list[tuple[str, Covering]]:
    """What paths of a column would search for a span of it."""
    postings, found = segment.attributes.postings(column), []
    rows = postings.count(bounds)
    if orderly(segment.schema[column]) and len(bounds) == 2 and rows >= FEWEST:
        found.append((RANGE, _covering(segment, RANGE, column, rows, rows, 1)))
    codes = codes_of(bounds) or []
    counts = counts_of(segment.attributes, column)
    if codes and set(codes) <= set(frequent_values(counts, segment.n)):
        each = [int(counts[code]) for code in codes]
        found.append((LABEL, _covering(segment, LABEL, column, sum(each), max(each), len(codes))))
    return found


def _covering(
    segment: Segment, kind: str, column: str, rows: int, most: int, walks: int
) -> Covering:
    """What a path of a kind would search among; `most`: rows of one interval or value."""
    if segment.products is None or most > BLOCKS_MOST:
        return Covering(title_of(f"{kind}_graphs", column), rows, walks)
    blocks = blocks_for(rows, kind == RANGE)
    return Covering(title_of(f"{kind}_blocks", column), rows, 1, blocks)


def _bytes(snapshot: Snapshot, kind: str, column: str) -> int:
    """What a graph takes over all segments that are large enough for one."""
    total = 0
    for segment in snapshot.segments:
        if not segment.has_graph:
            continue
        shape = (segment.vectors.d, segment.products is not None)
        if kind == RANGE:
            total += range_bytes(segment.n, *shape)
            continue
        counts = counts_of(segment.attributes, column)
        each = counts[frequent_values(counts, segment.n)].tolist()
        total += sum(value_bytes(count, *shape) for count in each)
    return total
