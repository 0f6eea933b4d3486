"""Links of rows from candidates, and links back, on the device: robust prune by blocks.

A block links one row. It meets candidates, each once (`graph_steps_cuda.meet`): rows that were
found near it, rows that its links and their links lead to (as NN-descent joins neighbours, Dong,
Moses and Li, WWW 2011), far rows, and rows that link to it. Each warp compares 16 at a time with
the row's code; the nearest stay in shared memory (`topk_cuda`), far ones in a list of their own
that nearer rows do not push out. Then candidates are taken in rising order and kept unless a kept
row stands before them (`graph_build.prune`, to the bit): two warps compare one candidate with 32
kept rows.

What a block keeps depends on the set of candidates alone, so links are the same in every run, in
whatever order links back are put down.

Bound: latency. A block waits for memory some 150 times, once for each candidate of the prune and
16 rows of a warp, 100 to 200 microseconds in all; with 1,000 blocks at work 10,000,000 rows take 1
to 2 seconds, in which their codes are read some 1,000 times, mostly from the L2 cache, as near rows
lie side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32

from fanns.kernels.graph_near_cuda import SIGNS, between
from fanns.kernels.graph_steps_cuda import EMPTY, FRESH, MET, STATE, add_fresh
from fanns.kernels.int8_cuda import dp4a
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    REGISTERS,
    WARP,
    DeviceArray,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.masked_scan_cuda import bytes_of_lists, shared_lists
from fanns.kernels.topk_cuda import Lists, clear, cut_back, offer
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

NEAR, FAR = 0, 1
"""The two lists of a block."""

FRESH_PLACES = 256
"""Candidates that are met before they are compared."""

ROOM = 512
"""Places of a list: MOST_KEPT and what is met before the next cut."""

MOST_KEPT = 192
"""The most candidates that a list may keep; as many as `graph_build.link_back` has room for."""

TABLE = 4096
"""Places for rows that were met, a power of two."""

MOST_MET = TABLE * 3 // 4
"""Rows that a block may meet, which bounds what it is given; the table is never full."""


@inner
def _products(codes: Array, rows: Array, other: Integer, sums: Array) -> None:
    """This lane's part of the products of SUMS rows with another one, made signed."""
    for i in range(SUMS):
        sums[i] = 0
    for j in range(cuda.laneid, codes.shape[1], WARP):
        signed = codes[other, j] ^ SIGNS
        for i in range(SUMS):
            sums[i] = dp4a(codes[rows[i], j], signed, sums[i])


@inner
def _compare_fresh(
    codes: Array, parameters: Array, row: Integer, number: Integer, fresh: Array, count: Integer,
    lists: Lists,
) -> None:  # fmt: skip
    """Offer the rows that were met to a list. All warps."""
    rows, sums = cuda.local.array(SUMS, int32), cuda.local.array(SUMS, int32)
    warp, warps = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
    for start in range(SUMS * warp, count, SUMS * warps):
        for i in range(SUMS):
            rows[i] = fresh[min(start + i, count - 1)]
        _products(codes, rows, row, sums)
        product, place = warp_sums(sums), start + sum_of_lane()
        if place < count and cuda.laneid & 1 == 0:
            other = fresh[place]
            distance = np.float64(between(parameters, row, other, product))
            offer(lists, number, ROOM, distance, np.int64(other), other)


@inner
def _take_in(
    codes: Array, parameters: Array, row: Integer, number: Integer, keep: Integer, fresh: Array,
    state: Array, lists: Lists, no_ties: Array,
) -> Any:  # fmt: skip
    """Compare what was met since the last time, and make room again; gives how many rows it was."""
    cuda.syncthreads()
    count = np.int64(state[FRESH])
    _compare_fresh(codes, parameters, row, number, fresh, count, lists)
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        state[FRESH] = 0
    if count > 0:
        cut_back(lists, ROOM, keep, no_ties)
    cuda.syncthreads()
    return count


@inner
def _is_free(
    codes: Array, parameters: Array, row: Integer, reach: float, alpha: float, kept: Array,
    count: Integer,
) -> Any:  # fmt: skip
    """Whether no kept row stands before a candidate at distance `reach`. All threads."""
    rows, sums = cuda.local.array(SUMS, int32), cuda.local.array(SUMS, int32)
    warp, warps = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
    taken: Any = False
    for start in range(SUMS * warp, count, SUMS * warps):
        for i in range(SUMS):
            rows[i] = kept[min(start + i, count - 1)]
        _products(codes, rows, row, sums)
        product, place = warp_sums(sums), start + sum_of_lane()
        if place < count:
            apart = np.float64(between(parameters, row, kept[place], product))
            taken = taken or alpha * apart <= reach
    return cuda.syncthreads_or(np.int32(taken)) == 0


@inner
def _next(lists: Lists, near: Integer, far: Integer) -> Any:
    """Which list's next candidate is the nearer one, or -1 when both are at their ends."""
    more, other = near < lists.sizes[NEAR], far < lists.sizes[FAR]
    if not more or not other:
        return NEAR if more else (FAR if other else -1)
    a, b = lists.distances[near], lists.distances[ROOM + far]
    if a != b:
        return NEAR if a < b else FAR
    return NEAR if lists.rows[near] < lists.rows[ROOM + far] else FAR


@inner
def _prune(
    codes: Array, parameters: Array, lists: Lists, degree: Integer, alpha: float, whole: bool,
    kept: Array,
) -> Any:  # fmt: skip
    """Keep at most `degree` candidates, or with `whole` all; gives how many. All threads."""
    near, far, count = 0, 0, 0
    while count < degree:
        number = _next(lists, near, far)
        if number < 0:
            break
        place = near if number == NEAR else ROOM + far
        row, reach = lists.rows[place], lists.distances[place]
        near, far = near + (number == NEAR), far + (number == FAR)
        if whole or _is_free(codes, parameters, row, reach, alpha, kept, count):
            if cuda.threadIdx.x == 0:
                kept[count] = row
            count += 1
            cuda.syncthreads()
    return count


@kernel(max_registers=REGISTERS)
def _link(
    codes: Array,
    parameters: Array,
    skipped: Array,
    links: Array,
    near: Array,
    far: Array,
    sources: Array,
    bounds: Array,
    first: int,
    hops: int,
    room: int,
    keep: int,
    degree: int,
    alpha: float,
    out: Array,
) -> None:
    number, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    row, places = first + number, links.shape[1]
    if skipped[row]:
        for place in range(thread, places, threads):
            out[row, place] = EMPTY
        return
    lists, _, rest = shared_lists(2, ROOM, STATE + places + FRESH_PLACES + TABLE)
    state, rest = rest[:STATE], rest[STATE:]
    kept, rest = rest[:places], rest[places:]
    fresh, table = rest[:FRESH_PLACES], rest[FRESH_PLACES:]
    no_ties = bounds[:0]
    clear(lists)
    for place in range(thread, TABLE, threads):
        table[place] = EMPTY
    if thread == 0:
        state[FRESH], state[MET] = 0, 0
    cuda.syncthreads()
    if thread == 0:
        add_fresh(table, state, fresh, row)
        state[FRESH] = 0  # met, and no candidate
    cuda.syncthreads()
    total = np.int64(0)
    for start in range(0, far.shape[1], FRESH_PLACES):
        for i in range(start + thread, min(start + FRESH_PLACES, far.shape[1]), threads):
            if far[row, i] >= 0:
                add_fresh(table, state, fresh, far[row, i])
        total += _take_in(codes, parameters, row, FAR, keep, fresh, state, lists, no_ties)
    for start in range(0, near.shape[1], FRESH_PLACES):
        for i in range(start + thread, min(start + FRESH_PLACES, near.shape[1]), threads):
            if near[number, i] >= 0:
                add_fresh(table, state, fresh, near[number, i])
        total += _take_in(codes, parameters, row, NEAR, keep, fresh, state, lists, no_ties)
    for place in range(thread, places, threads):
        if links[row, place] >= 0:
            add_fresh(table, state, fresh, links[row, place])
    total += _take_in(codes, parameters, row, NEAR, keep, fresh, state, lists, no_ties)
    together = FRESH_PLACES // places
    for start in range(0, places * hops, together):
        for i in range(thread, together * places, threads):
            place = start + i // places
            other = links[row, place] if place < places else EMPTY
            if other >= 0 and links[other, i % places] >= 0:
                add_fresh(table, state, fresh, links[other, i % places])
        total += _take_in(codes, parameters, row, NEAR, keep, fresh, state, lists, no_ties)
    low, high = bounds[0], bounds[0]
    if bounds.shape[0] > 1:
        low, high = bounds[row], bounds[row + 1]
    for start in range(low, high, FRESH_PLACES):
        for i in range(start + thread, min(start + FRESH_PLACES, high), threads):
            linked = False
            for place in range(places):
                linked = linked or links[row, place] == sources[i]
            if not linked:
                fresh[cuda.atomic.add(state, FRESH, 1)] = sources[i]
        total += _take_in(codes, parameters, row, NEAR, keep, fresh, state, lists, no_ties)
    whole = total <= room
    most = places if whole else degree
    count = _prune(codes, parameters, lists, most, alpha, whole, kept)
    for place in range(thread, places, threads):
        out[row, place] = kept[place] if place < count else EMPTY


def link_rows(
    codes: DeviceArray,
    parameters: DeviceArray,
    skipped: DeviceArray,
    links: DeviceArray,
    near: DeviceArray,
    far: DeviceArray,
    sources: DeviceArray,
    bounds: DeviceArray,
    first: int,
    count: int,
    hops: int,
    room: int,
    keep: int,
    degree: int,
    alpha: float,
    out: DeviceArray,
    workspace: Workspace,
) -> None:
    """New links of rows first .. first + count, into their places of out int32[n, places].

    Candidates are a row's links int32[n, places], with `hops` = 1 (else 0) those of the rows that
    they lead to, near[row - first] of int32[count, a] and far[row] of int32[n, b] (-1 behind the
    last), and sources[bounds[row] : bounds[row + 1]] int32 (bounds int64[n + 1], or [1] for none),
    rows that each stand there once. The nearest `keep` are pruned to `degree` as by
    `graph_build.prune`, and with them the nearest `keep` of far ones; no more than `room`
    candidates in all are kept as they are. Either way the nearest comes first. Rows with
    skipped[row] of uint8[n] get no links. codes uint8[n, w] and parameters float32[n, PARAMETERS]
    are those of `graph_build`.

    ValueError for more candidates, places or `keep` than a block has room for.
    """
    places = links.shape[1]
    met = 1 + near.shape[1] + far.shape[1] + places + hops * places * places
    if met > MOST_MET or places > FRESH_PLACES or not room < places <= keep + 1 <= MOST_KEPT + 1:
        raise ValueError(
            f"{met} candidates, {places} places, room {room}, keep {keep}: a block meets "
            f"{MOST_MET} rows, has {FRESH_PLACES} places and keeps {MOST_KEPT}"
        )
    shared = bytes_of_lists(2, ROOM) + 4 * (STATE + places + FRESH_PLACES + TABLE)
    given: tuple[Any, ...] = (codes.view(np.int32), parameters, skipped, links, near, far, sources)
    settings = (bounds, first, hops, room, keep, degree, alpha)
    workspace.launch(_link, count, *given, *settings, out, shared=shared)


@kernel
def _clear_counts(counts: Array) -> None:
    target = cuda.grid(1)
    if target < counts.shape[0]:
        counts[target] = 0


@kernel
def _count_sources(links: Array, counts: Array) -> None:
    place = cuda.grid(1)
    if place < links.shape[0] * links.shape[1]:
        target = links[place // links.shape[1], place % links.shape[1]]
        if target >= 0:
            cuda.atomic.add(counts, target, 1)


@kernel
def _note_sources(links: Array, bounds: Array, counts: Array, sources: Array) -> None:
    place = cuda.grid(1)
    if place < links.shape[0] * links.shape[1]:
        row = place // links.shape[1]
        target = links[row, place % links.shape[1]]
        if target >= 0:
            sources[bounds[target] + cuda.atomic.add(counts, target, 1)] = row


def count_sources(links: DeviceArray, counts: DeviceArray, workspace: Workspace) -> None:
    """How many rows link to each: counts int32[n] of links int32[n, places]."""
    threads = workspace.threads
    workspace.launch(_clear_counts, -(-counts.shape[0] // threads), counts)
    workspace.launch(_count_sources, -(-links.shape[0] * links.shape[1] // threads), links, counts)


def note_sources(
    links: DeviceArray,
    bounds: DeviceArray,
    counts: DeviceArray,
    sources: DeviceArray,
    workspace: Workspace,
) -> None:
    """Which rows link to each: sources int32 of row i at bounds[i] .. bounds[i + 1], in any order.

    bounds int64[n + 1] are the sums of what `count_sources` told; counts int32[n] is scratch.
    """
    threads = workspace.threads
    blocks = -(-links.shape[0] * links.shape[1] // threads)
    workspace.launch(_clear_counts, -(-counts.shape[0] // threads), counts)
    workspace.launch(_note_sources, blocks, links, bounds, counts, sources)
