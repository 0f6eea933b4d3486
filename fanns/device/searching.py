"""An index on the device: batches of queries over its segments, their answers merged.

Every row that passes is compared, at the speed of the device's memory: in full precision for exact
answers, else by its int8 code, with a shortlist in full precision that mostly proves the answer
exact; or only the rows of the nearest clusters are, or the graph is walked, where that is predicted
to be faster. What it cannot do (budgets of time or work, plans by name, more than MOST rows) is
answered by the CPU's paths, as is what they are predicted to answer sooner; `explain` says where
and why.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from threading import Lock
from time import perf_counter_ns
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fanns.attributes import RowContext
from fanns.device.answers import Asked, DeviceAnswers, Ran
from fanns.device.costs import MANY, DeviceCosts, fastest
from fanns.device.finding import find_cuda, select
from fanns.device.lanes import LANES, Lane
from fanns.device.native import NativeDeviceSegment
from fanns.device.places import nothing_found
from fanns.device.planning import (
    EVERYTHING,
    DevicePlan,
    Plans,
    bits_plan,
    choose,
    choose_exact,
    near_plan,
    only,
    product_plan,
)
from fanns.device.residency import budget_on, free_dropped, plan_residency
from fanns.device.segment import DeviceSegment, Found, Pending, joined
from fanns.execution import Options, predicted_ns
from fanns.expressions import Constant
from fanns.kernels.masked_scan_cuda import MOST
from fanns.memory_limit import spelled
from fanns.prepared import Prepared, Snapshot
from fanns.segment import Segment

FEW = 8
"""Of up to so many queries the CPU's plans are looked at first, which takes its filters."""

MEASURED_K = 10

NOTHING = Constant(False)


class DeviceSearch:
    """The segments of an index on one CUDA device; searches of several threads take turns."""

    def __init__(self, number: int, device_memory: int | str | None) -> None:
        self.name = f"cuda:{number}"
        self._number, self._cuda = number, find_cuda(number)
        self._budget = budget_on(self._cuda, device_memory)
        self._segments: WeakKeyDictionary[Segment, DeviceSegment] = WeakKeyDictionary()
        self._lanes: list[Lane] = []
        self._costs: DeviceCosts | None = None
        self._lock = Lock()
        self.held = ""

    def see(self, snapshot: Snapshot) -> None:
        """Bring the segments of a snapshot to the device, those that are not there.

        Raises:
            DeviceError: they do not fit.
        """
        with self._lock:
            self._see(snapshot)

    def close(self) -> None:
        """Give the device's memory back; a search that comes later takes it again."""
        with self._lock:
            select(self._cuda, self._number)
            self._segments.clear()
            self._lanes.clear()
            free_dropped(self._cuda)

    def _see(self, snapshot: Snapshot) -> None:
        lacking = [segment for segment in snapshot.segments if segment not in self._segments]
        if not lacking and self._lanes:
            return
        select(self._cuda, self._number)
        for segment in [one for one in self._segments if one not in snapshot.segments]:
            del self._segments[segment]
        free_dropped(self._cuda)
        made = {
            segment: self._segments.get(segment) or _held(segment, context)
            for segment, context in zip(snapshot.segments, snapshot.contexts, strict=True)
        }
        needed: Counter[str] = Counter()
        wanted: Counter[str] = Counter()
        for held in made.values():
            needed.update(held.needed())
            wanted.update(held.wanted())
        originals = sum(held.originals for held in made.values())
        residency = plan_residency(needed, originals, self._budget, wanted)
        where = "on the device" if residency.originals else "in page-locked memory of the host"
        self.held = f"{spelled(residency.nbytes)} of {self.name}; originals {where}"
        if not self._lanes:
            scratch = residency.scratch // LANES
            self._lanes = [Lane(self._cuda, scratch) for _ in range(LANES)]
        for segment in lacking:
            with_bits = all(name in residency.parts for name in made[segment].wanted())
            made[segment].move(self._cuda, residency.originals, with_bits)
            self._segments[segment] = made[segment]

    def left_to_cpu(
        self,
        snapshot: Snapshot,
        filters: Sequence[Prepared],
        owners: np.ndarray,
        k: int,
        options: Options,
    ) -> str | None:
        """Why the CPU answers the queries of these filters; None where the device does."""
        if k > MOST:
            why = f"k is above {MOST}"
        elif options.timeout is not None or options.max_work is not None:
            why = "a search with a budget looks at the clock"
        elif options.only is not None:
            why = f"plan={options.only!r} names a path of it"
        elif (sooner := self._sooner(snapshot, filters, owners, k, options)) is not None:
            why = sooner
        else:
            return None
        return f"answered on the CPU, not on {self.name}: {why}"

    def _sooner(
        self,
        snapshot: Snapshot,
        filters: Sequence[Prepared],
        owners: np.ndarray,
        k: int,
        options: Options,
    ) -> str | None:
        """What is predicted, where that speaks for the CPU."""
        if len(owners) > FEW or not snapshot.rows:
            return None if snapshot.rows else "the index is empty"
        with self._lock:
            costs = self._measured(snapshot)
        rows, own = 0.0, 0.0
        shares = np.bincount(owners, minlength=len(filters)).tolist()
        for ready, share in zip(filters, shares, strict=True):
            for segment, selection in zip(snapshot.segments, ready.selections(), strict=True):
                rows += share * selection.count
                own += share * predicted_ns(segment, selection, k, options)
        there = costs.predicted(rows)
        if own > there:
            return None
        return f"it is predicted to take {own / 1e3:,.0f} us, the device {there / 1e3:,.0f} us"

    def search(
        self,
        snapshot: Snapshot,
        filters: Sequence[Prepared],
        owners: np.ndarray,
        queries: np.ndarray,
        k: int,
        options: Options,
    ) -> DeviceAnswers:
        """The k nearest passing rows of each query float32[m, d], and what `explain` needs of it.

        Query i has the filter of number owners[i] (int32[m]).
        """
        begun = perf_counter_ns()
        bound = [ready.bound for ready in filters]
        ran: list[Ran] = []
        with self._lock:
            batch_ns = self._measured(snapshot).batch_ns
            self._see(snapshot)
            select(self._cuda, self._number)
            for number, segment in enumerate(snapshot.segments):
                started = perf_counter_ns()
                plans = self._choose(segment, number, filters, len(queries), k, options)
                found = self._search(segment, bound, owners, queries, min(k, segment.n), plans)
                ran.append(Ran(segment, number, found, perf_counter_ns() - started, plans))
        took = perf_counter_ns() - begun
        asked = Asked(snapshot, filters, owners, k, options, self.name, batch_ns, took)
        return DeviceAnswers(asked, ran)

    def _choose(
        self,
        segment: Segment,
        number: int,
        filters: Sequence[Prepared],
        m: int,
        k: int,
        options: Options,
    ) -> Plans:
        """The plans of a batch over the segment of this number."""
        assert self._costs is not None
        if segment.native:
            return only(DevicePlan(0, row_ns=self._costs.full_ns))
        if not options.exact:
            costs = self._costs
            if not self._segments[segment].has_bits:
                costs = costs._replace(bits_ns=math.inf)
            return choose(segment, costs, [ready.bound for ready in filters], k, options)
        count = None
        if len(filters) == 1 and m >= MANY:  # what passes is counted here for those alone
            count = filters[0].selections()[number].count
        return choose_exact(segment, self._costs, min(k, segment.n), count)

    def _search(
        self,
        segment: Segment,
        bound: Sequence[Any],
        owners: np.ndarray,
        queries: np.ndarray,
        k: int,
        plans: Plans,
    ) -> Found:
        """All queries over one segment, as many at a time as there is room for.

        The lanes take turns: while one computes, filters of the next part are made ready.
        """
        held, m = self._segments[segment], len(queries)
        if k == 0 or not m:
            return Found(nothing_found(m, k), np.zeros(m, np.int64))
        size = held.batch(k, plans, len(bound) / m, self._lanes[0].workspace)
        waiting = [slice(first, min(first + size, m)) for first in range(0, m, size)][::-1]
        under_way: deque[Pending] = deque()
        made: list[Found] = []
        try:
            while waiting:
                part = waiting.pop()
                if len(under_way) == len(self._lanes):
                    made.append(under_way.popleft().wait())
                lane = self._lanes[(len(made) + len(under_way)) % len(self._lanes)]
                used, own = np.unique(owners[part], return_inverse=True)
                some, own = [bound[number] for number in used.tolist()], own.astype(np.int32)
                begun = held.begin(some, own, queries[part], k, plans, lane)
                if begun is None:
                    half = (part.start + part.stop) // 2
                    waiting += [slice(half, part.stop), slice(part.start, half)]
                else:
                    under_way.append(begun)
            made += [begun.wait() for begun in under_way]
        except BaseException:
            for lane in self._lanes:  # what is under way writes to memory of the next search
                lane.wait()
            raise
        return made[0] if len(made) == 1 else joined(made)

    def _measured(self, snapshot: Snapshot) -> DeviceCosts:
        """The costs, measured on the largest segment when they are first asked for."""
        if self._costs is None:
            self._see(snapshot)
            select(self._cuda, self._number)
            some = [one for one in snapshot.segments if not one.native] or snapshot.segments
            self._costs = self._measure(max(some, key=lambda one: one.n))
        return self._costs

    def _measure(self, segment: Segment) -> DeviceCosts:
        """Time what `choose` weighs on a segment; queries are rows of it."""
        rows = np.random.default_rng(0).integers(0, segment.n, MANY).astype(np.int32)
        queries = segment.originals(rows).astype(np.float32)
        k = min(MEASURED_K, segment.n)
        options = Options()

        def taken(bound: Sequence[Any], m: int, plan: DevicePlan) -> float:
            owners = np.arange(m, dtype=np.int32) % len(bound)
            return fastest(lambda: self._search(segment, bound, owners, queries[:m], k, only(plan)))

        full = DevicePlan(0)
        batch_ns = taken([NOTHING], 1, full)

        def each(bound: Sequence[Any], m: int, plan: DevicePlan) -> float:
            """Nanoseconds of a query, without those of a batch."""
            return max(taken(bound, m, plan) - batch_ns, 1.0) / m

        row_ns = each([EVERYTHING], 1, full) / segment.n
        full_ns = each([EVERYTHING], MANY, full) / segment.n
        costs = DeviceCosts(batch_ns, row_ns, math.inf, math.inf, 0.0, full_ns=full_ns)
        if segment.native:
            return costs
        products = product_plan(segment, costs, k)
        held, workspace = self._segments[segment], self._lanes[0].workspace
        if products is not None and held.multiplies(products, k, workspace):
            product_ns = each([EVERYTHING], MANY, products) / segment.n
            costs = costs._replace(product_ns=product_ns)
        walks = choose(segment, costs, [EVERYTHING], k, options)
        shared_ns = each([EVERYTHING], MANY, walks.scan) / segment.n
        own_ns = each([EVERYTHING] * MANY, MANY, walks.scan) / segment.n
        costs = costs._replace(shared_ns=shared_ns, own_ns=own_ns, code_ns=math.inf)
        near = near_plan(segment, costs._replace(near_ns=0.0), segment.n, k, options.recall)
        if near is not None:
            choosing = each([EVERYTHING], MANY, near) - near.query_ns
            costs = costs._replace(near_ns=max(choosing, 1.0))
        bits = bits_plan(segment, costs, segment.n, k, options.recall)
        if bits is not None and held.has_bits:
            bits_ns = each([EVERYTHING] * MANY, MANY, bits) / segment.n
            costs = costs._replace(bits_ns=bits_ns)
        walked = walks.of(segment.n)
        if walked.walk is None:
            return costs
        codes = segment.plan(segment.n, k, options.recall, only="graph").predicted_codes
        return costs._replace(code_ns=each([EVERYTHING], MANY, walked) / codes)


def _held(segment: Segment, context: RowContext) -> DeviceSegment:
    """A segment that is to be moved to the device."""
    return (NativeDeviceSegment if segment.native else DeviceSegment)(segment, context)
