"""The graph of `device.graph_building` made on the CPU: the same steps, in plain loops.

Compiled by numba, so that it can be run on as many rows as show what the graph is worth.
"""

from typing import Any

import numba
import numpy as np

from fanns.codes import Int8Codes
from fanns.device import graph_building as device
from fanns.kernels import graph_build as kernels
from fanns.kernels.graph_keys import pack
from fanns.kernels.graph_link_cuda import MOST_KEPT
from fanns.kernels.jit import Array
from fanns.paths.graph_builder import GraphBuilder, Links

LAST = np.iinfo(np.int64).max


@numba.njit(nogil=True, error_model="numpy")
def nearest(
    codes: Array, parameters: Array, first: int, last: int, rows: Array, keys: Array, out: Array
) -> None:
    """The nearest of `rows` to each of rows first .. last, into out[: last - first]."""
    code, pool = np.empty(codes.shape[1], np.int8), keys
    for row in range(first, last):
        kernels.load(codes, np.int64(row), code)
        count = 0
        for other in rows:
            if other != row:
                far = kernels.between(codes, parameters, np.int64(row), code, np.int64(other))
                pool[count] = pack(far, np.int64(other))
                count += 1
        order = np.sort(pool[:count])
        for place in range(out.shape[1]):
            out[row - first, place] = -1
            if place < count:
                out[row - first, place] = (order[place] & 0xFFFFFFFF) >> 1


@numba.njit(nogil=True, error_model="numpy")
def link(
    codes: Array,
    parameters: Array,
    skipped: Array,
    links: Array,
    near: Array,
    far: Array,
    sources: Array,
    bounds: Array,
    hops: int,
    room: int,
    keep: int,
    degree: int,
    alpha: float,
    out: Array,
) -> None:
    """`graph_link_cuda.link_rows` of all rows."""
    n, places = links.shape
    seen, code = np.full(n, -1, np.int64), np.empty(codes.shape[1], np.int8)
    lists = np.empty((2, n), np.int64)
    for row in range(n):
        out[row] = -1
        if skipped[row]:
            continue
        kernels.load(codes, np.int64(row), code)
        counts = np.zeros(2, np.int64)
        seen[row] = row
        for stage in range(5):
            size = far.shape[1] if stage == 0 else near.shape[1] if stage == 1 else places
            if stage == 3:
                size = places * places * hops
            if stage == 4:
                size = bounds[row + 1] - bounds[row] if bounds.shape[0] > 1 else 0
            for i in range(size):
                other = np.int64(-1)
                if stage == 0:
                    other = np.int64(far[row, i])
                elif stage == 1:
                    other = np.int64(near[row, i])
                elif stage == 2:
                    other = np.int64(links[row, i])
                elif stage == 3 and links[row, i // places] >= 0:
                    other = np.int64(links[links[row, i // places], i % places])
                elif stage == 4:
                    other = np.int64(sources[bounds[row] + i])
                if other >= 0 and seen[other] != row:
                    seen[other] = row
                    number = 0 if stage == 0 else 1
                    apart = kernels.between(codes, parameters, np.int64(row), code, other)
                    lists[number, counts[number]] = pack(apart, other)
                    counts[number] += 1
        parts = [np.sort(lists[number, : counts[number]])[:keep] for number in range(2)]
        keys = np.sort(np.concatenate((parts[0], parts[1])))
        if counts.sum() <= room:
            for place in range(len(keys)):
                out[row, place] = (keys[place] & 0xFFFFFFFF) >> 1
            continue
        count = np.int64(len(keys))
        kept = kernels.prune(
            codes, parameters, keys, count, np.int64(degree), alpha, code, out[row]
        )
        out[row, kept:] = -1


def sources_of(links: Array) -> tuple[Array, Array]:
    """Which rows link to each, row by row, and where they begin."""
    rows, _ = np.nonzero(links >= 0)
    ends = links[links >= 0]
    order = np.argsort(ends, kind="stable")
    bounds = np.searchsorted(ends[order], np.arange(len(links) + 1))
    return rows[order].astype(np.int32), bounds.astype(np.int64)


def unsettled(builder: GraphBuilder, codes: Int8Codes, bounds: Array) -> Array:
    """The links before copies, and rows that links do not lead to, are settled."""
    n, places = builder.links.shape
    skipped = (builder.first != np.arange(n)).astype(np.uint8)
    clusters = device._own_first(builder.near_clusters(device.CLUSTERS * device.FAR[-1].step))
    lists: list[Array] = []
    for level in (device.NEAR, *device.FAR):
        out = np.empty((n, level.kept), np.int32)
        keys = np.empty(n, np.int64)
        for cluster in range(len(bounds) - 1):
            low, high = int(bounds[cluster]), int(bounds[cluster + 1])
            own = clusters[cluster, : device.CLUSTERS * level.step]
            rows = device.rows_of_level(bounds, own, level.step, skipped)
            nearest(codes.codes, builder.parameters, low, high, rows, keys, out[low:high])
        lists.append(out)
    far, none = np.concatenate(lists[1:], axis=1), np.empty((n, 0), np.int32)
    links, other = builder.links.copy(), np.empty((n, places), np.int32)
    no_sources = (np.zeros(1, np.int32), np.zeros(1, np.int64))
    pruned: Any = (builder.degree, builder.alpha)
    on_rows: Any = link
    rows_of: Any = (codes.codes, builder.parameters, skipped)

    def linked_back(now: Array) -> Array:
        made = np.empty_like(now)
        back: Any = (*sources_of(now), 0, places - 1, MOST_KEPT)
        on_rows(*rows_of, now, none, none, *back, *pruned, made)
        return made

    on_rows(*rows_of, links, lists[0], far, *no_sources, 0, 0, device.NEAR.kept, *pruned, other)
    for _ in range(device.ROUNDS):
        links = linked_back(other)
        on_rows(*rows_of, links, none, far, *no_sources, 1, 0, device.NEAR.kept, *pruned, other)
    return linked_back(other)


def reference_links(norms: Array, codes: Int8Codes, bounds: Array, **options: Any) -> Links:
    """As `graph_builder.build_links`."""
    names = ("threads", "places", "degree", "beam")
    builder = GraphBuilder(norms, codes, bounds, *(options[name] for name in names))
    starts = builder.choose_entries()
    builder.links[:] = unsettled(builder, codes, bounds)
    builder.settle(starts)
    return Links(builder.links, builder.entries)
