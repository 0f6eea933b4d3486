"""One segment on the device: batches of queries, each under a filter of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.attributes import RowContext
from fanns.device.columns import DeviceColumns, upload
from fanns.device.planning import DevicePlan
from fanns.expressions import Constant, Node
from fanns.kernels import bitset_cuda
from fanns.kernels.distance import METRICS
from fanns.kernels.graph_search_cuda import search_graph, search_graph_bytes
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT, DeviceArray, Workspace, bytes_of
from fanns.kernels.scan import EXHAUSTED, WORDS
from fanns.kernels.scan_cuda import scan_codes, scan_codes_bytes, scan_exact, scan_exact_bytes
from fanns.paths import Answers
from fanns.paths.graph import GraphParameters
from fanns.segment import Segment
from fanns.selection import word_count

EVERYTHING, NOTHING = Constant(True), Constant(False)

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


class _Rows(NamedTuple):
    """What kernels ask of the rows, on the device.

    vectors [n, d], norms float64[n], ties int64[n]; `codes`: the arrays of `Int8Codes`; `graph`:
    links int32[n, places], bounds int64[c + 1] of the clusters, their entry rows int32[c] and the
    codes of these; empty where there is no graph.
    """

    vectors: DeviceArray
    norms: DeviceArray
    ties: DeviceArray
    codes: tuple[DeviceArray, ...]
    graph: tuple[DeviceArray, ...]


class _Nothing(NamedTuple):
    """Selections of other forms have no rows, no offsets, no words, and no counts."""

    rows: DeviceArray
    offsets: DeviceArray
    words: DeviceArray
    counts: DeviceArray


class DeviceSegment:
    """A segment whose columns and rows are on the device; filters and queries come in batches."""

    def __init__(self, segment: Segment, context: RowContext) -> None:
        self.segment = segment
        self.columns = DeviceColumns(segment.attributes, context)
        self._metric = METRICS[segment.metric]
        self._rows: _Rows | None = None
        self._nothing: _Nothing | None = None

    def needed(self) -> dict[str, int]:
        """Bytes that must be on the device, by part."""
        own = 16 * self.segment.n
        codes = sum(array.nbytes for array in self._codes())
        parts = {"columns": self.columns.nbytes, "codes": codes, "ids and lengths": own}
        links = sum(array.nbytes for array in self._graph())
        return {**parts, "graph": links} if links else parts

    def _codes(self) -> tuple[Array, ...]:
        codes = self.segment.codes
        return codes.codes, codes.scale, codes.square, codes.mean, codes.limits

    def _graph(self) -> tuple[Array, ...]:
        graph, codes = self.segment.graph, self.segment.codes
        if graph is None:
            return ()
        bounds = np.unique(np.asarray(self.segment.clusters.offsets, np.int64))
        near = (one[graph.entries] for one in (codes.codes, codes.scale, codes.square))
        return graph.links, bounds, graph.entries, *near

    @property
    def originals(self) -> int:
        """Bytes of the vectors."""
        return int(self.segment.vectors.vectors.nbytes)

    def move(self, cuda: Any, with_originals: bool) -> None:
        """Copy columns and rows; originals to the device, or to page-locked memory of the host."""
        self.columns.move(cuda)
        vectors = self.segment.vectors
        if with_originals:
            held = cuda.to_device(vectors.vectors)
        else:
            held = cuda.mapped_array(vectors.vectors.shape, vectors.vectors.dtype)
            held[:] = vectors.vectors
        norms, ties = cuda.to_device(vectors.norms), cuda.to_device(self.segment.ids.ties)
        codes, graph = (
            tuple(cuda.to_device(np.ascontiguousarray(array)) for array in arrays)
            for arrays in (self._codes(), self._graph())
        )
        self._rows = _Rows(held, norms, ties, codes, graph)
        shapes: tuple[tuple[Any, Any], ...] = ((0, np.int32), (1, np.int64), ((0, 0), np.uint64))
        nothing = (np.zeros(shape, kind) for shape, kind in (*shapes, (0, np.int64)))
        self._nothing = _Nothing(*(cuda.to_device(array) for array in nothing))

    def batch(self, k: int, plan: DevicePlan, workspace: Workspace) -> int:
        """Queries that a workspace has room for at a time, at least 1."""
        n, width, shortlist = self.segment.n, self.segment.codes.width, plan.shortlist
        one = (1, word_count(n)), np.uint64
        if plan.walk is not None:
            scan = search_graph_bytes(1, k, shortlist, width, workspace)
        elif shortlist:
            scan = scan_codes_bytes(1, k, n, width, shortlist, False, workspace)
        else:
            scan = scan_exact_bytes(1, k, n, False, workspace)
        answers = 12 * k + 64
        each = TIMES * bytes_of(one) + scan + answers + 4 * self.segment.vectors.d
        return int(max(1, (workspace.nbytes - 64 * ALIGNMENT) // each))

    def search(
        self,
        filters: Sequence[Node],
        queries: Array,
        k: int,
        plan: DevicePlan,
        workspace: Workspace,
    ) -> Found:
        """The k nearest rows that pass for each query float32[m, d] of the caller's.

        `filters`: one for each query, or one for all. Nothing waits for the device before the
        answers come back, in one copy; queries whose walk gave up are then scanned for.
        """
        segment, m = self.segment, len(queries)
        if self._rows is None or self._nothing is None:
            raise ValueError("the segment was not moved to the device")
        projected = segment.project(queries)
        inside = queries if projected is None else projected.queries
        programs = self.columns.programs(filters, segment.live)
        if len(filters) > 1 and 2 * self.columns.scratch_bytes(programs) > workspace.nbytes:
            half = m // 2  # filters of many values, or many bitmaps, take more than `batch` allows
            parts = (slice(0, half), slice(half, m))
            some = [self.search(filters[p], queries[p], k, plan, workspace) for p in parts]
            return joined(some)
        with workspace.frame():
            places = _places(m, k, len(filters), workspace)
            words = self.columns.bitmaps(programs, workspace)
            bitset_cuda.count(words, places.matches, workspace)
            asked = upload(np.ascontiguousarray(inside), workspace)
            if plan.walk is None:
                self._scan(asked, words, plan.shortlist, places, workspace)
            else:
                everything = segment.live is None and list(filters) == [EVERYTHING]
                given = self._nothing[2:] if everything else (words, places.matches)
                self._walk(asked, *given, plan.walk, places, workspace)
            found = places.fetch(workspace)
        answers = found.answers if projected is None else segment.restore(projected, found.answers)
        found = Found(answers, np.broadcast_to(found.matches, (m,)))
        return self._scanned_on(found, filters, queries, k, plan, workspace)

    def _scan(
        self, queries: Any, words: Any, shortlist: int, places: _Places, workspace: Workspace
    ) -> None:
        """Put the scan of the rows that pass on the stream."""
        assert self._rows is not None and self._nothing is not None
        vectors, norms, ties, codes, _ = self._rows
        lists = (self._nothing.rows, self._nothing.offsets)
        rows = (self.segment.n, vectors, norms, self._metric, ties)
        given: Any = (queries, WORDS, *lists, words, *rows)
        rest: Any = (*places.answers, workspace)
        if shortlist:
            coded: Any = (*codes, shortlist)
            scan_codes(*given, *coded, *rest)
        else:
            scan_exact(*given, *rest)

    def _walk(
        self,
        queries: Any,
        words: Any,
        counts: Any,
        walk: GraphParameters,
        places: _Places,
        workspace: Workspace,
    ) -> None:
        """Put a walk among the rows that pass on the stream."""
        assert self._rows is not None
        vectors, norms, ties, codes, graph = self._rows
        given: Any = (queries, words, counts, *graph, *codes, vectors, norms, self._metric)
        settings = (walk.mode, walk.ef, walk.rerank, walk.gap, walk.walk_limit)
        rest: Any = (ties, *settings, *places.answers, workspace)
        search_graph(*given, *rest)

    def _scanned_on(
        self,
        found: Found,
        filters: Sequence[Node],
        queries: Array,
        k: int,
        plan: DevicePlan,
        workspace: Workspace,
    ) -> Found:
        """What was found, with a scan for the queries whose walk gave up."""
        ended = np.flatnonzero(found.answers.status == EXHAUSTED)
        if plan.walk is None or not len(ended):
            return found
        some = filters if len(filters) == 1 else [filters[place] for place in ended.tolist()]
        again = self.search(some, queries[ended], k, plan._replace(walk=None), workspace).answers
        answers: Any = [np.array(part) for part in found.answers]
        answers[-1][ended] += again.work
        for part, other in zip(answers[:-1], again[:-1], strict=True):
            part[ended] = other
        return found._replace(answers=Answers(*answers))


class _Places(NamedTuple):
    """Where kernels put answers, in one piece of the device's memory."""

    whole: DeviceArray
    matches: DeviceArray
    answers: Any
    shapes: Any

    def fetch(self, workspace: Workspace) -> Found:
        """Wait for the stream, and have all of them on the host."""
        held = self.whole.copy_to_host(stream=workspace.stream)
        _synchronise(workspace)
        parts = _cut(held, self.shapes)
        return Found(Answers(*parts[1:]), parts[0])


def _places(m: int, k: int, filters: int, workspace: Workspace) -> _Places:
    """Places for the answers to m queries under so many filters."""
    shapes = (
        ((filters,), np.int64),
        ((m, k), np.int32),
        ((m, k), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    )
    whole = workspace.take((bytes_of(*shapes),), np.uint8)
    matches, *answers = _cut(whole, shapes)
    return _Places(whole, matches, answers, shapes)


def _cut(whole: Any, shapes: Any) -> list[Any]:
    """The arrays of these shapes in one array of bytes, on the host or on the device."""
    made, start = [], 0
    for shape, kind in shapes:
        size = bytes_of((shape, kind))
        used = int(np.prod(shape)) * np.dtype(kind).itemsize
        made.append(whole[start : start + used].view(kind).reshape(shape))
        start += size
    return made


def _synchronise(workspace: Workspace) -> None:
    if workspace.stream:
        workspace.stream.synchronize()
