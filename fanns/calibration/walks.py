"""How far a walk looks for each recall target, and its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.calibration.model import ONE_HOP, TWO_HOP, WIDEST, Curve
from fanns.calibration.needs import TARGETS
from fanns.calibration.samples import Bench, Trial, reached, recalls
from fanns.calibration.timing import TURNS, Job, Timed
from fanns.paths import Answers, Budget
from fanns.paths.graph import GraphParameters
from fanns.selection import Selection

QUERIES = 128
# Shares of the k-th distance by which rows that are followed may be farther.
GAPS = (
    *(0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4),
    *(0.6, 1.0, 2.0, 4.0),
)
# Selectivities at which each kind of walk is measured; below the last a walk is never chosen.
TIMED = {ONE_HOP: (1.0, 0.5), TWO_HOP: (0.5, 0.2, 0.1)}
TIMED_GAPS = (0.03, 0.13)
FEWEST_TIMED = 136  # passing rows
LIFT = "lift"
# Fixed part and slope on segments too small to be timed.
SMALL = (15_000.0, 150.0)
GRIDS = {ONE_HOP: (1.0, 0.5), TWO_HOP: (0.5, 0.2, 0.1, 0.05, 0.02)}


class WalkKey(NamedTuple):
    """A walk that is timed, among a share of the rows."""

    mode: int
    share: float
    gap: float


def ladder(
    segment: Bench, one: Trial, mode: int, k: int, shortlist: int
) -> tuple[np.ndarray, np.ndarray]:
    """The least gap per target and the codes it compared; 0 where none reached it."""
    one = one.head(QUERIES)
    selection, queries = one.selection, one.queries
    k = min(k, selection.count)
    truth = one.best(k)

    def look(gap: float) -> tuple[np.ndarray, float]:
        parameters = GraphParameters(mode, max(WIDEST, k), shortlist, 0, gap)
        found = segment.graph.search(queries, selection, k, parameters, Budget())
        return recalls(found, truth), work_of(found)

    return climb(look, selection.count)


def work_of(found: Answers) -> float:
    """What a query compared: reading a list of links costs a walk as much as comparing a code."""
    return float((found.work[:, 0] + found.work[:, 3]).mean())


def climb(
    look: Callable[[float], tuple[np.ndarray, float]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The least gap per target and the work with it; 0 where none reached it.

    `look` gives the recalls float64[m] of walks with a gap, and their work; `count` rows pass.
    """
    gaps, codes = np.zeros(len(TARGETS)), np.zeros(len(TARGETS))
    # A code costs a walk at least twice what it costs a scan: beyond this the scan has won.
    dear = count / 2
    for gap in GAPS:
        shares, compared = look(gap)
        for j, target in enumerate(TARGETS):
            if gaps[j] == 0 and reached(shares, target):
                gaps[j], codes[j] = gap, compared
        if gaps.all() or compared > dear:
            break
    return gaps, codes


def jobs(
    segment: Bench, queries: np.ndarray, shortlist: int, rng: np.random.Generator
) -> dict[WalkKey | str, Job]:
    """The walks whose times tell what codes cost them, and the look at the lift before (LIFT)."""
    wanted = [
        WalkKey(mode, share, gap)
        for mode, shares in TIMED.items()
        for share in shares
        for gap in TIMED_GAPS
        if share * segment.n >= FEWEST_TIMED
    ]
    kept = {
        share: [
            Selection.all(segment.n)
            if share == 1.0
            else Selection.from_mask(rng.random(segment.n) < share)
            for _ in range(TURNS)
        ]
        for share in sorted({key.share for key in wanted})
    }

    def walk(key: WalkKey) -> Job:
        parameters = GraphParameters(key.mode, WIDEST, shortlist, 0, key.gap)

        def run(turn: int) -> Answers:
            query, selection = queries[turn % len(queries)][None], kept[key.share][turn]
            found: Answers = segment.graph.search(query, selection, 10, parameters, Budget())
            return found

        return run

    def lift(turn: int) -> None:
        segment.locality.lift(queries[turn % len(queries)][None], kept[0.5][turn])

    made: dict[WalkKey | str, Job] = {key: walk(key) for key in wanted}
    return made | {LIFT: lift} if 0.5 in kept else made


def line(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Fixed part and slope, nanoseconds, of walks by their codes (Theil and Sen's estimator)."""
    if len(times) < 2:
        return SMALL
    points = np.array(times)
    slope = float(np.median(points[:, 1] / np.maximum(points[:, 0], 1)))
    left, right = np.triu_indices(len(points), 1)
    gap = points[right, 0] - points[left, 0]
    wide = np.abs(gap) > 0.2 * points[:, 0].mean()
    if wide.any():
        slope = float(np.median((points[right, 1] - points[left, 1])[wide] / gap[wide]))
    slope = max(slope, 1.0)
    return max(float(np.median(points[:, 1] - slope * points[:, 0])), 0.0), slope


def curves(
    segment: Bench,
    known: Mapping[float, Sequence[Trial]],
    k: int,
    shortlist: int,
    taken: Mapping[Any, Timed],
    progress: Callable[[int, int], None],
) -> tuple[Curve, ...]:
    """The curves of all kinds of walks over trials by share; `taken`: the times of `jobs`."""
    steps = [(mode, s) for mode, grid in GRIDS.items() for s in grid if s in known]
    rows: dict[tuple[int, bool], list[tuple[float, tuple[float, ...], tuple[float, ...]]]] = {}
    costs = {
        mode: line([(one.work, one.ns) for key, one in taken.items() if _is_of(mode, key)])
        for mode in GRIDS
    }
    for done, (mode, s) in enumerate(steps):
        for one in known[s]:
            gaps, codes = ladder(segment, one, mode, k, shortlist)
            point = (s, tuple(gaps.tolist()), tuple(codes.tolist()))
            rows.setdefault((mode, one.far), []).append(point)
        progress(done + 1, len(steps))
    return tuple(
        Curve(*kind, *costs[kind[0]], *(tuple(part) for part in zip(*points, strict=True)))
        for kind, points in rows.items()
    )


def _is_of(mode: int, key: Any) -> bool:
    return isinstance(key, WalkKey) and key.mode == mode
