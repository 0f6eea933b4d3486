"""How a batch goes over a segment on the device: for how many passing rows which way is taken.

There are scans of all rows that pass, by one kind of codes or another, scans of those in the
nearest clusters, and walks. The CPU's calibration says which walk reaches a recall target, with how
many codes, and how many rows of clusters or of a shortlist do; what codes cost is the device's own.
How many rows pass is counted there and nobody waits for it: `choose` says beforehand which plan
serves which counts, and the device looks up the plan of each query.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fanns.calibration.model import RATES, ClusterModel
from fanns.device.costs import DeviceCosts
from fanns.execution import Options, keep
from fanns.expressions import Constant, Node
from fanns.kernels.cluster_rows_cuda import MOST_CLUSTERS
from fanns.kernels.graph_answer import ONE_HOP
from fanns.kernels.graph_walk_cuda import fits
from fanns.kernels.jit_cuda import BLOCK
from fanns.kernels.masked_scan_cuda import MOST
from fanns.paths.clusters import DENSE_SHARE
from fanns.paths.graph import GraphParameters
from fanns.planner import FOLLOWED, SURELY, scan_plan
from fanns.segment import Segment

EVERYTHING = Constant(True)

MOST_QUEUED = 160
"""Rows that a filtered one-hop walk keeps: it has a second list, of rows to follow."""

STEP = 2.0
"""Between the counts that walks are looked up for."""

SURE, SPARE = 2, 32
"""Rows in float64 behind products of matrices, as a multiple of k and beside: rows that differ by
more than what float32 rounds, 0.002 % of their lengths at 384 dimensions, are told apart."""

MOST_ROWS = 1 << 16
"""The most rows that are listed for a query of the clusters path, 4 bytes each."""

MOST_WALKS = 6
"""Walks that a batch may choose from: each is launched, a few kernels, whether any query takes it
or not."""


class NearRows(NamedTuple):
    """How many passing rows of the nearest clusters are enough (`cluster_rows_cuda.Enough`).

    near[i] where the rows seen so far pass at a rate of 2^-i, far[i] where all rows do and the
    filter avoids the query. At most `most` rows are taken for a query.
    """

    near: tuple[float, ...]
    far: tuple[float, ...]
    most: int


class DevicePlan(NamedTuple):
    """`shortlist`: rows in full precision after codes, 0 for all rows that pass in full precision.
    `walk`: how to walk the graph; `near`: which rows of the nearest clusters to scan; neither: all
    that pass, with `products` by those of matrices, with `bits` a dimension by codes of so few.
    What a query costs: `query_ns`, and `row_ns` for each row that passes.
    """

    shortlist: int
    walk: GraphParameters | None = None
    query_ns: float = 0.0
    row_ns: float = 0.0
    near: NearRows | None = None
    products: bool = False
    bits: int = 0

    @property
    def label(self) -> str:
        if self.products:
            return "products"
        if self.near is not None:
            return "clusters"
        if self.bits:
            return "scan of bits"
        return "scan" if self.walk is None else "graph"

    def predicted_ns(self, count: int) -> float:
        """Nanoseconds of a query under whose filter so many rows pass."""
        return self.query_ns + count * self.row_ns


From = tuple[int, DevicePlan]
"""A plan, and the least number of passing rows that it is for."""


class Plans(NamedTuple):
    """The plans of a batch: plans[i] is for counts from least[i] up to the next one. The scan of
    all that passes is first, and what the others give up falls back to it.
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


def choose_exact(segment: Segment, costs: DeviceCosts, k: int, count: int | None) -> Plans:
    """The plans for queries that ask for exact answers: few ones, or under filters of their own
    (None), or many under one that `count` rows pass. For these products of matrices may be faster,
    which multiply all rows.
    """
    if count is None:
        return only(DevicePlan(0, row_ns=costs.row_ns))
    full, products = DevicePlan(0, row_ns=costs.full_ns), product_plan(segment, costs, k)
    if products is None or products.query_ns >= full.predicted_ns(count):
        return only(full)
    return Plans((full, products), (0, 0))


def product_plan(segment: Segment, costs: DeviceCosts, k: int) -> DevicePlan | None:
    """A scan by products of matrices, where there can be one."""
    shortlist = min(SURE * k + SPARE, MOST)
    if segment.vectors.vectors.dtype != np.float32 or not k < shortlist <= segment.n:
        return None
    return DevicePlan(shortlist, query_ns=segment.n * costs.product_ns, products=True)


def choose(
    segment: Segment, costs: DeviceCosts, filters: Sequence[Node], k: int, options: Options
) -> Plans:
    """The plans for a batch of queries, bound filters one for each or one for all, that need not
    be answered exactly; kept by the segment, as they take milliseconds to find.
    """
    own, unfiltered = len(filters) > 1, passes_all(segment, filters)
    key = ("device", costs, own, unfiltered, k, options.recall)
    plans: Plans | None = segment.plans.get(key)
    if plans is None:
        plans = _chosen(segment, costs, own, unfiltered, k, options)
        keep(segment, key, plans)
    return plans


def _chosen(
    segment: Segment, costs: DeviceCosts, own: bool, unfiltered: bool, k: int, options: Options
) -> Plans:
    """The plans of `choose`, found anew."""
    rerank = scan_plan(segment.calibration, segment.n, k, options.recall, False).parameters.rerank
    shortlist = rerank if k <= rerank <= MOST else 0
    code_ns = costs.own_ns if own else costs.shared_ns
    scan = DevicePlan(shortlist, None, row_ns=code_ns if shortlist else costs.row_ns)
    others: list[From] = []
    for least in [segment.n] if unfiltered else _counts(segment.n):
        given = (segment, costs, least)
        offered = [
            _walk(*given, unfiltered, k, options.recall),
            near_plan(*given, k, options.recall),
            bits_plan(*given, k, options.recall) if own else None,
        ]
        best = min(
            (plan for plan in offered if plan is not None),
            key=lambda plan: plan.predicted_ns(least),
            default=scan,
        )
        surely = SURELY if best.bits and best.near is None else 1.0
        if best is scan or surely * best.predicted_ns(least) >= scan.predicted_ns(least):
            break
        others.append((least, best))
    others = _fewer(others)
    return Plans((scan, *(plan for _, plan in others)), (0, *(least for least, _ in others)))


def _fewer(plans: list[From]) -> list[From]:
    """At most MOST_WALKS walks of plans from many rows to few; gives them from few to many.

    Two neighbours become the one for fewer rows, which serves both and costs a little more: the
    two of which that is the least. Scans of clusters go by tables that are right for any count.
    """
    kept = plans[::-1]
    while len(kept) > 1:
        spent = [_spent(few, more) for (_, few), (_, more) in pairwise(kept)]
        place = int(np.argmin(spent))
        walks = sum(plan.walk is not None for _, plan in kept)
        if spent[place] == math.inf or (walks <= MOST_WALKS and spent[place] > 0.0):
            break
        del kept[place + 1]
    return kept


def _spent(few: DevicePlan, more: DevicePlan) -> float:
    """Nanoseconds that a query for `more` costs in addition by the plan for few rows."""
    if (few.label, few.bits) != (more.label, more.bits):
        return math.inf
    return 0.0 if few.walk is None else few.query_ns - more.query_ns


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


def near_plan(
    segment: Segment, costs: DeviceCosts, count: int, k: int, recall: float
) -> DevicePlan | None:
    """The scan of the nearest clusters where so many rows pass, if it looks at a part of them."""
    model, n = segment.calibration.clusters, segment.n
    shortlist = segment.calibration.shortlist(k, recall)
    if model is None or count == 0 or not k <= shortlist <= MOST:
        return None
    share, clusters = count / n, len(segment.centroids)
    rows = model.near.at(share, k, recall)
    if DENSE_SHARE <= share < 1.0:
        rows *= FOLLOWED
    rows += count / clusters  # the last cluster is taken whole
    near = _near_rows(segment, model, k, recall)
    if rows >= count or rows > near.most or rows * clusters > count * MOST_CLUSTERS:
        return None
    plan = DevicePlan(shortlist, query_ns=costs.near_ns + rows * costs.own_ns, near=near)
    by_bits = bits_plan(segment, costs, math.ceil(rows), k, recall)
    if by_bits is not None:
        query_ns = costs.near_ns + by_bits.predicted_ns(math.ceil(rows))
        if query_ns < plan.query_ns:
            return by_bits._replace(query_ns=query_ns, row_ns=0.0, near=near)
    return plan


def bits_plan(
    segment: Segment, costs: DeviceCosts, count: int, k: int, recall: float
) -> DevicePlan | None:
    """The scan by codes of few bits of so many rows, which are each query's own.

    Queries that share their rows share what is read: they wait for arithmetic, of which these codes
    take more than int8 codes do.
    """
    shortlist = segment.calibration.bit_shortlist(k, recall)
    if shortlist is None or segment.bits is None or not k <= shortlist < min(count, MOST + 1):
        return None
    full_ns = shortlist * costs.row_ns
    return DevicePlan(shortlist, None, full_ns, costs.bits_ns, bits=segment.bits.bits)


def _near_rows(segment: Segment, model: ClusterModel, k: int, recall: float) -> NearRows:
    """The tables of a recall target, and room for all that they ask for, within MOST_ROWS."""
    key = ("near", k, recall)
    known: NearRows | None = segment.plans.get(key)
    if known is not None:
        return known
    near = [model.near.at(2.0**-i, k, recall) for i in range(RATES)]
    # Few rows may pass near a query by chance: it must not get less than it had otherwise.
    far = [max(a, model.far.at(2.0**-i, k, recall)) for i, a in enumerate(near)]
    largest = int(np.diff(segment.centroids.bounds).max())
    asked = max((a for a in (*near, *far) if a < math.inf), default=0.0)
    most = min(math.ceil(asked) + largest, MOST_ROWS, segment.n)
    made = NearRows(tuple(near), tuple(far), most)
    keep(segment, key, made)
    return made
