"""Which access path answers a query: the one with the least predicted cost.

The planner knows sizes, the recall target and the calibration; it does not know how a path works
inside. It returns a `Plan`, a value that `search` runs and `explain` prints.

Cost of a scan  = fixed + codes * ns per code; the fixed part holds the few distances in full
precision that prove the answer. A selection within the shortlist is compared in full precision.
Cost of a scan of bits = fixed + codes * ns per code + shortlist * ns per row of it: one-bit codes
pick a shortlist, long enough for the recall target, which int8 codes and full precision order.
Cost of a walk  = fixed + codes * ns per code, with the codes read from the calibrated curve of the
walk at this selectivity and recall target (log-log interpolation between calibrated points).
Both are predictions of one thread's time; the constants come from `calibration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fanns.calibration import Calibration, Curve
from fanns.paths.graph import GraphParameters
from fanns.paths.scan import ScanParameters

# Shortlists as multiples of k. Of title queries on 100,000 abstracts x 384 the codes prove 54 %
# with 1.8 k, 99 % with 4 k and all with 6 k; reranking stops once proved, so that a long list
# costs little.
LIKELY, SURE = 4, 6
SHORTEST = 40
# What a proof of exactness is worth, which the int8 scan mostly gives.
PROOF_NS = 10_000
# A scan of less than this is taken without asking whether the filter avoids the query.
LIFT_NS = 60_000
# A walk may spend this multiple of the scan's predicted cost before the scan takes over.
REGRET = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One path with its parameters, what it should cost, and the plans that lost.

    Attributes:
        path: "scan" or "graph".
        parameters: the path's own NamedTuple.
        predicted_ns: one thread's time, nanoseconds; `predicted_codes`: codes to compare.
        walk_limit: codes after which a walk gives up and the scan takes over; 0 for a scan.
        rejected: (path, predicted ns or None, why not).
    """

    path: str
    parameters: Any
    predicted_ns: float
    predicted_codes: float
    reason: str
    rejected: tuple[tuple[str, float | None, str], ...] = ()


def scan_plan(calibration: Calibration, count: int, k: int, target: float, exact: bool) -> Plan:
    """The scan of `count` passing rows; in full precision when asked for or when few pass."""
    costs = calibration.scan
    # The wider the shortlist, the more often the codes alone prove the answer exact.
    shortlist = max(calibration.shortlist(k, target), (SURE if exact else LIKELY) * k, SHORTEST)
    if count <= shortlist:
        predicted = costs.fixed_ns + count * costs.exact_ns
        why = "few rows pass: all in full precision"
        return Plan("scan", ScanParameters(0), predicted, 0, why)
    predicted = costs.fixed_ns + count * costs.code_ns
    why = "exact asked for" if exact else "least predicted cost"
    return Plan("scan", ScanParameters(shortlist, exact), predicted, count, why)


def bits_plan(calibration: Calibration, count: int, k: int, target: float) -> Plan | None:
    """The scan by one-bit codes; None where it saves nothing, or may miss the target."""
    shortlist, costs = calibration.bit_shortlist(k, target), calibration.bits
    if shortlist is None or costs is None or count <= shortlist:
        return None
    predicted = costs.fixed_ns + count * costs.code_ns + shortlist * costs.exact_ns
    codes = count + shortlist
    return Plan("scan", ScanParameters(0, bits=shortlist), predicted, codes, "least predicted cost")


def best_scan(
    calibration: Calibration, count: int, k: int, target: float, exact: bool
) -> tuple[Plan, Plan | None]:
    """The cheaper scan, and the other one; near a tie the one that proves its answers."""
    scan = scan_plan(calibration, count, k, target, exact)
    bits = None if exact else bits_plan(calibration, count, k, target)
    if bits is None or scan.predicted_ns <= bits.predicted_ns + PROOF_NS:
        return scan, bits
    return bits, scan


def graph_plan(
    curve: Curve, calibration: Calibration, selectivity: float, k: int, target: float
) -> Plan | None:
    """The walk that reaches the target at this selectivity, None where none was seen to."""
    point = curve.at(selectivity, target)
    if point is None:
        return None
    ef, codes = point
    # Calibrated at its own k: a longer answer needs a beam longer by the same share.
    stretch = max(1.0, k / calibration.k)
    beam = max(math.ceil(ef * stretch), k)
    codes *= stretch
    shortlist = min(calibration.shortlist(k, target), beam)
    predicted = curve.fixed_ns + codes * curve.code_ns
    parameters = GraphParameters(curve.mode, beam, shortlist, 0)
    return Plan("graph", parameters, predicted, codes, "least predicted cost")


def choose(
    calibration: Calibration,
    rows: int,
    count: int,
    k: int,
    target: float,
    *,
    exact: bool = False,
    has_graph: bool = True,
    far: bool = False,
    only: str | None = None,
) -> Plan:
    """The plan for `count` of `rows` passing, by least predicted cost.

    `only` ("scan", "graph") leaves the choice to the caller. With `exact` the answer is the
    exact scan whatever it costs. `far`: few of the rows near the query pass (see `asks_for_lift`).
    """
    scan, other = best_scan(calibration, count, k, target, exact)
    if exact:
        return _with(scan, scan.reason, [("graph", None, "cannot prove exactness")])
    lost: list[tuple[str, float | None, str]] = []
    if other is not None:
        lost.append((_named(other), other.predicted_ns, "more predicted cost, or no proof"))
    if not has_graph:
        lost.append(("graph", None, "the segment is too small for one"))
        return _with(scan, scan.reason, lost)
    selectivity = count / rows if rows else 0.0
    walks = [
        (curve, graph_plan(curve, calibration, selectivity, k, target))
        for curve in calibration.curves
        if curve.far == far
    ]
    found = [plan for _, plan in walks if plan is not None]
    lost += [
        (f"graph {curve.name}", None, f"recall {target:g} not seen at this selectivity")
        for curve, plan in walks
        if plan is None
    ]
    if only == "scan" or not found:
        lost += [(_named(plan), plan.predicted_ns, "not asked for") for plan in found]
        return _with(scan, "asked for" if only else scan.reason, lost)
    best = min(found, key=lambda plan: plan.predicted_ns)
    lost += [
        (_named(plan), plan.predicted_ns, "more predicted cost")
        for plan in found
        if plan is not best
    ]
    if only != "graph" and scan.predicted_ns <= best.predicted_ns:
        lost.append((_named(best), best.predicted_ns, "more predicted cost"))
        return _with(scan, scan.reason, lost)
    lost.append(
        (
            _named(scan),
            scan.predicted_ns,
            "more predicted cost" if only is None else "not asked for",
        )
    )
    limit = walk_limit(scan, best)
    parameters = best.parameters._replace(walk_limit=limit)
    made = Plan("graph", parameters, best.predicted_ns, best.predicted_codes, best.reason)
    return _with(made, "asked for" if only else best.reason, lost)


def asks_for_lift(
    calibration: Calibration, rows: int, count: int, exact: bool, only: str | None
) -> bool:
    """Whether the pass-rate near the query is worth its price, about a tenth of a walk.

    Not when no walk is possible, nor where the scan costs little more than the question.
    """
    if exact or only == "scan" or count >= rows or not calibration.curves:
        return False
    code_ns = calibration.scan.code_ns if calibration.bits is None else calibration.bits.code_ns
    lowest = min(curve.selectivities[-1] for curve in calibration.curves)
    return count >= lowest * rows and (only == "graph" or count * code_ns > LIFT_NS)


def walk_limit(scan: Plan, walk: Plan) -> int:
    """Codes a walk may compare before the scan is the better bet: the scan's own predicted cost.

    Never under twice the walk's own prediction, so that ordinary spread does not end it.
    """
    by_scan = REGRET * scan.predicted_ns * walk.predicted_codes / walk.predicted_ns
    return int(max(by_scan, 2.0 * walk.predicted_codes)) + 1


def _named(plan: Plan) -> str:
    if plan.path == "graph":
        return "graph " + ("one-hop" if plan.parameters.mode == 0 else "two-hop")
    return "scan of bits" if plan.parameters.bits else "scan"


def _with(plan: Plan, reason: str, lost: list[tuple[str, float | None, str]]) -> Plan:
    return Plan(
        plan.path, plan.parameters, plan.predicted_ns, plan.predicted_codes, reason, tuple(lost)
    )
