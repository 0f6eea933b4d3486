"""What the scans of codes cost, and how long their shortlists must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.calibration.model import Costs
from fanns.calibration.needs import TARGETS
from fanns.calibration.samples import Bench, Trial, reached, recalls
from fanns.calibration.timing import TURNS, Job, Timed
from fanns.paths import Answers, Budget
from fanns.paths.scan import ScanParameters
from fanns.selection import Selection

# The shorter of two shortlists of estimates that are timed; those tried, as multiples of k.
SHORT = 40
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


class ScanKey(NamedTuple):
    """A scan that is timed: of `size` random rows."""

    size: int
    parameters: ScanParameters


def jobs(segment: Bench, queries: np.ndarray, rng: np.random.Generator) -> dict[ScanKey, Job]:
    """The scans whose times tell the costs of scans: of two sizes by each kind of codes."""
    few, many = _sizes(segment.n)
    wanted = [ScanKey(size, ScanParameters(rerank)) for size in (few, many) for rerank in (40, 0)]
    if segment.has_bits:
        few, many, short, long = _bit_sizes(segment.n)
        for size, bits in ((few, short), (many, short), (many, long)):
            wanted.append(ScanKey(size, ScanParameters(0, bits=bits)))
    lists = {
        size: [
            Selection.from_rows(
                np.sort(rng.choice(segment.n, size, replace=False)).astype(np.int32), segment.n
            )
            for _ in range(TURNS)
        ]
        for size in sorted({key.size for key in wanted})
    }

    def job(key: ScanKey) -> Job:
        chosen = lists[key.size]

        def run(turn: int) -> Answers:
            query = queries[turn % len(queries)][None]
            found: Answers = segment.scan.search(query, chosen[turn], 10, key.parameters, Budget())
            return found

        return run

    return {key: job(key) for key in wanted}


def scan_costs(times: Mapping[Any, Timed], n: int) -> Costs:
    """The line through two sizes of the int8 scan, and through two in full precision."""
    few, many = _sizes(n)

    def of(size: int, shortlist: int) -> float:
        return times[ScanKey(size, ScanParameters(shortlist))].ns

    span = max(many - few, 1)
    code_ns = max((of(many, 40) - of(few, 40)) / span, 1.0)
    exact_ns = max((of(many, 0) - of(few, 0)) / span, 1.0)
    return Costs(max(of(few, 40) - few * code_ns, 1_000.0), code_ns, exact_ns)


def bit_costs(times: Mapping[Any, Timed], n: int) -> Costs:
    """The plane through two sizes of the scan of bits, with two lengths of shortlist."""
    few, many, short, long = _bit_sizes(n)

    def of(size: int, shortlist: int) -> float:
        return times[ScanKey(size, ScanParameters(0, bits=shortlist))].ns

    code_ns = max((of(many, short) - of(few, short)) / max(many - few, 1), 1.0)
    row_ns = max((of(many, long) - of(many, short)) / (long - short), 1.0) if few > 3 else 100.0
    return Costs(max(of(few, short) - few * code_ns - short * row_ns, 1_000.0), code_ns, row_ns)


def _sizes(n: int) -> tuple[int, int]:
    """Few and many rows."""
    return max(1, n // 100), max(1, n // 8)


def _bit_sizes(n: int) -> tuple[int, int, int, int]:
    """Few and many rows, a short and a long list of the best of them."""
    few = max(1, n // 50)
    return few, max(1, n // 8), SHORT, SHORT + few // 4
