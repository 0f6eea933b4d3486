"""Measures a segment: the constants and curves that its planner goes by.

Masks are synthetic: random rows, and rows of clusters that most queries are far from. Queries are
the caller's, or rows of the data moved part of the way to other rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanns.calibration import clusters, columns, scans, walks
from fanns.calibration.block_model import BlockModel
from fanns.calibration.blocks import block_models, timed_blocks
from fanns.calibration.model import Calibration, Curve
from fanns.calibration.needs import TARGETS
from fanns.calibration.samples import Bench, Nearest, Trial, trials
from fanns.calibration.timing import Job, timed
from fanns.paths.clusters import NO_ESTIMATES

# Shares of the rows that pass, and the rows that must do so.
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
FEWEST = 20
# Shares of the rows, far from the queries, on which shortlists of estimates are tried too.
FAR_SHARES = (0.1, 0.02)


def measure(
    segment: Bench,
    queries: np.ndarray,
    source: str,
    seed: int,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
    own: Sequence[Trial] = (),
    nearest: Nearest | None = None,
) -> Calibration:
    """Fit constants and curves on a segment.

    Args:
        segment: its scan path, its path of clusters, its graph path (or None) and its clusters.
        queries: float32[m, d], C-contiguous.
        source: where the queries come from, for `info`.
        seed: of the masks.
        k: results per query at which curves of walks are measured.
        progress: called with (done, total).
        own: trials under filters of the user's.
        nearest: finds the true answers under masks; without, the scan path does.
    """
    rng = np.random.default_rng(seed)
    k = min(k, segment.n)
    known = {
        s: trials(segment, queries, s, rng, nearest)
        for s in SHARES
        if s == 1.0 or s * segment.n >= FEWEST * k
    }
    depths = scans.depths(segment, known[1.0][0], k)
    # Rows that lie far from a query stand close together, as estimates see them.
    hard = known[1.0] + [one for s in FAR_SHARES for one in known.get(s, []) if one.far]
    bit_depths = (0.0,) * len(TARGETS)
    if segment.has_bits:
        bit_depths = scans.bit_depths(segment, hard, k)
    every = [one for part in known.values() for one in part]
    shortlist = max(k + 8, math.ceil(max(depths) * k))
    model = clusters.model(segment, every, hard, shortlist)
    slack = max((one for one in model.slacks if one >= 0), default=NO_ESTIMATES)
    jobs: dict[Any, Job] = {**scans.jobs(segment, queries, rng)}
    jobs |= clusters.jobs(segment, queries, shortlist, slack, rng)
    if segment.graph is not None:
        jobs |= walks.jobs(segment, queries, shortlist, rng)
        jobs |= columns.jobs(segment, queries, shortlist, rng)
        jobs |= timed_blocks(segment, queries, shortlist, rng)
    taken = timed(jobs)
    model = replace(model, times=clusters.times(taken, segment.n, model.clusters))
    model = clusters.fitted(segment, model, own, k, shortlist)
    curves: tuple[Curve, ...] = ()
    within: dict[str, Curve] = {}
    cut: dict[str, BlockModel] = {}
    if segment.graph is not None:
        tell = progress or (lambda done, total: None)
        curves = walks.curves(segment, known, k, shortlist, taken, tell)
        within = columns.curves(segment, queries, k, shortlist, taken, rng)
        cut = block_models(segment, queries, taken, rng)
    return Calibration(
        source,
        k,
        scans.scan_costs(taken, segment.n),
        depths,
        curves,
        scans.bit_costs(taken, segment.n) if segment.has_bits else None,
        bit_depths,
        model,
        taken[walks.LIFT].ns if walks.LIFT in taken else 0.0,
        tuple(within.items()),
        tuple(cut.items()),
    )
