"""Building the proximity graph: Vamana's search and prune, inserted batch by batch.

Vamana: Subramanya et al., "DiskANN", NeurIPS 2019. Batches with doubling sizes, whose searches all
see the graph of the batch before, and reverse links grouped by their target: Manohar et al.,
"ParlayANN", PPoPP 2024. The result depends on the order of rows alone, not on threads.

Distances are those between the vectors that the codes stand for: squared Euclidean ones, and for
inner product 2 M^2 - 2 <x, y>, where M is the greatest length, so that links lead to rows of large
inner product as in ip-NSW (Morozov and Babenko, NeurIPS 2018).

A row's links stand at the front of its places, -1 behind them. The last place is kept free for
links to rows that could not be reached otherwise.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.graph_keys import FOLLOWED, distance_of, inlined, insert, pack, row_of
from fanns.kernels.intrinsics import dot_u8i8, prefetch_row
from fanns.kernels.jit import Array, Integer, inner, kernel

# Columns of a row's parameters, float32[n, 3].
SCALE = 0
SQUARE = 1  # what a row adds to its distances: the squared length, but for inner product
OFFSET = 2  # 128 * sum(code - 128): rows are stored plus 128
PARAMETERS = 3

VISITED = 4
"""Rows a search may follow, in beams; later ones are followed but not offered to the prune."""


@inner
def load(codes: Array, row: Integer, code: Array) -> None:
    """A row's code as a query: signed, code int8[w]."""
    for j in range(codes.shape[1]):
        code[j] = np.int64(codes[row, j]) - 128


@inlined
def between(codes: Array, parameters: Array, row: Integer, code: Array, other: Integer) -> float:
    """Distance of a row, whose code is loaded, to another row; float32."""
    product = dot_u8i8(codes, other, code) - np.int32(parameters[row, OFFSET])
    shared = parameters[row, SCALE] * parameters[other, SCALE] * np.float32(product)
    squared = parameters[row, SQUARE] + parameters[other, SQUARE] - np.float32(2.0) * shared
    return max(squared, np.float32(0.0))  # type: ignore[no-any-return]


@inner
def search(
    codes: Array,
    parameters: Array,
    links: Array,
    starts: Array,
    row: Integer,
    code: Array,
    pool: Array,
    seen: Array,
    met: Array,
    visited: Array,
) -> Integer:
    """Greedy beam search for a row (DiskANN's algorithm 1); gives how many rows were visited.

    `code` is the row's, loaded; the beam is as wide as `pool`. Keys of visited rows, those whose
    links were followed, go to `visited` in rising order. `seen` uint8[n] is all 0 before and after;
    `met` int32[n] is scratch.
    """
    width, size, count, followed = pool.shape[0], np.int64(0), np.int64(0), np.int64(0)
    for start in starts:
        if start >= 0 and seen[start] == 0:
            seen[start] = 1
            met[count] = start
            count += 1
            key = pack(between(codes, parameters, row, code, np.int64(start)), np.int64(start))
            if insert(pool, size, key) < width and size < width:
                size += 1
    current: Integer = np.int64(0)
    while current < size:
        key = pool[current]
        if key & FOLLOWED:
            current += 1
            continue
        pool[current] = key | FOLLOWED
        if insert(visited, followed, key) < visited.shape[0] and followed < visited.shape[0]:
            followed += 1
        here, first = row_of(key), count
        for place in range(links.shape[1]):
            other = links[here, place]
            if other < 0:
                break
            if seen[other] == 0:
                seen[other] = 1
                met[count] = other
                count += 1
                prefetch_row(codes, other)
        lowest: Integer = size
        for place in range(first, count):
            other = np.int64(met[place])
            key = pack(between(codes, parameters, row, code, other), other)
            where = insert(pool, size, key)
            if where < width:
                size += size < width
                lowest = where if where < lowest else lowest
        current = lowest if lowest <= current else current + 1
    for place in range(count):
        seen[met[place]] = 0
    return followed


@inner
def prune(
    codes: Array,
    parameters: Array,
    candidates: Array,
    count: Integer,
    degree: Integer,
    alpha: float,
    code: Array,
    out: Array,
) -> Integer:
    """RobustPrune (DiskANN's algorithm 2): candidates that no nearer kept one stands before.

    The first `count` of `candidates` are keys in rising order. A candidate is dropped when a kept
    row is closer to it than 1/sqrt(alpha) of its own distance. Writes at most `degree` rows and
    gives their number.
    """
    kept = np.int64(0)
    for place in range(count):
        key = candidates[place]
        row, reach = row_of(key), distance_of(key)
        if kept > 0:
            load(codes, row, code)
        free = True
        for earlier in range(kept):
            distance = between(codes, parameters, row, code, np.int64(out[earlier]))
            if alpha * distance <= reach:
                free = False
                break
        if free:
            out[kept] = row
            kept += 1
            if kept == degree:
                break
    return kept


@kernel
def insert_rows(
    codes: Array,
    parameters: Array,
    links: Array,
    starts: Array,
    cluster_of: Array,
    rows: Array,
    start: int,
    stop: int,
    beam: int,
    degree: int,
    alpha: float,
    out: Array,
) -> None:
    """New links of rows[start..stop] on the graph as it is, into out int32[len(rows), places].

    `starts` int32[c, s] are where the search for a row of a cluster begins (-1: none).
    """
    code = np.empty(codes.shape[1], np.int8)
    pool = np.empty(beam, np.int64)
    seen = np.zeros(codes.shape[0], np.uint8)
    met = np.empty(codes.shape[0], np.int32)
    visited = np.empty(VISITED * beam, np.int64)
    for place in range(start, stop):
        row = np.int64(rows[place])
        load(codes, row, code)
        entry = starts[cluster_of[row]]
        count = search(codes, parameters, links, entry, row, code, pool, seen, met, visited)
        kept = prune(codes, parameters, visited, count, np.int64(degree), alpha, code, out[place])
        for free in range(kept, out.shape[1]):
            out[place, free] = -1


@kernel
def link_back(
    codes: Array,
    parameters: Array,
    links: Array,
    targets: Array,
    sources: Array,
    bounds: Array,
    start: int,
    stop: int,
    room: int,
    degree: int,
    alpha: float,
) -> None:
    """Add the links target -> source of targets start..stop; prune those with more than `room`.

    targets int32[t] without repeats; the sources of target i are bounds[i]..bounds[i + 1] of
    `sources`. With room 0, degree `places` and alpha infinite this only orders links by distance.
    """
    code = np.empty(codes.shape[1], np.int8)
    pool = np.empty(4 * links.shape[1], np.int64)
    for number in range(start, stop):
        low, high = bounds[number], bounds[number + 1]
        row = np.int64(targets[number])
        old = np.int64(0)
        while old < links.shape[1] and links[row, old] >= 0:
            prefetch_row(codes, links[row, old])
            old += 1
        if old + high - low <= room:
            for place in range(low, high):
                links[row, old + place - low] = sources[place]
            continue
        for place in range(low, high):
            prefetch_row(codes, sources[place])
        load(codes, row, code)
        size = np.int64(0)
        for place in range(old + high - low):
            other = np.int64(links[row, place] if place < old else sources[low + place - old])
            key = pack(between(codes, parameters, row, code, other), other)
            if insert(pool, size, key) < pool.shape[0] and size < pool.shape[0]:
                size += 1
        kept = prune(codes, parameters, pool, size, np.int64(degree), alpha, code, links[row])
        for place in range(kept, old):
            links[row, place] = -1


@kernel
def reach(links: Array, rows: Array, reached: Array) -> None:
    """Mark all rows that links lead to from some rows, these included: reached uint8[n]."""
    stack = np.empty(links.shape[0], np.int32)
    size = np.int64(0)
    for row in rows:
        if reached[row] == 0:
            reached[row] = 1
            stack[size] = row
            size += 1
    while size > 0:
        size -= 1
        here = stack[size]
        for place in range(links.shape[1]):
            other = links[here, place]
            if other < 0:
                break
            if reached[other] == 0:
                reached[other] = 1
                stack[size] = other
                size += 1
