"""`fanns bench grid`: every access path measured over a grid, against what the planner predicts.

A cell is a selectivity, a correlation of filter and query, k and a recall target. Each of its
queries has a selection of its own, prepared before the clock starts, and is searched by itself: as
the planner chooses, and by every path that it weighs, forced by `plan=`. Times are of whole calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs import grid_masks
from fanns.bench.proofs.grid_masks import LEANS, Correlation, Selected
from fanns.bench.proofs.rows import Rows
from fanns.bench.running.metrics import Estimate, recall_interval
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads.truth import Report

SELECTIVITIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
KS = (1, 10, 100)
RECALLS = (0.9, 0.95, 0.99)
CHOSEN = ""
"""In place of a path's name: whatever the planner chooses."""


class Cell(NamedTuple):
    """One place of the grid."""

    selectivity: float
    correlation: Correlation
    k: int
    recall: float

    @property
    def name(self) -> str:
        return f"{self.selectivity:g} {self.correlation} k={self.k} {self.recall:g}"


@dataclass(frozen=True)
class Path:
    """One way to answer the queries of a cell.

    Attributes:
        predicted_us: the planner's mean prediction. seconds: float64[rounds, queries], of each
            call. recall: mean over queries, with its interval.
    """

    predicted_us: float
    seconds: NDArray[np.float64]
    recall: Estimate

    @property
    def typical(self) -> NDArray[np.float64]:
        """Seconds of each query, medians over rounds: an interrupted call counts for little."""
        return np.asarray(np.median(self.seconds, axis=0))

    @property
    def mean(self) -> float:
        """Seconds of a query: the mean over queries of their medians over rounds."""
        return float(self.typical.mean())


@dataclass(frozen=True)
class Measured:
    """A cell, measured.

    Attributes:
        paths: forced, by name. chosen: by the planner. planned: how many queries got which path.
        affinity: of the cell's filters to its queries, measured.
    """

    cell: Cell
    paths: dict[str, Path]
    chosen: Path
    planned: dict[str, int]
    affinity: float


class Axes(NamedTuple):
    """What the grid spans."""

    selectivities: Sequence[float] = SELECTIVITIES
    ks: Sequence[int] = KS
    recalls: Sequence[float] = RECALLS

    def cells(self) -> list[Cell]:
        """All cells; where every row passes there is nothing to correlate with."""
        spots = [
            (share, lean)
            for share, lean in product(self.selectivities, LEANS)
            if share < 1 or lean == "none"
        ]
        return [Cell(*spot, k, r) for spot in spots for k in self.ks for r in self.recalls]


def measure(
    index: fanns.Index, rows: Rows, axes: Axes, rounds: int, report: Report | None = None
) -> Iterator[Measured]:
    """The cells of the grid, one after another."""
    cells, done = axes.cells(), 0
    similar = grid_masks.similarities(rows)
    index.warmup()
    for (share, lean), group in groupby(cells, lambda cell: cell[:2]):
        selected = grid_masks.select(rows, similar, share, lean, max(axes.ks))
        bound = [index.prepare(fanns.ids(part)) for part in selected.rows]
        for filter_ in bound:
            filter_.count()
        for cell in group:
            if report is not None:
                report("grid", done, len(cells))
            yield _cell(index, rows, cell, selected, bound, rounds)
            done += 1


def _cell(
    index: fanns.Index,
    rows: Rows,
    cell: Cell,
    selected: Selected,
    bound: Sequence[fanns.Prepared],
    rounds: int,
) -> Measured:
    asking = _Asking(index, rows, cell, selected, bound)
    predicted, recalls, planned, known = asking.explained(CHOSEN)
    told = {CHOSEN: (predicted, recalls)}
    for path in known:
        predicted, recalls, used, _ = asking.explained(path)
        if set(used) == {path}:  # where a path cannot be taken another one answers
            told[path] = predicted, recalls
    seconds: dict[str, list[NDArray[np.float64]]] = {path: [] for path in told}
    for turn in range(rounds):
        for path in shuffled(list(told), cell.name, turn):
            seconds[path].append(asking.timed(path))
    made = {
        path: Path(predicted, np.array(seconds[path]), recall_interval(recalls))
        for path, (predicted, recalls) in told.items()
    }
    chosen = made.pop(CHOSEN)
    return Measured(cell, made, chosen, planned, selected.affinity)


class _Asking:
    """The queries of a cell, asked one by one."""

    def __init__(
        self,
        index: fanns.Index,
        rows: Rows,
        cell: Cell,
        selected: Selected,
        bound: Sequence[fanns.Prepared],
    ) -> None:
        self.index, self.rows, self.cell = index, rows, cell
        self.selected, self.bound = selected, bound

    def explained(self, path: str) -> tuple[float, NDArray[np.float64], dict[str, int], list[str]]:
        """Untimed: the mean prediction in microseconds, the recall of each query, how many were
        answered by which path, and all paths that the planner weighed for any of them.
        """
        predicted: list[float] = []
        recalls: list[float] = []
        planned: dict[str, int] = {}
        known: dict[str, None] = {}
        for number in range(len(self.bound)):
            hits = self._search(number, path)
            parts = hits.explain().segments
            predicted.append(sum(part.predicted_us for part in parts))
            recalls.append(self._recall(number, hits))
            for part in parts:
                planned[part.path] = planned.get(part.path, 0) + 1
                known |= dict.fromkeys([part.path, *_weighed(part.rejected)])
        return float(np.mean(predicted)), np.array(recalls), planned, list(known)

    def timed(self, path: str) -> NDArray[np.float64]:
        """Seconds of each query."""
        taken = np.empty(len(self.bound))
        for number in range(len(self.bound)):
            begun = perf_counter()
            self._search(number, path)
            taken[number] = perf_counter() - begun
        return taken

    def _search(self, number: int, path: str) -> fanns.Hits:
        hits: fanns.Hits = self.index.search(
            self.rows.queries[number],
            self.cell.k,
            where=self.bound[number],
            recall=self.cell.recall,
            plan=path or None,
        )
        return hits

    def _recall(self, number: int, hits: fanns.Hits) -> float:
        wanted = min(self.cell.k, len(self.selected.rows[number]))
        limit = float(self.selected.distances[number, wanted - 1])
        return grid_masks.recall(self.rows, number, np.asarray(hits.ids), limit, wanted)


def _weighed(rejected: Sequence[tuple[str, float | None, str]]) -> list[str]:
    """The paths among the plans that lost which had a prediction: "graph one-hop" is a graph's."""
    return [plan.partition(" ")[0] for plan, predicted, _ in rejected if predicted is not None]
