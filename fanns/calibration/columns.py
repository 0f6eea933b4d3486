"""How far walks on the graphs of columns look for each recall target, and their times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fanns.calibration.block_model import BlockModel
from fanns.calibration.blocks import block_models, blocks_of, timed_blocks
from fanns.calibration.model import TWO_HOP, WIDEST, Curve
from fanns.calibration.samples import Bench, recalls, trial
from fanns.calibration.timing import TURNS, Job, Timed, timed
from fanns.calibration.walks import QUERIES, climb, line, work_of
from fanns.paths import Answers, Budget
from fanns.paths.column_blocks import ColumnBlocks
from fanns.paths.column_path import BLOCKS_MOST, FEWEST, ColumnPath
from fanns.paths.graph import GraphParameters

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares of the rows that a filter on a column lets pass; where graphs serve, they are measured."""

GROUPS = 4
"""Intervals or values for each share, each with its part of the queries."""

TIMED_GAPS = (0.03, 0.13)
MOST_TIMED = 3
"""Shares that are timed."""


class ColumnKey(NamedTuple):
    """A walk that is timed."""

    graph: str
    share: float
    gap: float


def graphs_of(segment: Bench) -> list[ColumnPath]:
    """The graphs of columns."""
    every = [path for some in segment.column_graphs.values() for path in some]
    return [path for path in every if not isinstance(path, ColumnBlocks)]


def shares_of(segment: Bench, graph: ColumnPath) -> list[float]:
    """The shares that can be measured."""
    beside = any(path.postings is graph.postings for path in blocks_of(segment))
    least = BLOCKS_MOST // 2 if beside else FEWEST
    return [share for share in SHARES if share * segment.n >= least]


def jobs(
    segment: Bench, queries: np.ndarray, shortlist: int, rng: np.random.Generator
) -> dict[ColumnKey, Job]:
    """The walks whose times tell what codes cost them."""

    def walk(graph: ColumnPath, share: float, gap: float) -> Job:
        parameters = GraphParameters(TWO_HOP, WIDEST, shortlist, 0, gap)
        rows = round(share * segment.n)
        kept = [graph.postings.select(graph.example(rows, rng)) for _ in range(TURNS)]

        def run(turn: int) -> Answers:
            query = queries[turn % len(queries)][None]
            return graph.search(query, kept[turn], 10, parameters, Budget())

        return run

    return {
        ColumnKey(graph.title, share, gap): walk(graph, share, gap)
        for graph in graphs_of(segment)
        for share in shares_of(segment, graph)[:MOST_TIMED]
        for gap in TIMED_GAPS
    }


def measured(
    segment: Bench, queries: np.ndarray, k: int, shortlist: int, seed: int
) -> tuple[dict[str, Curve], dict[str, BlockModel]]:
    """The curves of all graphs and the models of all blocks, timed alone."""
    rng = np.random.default_rng(seed)
    walks = jobs(segment, queries, shortlist, rng)
    taken = timed({**walks, **timed_blocks(segment, queries, shortlist, rng)})
    found = curves(segment, queries, min(k, segment.n), shortlist, taken, rng)
    return found, block_models(segment, queries, taken, rng)


def curves(
    segment: Bench,
    queries: np.ndarray,
    k: int,
    shortlist: int,
    taken: Mapping[Any, Timed],
    rng: np.random.Generator,
) -> dict[str, Curve]:
    """A curve for each graph, by its title; its selectivities are shares of all rows."""
    made = {}
    for graph in graphs_of(segment):
        points: dict[float, tuple[tuple[float, ...], tuple[float, ...]]] = {}
        for share in shares_of(segment, graph):
            seen, gaps, codes = _point(segment, graph, share, queries, k, shortlist, rng)
            if not share / 2 < seen < 2 * share:
                continue  # no values are of this size
            points[seen] = (tuple(gaps.tolist()), tuple(codes.tolist()))
        if not points:
            continue
        times = [
            (one.work, one.ns)
            for key, one in taken.items()
            if isinstance(key, ColumnKey) and key.graph == graph.title
        ]
        falling = sorted(points, reverse=True)
        gaps_of, codes_of = zip(*(points[share] for share in falling), strict=True)
        made[graph.title] = Curve(TWO_HOP, False, *line(times), tuple(falling), gaps_of, codes_of)
    return made


def _point(
    segment: Bench,
    graph: ColumnPath,
    share: float,
    queries: np.ndarray,
    k: int,
    shortlist: int,
    rng: np.random.Generator,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The mean share of examples of about this one, and gap and work by target."""
    queries = queries[:QUERIES]
    groups = []
    for part in np.array_split(np.arange(len(queries)), min(GROUPS, len(queries))):
        selection = graph.postings.select(graph.example(round(share * segment.n), rng))
        one = trial(segment, share, False, selection, np.ascontiguousarray(queries[part]))
        groups.append((one, min(k, selection.count)))

    def look(gap: float) -> tuple[np.ndarray, float]:
        parameters = GraphParameters(TWO_HOP, max(WIDEST, k), shortlist, 0, gap)
        shares, work = [], 0.0
        for one, few in groups:
            found = graph.search(one.queries, one.selection, few, parameters, Budget())
            shares.append(recalls(found, one.best(few)))
            work += work_of(found) * len(one.queries)
        return np.concatenate(shares), work / len(queries)

    counts = [one.selection.count for one, _ in groups]
    gaps, codes = climb(look, min(counts))
    return float(np.mean(counts)) / segment.n, gaps, codes
