"""One segment on the device: batches of queries, each under a filter of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.attributes import RowContext
from fanns.device.columns import DeviceColumns, upload
from fanns.device.lanes import Lane
from fanns.device.places import cut, places_of
from fanns.device.planning import DevicePlan, NearRows, Plans, passes_all
from fanns.device.products import has_products
from fanns.device.rows import Rows, bits_bytes, moved, needed_of, no_selections
from fanns.expressions import Node
from fanns.kernels import bitset_cuda
from fanns.kernels.distance import METRICS
from fanns.kernels.graph_search_cuda import search_graph, search_graph_bytes
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT, DeviceArray, Workspace, bytes_of
from fanns.kernels.product_scan_cuda import scan_products, scan_products_bytes
from fanns.kernels.scan import EXHAUSTED, WORDS
from fanns.kernels.scan_bits_cuda import BitRows, estimates_bytes, scan_bits, scan_bits_bytes
from fanns.kernels.scan_clusters_cuda import (
    MOST_CLUSTERS,
    Enough,
    scan_clusters,
    scan_clusters_bytes,
)
from fanns.kernels.scan_cuda import scan_codes, scan_codes_bytes, scan_exact, scan_exact_bytes
from fanns.kernels.turns_cuda import add_work, assign_plans, fall_back
from fanns.paths import Answers
from fanns.paths.clusters import probed
from fanns.paths.graph import GraphParameters
from fanns.paths.locality import FAR
from fanns.planner import MOST as MOST_OF_PASSING
from fanns.reduction import Projected
from fanns.segment import Segment
from fanns.selection import word_count

SCANNED = 0
"""The number of the plan that scans: the first of `Plans`."""

FEWEST_MULTIPLIED = 16
"""Queries at a time from which on cuBLAS waits for arithmetic more than for memory, about."""

ANSWER_BYTES = 160
"""Of a query: its counts, status and work, twice, and its plan."""

TIMES = 4
"""Bitmaps that counting and scanning borrow beside a query's own, at most, in its own size."""


class Found(NamedTuple):
    """Answers to m queries, and how many rows pass the filter of each, int64[m]."""

    answers: Answers
    matches: Array


def joined(parts: Sequence[Found]) -> Found:
    """What was found for queries that were asked in several parts."""
    answers = zip(*(part.answers for part in parts), strict=True)
    matches = np.concatenate([part.matches for part in parts])
    return Found(Answers(*(np.concatenate(one) for one in answers)), matches)


class DeviceSegment:
    """A segment whose columns and rows are on the device; filters and queries come in batches."""

    def __init__(self, segment: Segment, context: RowContext) -> None:
        self.segment = segment
        self.columns = DeviceColumns(segment.attributes, context)
        self._metric = METRICS[segment.metric]
        self._rows: Rows | None = None

    def needed(self) -> dict[str, int]:
        """Bytes that must be on the device, by part."""
        return {"columns": self.columns.nbytes, **needed_of(self.segment)}

    def wanted(self) -> dict[str, int]:
        """Bytes of what serves some plans where there is room."""
        return {"codes of few bits": bits_bytes(self.segment)}

    @property
    def originals(self) -> int:
        """Bytes of the vectors."""
        return int(self.segment.vectors.vectors.nbytes)

    @property
    def dimensions(self) -> int:
        """Of the queries that kernels compare."""
        return int(self.segment.vectors.d)

    @property
    def has_bits(self) -> bool:
        """Whether codes of few bits are on the device."""
        return len(self._held().bits) > 0

    def move(self, cuda: Any, with_originals: bool, with_bits: bool) -> None:
        """Copy columns and rows; originals to the device, or to page-locked memory of the host."""
        self.columns.move(cuda)
        with_bits = with_bits and bits_bytes(self.segment) > 0
        self._rows = moved(self.segment, cuda, with_originals, with_bits)
        self._nothing = no_selections(cuda)

    def _held(self) -> Rows:
        if self._rows is None:
            raise ValueError("the segment was not moved to the device")
        return self._rows

    def batch(self, k: int, plans: Plans, share: float, workspace: Workspace) -> int:
        """Queries that a workspace has room for at a time, at least 1; `share` of them have a
        filter of their own.
        """
        n = self.segment.n
        bitmaps = math.ceil(TIMES * share * bytes_of(((1, word_count(n)), np.uint64)))
        borrowed = max(self._borrowed(k, plan, workspace) for plan in plans.plans)
        each = bitmaps + borrowed + 12 * k + ANSWER_BYTES + 4 * self.dimensions
        room = workspace.nbytes - 64 * ALIGNMENT
        if any(plan.products for plan in plans.plans):
            room //= 2  # the other half is for products, see `multiplies`
        return int(max(1, room // each))

    def multiplies(self, plan: DevicePlan, k: int, workspace: Workspace) -> bool:
        """Whether there is cuBLAS, and room for products of enough queries to be worth it."""
        one = scan_products_bytes(1, k, self.segment.n, plan.shortlist, workspace)
        return has_products() and 2 * FEWEST_MULTIPLIED * one <= workspace.nbytes

    def _borrowed(self, k: int, plan: DevicePlan, workspace: Workspace) -> int:
        """Bytes that a plan takes for one query while it runs."""
        n, width, shortlist = self.segment.n, self.segment.codes.width, plan.shortlist
        if plan.walk is not None:
            return search_graph_bytes(1, k, shortlist, width, workspace)
        if plan.products:  # what they need beside is for as many queries as there is room for
            return scan_exact_bytes(1, k, n, False, workspace)
        sizes = (0, 0, 0)
        if plan.bits:
            record = self._held().bits[0].shape[1]
            sizes = (self.segment.vectors.d, record, len(self.segment.centroids))
        if plan.near is not None:
            estimates = estimates_bytes(1, *sizes) if plan.bits else 0
            given = (1, k, plan.near.most, width, shortlist)
            return scan_clusters_bytes(*given, workspace, estimates)
        if plan.bits:
            return scan_bits_bytes(1, k, n, *sizes, shortlist, False, workspace)
        if shortlist:
            return scan_codes_bytes(1, k, n, width, shortlist, False, workspace)
        return scan_exact_bytes(1, k, n, False, workspace)

    def begin(
        self,
        filters: Sequence[Node],
        owners: Array,
        queries: Array,
        k: int,
        plans: Plans,
        lane: Lane,
    ) -> Pending | None:
        """Put a search for the k nearest rows that pass on a lane's stream, and do not wait.

        `filters`: those of queries float32[m, d] of the caller's; query i has number owners[i]
        (int32[m]). None where the bitmaps of so many filters do not fit the lane's workspace.
        """
        segment, workspace, m = self.segment, lane.workspace, len(queries)
        projected = segment.project(queries)
        inside = queries if projected is None else projected.queries
        programs = self.columns.programs(filters, segment.live)
        if 2 * self.columns.scratch_bytes(programs) > workspace.nbytes:
            if len(filters) > 1:
                return None  # filters of many values, or many bitmaps, take more than `batch` tells
            programs = self.columns.selected(filters[0], segment.live)
        with workspace.frame():
            places = places_of(m, k, len(filters), workspace)
            words = self.columns.bitmaps(programs, workspace)
            bitset_cuda.count(words, places.matches, workspace)
            asked = upload(np.ascontiguousarray(inside), workspace)
            rows = Passing(words, places.matches, passes_all(segment, filters))
            with workspace.owned(upload(owners if len(filters) > 1 else owners[:0], workspace)):
                if len(plans.plans) == 1:
                    self._run(asked, rows, plans.plans[0], places.answers, lane)
                else:
                    self._each_by_its_plan(asked, rows, plans, places.answers, lane)
            landing = lane.fetch(places.whole)
        return Pending(self, lane, landing, places.shapes, projected, owners)

    def _each_by_its_plan(
        self, queries: Any, rows: Passing, plans: Plans, answers: Answers, lane: Lane
    ) -> None:
        """Put all plans on the stream, each for the queries whose count it is for.

        The scan is last: what the others give up is then scanned for, with what is its own.
        """
        workspace, m = lane.workspace, len(answers.found)
        chosen, work = workspace.take((m,), np.int8), workspace.take((m, 4), np.int64)
        least = upload(np.array(plans.least, np.int64), workspace)
        assign_plans(rows.counts, least, chosen, answers.work, workspace)
        for number, plan in enumerate(plans.plans):
            if number != SCANNED:
                with workspace.only(chosen, number):
                    self._run(queries, rows, plan, answers, lane)
        fall_back(answers.status, EXHAUSTED, SCANNED, chosen, workspace)
        with workspace.only(chosen, SCANNED):
            scanned = answers._replace(work=work)
            self._run(queries, rows, plans.scan, scanned, lane)
        add_work(chosen, SCANNED, work, answers.work, workspace)

    def _run(
        self, queries: Any, rows: Passing, plan: DevicePlan, answers: Answers, lane: Lane
    ) -> None:
        """Put one plan on the stream."""
        workspace = lane.workspace
        if plan.products:
            self._products(queries, rows, plan.shortlist, answers, lane)
        elif plan.walk is not None:
            self._walk(queries, rows, plan.walk, answers, workspace)
        elif plan.near is not None:
            self._near(queries, rows, plan.near, plan, answers, workspace)
        else:
            self._scan(queries, rows, plan, answers, workspace)

    def _scan(
        self, queries: Any, rows: Passing, plan: DevicePlan, answers: Answers, workspace: Workspace
    ) -> None:
        """Put the scan of the rows that pass on the stream."""
        vectors, norms, ties, _, codes, _, clusters, bits = self._held()
        lists = (self._nothing.rows, self._nothing.offsets)
        held = (self.segment.n, vectors, norms, self._metric, ties)
        given: Any = (queries, WORDS, *lists, rows.words, *held)
        rest: Any = (plan.shortlist, *answers, workspace)
        if plan.bits:
            (records, signs, labels), mean = bits, codes[3]
            coded: Any = (records, signs, plan.bits, labels, *clusters[1:], mean)
            scan_bits(*given, *coded, *rest)
        elif plan.shortlist:
            scan_codes(*given, *codes, *rest)
        else:
            scan_exact(*given, *rest[1:])

    def _walk(
        self,
        queries: Any,
        rows: Passing,
        walk: GraphParameters,
        answers: Answers,
        workspace: Workspace,
    ) -> None:
        """Put a walk among the rows that pass on the stream."""
        vectors, norms, ties, _, codes, graph, *_ = self._held()
        given: Any = (queries, *self._passing(rows), *graph, *codes, vectors, norms, self._metric)
        settings = (walk.mode, walk.ef, walk.rerank, walk.gap, walk.walk_limit)
        rest: Any = (ties, *settings, *answers, workspace)
        search_graph(*given, *rest)

    def _near(
        self,
        queries: Any,
        rows: Passing,
        near: NearRows,
        plan: DevicePlan,
        answers: Answers,
        workspace: Workspace,
    ) -> None:
        """Put a scan of the rows of the nearest clusters on the stream."""
        vectors, norms, ties, _, codes, _, clusters, bits = self._held()
        tables = [upload(np.array(table), workspace) for table in (near.near, near.far)]
        probe = probed(len(self.segment.centroids))
        enough = Enough(tables[0], tables[1], FAR, probe, MOST_OF_PASSING)
        given: Any = (queries, *self._passing(rows), vectors, norms, self._metric, ties, *codes)
        by_bits = BitRows(bits[0], bits[1], plan.bits, bits[2]) if plan.bits else None
        most: Any = (enough, MOST_CLUSTERS, near.most, plan.shortlist)
        rest: Any = (by_bits, *most, *answers, workspace)
        scan_clusters(*given, *clusters, *rest)

    def _products(
        self, queries: Any, rows: Passing, shortlist: int, answers: Answers, lane: Lane
    ) -> None:
        """Put a scan by products of matrices on the stream, in parts that there is room for."""
        vectors, norms, ties, extremes, *_ = self._held()
        workspace, k = lane.workspace, answers.rows.shape[1]
        one = scan_products_bytes(1, k, self.segment.n, shortlist, workspace)
        at_once = max(1, workspace.left // one)
        given: Any = (queries, rows.words, vectors, norms, self._metric, ties, extremes)
        rest: Any = (shortlist, at_once, lane.products.multiply, *answers, workspace)
        scan_products(*given, *rest)

    def _passing(self, rows: Passing) -> tuple[DeviceArray, DeviceArray]:
        """Bitmaps and counts; none where every row passes."""
        nothing = self._nothing
        return (nothing.words, nothing.counts) if rows.everything else rows[:2]


class Pending(NamedTuple):
    """A search that was put on a stream: where its answers will stand."""

    held: DeviceSegment
    lane: Lane
    landing: Array
    shapes: Any
    projected: Projected | None
    owners: Array

    def wait(self) -> Found:
        """The answers, once the device has them."""
        self.lane.wait()
        # A copy: the lane's memory is for the next batch.
        matches, *parts = (part.copy() for part in cut(self.landing, self.shapes))
        answers = Answers(*parts)
        if self.projected is not None:
            answers = self.held.segment.restore(self.projected, answers)
        return Found(answers, matches[self.owners])


class Passing(NamedTuple):
    """Rows that pass: bitmaps uint64[s, w], their counts int64[s], or every row there is."""

    words: DeviceArray
    counts: DeviceArray
    everything: bool
