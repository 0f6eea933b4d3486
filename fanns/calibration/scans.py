"""What the scans of codes cost, and how long their shortlists must be."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from fanns.calibration.model import TARGETS, Costs
from fanns.calibration.samples import Bench, Trial, reached, recalls
from fanns.paths import Budget
from fanns.paths.scan import ScanParameters
from fanns.selection import Selection

# Shortlists of estimates by few bits that are tried, as multiples of k.
BIT_DEPTHS = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)


def depths(segment: Bench, one: Trial, k: int) -> tuple[float, ...]:
    """Shortlist of the int8 scan per target, as multiples of k, on all rows (the hardest case)."""
    queries, selection = one.queries[:64], one.selection
    truth = segment.scan.search(queries, selection, k, ScanParameters(6 * k, True), Budget())
    out = [0.0] * len(TARGETS)
    for depth in (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0):
        parameters = ScanParameters(max(math.ceil(depth * k), k))
        found = segment.scan.search(queries, selection, k, parameters, Budget())
        recall = float(recalls(found, truth).mean())
        # The codes' own loss must leave the target to the walk: a tenth of what may be lost.
        for j, target in enumerate(TARGETS):
            if out[j] == 0.0 and recall >= 1 - (1 - target) / 10:
                out[j] = depth
    return tuple(depth or 20.0 for depth in out)


def bit_depths(segment: Bench, hard: Sequence[Trial], k: int) -> tuple[float, ...]:
    """Shortlist of the estimates per target, enough for all trials; 0 where none was."""
    found = [_bit_depths(segment, one, k) for one in hard]
    return tuple(max(part) if all(part) else 0.0 for part in zip(*found, strict=True))


def _bit_depths(segment: Bench, one: Trial, k: int) -> tuple[float, ...]:
    """Shortlist of the estimates per target, as multiples of k; 0 where none was enough."""
    truth = one.best(k)
    out = [0.0] * len(TARGETS)
    for depth in BIT_DEPTHS:
        parameters = ScanParameters(0, bits=max(math.ceil(depth * k), k))
        found = segment.scan.search(one.queries, one.selection, k, parameters, Budget())
        shares = recalls(found, truth)
        for j, target in enumerate(TARGETS):
            if out[j] == 0.0 and reached(shares, target):
                out[j] = depth
        if all(out):
            break
    return tuple(out)


def scan_costs(segment: Bench, queries: np.ndarray, rng: np.random.Generator) -> Costs:
    """The line through two sizes of the int8 scan, and through two in full precision."""
    few, many = max(1, segment.n // 100), max(1, segment.n // 8)

    def timed(size: int, shortlist: int) -> float:
        return scan_time(segment, queries, rng, size, ScanParameters(shortlist))

    span = max(many - few, 1)
    code_ns = max((timed(many, 40) - timed(few, 40)) / span, 1.0)
    exact_ns = max((timed(many, 0) - timed(few, 0)) / span, 1.0)
    fixed = max(timed(few, 40) - few * code_ns, 1_000.0)
    return Costs(fixed, code_ns, exact_ns)


def bit_costs(segment: Bench, queries: np.ndarray, rng: np.random.Generator) -> Costs:
    """The plane through two sizes of the scan of bits, with two lengths of shortlist."""
    few, many = max(1, segment.n // 50), max(1, segment.n // 8)
    short, long = 40, 40 + few // 4

    def timed(size: int, shortlist: int) -> float:
        return scan_time(segment, queries, rng, size, ScanParameters(0, bits=shortlist))

    code_ns = max((timed(many, short) - timed(few, short)) / max(many - few, 1), 1.0)
    row_ns = max((timed(many, long) - timed(many, short)) / (long - short), 1.0) if few > 3 else 100
    fixed = max(timed(few, short) - few * code_ns - short * row_ns, 1_000.0)
    return Costs(fixed, code_ns, float(row_ns))


def scan_time(
    segment: Bench,
    queries: np.ndarray,
    rng: np.random.Generator,
    size: int,
    parameters: ScanParameters,
) -> float:
    """Nanoseconds of a scan of `size` random rows, one query at a time; the median.

    Every query gets rows of its own: what the caches still hold would look three times cheaper.
    """
    taken = []
    lists = [
        np.sort(rng.choice(segment.n, size, replace=False)).astype(np.int32) for _ in queries[:12]
    ]
    selections = [Selection.from_rows(rows, segment.n) for rows in lists]
    for query, selection in zip(queries, selections, strict=False):
        begun = time.thread_time_ns()
        segment.scan.search(query[None], selection, 10, parameters, Budget())
        taken.append(time.thread_time_ns() - begun)
    return float(np.median(taken))
