"""Which access path answers a query: the one with the least predicted cost.

The planner knows sizes, the recall target and the calibration; it does not know how a path works
inside. It returns a `Plan`, a value that `search` runs and `explain` prints.

Cost of a scan  = fixed + codes * ns per code; the fixed part holds the few distances in full
precision that prove the answer. A selection within the shortlist is compared in full precision.
Cost of a scan of bits = fixed + codes * ns per code + shortlist * ns per row of it: codes of few
bits pick a shortlist, long enough for the recall target, which int8 and full precision order.
Cost of clusters = fixed + clusters * ns per cluster + rows * ns per row + shortlist * ns per row of
it, for as many passing rows as the calibration says are enough at this selectivity, k and target.
Cost of a walk  = fixed + codes * ns per code, with the codes read from the calibrated curve of the
walk at this selectivity and recall target (log-log interpolation between calibrated points), and
under a filter the look at the pass-rate near the query that comes before.
All are predictions of one thread's time; the constants come from `calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanns.calibration.block_model import SLACK
from fanns.calibration.model import RATES, WIDEST, Calibration, Curve
from fanns.paths.clusters import DENSE_SHARE, NO_ESTIMATES, ClusterParameters
from fanns.paths.column_blocks import BlockParameters
from fanns.paths.column_path import Covering
from fanns.paths.graph import GraphParameters
from fanns.paths.scan import ScanParameters

PATHS = ("scan", "clusters", "graph", "keys")
# Shortlists as multiples of k. Of title queries on 100,000 abstracts x 384 the codes prove 54 %
# with 1.8 k, 99 % with 4 k and all with 6 k; reranking stops once proved, so that a long list
# costs little.
LIKELY, SURE = 4, 6
SHORTEST = 40
# What a scan in full precision costs before its first row: there is nothing to prepare.
FULL_FIXED_NS = 5_000
# The same of a scan of codes, for which the query is coded, and the distances in full precision
# that prove it, as a multiple of k. A calibrated fixed part holds what cold calls cost as well.
CODES_FIXED_NS = 8_000
PROVED = 1.6
# What a proof of exactness is worth, which the int8 scan mostly gives.
PROOF_NS = 10_000
# What the short way saves besides, from the filter to the hits, where a scan has a list of at most
# so many rows and goes by int8 codes or full precision.
SHORT_NS = 15_000
LISTED = 4_096
# A walk may spend this multiple of the other paths' predicted cost before one of them takes over.
REGRET = 1.0
# The least such budget, in codes that the walk is predicted to compare; a walk among the rows of an
# interval or a value takes longer for queries from elsewhere, and another path takes as long again.
SPREAD, WITHIN = 2.0, 4.0
# A scan costs the same wherever the rows stand, clusters up to three times as much where a filter
# avoids the query: a scan of up to so many times their cost is preferred.
SURELY = 1.35
# What blocks cost does not depend on how a column's values and the query go together, walks and
# clusters of all rows take up to three times what is predicted: blocks of up to so many times their
# cost are preferred.
KNOWN = 2.0
# A query near which rows pass at less than this share of the rate of all rows is walked to as one
# that the filter avoids: walks lose more recall by it than clusters, which have FAR.
AVOIDED = 0.8
# Filters mostly follow queries. Where many rows pass anyway, nearly all of those near the query do
# then, and as many more must be seen; a walk costs less instead.
FOLLOWED = 1.6
# So many times more rows must be seen where the rest of a filter avoids a query; shipped.
AWAY = 2.0
# The highest share of passing rows at which filtered walks are calibrated.
HALF = 0.5
# Where the clusters would look at this share of the passing rows, the scan takes over.
MOST = 0.5

Lost = tuple[str, float | None, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """One path with its parameters, what it should cost, and the plans that lost.

    Attributes:
        path: one of PATHS, or "native"; `label`: its variant, as explain names it.
        parameters: the path's own NamedTuple.
        predicted_ns: one thread's time, nanoseconds; `predicted_codes`: codes to compare.
        rejected: (label, predicted ns or None, why not).
        fallback: what finishes queries that this plan gave up, or could not prove.
        column: the title of the column's path that is taken, None for one of all rows.
        whole: that path's rows are all that the filter lets pass.
    """

    path: str
    label: str
    parameters: Any
    predicted_ns: float
    predicted_codes: float
    reason: str = "least predicted cost"
    rejected: tuple[Lost, ...] = ()
    fallback: Plan | None = None
    column: str | None = None
    whole: bool = False


def scan_plan(calibration: Calibration, count: int, k: int, target: float, exact: bool) -> Plan:
    """The scan of `count` passing rows; in full precision when asked for or when few pass."""
    costs = calibration.scan
    full_ns = FULL_FIXED_NS + count * costs.exact_ns
    # The wider the shortlist, the more often the codes alone prove the answer exact.
    shortlist = max(calibration.shortlist(k, target), (SURE if exact else LIKELY) * k, SHORTEST)
    proof_ns = min(costs.fixed_ns, CODES_FIXED_NS + PROVED * k * costs.exact_ns)
    predicted = proof_ns + count * costs.code_ns
    if count <= shortlist or full_ns < predicted:
        why = "few rows pass: all in full precision"
        return Plan("scan", "scan", ScanParameters(0), full_ns, 0, why)
    why = "exact asked for" if exact else "least predicted cost"
    return Plan("scan", "scan", ScanParameters(shortlist, exact), predicted, count, why)


def bits_plan(calibration: Calibration, count: int, k: int, target: float) -> Plan | None:
    """The scan by codes of few bits; None where it saves nothing, or may miss the target."""
    shortlist, costs = calibration.bit_shortlist(k, target), calibration.bits
    if shortlist is None or costs is None or count <= shortlist:
        return None
    predicted = costs.fixed_ns + count * costs.code_ns + shortlist * costs.exact_ns
    parameters = ScanParameters(0, bits=shortlist)
    return Plan("scan", "scan of bits", parameters, predicted, count + shortlist)


def clusters_plan(
    calibration: Calibration, rows: int, count: int, k: int, target: float, either: bool = False
) -> Plan | None:
    """The nearest clusters; None where all of them would be needed, or may miss the target.

    `either`: the filter may avoid the query as well as not. What a column says goes with what the
    vectors say, and a graph of the column costs as much for either.
    """
    model = calibration.clusters
    if model is None or count == 0:
        return None
    share = count / rows
    enough = model.near.at(share, k, target)
    parameters = model.parameters(share, k, target, calibration.shortlist(k, target))
    if parameters is None or enough >= count:
        return None
    predicted = model.cost(enough, share, rows, parameters.rerank)
    if DENSE_SHARE <= share < 1.0:
        predicted *= FOLLOWED
    if either:
        more = model.cost(min(parameters.far, count), share, rows, parameters.rerank)
        predicted = (predicted + max(more, predicted)) / 2
    return Plan("clusters", "clusters", parameters, predicted, enough)


def exact_clusters_plan(calibration: Calibration, rows: int, count: int, k: int) -> Plan | None:
    """All clusters that a bound does not rule out, by int8 codes; None where it rules out few."""
    model = calibration.clusters
    if model is None or model.exact_share >= 1.0 or count == 0:
        return None
    codes = model.exact_share * count
    predicted = model.times.fixed_ns + model.clusters * model.times.visit_ns
    predicted += codes * calibration.scan.code_ns
    rerank = max(calibration.shortlist(k, 1.0), SURE * k, SHORTEST)
    parameters = ClusterParameters((math.inf,), math.inf, rerank, NO_ESTIMATES)
    return Plan("clusters", "clusters, all that may matter", parameters, predicted, codes)


def graph_plan(
    curve: Curve, calibration: Calibration, selectivity: float, k: int, target: float
) -> Plan | None:
    """The walk that reaches the target at this selectivity, None where none was seen to."""
    point = curve.at(selectivity, target)
    if point is None:
        return None
    label = f"graph {curve.name}"
    extra_ns = calibration.lift_ns if selectivity < 1.0 else 0.0
    return _walk(label, curve, *point, calibration, k, target, extra_ns)


def column_graph_plan(
    covering: Covering, calibration: Calibration, rows: int, count: int, k: int, target: float
) -> Plan | None:
    """The walk through the graph of a column that covers a filter; None where it may miss.

    What the rest of the filter lets pass is a share of the rows of the walk: it takes more codes
    than one in which all pass by as much as on the graph of all rows.
    """
    curve = calibration.column_curve(covering.path)
    all_rows = calibration.walk_at(1.0, target)
    if curve is None or all_rows is None:
        return None
    share = covering.rows / covering.walks / rows
    point = curve.at(min(max(share, curve.selectivities[-1]), 1.0), target)
    passing = min(count / covering.rows, 1.0)
    among = all_rows if passing == 1.0 else calibration.walk_at(min(passing, HALF), target)
    if point is None or among is None:
        return None
    weight = min(math.log(passing) / math.log(HALF), 1.0)
    codes = covering.walks * point[1] * (among[1] / all_rows[1]) ** weight
    gap = max(point[0], among[0] * weight)
    more_ns = (covering.walks - 1) * curve.fixed_ns
    made = _walk(covering.path, curve, gap, codes, calibration, k, target, more_ns)
    return replace(made, column=covering.path, whole=passing == 1.0)


def blocks_plan(
    covering: Covering, calibration: Calibration, rows: int, count: int, k: int, target: float
) -> Plan | None:
    """The scan of a column's blocks that cover a filter; None where it may miss the target.

    Where the rest of the filter lets fewer rows pass, fewer of them are enough, but of more blocks:
    by as much as clusters say for shares of all rows.
    """
    model, clusters = calibration.block_model(covering.path), calibration.clusters
    slack = SLACK if clusters is None else clusters.slack(target)
    among = covering.rows / covering.walks
    enough = model.enough(round(among), rows, k, target)
    if slack is None or enough is None:
        return None

    def thinned(rate: float) -> float:
        if clusters is None:
            return math.sqrt(rate)
        few = clusters.near.at(rate * among / rows, k, target)
        return few / clusters.near.at(among / rows, k, target)

    def avoided(rate: float) -> float:
        if clusters is None or not clusters.far.shares:
            return AWAY
        share = rate * among / rows
        return clusters.far.at(share, k, target) / clusters.near.at(share, k, target)

    near = tuple(max(enough * thinned(2.0**-i), float(k)) for i in range(RATES))
    rerank = calibration.shortlist(k, target)
    passing = min(count / covering.rows, 1.0)
    wanted = enough * thinned(passing)
    far = wanted * max(avoided(passing), 1.0)
    # Values of one column go with those of another: the rest may follow the query, or avoid it.
    looked = wanted if passing == 1.0 else (wanted + far) / 2
    share = looked / max(passing * among, 1.0)
    predicted = model.cost(covering.blocks, share) + (covering.walks - 1) * model.fixed_ns
    parameters = BlockParameters(near, far, rerank, slack)
    return Plan(
        "clusters",
        covering.path,
        parameters,
        predicted,
        looked * covering.walks,
        column=covering.path,
        whole=passing == 1.0,
    )


def _walk(
    label: str,
    curve: Curve,
    gap: float,
    codes: float,
    calibration: Calibration,
    k: int,
    target: float,
    extra_ns: float,
) -> Plan:
    """A walk that follows rows up to a gap and compares so many codes for the calibrated k."""
    # A longer answer keeps more rows, by the same share.
    stretch = max(1.0, k / calibration.k)
    beam = max(math.ceil(WIDEST * stretch), k)
    codes *= stretch
    shortlist = min(calibration.shortlist(k, target), beam)
    predicted = curve.fixed_ns + codes * curve.code_ns + extra_ns
    parameters = GraphParameters(curve.mode, beam, shortlist, 0, gap)
    return Plan("graph", label, parameters, predicted, codes)


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
    coverings: Sequence[Covering] = (),
) -> Plan:
    """The plan for `count` of `rows` passing, by least predicted cost.

    `only` (of PATHS) leaves the choice to the caller. With `exact` the answer is proved whatever
    it costs. `far`: few of the rows near the query pass (see `asks_for_lift`). `coverings`: what
    the graphs of columns would walk through.
    """
    scan = scan_plan(calibration, count, k, target, exact)
    if exact:
        proving = exact_clusters_plan(calibration, rows, count, k)
        lost: list[Lost] = [("graph", None, "cannot prove exactness")]
        return _best(scan, [scan, proving], lost, "scan" if only == "scan" else None, count)
    others: list[Plan | None] = [scan, bits_plan(calibration, count, k, target)]
    others.append(clusters_plan(calibration, rows, count, k, target, bool(coverings)))
    of_columns, missed = _of_columns(coverings, calibration, rows, count, k, target)
    others += [plan for plan in of_columns if plan.path == "clusters"]
    if only in ("scan", "clusters") and any(plan and plan.path == only for plan in others):
        return _best(scan, others, [], only, count)
    walks, lost = _walks(calibration, rows, count, k, target, has_graph, far)
    walks += [plan for plan in of_columns if plan.path == "graph"]
    return _best(scan, [*others, *walks], [*lost, *missed], only, count)


def _of_columns(
    coverings: Sequence[Covering],
    calibration: Calibration,
    rows: int,
    count: int,
    k: int,
    target: float,
) -> tuple[list[Plan], list[Lost]]:
    """The plans by paths of columns that reach the target, and why others do not."""
    found: list[Plan] = []
    lost: list[Lost] = []
    for covering in coverings:
        made = blocks_plan if covering.blocks else column_graph_plan
        plan = made(covering, calibration, rows, count, k, target)
        if plan is None:
            lost.append((covering.path, None, f"recall {target:g} not seen at this selectivity"))
        else:
            found.append(plan)
    return found, lost


def _walks(
    calibration: Calibration,
    rows: int,
    count: int,
    k: int,
    target: float,
    has_graph: bool,
    far: bool,
) -> tuple[list[Plan], list[Lost]]:
    """The walks that reach the target, and why others do not."""
    if not has_graph:
        return [], [("graph", None, "the segment has none")]
    found: list[Plan] = []
    lost: list[Lost] = []
    for curve in calibration.curves:
        if curve.far == far:
            plan = graph_plan(curve, calibration, count / rows if rows else 0.0, k, target)
            if plan is not None:
                found.append(plan)
            else:
                why = f"recall {target:g} not seen at this selectivity"
                lost.append((f"graph {curve.name}", None, why))
    return found, lost


def _best(
    scan: Plan,
    offered: Iterable[Plan | None],
    lost: list[Lost],
    only: str | None,
    count: int,
) -> Plan:
    """The cheapest plan of the path asked for, if there is one; near a tie the scan that proves."""
    plans = [plan for plan in offered if plan is not None]
    allowed = [plan for plan in plans if only in (None, plan.path)] or [scan]
    best = min(allowed, key=lambda plan: plan.predicted_ns)
    if best.column is None and best.path != "scan":
        known = [plan for plan in allowed if plan.whole and plan.path == "clusters"]
        blocks = min(known, key=lambda plan: plan.predicted_ns, default=best)
        best = blocks if blocks.predicted_ns <= KNOWN * best.predicted_ns else best
    if best.path == "clusters" and best.column is None:
        scans = [plan for plan in allowed if plan.path == "scan"]
        sure = min(scans, key=lambda plan: plan.predicted_ns, default=best)
        best = sure if sure.predicted_ns <= SURELY * best.predicted_ns else best
    worth = PROOF_NS + SHORT_NS if count <= LISTED else PROOF_NS
    if scan in allowed and scan.predicted_ns <= best.predicted_ns + worth:
        best = scan
    asked = best.path == only
    for plan in plans:
        if plan is not best:
            fits = only is None or plan.path == only
            lost.append((plan.label, plan.predicted_ns, "costs more" if fits else "not asked for"))
    if best.path != "scan":
        left = [plan for plan in plans if plan.path != "graph" and plan is not best] or [scan]
        if best.path != "graph":  # what could not be proved is left to the scan that proves
            left = [plan for plan in plans if plan.path == "scan"]
        fallback = min(left, key=lambda plan: plan.predicted_ns)
        if best.path == "clusters" and best.column is None and only is None:
            # Rows far from a query stand in nearly every cluster: the scan is cheaper then.
            abandon = best.parameters.far >= MOST * count
            best = replace(best, parameters=best.parameters._replace(abandon=abandon))
        if best.path == "graph":
            limit = walk_limit(fallback, best)
            best = replace(best, parameters=best.parameters._replace(walk_limit=limit))
        best = replace(best, fallback=fallback)
    reason = "asked for" if asked else best.reason
    return replace(best, reason=reason, rejected=tuple(lost))


def asks_for_lift(plan: Plan, rows: int, count: int) -> bool:
    """Whether the pass-rate near the query, a tenth of a walk, may change the plan.

    Walks of all rows alone are so much dearer where a filter avoids the query; clusters see it on
    their way, and all rows of a column's graph lie in the interval or have the value.
    """
    return plan.path == "graph" and plan.column is None and count < rows


def walk_limit(other: Plan, walk: Plan) -> int:
    """Codes a walk may compare before another path is the better bet: that path's predicted cost.

    Never under a multiple of the walk's own prediction, so that ordinary spread does not end it.
    """
    by_other = REGRET * other.predicted_ns * walk.predicted_codes / walk.predicted_ns
    least = WITHIN if walk.whole else SPREAD
    return int(max(by_other, least * walk.predicted_codes)) + 1
