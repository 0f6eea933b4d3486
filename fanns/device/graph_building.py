"""The links of a segment's graph, made on a CUDA device: near rows of near clusters, then refined.

1. Each row is compared with the rows of its nearest clusters, then with every 4th, 16th and 64th
   row of 4, 16 and 64 times as many clusters: as many comparisons at each level, so that links lead
   near and far at any size.
2. These candidates are pruned as by the builder on the CPU, and links added the other way round.
3. Twice more, from the rows that links and their links lead to, and the far candidates.

Entries, copies, and rows that links do not lead to are settled by the CPU's builder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fanns.codes import Int8Codes
from fanns.errors import DeviceError
from fanns.kernels.graph_link_cuda import MOST_KEPT, count_sources, link_rows, note_sources
from fanns.kernels.graph_near_cuda import (
    join_columns,
    nearest_rows,
    nearest_rows_bytes,
    sign_codes,
)
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT, DeviceArray, Workspace, bytes_of
from fanns.memory_limit import spelled
from fanns.paths.graph_builder import GraphBuilder, Links


class Level(NamedTuple):
    """Which rows a row is compared with: every `step`-th, and how many of them are kept."""

    step: int
    kept: int


CLUSTERS = 16
"""Clusters whose rows a row is compared with; `step` times as many at a level."""

NEAR = Level(1, 100)
FAR = (Level(4, 32), Level(16, 32), Level(64, 32))

ROUNDS = 2
"""Refinements."""

GROUP = 1 << 16
"""Rows, about, whose candidates are held at a time."""

Told = Callable[[int, int], None] | None


class _Rows(NamedTuple):
    """What links are made by, on the device.

    codes uint8[n, w] and parameters float32[n, PARAMETERS] (`graph_build`), skipped uint8[n]: rows
    that equal another.
    """

    codes: DeviceArray
    parameters: DeviceArray
    skipped: DeviceArray


def rows_of_level(bounds: Array, clusters: Array, step: int, skipped: Array) -> Array:
    """Every `step`-th row of some clusters, without those that are skipped, int32."""
    low, high = bounds[clusters], bounds[clusters + 1]
    low = low + -low % step
    counts = np.maximum(-(-(high - low) // step), 0)
    before = np.cumsum(counts) - counts
    rows = np.repeat(low - step * before, counts) + step * np.arange(counts.sum())
    passing: Array = rows[skipped[rows] == 0].astype(np.int32)
    return passing


def groups_of(bounds: Array, most: int) -> Iterator[tuple[int, int]]:
    """Runs of clusters of at most so many rows together, or of one cluster."""
    start = 0
    while start < len(bounds) - 1:
        stop = int(np.searchsorted(bounds, bounds[start] + most, side="right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


class DeviceGraph:
    """Makes links on one device, of whose memory `budget` bytes may be taken."""

    def __init__(self, cuda: Any, budget: int) -> None:
        self._cuda, self._budget = cuda, budget

    def build_links(
        self,
        norms: Array,
        codes: Int8Codes,
        bounds: Array,
        *,
        seed: int,
        threads: int | None,
        progress: Told,
        places: int,
        degree: int,
        beam: int,
    ) -> Links:
        """As `graph_builder.build_links`; the same entries, other links.

        Nothing is drawn from `seed`; `beam` is that of searches for rows that links do not lead to.

        Raises:
            DeviceError: codes, links and candidates do not fit the device.
        """
        builder = GraphBuilder(norms, codes, bounds, threads, places, degree, beam)
        if codes.n:
            starts = builder.choose_entries()
            _Build(self._cuda, self._budget, builder, codes, bounds).run(progress)
            builder.settle(starts)
        return Links(builder.links, builder.entries)


class _Build:
    """One build on the device; the links of all rows so far are in `links`, new ones in `other`."""

    def __init__(
        self, cuda: Any, budget: int, builder: GraphBuilder, codes: Int8Codes, bounds: Array
    ) -> None:
        n, places = builder.links.shape
        self._cuda, self._builder, self._bounds = cuda, builder, bounds
        self._skipped = (builder.first != np.arange(n)).astype(np.uint8)
        self._near = _own_first(builder.near_clusters(CLUSTERS * FAR[-1].step))
        self._groups = list(groups_of(bounds, GROUP))
        kept_far = sum(level.kept for level in FAR)
        scratch, lists = self._sizes(codes.width)
        links = 4 * places * n
        parts = {
            "codes": (codes.width + 4 * builder.parameters.shape[1] + 1) * n,
            "links": 2 * links,
            "links back": 4 * builder.degree * n + 12 * n,
            "candidates": 4 * kept_far * n + lists + scratch,
        }
        if sum(parts.values()) > budget:
            told = ", ".join(f"{name} {spelled(size)}" for name, size in parts.items())
            raise DeviceError(
                f"the graph of {n:,} rows does not fit the device: it needs "
                f"{spelled(sum(parts.values()))} there ({told}), and {spelled(budget)} may be "
                'taken (device_memory=); device="cpu" builds it without, memory_limit= builds '
                "smaller segments"
            )
        self._space = Workspace(scratch)
        moved = (cuda.to_device(one) for one in (codes.codes, builder.parameters, self._skipped))
        self._rows = _Rows(*moved)
        self._links, self._other = (cuda.to_device(builder.links) for _ in range(2))
        self._far = cuda.device_array((n, kept_far), np.int32)
        self._none = self._space.take((0, 0), np.int32)
        self._no_rows, self._no_bounds = (
            cuda.to_device(np.zeros(1, kind)) for kind in (np.int32, np.int64)
        )

    def _sizes(self, width: int) -> tuple[int, int]:
        """Bytes of a workspace, and of the rows that the clusters of a group are compared with."""
        bounds, sizes = self._bounds, np.diff(self._bounds)
        rows = max(int(bounds[stop] - bounds[start]) for start, stop in self._groups)
        space, scans, lists = Workspace(0), 0, 0
        for level in (NEAR, *FAR):
            compared = -(-sizes // level.step)[self._near[:, : CLUSTERS * level.step]].sum(axis=1)
            pairs = set(zip(sizes.tolist(), compared.tolist(), strict=True))
            scans = max(scans, *(nearest_rows_bytes(m, level.kept, n, space) for m, n in pairs))
            groups = (int(compared[start:stop].sum()) for start, stop in self._groups)
            lists = max(lists, 4 * max(groups))
        held: list[Any] = [((rows, level.kept), np.int32) for level in (NEAR, *FAR)]
        signed = ((int(sizes.max()), width), np.int8)
        return bytes_of(*held, signed) + scans + 8 * ALIGNMENT, lists

    def run(self, progress: Told) -> None:
        """Fill the builder's links."""
        n, done = len(self._skipped), 0
        whole = (1 + ROUNDS) * n
        for start, stop in self._groups:
            self._link_group(start, stop)
            done += int(self._bounds[stop] - self._bounds[start])
            if progress is not None:
                progress(done, whole)
        self._swap()
        self._link_back()
        for _ in range(ROUNDS):
            self._link(self._none, self._far, 0, n, 1, 0, NEAR.kept)
            self._swap()
            self._link_back()
            done += n
            if progress is not None:
                progress(done, whole)
        self._links.copy_to_host(self._builder.links)

    def _link_group(self, start: int, stop: int) -> None:
        """Links of the rows of some clusters, from candidates of all levels."""
        low, high = int(self._bounds[start]), int(self._bounds[stop])
        with self._space.frame():
            found = [self._space.take((high - low, level.kept), np.int32) for level in (NEAR, *FAR)]
            for level, out in zip((NEAR, *FAR), found, strict=True):
                self._compare(start, stop, level, out)
            join_columns(found[1:], low, self._far, self._space)
            self._link(found[0], self._far, low, high - low, 0, 0, NEAR.kept)

    def _compare(self, start: int, stop: int, level: Level, out: DeviceArray) -> None:
        """The nearest of a level's rows to each row of some clusters."""
        bounds, space, parameters = self._bounds, self._space, self._rows.parameters
        near = self._near[start:stop, : CLUSTERS * level.step]
        lists = [rows_of_level(bounds, own, level.step, self._skipped) for own in near]
        ends = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        rows = self._cuda.to_device(np.concatenate([*lists, np.zeros(1, np.int32)]))
        moved = self._cuda.to_device(ends)
        for number, cluster in enumerate(range(start, stop)):
            first, last = int(bounds[cluster]), int(bounds[cluster + 1])
            own = out[first - int(bounds[start]) : last - int(bounds[start])]
            with space.frame():
                signed = space.take((last - first, self._rows.codes.shape[1]), np.int8)
                sign_codes(self._rows.codes, first, signed, space)
                compared = (rows, moved[number : number + 2], len(lists[number]))
                nearest_rows(signed, self._rows.codes, parameters, first, *compared, own, space)

    def _link(
        self,
        near: DeviceArray,
        far: DeviceArray,
        first: int,
        count: int,
        hops: int,
        room: int,
        keep: int,
        sources: DeviceArray = None,
        bounds: DeviceArray = None,
    ) -> None:
        """New links of some rows; see `link_rows`."""
        back = (self._no_rows, self._no_bounds) if sources is None else (sources, bounds)
        settings = (first, count, hops, room, keep, self._builder.degree, self._builder.alpha)
        given = (*self._rows, self._links, near, far, *back, *settings)
        link_rows(*given, self._other, self._space)

    def _link_back(self) -> None:
        """Add to each row's links those of the rows that link to it."""
        n, places = self._builder.links.shape
        counts = self._cuda.device_array(n, np.int32)
        count_sources(self._links, counts, self._space)
        bounds = np.zeros(n + 1, np.int64)
        np.cumsum(counts.copy_to_host(), out=bounds[1:])
        moved = self._cuda.to_device(bounds)
        sources = self._cuda.device_array(max(int(bounds[-1]), 1), np.int32)
        note_sources(self._links, moved, counts, sources, self._space)
        self._link(self._none, self._none, 0, n, 0, places - 1, MOST_KEPT, sources, moved)
        self._swap()

    def _swap(self) -> None:
        self._links, self._other = self._other, self._links


def _own_first(near: Array) -> Array:
    """Near clusters with each cluster among the first of its own."""
    own, first = np.arange(len(near))[:, None], near[:, :CLUSTERS]
    lacking = np.flatnonzero((first != own).all(axis=1))
    near[lacking, first.shape[1] - 1] = lacking
    return near
