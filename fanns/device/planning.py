"""How a batch goes over a segment on the device: for how many passing rows a scan or which walk.

The CPU's calibration says which walk reaches a recall target, and with how many codes; what codes
cost is the device's own. How many rows pass is counted there and nobody waits for it: `choose` says
beforehand which plan serves which counts, and the device looks up the plan of each query.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fanns.device.costs import DeviceCosts
from fanns.execution import Options
from fanns.expressions import Constant, Node
from fanns.kernels.graph_answer import ONE_HOP
from fanns.kernels.graph_walk_cuda import fits
from fanns.kernels.jit_cuda import BLOCK
from fanns.kernels.masked_scan_cuda import MOST
from fanns.paths.graph import GraphParameters
from fanns.planner import scan_plan
from fanns.segment import Segment

EVERYTHING = Constant(True)

MOST_QUEUED = 160
"""Rows that a filtered one-hop walk keeps: it has a second list, of rows to follow."""

STEP = 2.0
"""Between the counts that walks are looked up for."""

MOST_WALKS = 6
"""Walks that a batch may choose from: each is launched, a few kernels, whether any query takes it
or not."""


class DevicePlan(NamedTuple):
    """`shortlist`: rows in full precision after codes, 0 for all rows that pass in full precision.
    `walk`: how to walk the graph, None for a scan. What a query costs: `query_ns`, and `row_ns` for
    each row that passes.
    """

    shortlist: int
    walk: GraphParameters | None = None
    query_ns: float = 0.0
    row_ns: float = 0.0

    @property
    def label(self) -> str:
        return "scan" if self.walk is None else "graph"

    def predicted_ns(self, count: int) -> float:
        """Nanoseconds of a query under whose filter so many rows pass."""
        return self.query_ns + count * self.row_ns


Walk = tuple[int, DevicePlan]
"""A walk, and the least number of passing rows that it is for."""


class Plans(NamedTuple):
    """The plans of a batch, those of walks behind the scan: plans[i] is for counts from least[i] up
    to the next one. The scan is first, and what walks give up falls back to it.
    """

    plans: tuple[DevicePlan, ...]
    least: tuple[int, ...]

    @property
    def scan(self) -> DevicePlan:
        return self.plans[0]

    @property
    def shortlist(self) -> int:
        """The longest of any plan."""
        return max(plan.shortlist for plan in self.plans)

    def of(self, count: int) -> DevicePlan:
        """The plan for so many passing rows."""
        return self.plans[bisect_right(self.least, count) - 1]


def only(plan: DevicePlan) -> Plans:
    """One plan for any number of passing rows."""
    return Plans((plan,), (0,))


def passes_all(segment: Segment, filters: Sequence[Node]) -> bool:
    """Whether every row of the segment passes the one filter of a batch, without a look at them."""
    return segment.live is None and list(filters) == [EVERYTHING]


def choose(
    segment: Segment, costs: DeviceCosts, filters: Sequence[Node], k: int, options: Options
) -> Plans:
    """The plans for a batch of queries, bound filters one for each or one for all."""
    if options.exact:
        return only(DevicePlan(0, row_ns=costs.row_ns))
    rerank = scan_plan(segment.calibration, segment.n, k, options.recall, False).parameters.rerank
    shortlist = rerank if k <= rerank <= MOST else 0
    code_ns = costs.shared_ns if len(filters) == 1 else costs.own_ns
    scan = DevicePlan(shortlist, None, row_ns=code_ns if shortlist else costs.row_ns)
    walks: list[Walk] = []
    unfiltered = passes_all(segment, filters)
    for least in [segment.n] if unfiltered else _counts(segment.n):
        walk = _walk(segment, costs, least, unfiltered, k, options.recall)
        if walk is None or walk.query_ns >= scan.predicted_ns(least):
            break
        walks.append((least, walk))
    walks = _fewer(walks)
    return Plans((scan, *(walk for _, walk in walks)), (0, *(least for least, _ in walks)))


def _fewer(walks: list[Walk]) -> list[Walk]:
    """At most MOST_WALKS of walks from many rows to few; gives them from few to many.

    Two neighbours become the one for fewer rows, which serves both and costs a little more: the
    two of which that is the least.
    """
    kept = walks[::-1]
    while len(kept) > 1:
        spent = [few.query_ns - more.query_ns for (_, few), (_, more) in pairwise(kept)]
        place = int(np.argmin(spent))
        if len(kept) <= MOST_WALKS and spent[place] > 0.0:
            break
        del kept[place + 1]
    return kept


def _counts(n: int) -> Iterator[int]:
    """Where plans may begin: every row, and then ever fewer of them."""
    share = 1.0
    while n * share >= 1.0:
        yield math.ceil(n * share)
        share /= STEP


def _walk(
    segment: Segment, costs: DeviceCosts, count: int, unfiltered: bool, k: int, recall: float
) -> DevicePlan | None:
    """The walk that reaches the target where so many rows pass, if there is one."""
    graph = segment.graph
    if graph is None:
        return None
    plan = segment.plan(count, k, recall, only="graph")
    if plan.path != "graph":
        return None
    walk: GraphParameters = plan.parameters
    one_hop = walk.mode == ONE_HOP and not unfiltered
    if one_hop:
        walk = walk._replace(ef=min(walk.ef, MOST_QUEUED))
    if not k <= walk.rerank <= walk.ef or not fits(one_hop, walk.ef, graph.links.shape[1], BLOCK):
        return None
    return DevicePlan(walk.rerank, walk, max(plan.predicted_codes, 1.0) * costs.code_ns)
