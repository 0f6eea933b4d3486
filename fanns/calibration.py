"""The cost model's constants and the recall curves, measured once at build and stored.

A curve belongs to one kind of walk. At each calibrated selectivity it holds, for each recall
target, the beam width that reached the target and the work of the walk: codes compared and lists
of links read. The masks are
synthetic: random rows, and rows of clusters that most queries are far from. The latter, run with
just those queries, give curves of their own: a walk is then several times dearer.

Queries are the caller's sample, or rows of the data moved part of the way to other rows.
"""

from __future__ import annotations

import json
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from fanns.errors import CorruptIndexError
from fanns.paths import Budget
from fanns.paths.graph import GraphParameters
from fanns.paths.scan import ScanParameters
from fanns.selection import Selection

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
BEAMS = (10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 56, 68, 80, 112, 160, 224, 320, 448, 640)
ONE_HOP, TWO_HOP = 0, 1
MODE_NAMES = ("one-hop", "two-hop")
# A query is far from the rows of a filter when the pass-rate near it is below this share of the
# overall one.
FAR = 0.6
# Standard errors by which a beam must be above its target. With one, a filter that half avoids the
# queries reached 0.946 of 0.95.
SAFETY = 2.0
# Fewer far queries than this tell nothing.
FEWEST_FAR = 16
# Shares of the rows, far from the queries, on which shortlists of one-bit estimates are tried too.
FAR_SHARES = (0.1, 0.02)
# Shortlists of one-bit estimates that are tried, as multiples of k.
BIT_DEPTHS = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
# Selectivities at which each kind of walk is measured; below the last a walk is never chosen.
GRIDS = {ONE_HOP: (1.0, 0.5), TWO_HOP: (0.5, 0.2, 0.1, 0.05, 0.02)}


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds: per search, per code compared, per full-precision distance."""

    fixed_ns: float
    code_ns: float
    exact_ns: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Beam and work of one kind of walk by selectivity (falling) and target (as TARGETS).

    `codes` counts lists of links as well. `beams[i][j]` and `codes[i][j]` belong to
    `selectivities[i]` and `TARGETS[j]`; 0 means that no beam reached the target there. `far`: for
    queries that the filter avoids. `fixed_ns`, `code_ns`: time of such walks by their codes.
    """

    mode: int
    far: bool
    fixed_ns: float
    code_ns: float
    selectivities: tuple[float, ...]
    beams: tuple[tuple[float, ...], ...]
    codes: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> str:
        return MODE_NAMES[self.mode] + (" far" if self.far else "")

    def at(self, selectivity: float, target: float) -> tuple[float, float] | None:
        """Beam and codes for a target at a selectivity, log-log between calibrated points.

        None below the last calibrated selectivity, above the highest target, or where a
        neighbouring point did not reach the target.
        """
        column = bisect_left(TARGETS, target - 1e-9)
        if column == len(TARGETS) or selectivity < self.selectivities[-1]:
            return None
        place = 0
        while place + 1 < len(self.selectivities) and self.selectivities[place + 1] >= selectivity:
            place += 1
        after = min(place + 1, len(self.selectivities) - 1)
        ends = [(self.beams[i][column], self.codes[i][column]) for i in (place, after)]
        if any(beam == 0 for beam, _ in ends):
            return None
        high, low = self.selectivities[place], self.selectivities[after]
        share = 0.0 if high <= low else math.log(high / selectivity) / math.log(high / low)
        share = min(max(share, 0.0), 1.0)
        beam, codes = (
            math.exp(math.log(a) * (1 - share) + math.log(b) * share)
            for a, b in zip(ends[0], ends[1], strict=True)
        )
        return beam, codes


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the planner knows of one segment's paths.

    `depths[j]` is the shortlist, as a multiple of k, that the int8 scan needs for `TARGETS[j]`;
    `bit_depths[j]` the same for the estimates of one-bit codes, 0 where none was enough. The
    `exact_ns` of `bits` is that of a row of the shortlist.
    """

    source: str
    k: int
    scan: Costs
    depths: tuple[float, ...]
    curves: tuple[Curve, ...] = field(default=())
    bits: Costs | None = None
    bit_depths: tuple[float, ...] = ()

    def shortlist(self, k: int, target: float) -> int:
        """Codes to rerank in full precision for k results at a recall target."""
        column = min(bisect_left(TARGETS, target - 1e-9), len(TARGETS) - 1)
        return max(k + 8, math.ceil(self.depths[column] * k))

    def bit_shortlist(self, k: int, target: float) -> int | None:
        """Estimates to compare by int8 codes for k results; None where no number was enough."""
        column = bisect_left(TARGETS, target - 1e-9)
        if self.bits is None or column == len(TARGETS) or self.bit_depths[column] == 0:
            return None
        return max(k + 30, math.ceil(self.bit_depths[column] * k))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """The inverse of `to_json`.

        Raises:
            CorruptIndexError: the text is not a calibration.
        """
        try:
            raw = json.loads(text)
            curves = tuple(
                Curve(
                    int(curve["mode"]),
                    bool(curve["far"]),
                    float(curve["fixed_ns"]),
                    float(curve["code_ns"]),
                    tuple(curve["selectivities"]),
                    tuple(tuple(row) for row in curve["beams"]),
                    tuple(tuple(row) for row in curve["codes"]),
                )
                for curve in raw["curves"]
            )
            return cls(
                str(raw["source"]),
                int(raw["k"]),
                Costs(**raw["scan"]),
                tuple(raw["depths"]),
                curves,
                None if raw["bits"] is None else Costs(**raw["bits"]),
                tuple(raw["bit_depths"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptIndexError(f"calibration: not readable ({error}); rebuild") from error


# Rounded from measurements on 100,000 abstracts x 384 (cosine, one core), beams towards the wider;
# used where measuring is switched off and for segments too small to measure.
DEFAULT = Calibration(
    source="default",
    k=10,
    scan=Costs(8_000, 30, 90),
    depths=(1.5, 2.0, 2.0, 3.0, 3.0, 5.0),
    bits=Costs(12_000, 11, 120),
    bit_depths=(4.0, 4.0, 6.0, 12.0, 12.0, 32.0),
    curves=(
        Curve(
            ONE_HOP,
            False,
            15_000,
            150,
            (1.0, 0.5),
            ((14, 28, 56, 160, 224, 640), (14, 28, 40, 80, 112, 448)),
            ((550, 900, 1_500, 3_200, 4_200, 9_000), (850, 1_300, 1_700, 2_700, 3_500, 9_500)),
        ),
        Curve(
            TWO_HOP,
            False,
            15_000,
            180,
            (0.5, 0.2, 0.1, 0.05),
            (
                (14, 28, 56, 112, 160, 640),
                (14, 28, 56, 112, 160, 640),
                (14, 28, 56, 112, 160, 640),
                (14, 28, 56, 112, 160, 640),
            ),
            (
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (1_000, 1_500, 2_800, 4_500, 6_000, 14_000),
                (900, 1_300, 2_000, 3_000, 4_000, 8_000),
            ),
        ),
    ),
)


class Bench(Protocol):
    """What calibration needs of a segment; a segment satisfies it."""

    n: int

    @property
    def has_bits(self) -> bool: ...
    @property
    def scan(self) -> Any: ...
    @property
    def graph(self) -> Any: ...
    @property
    def clusters(self) -> Any: ...
    @property
    def locality(self) -> Any: ...


def measure(
    segment: Bench,
    queries: np.ndarray,
    source: str,
    seed: int,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Fit constants and curves on a segment.

    Args:
        segment: its scan path, its graph path (or None) and its clusters.
        queries: float32[m, d], C-contiguous.
        source: where the queries come from, for `info`.
        seed: of the masks.
        k: results per query at which curves are measured.
        progress: called with (done, total).
    """
    rng = np.random.default_rng(seed)
    k = min(k, segment.n)
    everything = Selection.all(segment.n)
    scan_costs = _scan_costs(segment, queries, rng)
    depths = _depths(segment, queries, everything, k)
    bits, bit_depths = None, (0.0,) * len(TARGETS)
    if segment.has_bits:
        bits = _bit_costs(segment, queries, rng)
        # Rows that lie far from a query stand close together, as estimates see them.
        hard = [
            (selection, chosen)
            for s in FAR_SHARES
            if s * segment.n >= 20 * k
            for far, selection, chosen in _masks(segment, queries, s, rng)
            if far
        ]
        found = [_bit_depths(segment, *one, k) for one in [(everything, queries), *hard]]
        bit_depths = tuple(max(part) if all(part) else 0.0 for part in zip(*found, strict=True))
    if segment.graph is None:
        return Calibration(source, k, scan_costs, depths, (), bits, bit_depths)
    shortlist = max(k + 8, math.ceil(max(depths) * k))
    steps = [(mode, s) for mode, grid in GRIDS.items() for s in grid]
    steps = [(mode, s) for mode, s in steps if s * segment.n >= 20 * k]
    rows: dict[tuple[int, bool], list[tuple[float, tuple[float, ...], tuple[float, ...]]]] = {}
    times: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    masks = {s: _masks(segment, queries, s, rng) for s in sorted({s for _, s in steps})}
    for done, (mode, s) in enumerate(steps):
        for far, selection, chosen in masks[s]:
            taken = times.setdefault((mode, far), [])
            beams, codes = _ladder(segment, chosen, selection, mode, k, shortlist, taken)
            point = (s, tuple(beams.tolist()), tuple(codes.tolist()))
            rows.setdefault((mode, far), []).append(point)
        if progress is not None:
            progress(done + 1, len(steps))
    curves = tuple(
        Curve(*kind, *_line(times[kind]), *(tuple(part) for part in zip(*points, strict=True)))
        for kind, points in rows.items()
    )
    return Calibration(source, k, scan_costs, depths, curves, bits, bit_depths)


def sample_queries(vectors: np.ndarray, seed: int, count: int = 128) -> np.ndarray:
    """Stand-ins for queries, float32[count, d]: rows moved part of the way to another row.

    A row itself would be found at once, being in the graph; moved away from its place it is
    harder, as queries of another kind than the data are.
    """
    rng = np.random.default_rng(seed)
    n = len(vectors)
    ours = np.asarray(vectors[np.sort(rng.integers(0, n, count))], np.float32)
    others = np.asarray(vectors[np.sort(rng.integers(0, n, count))], np.float32)
    rng.shuffle(others)
    share = rng.uniform(0.2, 0.5, (count, 1)).astype(np.float32)
    mixed = ours * (1 - share) + others * share
    # Opposite rows may cancel; such a stand-in would have no direction under cosine.
    mixed[np.linalg.norm(mixed, axis=1) == 0] = ours[np.linalg.norm(mixed, axis=1) == 0]
    return np.ascontiguousarray(mixed)


def _masks(
    segment: Bench, queries: np.ndarray, s: float, rng: np.random.Generator
) -> list[tuple[bool, Selection, np.ndarray]]:
    """Selections of a share s with the queries to run under each, and whether those are far."""
    n = segment.n
    if s >= 1.0:
        return [(False, Selection.all(n), queries)]
    out = [(False, Selection.from_mask(rng.random(n) < s), queries)]
    # Rows around a random centre: most queries lie far from it.
    offsets, centroids = segment.clusters
    centre = centroids[rng.integers(len(centroids))]
    near = np.argsort(((centroids - centre) ** 2).sum(1), kind="stable")
    sizes = np.diff(offsets)[near]
    mask = np.zeros(n, bool)
    for cluster in near[: max(1, int(np.searchsorted(np.cumsum(sizes), s * n)))]:
        mask[offsets[cluster] : offsets[cluster + 1]] = True
    selection = Selection.from_mask(mask)
    far = segment.locality.lift(queries, selection) < FAR
    if far.sum() >= FEWEST_FAR:
        out.append((True, selection, np.ascontiguousarray(queries[far])))
    return out


def _recalls(found: Any, truth: Any) -> np.ndarray:
    """Share of rows at most as far as the k-th true one, float64[m]; ties admitted."""
    rows, distances, counts = truth
    limit = distances[np.arange(len(rows)), counts - 1]
    slack = 1e-9 * np.maximum(1.0, np.abs(limit))
    good = (found.rows >= 0) & (found.distances <= (limit + slack)[:, None])
    valid = np.arange(found.rows.shape[1])[None] < found.found[:, None]
    return np.asarray((good & valid).sum(1) / counts)


def _truth(segment: Bench, queries: np.ndarray, selection: Selection, k: int) -> Any:
    answers = segment.scan.search(queries, selection, k, ScanParameters(6 * k), Budget())
    return answers.rows, answers.distances, answers.found


def _ladder(
    segment: Bench,
    queries: np.ndarray,
    selection: Selection,
    mode: int,
    k: int,
    shortlist: int,
    times: list[tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """The narrowest beam per target and the codes it compared; 0 where none reached it."""
    k = min(k, selection.count)
    truth = _truth(segment, queries, selection, k)
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
        recalls = _recalls(found, truth)
        # Reading a list of links costs a walk as much as comparing a code, and counts as one.
        compared = float((found.work[:, 0] + found.work[:, 3]).mean())
        times.append((compared, took))
        # The sample is small, and real filters are less even than these masks.
        sure = recalls.mean() - SAFETY * recalls.std() / math.sqrt(len(recalls))
        for j, target in enumerate(TARGETS):
            # Perfect on the whole sample is the most that a sample can show.
            if beams[j] == 0 and (sure >= target or recalls.mean() >= max(target, 0.9995)):
                beams[j], codes[j] = beam, compared
        if beams.all() or compared > dear:
            break
    return beams, codes


def _depths(segment: Bench, queries: np.ndarray, selection: Selection, k: int) -> tuple[float, ...]:
    """Shortlist of the int8 scan per target, as multiples of k, on all rows (the hardest case)."""
    exact = segment.scan.search(queries[:64], selection, k, ScanParameters(6 * k, True), Budget())
    truth = (exact.rows, exact.distances, exact.found)
    out = [0.0] * len(TARGETS)
    for depth in (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0):
        parameters = ScanParameters(max(math.ceil(depth * k), k))
        found = segment.scan.search(queries[:64], selection, k, parameters, Budget())
        recall = float(_recalls(found, truth).mean())
        # The codes' own loss must leave the target to the walk: a tenth of what may be lost.
        for j, target in enumerate(TARGETS):
            if out[j] == 0.0 and recall >= 1 - (1 - target) / 10:
                out[j] = depth
    return tuple(depth or 20.0 for depth in out)


def _bit_depths(
    segment: Bench, selection: Selection, queries: np.ndarray, k: int
) -> tuple[float, ...]:
    """Shortlist of the one-bit estimates per target, as multiples of k; 0 where none was enough."""
    truth = _truth(segment, queries, selection, k)
    out = [0.0] * len(TARGETS)
    for depth in BIT_DEPTHS:
        parameters = ScanParameters(0, bits=max(math.ceil(depth * k), k))
        found = segment.scan.search(queries, selection, k, parameters, Budget())
        recalls = _recalls(found, truth)
        sure = recalls.mean() - SAFETY * recalls.std() / math.sqrt(len(recalls))
        for j, target in enumerate(TARGETS):
            if out[j] == 0.0 and (sure >= target or recalls.mean() >= max(target, 0.9995)):
                out[j] = depth
        if all(out):
            break
    return tuple(out)


def _timed(
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
    for query in queries[:12]:
        rows = np.sort(rng.choice(segment.n, size, replace=False)).astype(np.int32)
        selection = Selection.from_rows(rows, segment.n)
        begun = time.thread_time_ns()
        segment.scan.search(query[None], selection, 10, parameters, Budget())
        taken.append(time.thread_time_ns() - begun)
    return float(np.median(taken))


def _scan_costs(segment: Bench, queries: np.ndarray, rng: np.random.Generator) -> Costs:
    """The line through two sizes of the int8 scan, and through two in full precision."""
    few, many = max(1, segment.n // 100), max(1, segment.n // 8)

    def timed(size: int, shortlist: int) -> float:
        return _timed(segment, queries, rng, size, ScanParameters(shortlist))

    span = max(many - few, 1)
    code_ns = max((timed(many, 40) - timed(few, 40)) / span, 1.0)
    exact_ns = max((timed(many, 0) - timed(few, 0)) / span, 1.0)
    fixed = max(timed(few, 40) - few * code_ns, 1_000.0)
    return Costs(fixed, code_ns, exact_ns)


def _bit_costs(segment: Bench, queries: np.ndarray, rng: np.random.Generator) -> Costs:
    """The plane through two sizes of the scan of one-bit codes, with two lengths of shortlist."""
    few, many = max(1, segment.n // 50), max(1, segment.n // 8)
    short, long = 40, 40 + few // 4

    def timed(size: int, shortlist: int) -> float:
        return _timed(segment, queries, rng, size, ScanParameters(0, bits=shortlist))

    code_ns = max((timed(many, short) - timed(few, short)) / max(many - few, 1), 1.0)
    row_ns = max((timed(many, long) - timed(many, short)) / (long - short), 1.0) if few > 3 else 100
    fixed = max(timed(few, short) - few * code_ns - short * row_ns, 1_000.0)
    return Costs(fixed, code_ns, float(row_ns))


def _line(times: list[tuple[float, float]]) -> tuple[float, float]:
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
