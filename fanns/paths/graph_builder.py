"""Build the links of a proximity graph over the int8 codes of a segment."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.codes import Int8Codes
from fanns.kernels import graph_build as kernels
from fanns.kernels.distance import IP
from fanns.kernels.jit import Array, frozen
from fanns.paths.graph_copies import first_of_equals, groups_of_copies, ring_copies
from fanns.threads import run_chunks

MIN_ROWS = 4_096
"""Smaller segments have no graph: the scan of so few codes costs no more than a walk."""

PLACES = 48
"""Links a row can hold: 192 bytes a row, an eighth of a float32 vector of 384 dimensions.

Measured on 100,000 abstracts: 64 places with a degree of 40 or 50 need as many codes for a recall,
filtered or not, within 3 %."""

DEGREE = 32
"""Links a row keeps when it is pruned (R of DiskANN)."""

BEAM = 100
"""Width of the search for a row's neighbours (L of DiskANN).

200 saves 2 % of the codes of a search and doubles the build; 64 costs 6 % and saves a third."""

ALPHA = 1.05
"""A candidate is dropped when a kept row is closer to it by this factor than the new row is.

Codes for recall 0.99 of unfiltered searches: 1690 at 1.02, 1710 at 1.05, 1980 at 1.1, 2100 at
1.2."""

STARTS = 4
"""Entry rows that the search for a new row begins at."""

LARGEST_BATCH = 0.02
"""Rows of one batch, as a share of all: its rows do not see each other (ParlayANN)."""

ROWS_A_CHUNK = 64
TARGETS_A_CHUNK = 512
MEASURED_A_CHUNK = 4096
CLUSTERS_A_CHUNK = 4
ENTRIES_A_CHUNK = 256


class Links(NamedTuple):
    """A graph: `links` int32[n, places], -1 behind the last; entry row of each cluster int32[c]."""

    links: Array
    entries: Array


class GraphBuilder:
    """The state of one build: links that are made here, or on a device and settled here."""

    def __init__(
        self,
        norms: Array,
        codes: Int8Codes,
        bounds: Array,
        threads: int | None,
        places: int,
        degree: int,
        beam: int,
    ) -> None:
        n = codes.n
        self.codes, self.threads, self.bounds = codes.codes, threads, bounds
        self.degree, self.beam, self.alpha = degree, beam, ALPHA * ALPHA
        self.links = np.full((n, places), -1, np.int32)
        sizes = np.diff(bounds)
        self.cluster_of = frozen(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
        self.parameters = np.empty((n, kernels.PARAMETERS), np.float32)
        self._measure(norms, codes)
        self.entries = np.empty(len(sizes), np.int32)
        self.first = first_of_equals(codes, self.cluster_of, threads)

    def _measure(self, norms: Array, codes: Int8Codes) -> None:
        """Parameters of all rows (kernels/graph_build.py), in units that keep them in range."""
        longest = float(norms.max(initial=0.0)) if codes.metric == IP else 0.0
        unit = max(float(codes.scale.max(initial=0.0)), longest / 127.0)
        unit = unit if unit > 0.0 else 1.0
        mean = codes.mean.astype(np.float64) / unit

        def task(start: int, stop: int) -> None:
            steps = _steps(codes.codes[start:stop])
            scale = codes.scale[start:stop] / unit
            out = self.parameters[start:stop]
            out[:, kernels.SCALE] = scale
            out[:, kernels.OFFSET] = 128.0 * steps.sum(axis=1)
            if codes.metric == IP:
                # <x, y> = |mean|^2 + <mean, x - mean> + <mean, y - mean> + <x - mean, y - mean>
                along = scale * (steps[:, : len(mean)] * mean).sum(axis=1)
                square = (longest / unit) ** 2 - (mean * mean).sum() - 2.0 * along
            else:
                square = scale * scale * (steps * steps).sum(axis=1)
            out[:, kernels.SQUARE] = square

        run_chunks(task, codes.n, MEASURED_A_CHUNK, self.threads)

    def choose_entries(self) -> Array:
        """Entry rows of all clusters, and where the search for a row of each cluster begins."""

        def task(start: int, stop: int) -> None:
            for cluster in range(start, stop):
                low, high = self.bounds[cluster], self.bounds[cluster + 1]
                scale = self.parameters[low:high, kernels.SCALE, None]
                points = _steps(self.codes[low:high]) * scale
                away = points - points.mean(axis=0)
                self.entries[cluster] = self.first[low + (away * away).sum(axis=1).argmin()]

        run_chunks(task, len(self.entries), CLUSTERS_A_CHUNK, self.threads)
        return np.ascontiguousarray(self.entries[self.near_clusters(STARTS)])

    def near_clusters(self, most: int) -> Array:
        """Clusters by how near their entries are to that of each, int32[c, at most `most`]."""
        of_entries = self.parameters[self.entries].astype(np.float64)
        # Products of whole numbers are exact in float64, in whatever order they are added.
        steps = _steps(self.codes[self.entries]).astype(np.float64)
        scale, square = of_entries[:, kernels.SCALE], of_entries[:, kernels.SQUARE]
        near = np.empty((len(self.entries), min(most, len(self.entries))), np.int32)

        def nearest(start: int, stop: int) -> None:
            products = steps[start:stop] @ steps.T * scale[start:stop, None] * scale
            order = np.argsort(square - 2.0 * products, axis=1, kind="stable")
            near[start:stop] = order[:, : near.shape[1]]

        run_chunks(nearest, len(self.entries), ENTRIES_A_CHUNK, self.threads)
        return near

    def candidates(self, rows: Array, starts: Array) -> Array:
        """Links from rows to the graph as it is, int32[len(rows), places], the nearest first."""
        out = np.empty((len(rows), self.links.shape[1]), np.int32)

        def task(start: int, stop: int) -> None:
            kernels.insert_rows(
                self.codes,
                self.parameters,
                self.links,
                starts,
                self.cluster_of,
                rows,
                start,
                stop,
                self.beam,
                self.degree,
                self.alpha,
                out,
            )

        run_chunks(task, len(rows), ROWS_A_CHUNK, self.threads)
        return out

    def link_back(
        self, targets: Array, sources: Array, bounds: Array, room: int, degree: int, alpha: float
    ) -> None:
        """Add the links target -> source; see the kernel."""

        def task(start: int, stop: int) -> None:
            kernels.link_back(
                self.codes,
                self.parameters,
                self.links,
                targets,
                sources,
                bounds,
                start,
                stop,
                room,
                degree,
                alpha,
            )

        run_chunks(task, len(targets), TARGETS_A_CHUNK, self.threads)

    def insert(self, rows: Array, starts: Array) -> None:
        """Link the rows of one batch to the graph and the graph to them."""
        out = self.candidates(rows, starts)
        self.links[rows] = out
        made = out >= 0
        ends = out[made]
        order = np.argsort(ends, kind="stable")
        sources = np.repeat(rows, made.sum(axis=1))[order]
        targets, first = np.unique(ends[order], return_index=True)
        bounds = np.append(first, len(sources)).astype(np.int64)
        room = self.links.shape[1] - 1
        self.link_back(targets, sources, bounds, room, self.degree, self.alpha)

    def hang_copies(self) -> None:
        """Link to the rows that equal a row of the graph; see graph_copies."""
        originals, groups = groups_of_copies(self.first)
        self.order_links(originals, self.degree, self.alpha)
        for original, group in zip(originals, groups, strict=True):
            ring_copies(self.links, self.degree, original, group)

    def reach_all(self, starts: Array) -> None:
        """Link to every row that links do not lead to from the entries.

        The new link comes from the nearest row with a free place, else from any that has one: a
        place of each row is kept free, and each repaired row brings its own.
        """
        reached = np.zeros(len(self.links), np.uint8)
        kernels.reach(self.links, self.entries, reached)
        missing = np.flatnonzero(reached == 0).astype(np.int32)
        spare = iter(np.flatnonzero(reached))
        before: list[int] = []
        for row, near in zip(missing, self.candidates(missing, starts), strict=True):
            if reached[row]:
                continue  # from a row that was repaired
            hosts = chain(near[near >= 0].tolist(), before, spare)
            host = next(host for host in hosts if self.links[host, -1] < 0)
            self.links[host, np.argmax(self.links[host] < 0)] = row
            before = [int(row)]
            kernels.reach(self.links, np.array(before, np.int32), reached)

    def order_links(self, rows: Array, degree: int, alpha: float) -> None:
        """Put the nearest links of rows first, pruned to `degree` (alpha infinite: not pruned)."""
        none = np.zeros(len(rows) + 1, np.int64)
        self.link_back(rows, rows[:0], none, 0, degree, alpha)

    def settle(self, starts: Array) -> None:
        """Hang copies onto what they equal, reach every row, and put the nearest links first."""
        self.hang_copies()
        self.reach_all(starts)
        # A walk that looks at few links takes the nearest.
        everything = np.arange(len(self.links), dtype=np.int32)
        self.order_links(everything, self.links.shape[1], math.inf)


def _steps(codes: Array) -> npt.NDArray[np.float32]:
    """Codes as whole numbers around zero."""
    return codes.astype(np.float32) - np.float32(128.0)


def build_links(
    norms: Array,
    codes: Int8Codes,
    bounds: Array,
    *,
    seed: int,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
    places: int,
    degree: int,
    beam: int,
) -> Links:
    """The graph of all rows; the same for any number of threads.

    `norms` float64[n] are the lengths of the rows, which matter under ip alone.
    Cluster i is rows bounds[i]..bounds[i + 1] (int64, none empty). Entry rows are inserted first,
    then the others in an order drawn from `seed`, in batches that double up to LARGEST_BATCH; rows
    that equal another are hung onto it.
    """
    n = codes.n
    builder = GraphBuilder(norms, codes, bounds, threads, places, degree, beam)
    if n == 0:
        return Links(builder.links, builder.entries)
    starts = builder.choose_entries()
    generator = np.random.default_rng(seed)
    rest = builder.first == np.arange(n)
    rest[builder.entries] = False
    others = np.flatnonzero(rest).astype(np.int32)
    order = np.concatenate([generator.permutation(builder.entries), generator.permutation(others)])
    largest = max(32, int(n * LARGEST_BATCH))
    done, last = 1, len(order)
    while done < last:
        size = min(done, largest, last - done)
        # Searches may begin only at rows that are in the graph.
        early = np.broadcast_to(order[: min(done, 64)], (len(starts), min(done, 64)))
        builder.insert(
            order[done : done + size],
            starts if done >= len(starts) else np.ascontiguousarray(early),
        )
        done += size
        if progress is not None:
            progress(done, last)
    builder.settle(starts)
    return Links(builder.links, builder.entries)
