"""How a batch goes over a segment on the device: a scan of what passes, or a walk of its graph.

The CPU's calibration says which walk reaches a recall target, and with how many codes; what codes
cost is the device's own. A walk needs to know how many rows pass before it begins, so a batch is
walked that has one filter for all queries; where each has its own, rows are scanned.
"""

from __future__ import annotations

from typing import NamedTuple

from fanns.device.costs import DeviceCosts
from fanns.execution import Options
from fanns.kernels.graph_answer import ONE_HOP
from fanns.kernels.masked_scan_cuda import MOST
from fanns.paths.graph import GraphParameters
from fanns.planner import scan_plan
from fanns.segment import Segment

MOST_QUEUED = 160
"""Rows that a filtered one-hop walk keeps: it has a second list, of rows to follow."""


class DevicePlan(NamedTuple):
    """`shortlist`: rows in full precision after codes, 0 for all rows that pass in full precision.
    `walk`: how to walk the graph, None for a scan. `predicted_ns`: of the whole batch.
    """

    shortlist: int
    walk: GraphParameters | None = None
    predicted_ns: float = 0.0

    @property
    def label(self) -> str:
        return "scan" if self.walk is None else "graph"


def choose(
    segment: Segment, costs: DeviceCosts, m: int, count: int | None, k: int, options: Options
) -> DevicePlan:
    """The plan for m queries of which `count` rows pass the filter; None where it is not known."""
    if options.exact:
        return DevicePlan(0, None, costs.predicted(m * (count or 0)))
    calibration = segment.calibration
    rerank = scan_plan(calibration, segment.n, k, options.recall, False).parameters.rerank
    shortlist = rerank if k <= rerank <= MOST else 0
    if count is None:
        return DevicePlan(shortlist)
    scan = DevicePlan(shortlist, None, costs.batch_ns + m * count * costs.shared_ns)
    if count == 0 or not segment.has_graph:
        return scan
    plan = segment.plan(count, k, options.recall, only="graph")
    if plan.path != "graph":
        return scan
    walk: GraphParameters = plan.parameters
    if walk.mode == ONE_HOP and count < segment.n:
        walk = walk._replace(ef=min(walk.ef, MOST_QUEUED))
    if not k <= walk.rerank <= walk.ef:
        return scan
    predicted = costs.batch_ns + m * plan.predicted_codes * costs.code_ns
    return DevicePlan(walk.rerank, walk, predicted) if predicted < scan.predicted_ns else scan
