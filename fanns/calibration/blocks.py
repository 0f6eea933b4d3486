"""How many rows the nearest blocks of a column must hold, and what looking at them costs.

As for clusters nothing need be searched: a neighbour is found when its block is taken, which
happens when the nearer blocks hold fewer rows than are enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fanns.calibration.block_model import DEFAULT_BLOCKS, SLACK, BlockModel
from fanns.calibration.clusters import KS, STEPS, enough
from fanns.calibration.needs import Needs
from fanns.calibration.samples import Bench, trial
from fanns.calibration.timing import TURNS, Job, Timed
from fanns.calibration.walks import QUERIES
from fanns.paths import Answers, Budget
from fanns.paths.column_blocks import BlockParameters, ColumnBlocks, blocks_for
from fanns.paths.column_path import BLOCKS_MOST, FEWEST

SIZES = (1_100, 2_000, 4_000, 8_000, 16_000, 30_000)
"""Rows of intervals and values to measure on; examples are of some more."""

GROUPS = 4
"""Intervals or values of each size, each with its part of the queries."""

TIMED = (
    (2 * FEWEST, 0.1),
    (2 * FEWEST, 1.0),
    (BLOCKS_MOST // 4, 0.2),
    (BLOCKS_MOST // 2, 0.05),
    (BLOCKS_MOST // 2, 0.5),
)
"""Rows, and the share of them that is enough, of the scans that are timed."""


class BlockKey(NamedTuple):
    """A scan that is timed."""

    path: str
    rows: int
    share: float


def blocks_of(segment: Bench) -> list[ColumnBlocks]:
    """The blocks of columns."""
    every = [path for some in segment.column_graphs.values() for path in some]
    return [path for path in every if isinstance(path, ColumnBlocks)]


def timed_blocks(
    segment: Bench, queries: np.ndarray, shortlist: int, rng: np.random.Generator
) -> dict[BlockKey, Job]:
    """The scans whose times tell what blocks cost."""

    def scan(path: ColumnBlocks, rows: int, share: float) -> Job:
        kept = [path.postings.select(path.example(rows, rng)) for _ in range(TURNS)]

        def run(turn: int) -> Answers:
            near = (share * kept[turn].count,)
            parameters = BlockParameters(near, near[0], shortlist, SLACK)
            query = queries[turn % len(queries)][None]
            return path.search(query, kept[turn], 10, parameters, Budget())

        return run

    return {
        BlockKey(path.title, rows, share): scan(path, rows, share)
        for path in blocks_of(segment)
        for rows, share in TIMED
        if _serves(path, rows, rng)
    }


def _serves(path: ColumnBlocks, rows: int, rng: np.random.Generator) -> bool:
    """Whether there are intervals or values of about so many rows."""
    if 2 * rows > path.postings.n:
        return False
    found = path.covering(path.example(rows, rng))
    return found is not None and rows / 2 < found.rows < 2 * rows


def block_models(
    segment: Bench,
    queries: np.ndarray,
    taken: Mapping[Any, Timed],
    rng: np.random.Generator,
) -> dict[str, BlockModel]:
    """A model for the blocks of each column, by their title."""
    return {
        path.title: BlockModel(_needs(segment, path, queries[:QUERIES], rng), *_times(path, taken))
        for path in blocks_of(segment)
    }


def _needs(
    segment: Bench, path: ColumnBlocks, queries: np.ndarray, rng: np.random.Generator
) -> Needs:
    """The least numbers of rows that surely reach the targets."""
    points: dict[float, tuple[tuple[float, ...], ...]] = {}
    for rows in SIZES:
        if not _serves(path, rows, rng):
            continue
        parts, sizes = [], []
        for part in np.array_split(np.arange(len(queries)), min(GROUPS, len(queries))):
            bounds = path.example(rows, rng)
            selection = path.postings.select(bounds)
            asked = np.ascontiguousarray(queries[part])
            truth = trial(segment, 1.0, False, selection, asked).truth
            sizes.append(selection.count)
            # As shares: examples of about one size differ by some rows.
            parts.append(path.passing_before(asked, bounds, truth.rows) / selection.count)
        most = float(np.mean(sizes))
        ladder = np.unique(np.geomspace(1, most + 1, STEPS).astype(np.int64))
        passed = np.concatenate(parts) * most
        points[most / segment.n] = tuple(enough(passed, ladder, k, int(most)) for k in KS)
    rising = sorted(points)
    return Needs(tuple(rising), KS, tuple(points[share] for share in rising))


def _times(path: ColumnBlocks, taken: Mapping[Any, Timed]) -> tuple[float, float, float]:
    """Nanoseconds of a search, of a block ranked and of one looked at.

    The shipped ones, scaled: all three grow with the dimensions, and a few timed scans do not tell
    them apart on a machine that does other work.
    """
    slower = [
        one.ns / DEFAULT_BLOCKS.cost(blocks_for(key.rows, path.is_ranged), key.share)
        for key, one in taken.items()
        if isinstance(key, BlockKey) and key.path == path.title
    ]
    scale = float(np.median(slower)) if slower else 1.0
    known = (DEFAULT_BLOCKS.fixed_ns, DEFAULT_BLOCKS.centre_ns, DEFAULT_BLOCKS.block_ns)
    fixed, centre, block = (scale * ns for ns in known)
    return fixed, centre, block
