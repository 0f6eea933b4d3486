"""Walking the proximity graph on the device, on int8 codes: the twin of `graph_walk`.

One block walks for one query. A step follows the nearest row that was not followed: its links are
read by a thread each, the rows that are met for the first time (`graph_steps_cuda`) are compared 16
at a time by each warp, put behind the beam in shared memory, and the beam is sorted (`topk_cuda`).
Two-hop walks meet passing rows only and look through failing ones, warp by warp, until enough were
met; one-hop walks go over all rows and keep the passing ones in a list of their own. When a walk
ends is told as on the CPU (`graph_walk.beyond`): by the distance of the k-th best, or a full beam;
a walk that leads nowhere new goes on from further seeds.

Bound: a step waits three or four times for memory, one after the other (links, bits, codes, and
the links of failing rows), some 3 microseconds; 2,000 blocks that take turns hide that. Shared
memory: 12 bytes for each place of a list (two in one-hop walks), the table of rows met in what is
left of 48 KB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int32

from fanns.kernels.distance import COSINE, IP
from fanns.kernels.graph_answer import ONE_HOP, TWO_HOP
from fanns.kernels.graph_search import SHORTEST
from fanns.kernels.graph_steps_cuda import (
    EMPTY,
    FRESH,
    MET,
    NEXT,
    STATE,
    add_fresh,
    follow,
    look_through,
    passes,
)
from fanns.kernels.graph_walk import ENOUGH, UNBOUNDED
from fanns.kernels.int8 import LENGTH
from fanns.kernels.int8_cuda import code_key, pair_products
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import (
    REGISTERS,
    SHARED_BYTES,
    WARP,
    DeviceArray,
    Turn,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.masked_scan_cuda import Answers, bytes_of_lists, shared_lists
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXHAUSTED, FULL, HOPS
from fanns.kernels.topk_cuda import Lists, clear, cut_back, offer
from fanns.kernels.turns_cuda import bitmap_of, skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

BEGUN = 32
"""Seeds that a walk takes at a time."""

QUEUE = 4
"""Places of a one-hop walk's queue for each of the beam: failing rows lead on as well."""

NOWHERE = 2**30

_products = pair_products(SUMS)


@inner
def _compare_fresh(
    held: Any,
    number: Any,
    fresh: Array,
    count: Any,
    words: Array,
    own: Any,
    lists: Lists,
    room: int,
) -> None:
    """Put the rows that a step has met into the lists, as numbers 2 row. All warps."""
    queries, codes, scale, square, parameters = held
    rows, sums = cuda.local.array(SUMS, int32), cuda.local.array(SUMS, int32)
    warp, warps = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
    for start in range(SUMS * warp, count, SUMS * warps):
        for i in range(SUMS):
            rows[i] = fresh[min(start + i, count - 1)]
        _products(codes, rows, queries, number, queries.shape[0], sums)
        product, place = warp_sums(sums), start + sum_of_lane()
        if place < count and cuda.laneid & 1 == 0:
            row = fresh[place]
            key = code_key(product, scale[row], square[row], parameters[number])
            offer(lists, 0, room, key, np.int64(2 * row), 2 * row)
            if lists.sizes.shape[0] > 1 and passes(words, own, row):
                offer(lists, 1, room, key, np.int64(2 * row), 2 * row)


@inner
def _floor(parameters: Array, metric: int, limits: Array) -> Any:
    """What makes a distance of a key: see `graph_codes.floor_of`."""
    if metric == COSINE:
        return parameters[LENGTH]
    if metric == IP:
        return parameters[LENGTH] * (limits[0] + limits[2])
    return 0.0


@inner
def _next_place(lists: Lists, last: Any, state: Array) -> Any:
    """The place of the nearest row of the first list that was not followed; NOWHERE if none."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        state[NEXT] = NOWHERE
    cuda.syncthreads()
    for place in range(cuda.threadIdx.x, last, cuda.blockDim.x):
        if lists.rows[place] & 1 == 0:
            cuda.atomic.min(state, NEXT, place)
    cuda.syncthreads()
    return np.int64(state[NEXT])


@inner
def _leads_on(
    lists: Lists, room: int, place: Any, beam: int, rank: Any, gap: float, floor: float
) -> Any:
    """Whether the row at a place is near enough to be followed."""
    if place == NOWHERE:
        return False
    key, last = lists.distances[place], lists.sizes.shape[0] - 1
    size, first = lists.sizes[last], last * room
    if size >= beam and key > lists.distances[first + beam - 1]:
        return False
    if size < rank or gap >= UNBOUNDED:
        return True
    reach = lists.distances[first + rank - 1]
    return key <= reach + gap * max(reach + floor, 0.0)


@inner
def _expand(
    links: Array,
    row: Any,
    words: Array,
    own: Any,
    only_passing: bool,
    table: Array,
    state: Array,
    fresh: Array,
    failing: Array,
) -> Any:
    """Meet what a row leads to; gives how many lists of links were read. All threads."""
    lists, warps = 1, cuda.blockDim.x // WARP
    follow(links, row, words, own, only_passing, table, state, fresh, failing)
    cuda.syncthreads()
    if only_passing:
        start = 0
        while start < links.shape[1] and state[FRESH] < ENOUGH:
            cuda.syncthreads()
            place = start + cuda.threadIdx.x // WARP
            if place < links.shape[1] and failing[place] != EMPTY:
                look_through(links, failing[place], words, own, table, state, fresh)
            for number in range(start, min(start + warps, links.shape[1])):
                lists += failing[number] != EMPTY
            start += warps
            cuda.syncthreads()
    return lists


@kernel(max_registers=REGISTERS)
def _walk(
    turn: Turn,
    held: Any,
    limits: Array,
    metric: int,
    words: Array,
    counts: Array,
    links: Array,
    seeds: Array,
    mode: int,
    beam: int,
    rank: int,
    gap: float,
    walk_limit: int,
    lists_of_block: int,
    room: int,
    keep: int,
    fresh_places: int,
    table_places: int,
    walked: Answers,
) -> None:
    number, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    if skipped(turn, number):
        return
    own = bitmap_of(turn, words.shape[0], number)
    lists, _, rest = shared_lists(
        lists_of_block, room, STATE + fresh_places + links.shape[1] + table_places
    )
    state, rest = rest[:STATE], rest[STATE:]
    fresh, rest = rest[:fresh_places], rest[fresh_places:]
    failing, table = rest[: links.shape[1]], rest[links.shape[1] :]
    nothing = seeds[number, :0]  # no ties: equal keys go by row
    clear(lists)
    for place in range(thread, table_places, threads):
        table[place] = EMPTY
    if thread == 0:
        state[FRESH], state[MET] = 0, 0
    cuda.syncthreads()
    count = np.int64(links.shape[0])
    if counts.shape[0] > 0:
        count = counts[own]
    near = max(rank, min(SHORTEST, beam, count))
    enough = beam if gap >= UNBOUNDED else near
    floor = _floor(held[4][number], metric, limits)
    only_passing = mode == TWO_HOP and words.shape[0] > 0
    final, begun = lists_of_block - 1, 0
    status, compared, followed = APPROXIMATE, np.int64(0), np.int64(0)
    while True:
        place = _next_place(lists, min(lists.sizes[0], keep), state)
        if _leads_on(lists, room, place, beam, near, gap, floor):
            row = lists.rows[place] >> 1
            cuda.syncthreads()
            if thread == 0:
                lists.rows[place] |= 1
            followed += _expand(links, row, words, own, only_passing, table, state, fresh, failing)
        else:
            # The links lead nowhere new: go on from the next seeds, if more is needed.
            if lists.sizes[final] >= enough or compared >= count or begun >= seeds.shape[1]:
                break
            for i in range(begun + thread, min(begun + BEGUN, seeds.shape[1]), threads):
                if seeds[number, i] >= 0:
                    add_fresh(table, state, fresh, seeds[number, i])
            begun += BEGUN
        cuda.syncthreads()
        size = np.int64(state[FRESH])
        if (walk_limit > 0 and compared + size + followed > walk_limit) or (
            4 * state[MET] > 3 * table_places
        ):
            status = EXHAUSTED
            break
        _compare_fresh(held, number, fresh, size, words, own, lists, room)
        compared += size
        cuda.syncthreads()
        if thread == 0:
            state[FRESH] = 0
        cut_back(lists, room, keep, nothing)
    found: Any = min(np.int64(lists.sizes[final]), beam, walked.rows.shape[1])
    for place in range(thread, walked.rows.shape[1], threads):
        row = lists.rows[final * room + place] >> 1 if place < found else -1
        walked.rows[number, place] = row
    if thread == 0:
        walked.found[number], walked.status[number] = found, status
        walked.work[number, CODES], walked.work[number, FULL] = compared, 0
        walked.work[number, CHECKS] = followed * links.shape[1]
        walked.work[number, HOPS] = followed


class _Layout(NamedTuple):
    """The shared memory of a walk: lists and their places, what is kept, rows met at a step, and
    the table of rows met; `nbytes` in all.
    """

    lists: int
    room: int
    keep: int
    fresh: int
    table: int
    nbytes: int


def _layout(one_hop: bool, beam: int, places: int, threads: int) -> _Layout | None:
    """How a block lays out a walk with so many links a row; None where it does not fit."""
    # Passing links of the row itself, and what the last round of failing rows can bring.
    fresh = max(BEGUN, places if one_hop else ENOUGH + places * (1 + threads // WARP))
    keep, lists = beam * QUEUE if one_hop else beam, 2 if one_hop else 1
    room = 1 << (keep + fresh - 1).bit_length()
    used = bytes_of_lists(lists, room) + 4 * (STATE + fresh + places)
    table = 1 << max((SHARED_BYTES - used) // 4, 1).bit_length() - 1
    if used > SHARED_BYTES or table // 4 < fresh + places:
        return None
    return _Layout(lists, room, keep, fresh, table, used + 4 * table)


def fits(one_hop: bool, beam: int, places: int, threads: int) -> bool:
    """Whether a block of so many threads can walk with this beam, `places` links a row."""
    return _layout(one_hop, beam, places, threads) is not None


def walk(
    held: tuple[DeviceArray, ...],
    limits: DeviceArray,
    metric: int,
    words: DeviceArray,
    counts: DeviceArray,
    links: DeviceArray,
    seeds: DeviceArray,
    settings: tuple[int, int, int, float, int],
    walked: Answers,
    workspace: Workspace,
) -> None:
    """Walk for each query; the nearest passing rows in `walked`, by their keys, and how it ended.

    `held` is what rows are measured by: query codes, codes, scale, square, parameters. `settings`
    are mode, beam, k, gap and walk_limit (`graph_search_cuda.search_graph`). ValueError for a beam
    that does not fit a block's shared memory.
    """
    mode, beam, k, gap, walk_limit = settings
    places, threads = links.shape[1], workspace.threads
    one_hop = mode == ONE_HOP and words.shape[0] > 0
    layout = _layout(one_hop, beam, places, threads)
    if layout is None:
        raise ValueError(
            f"a beam of {beam} with {places} links a row does not fit the {SHARED_BYTES} bytes of "
            f"shared memory of a block of {threads} threads; take fewer"
        )
    *sizes, shared = layout
    given = (workspace.turn, held, limits, metric, words, counts, links, seeds)
    blocks = walked.rows.shape[0]
    workspace.launch(
        _walk, blocks, *given, mode, beam, k, gap, walk_limit, *sizes, walked, shared=shared
    )
