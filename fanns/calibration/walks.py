"""The beam of a walk for each recall target, and its work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fanns.calibration.model import ONE_HOP, TARGETS, TWO_HOP, Curve
from fanns.calibration.samples import Bench, Trial, reached, recalls
from fanns.paths import Budget
from fanns.paths.graph import GraphParameters

QUERIES = 128
BEAMS = (10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 56, 68, 80, 112, 160, 224, 320, 448, 640)
# Selectivities at which each kind of walk is measured; below the last a walk is never chosen.
GRIDS = {ONE_HOP: (1.0, 0.5), TWO_HOP: (0.5, 0.2, 0.1, 0.05, 0.02)}


def ladder(
    segment: Bench,
    one: Trial,
    mode: int,
    k: int,
    shortlist: int,
    times: list[tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """The narrowest beam per target and the codes it compared; 0 where none reached it."""
    one = one.head(QUERIES)
    selection, queries = one.selection, one.queries
    k = min(k, selection.count)
    truth = one.best(k)
    beams, codes = np.zeros(len(TARGETS)), np.zeros(len(TARGETS))
    # A code costs a walk at least twice what it costs a scan: beyond this the scan has won.
    dear = selection.count / 2
    for beam in BEAMS:
        if beam < k:
            continue
        parameters = GraphParameters(mode, beam, min(shortlist, beam), 0)
        begun = time.thread_time_ns()
        found = segment.graph.search(queries, selection, k, parameters, Budget())
        took = (time.thread_time_ns() - begun) / len(queries)
        shares = recalls(found, truth)
        # Reading a list of links costs a walk as much as comparing a code, and counts as one.
        compared = float((found.work[:, 0] + found.work[:, 3]).mean())
        times.append((compared, took))
        for j, target in enumerate(TARGETS):
            if beams[j] == 0 and reached(shares, target):
                beams[j], codes[j] = beam, compared
        if beams.all() or compared > dear:
            break
    return beams, codes


def line(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Fixed part and slope, nanoseconds, of walks by their codes (Theil and Sen's estimator)."""
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
    progress: Callable[[int, int], None],
) -> tuple[Curve, ...]:
    """The curves of all kinds of walks over trials by share."""
    steps = [(mode, s) for mode, grid in GRIDS.items() for s in grid if s in known]
    rows: dict[tuple[int, bool], list[tuple[float, tuple[float, ...], tuple[float, ...]]]] = {}
    times: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    for done, (mode, s) in enumerate(steps):
        for one in known[s]:
            taken = times.setdefault((mode, one.far), [])
            beams, codes = ladder(segment, one, mode, k, shortlist, taken)
            point = (s, tuple(beams.tolist()), tuple(codes.tolist()))
            rows.setdefault((mode, one.far), []).append(point)
        progress(done + 1, len(steps))
    return tuple(
        Curve(*kind, *line(times[kind]), *(tuple(part) for part in zip(*points, strict=True)))
        for kind, points in rows.items()
    )
