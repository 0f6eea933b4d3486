"""Which passing rows are near each query, by clusters: how `scan_clusters` chooses, on the device.

One block a query. All threads rank the clusters by the int8 codes of their centres and keep the
nearest in shared memory (`topk_cuda`). Then a thread counts the passing rows of one cluster, the
clusters being in order; sums over the threads tell how many rows pass and were seen before each,
and the first cluster before which enough passed is where the choice ends. No distance of a row
takes part, so the choice is made before any row is read: the rows are written down as a list, which
any scan of lists then compares, by as many blocks as the device has.

Bound: the codes of all centres, read once a query from the L2 cache (0.4 MB of 1,000 centres at 384
dimensions: some 0.1 microseconds of the whole device), and the sort of what is kept. The lists take
4 bytes a row, written and read once, against some 400 of the codes that are then compared.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import int32

from fanns.kernels.bitset_cuda import WORD, mask_of_range, sum_before
from fanns.kernels.int8_cuda import code_key, pair_products
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import WARP, DeviceArray, Turn, Workspace, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import MOST, bytes_of_lists, shared_lists
from fanns.kernels.scan import APPROXIMATE, EXACT, EXHAUSTED
from fanns.kernels.topk_cuda import Lists, clear, cut_back, offer, room_for
from fanns.kernels.turns_cuda import bitmap_of, skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

MOST_CLUSTERS = MOST
"""The most clusters that are ranked for a query: a list of them is in a block's shared memory."""

# Places of a choice's state in shared memory, int32[STATE].
END = 0  # the rank before which enough rows pass, NOWHERE as long as there is none
AVOIDED = 1  # whether few rows of the nearest clusters pass
PASSING = 2  # rows that pass before END
CURSOR = 3  # rows written down
STATE = 4

NOWHERE = 2**30

_products = pair_products(SUMS)


class Enough(NamedTuple):
    """When a query has seen enough passing rows.

    near float64[g]: `scan_clusters.enough_rows` by the pass-rate so far; far float64[h]: the same
    by the pass-rate of all rows, for queries whose nearest `probe` clusters pass at less than
    `sparse` times that rate. Of these, queries are given up for which `far` is at least `abandon`
    times all passing rows; none where `abandon` is negative.
    """

    near: DeviceArray
    far: DeviceArray
    sparse: float
    probe: int
    abandon: float


class Chosen(NamedTuple):
    """The rows chosen for m queries, in no particular order.

    Query i has flat[starts[i] : stops[i]] of rows int32[m, most]; starts, stops int64[m]. status
    int8[m]: EXACT where all passing rows are among them, EXHAUSTED where the query was given up and
    has none, else APPROXIMATE. taken int64[m]: clusters.
    """

    rows: DeviceArray
    starts: DeviceArray
    stops: DeviceArray
    status: DeviceArray
    taken: DeviceArray


@inner
def enough_rows(near: Array, passing: Integer, seen: Integer) -> Any:
    """The passing rows that are enough when so many of the rows seen pass; infinite before any.

    near[i] belongs to a pass-rate of 2^-i; between, their logarithms are interpolated.
    """
    if passing == 0:
        return math.inf
    rate = -math.log2(passing / seen)
    last = near.shape[0] - 1
    if rate >= last:
        return near[last]
    below = int(rate)
    a, b = near[below], near[below + 1]
    if a == b:
        return a
    return a * math.exp((rate - below) * math.log(b / a))


@inner
def _gives_up(enough: Enough, far: float, count: Integer) -> Any:
    """Whether a query that the filter avoids is left to another path."""
    return enough.abandon >= 0.0 and far >= enough.abandon * count


@inner
def _word(words: Array, own: Integer, place: Integer, start: Integer, stop: Integer) -> Any:
    """The bits of rows start <= r < stop in a word; without bitmaps every row passes."""
    mask = np.uint32(mask_of_range(place, start, stop))
    return mask if words.shape[0] == 0 else words[own, place] & mask


@inner
def _count(words: Array, own: Integer, start: Integer, stop: Integer) -> Any:
    """How many of the rows start <= r < stop pass."""
    if words.shape[0] == 0:
        return stop - start
    total = np.int64(0)
    for place in range(start // WORD, (stop + WORD - 1) // WORD):
        total += cuda.popc(_word(words, own, place, start, stop))
    return total


@inner
def _rank(
    queries: Array,
    parameters: Array,
    number: Integer,
    centres: Any,
    lists: Lists,
    room: int,
    keep: int,
) -> None:
    """Put the nearest `keep` clusters into the list, the nearest first, equals by their number."""
    codes, scale, square = centres
    warp, step = cuda.threadIdx.x // WARP, SUMS * (cuda.blockDim.x // WARP)
    rows, sums = cuda.local.array(SUMS, int32), cuda.local.array(SUMS, int32)
    total, nothing = scale.shape[0], lists.bar_ties[:0]
    clear(lists)
    cuda.syncthreads()
    for start in range(SUMS * warp, total + SUMS * warp, step):
        fill = 0
        if start < total:
            for i in range(SUMS):
                rows[i] = min(start + i, total - 1)
            _products(codes, rows, queries, number, queries.shape[0], sums)
            product, cluster = warp_sums(sums), start + sum_of_lane()
            if cluster < total and cuda.laneid & 1 == 0:
                key = code_key(product, scale[cluster], square[cluster], parameters[number])
                fill = offer(lists, 0, room, key, np.int64(cluster), cluster)
        if cuda.syncthreads_or(np.int32(fill > room - step)):
            cut_back(lists, room, keep, nothing)
    cut_back(lists, room, keep, nothing)


@inner
def _take(
    words: Array,
    own: Integer,
    bounds: Array,
    lists: Lists,
    count: Integer,
    rate: float,
    enough: Enough,
    far: float,
    state: Array,
) -> None:
    """Find the rank at which the choice ends, and the rows that pass before it. All threads."""
    thread, size = cuda.threadIdx.x, np.int64(lists.sizes[0])
    if thread == 0:
        state[END], state[AVOIDED], state[CURSOR] = NOWHERE, 0, 0
    passing, seen, start = np.int64(0), np.int64(0), np.int64(0)
    while start < size:
        rank, met, rows = start + thread, np.int64(0), np.int64(0)
        if rank < size:
            first, stop = bounds[lists.rows[rank]], bounds[lists.rows[rank] + 1]
            met, rows = _count(words, own, first, stop), stop - first
        before, all_met = sum_before(met)
        rows_before, all_rows = sum_before(rows)
        before, rows_before = before + passing, rows_before + seen
        if rank == enough.probe and before < rate * rows_before:
            state[AVOIDED] = 1
        cuda.syncthreads()
        if 0 < rank < size:
            needed = enough_rows(enough.near, before, rows_before)
            if rank >= enough.probe and state[AVOIDED] != 0:
                needed = 0.0 if _gives_up(enough, far, count) else far
            if before >= needed or before >= count:
                cuda.atomic.min(state, END, np.int32(rank))
        cuda.syncthreads()
        if state[END] == rank:
            state[PASSING] = before
        passing, seen, start = passing + all_met, seen + all_rows, start + cuda.blockDim.x
        if state[END] != NOWHERE:
            break
    if thread == 0 and state[END] == NOWHERE:
        state[PASSING] = passing
    cuda.syncthreads()


@inner
def _write_rows(
    words: Array,
    own: Integer,
    bounds: Array,
    lists: Lists,
    taken: Integer,
    state: Array,
    out: Array,
) -> None:
    """The passing rows of the first `taken` clusters; a warp a cluster."""
    for rank in range(cuda.threadIdx.x // WARP, taken, cuda.blockDim.x // WARP):
        first, stop = bounds[lists.rows[rank]], bounds[lists.rows[rank] + 1]
        last = (stop + WORD - 1) // WORD
        for place in range(first // WORD + cuda.laneid, last, WARP):
            word = np.uint32(_word(words, own, place, first, stop))
            if word != np.uint32(0):
                at = cuda.atomic.add(state, CURSOR, np.int32(cuda.popc(word)))
                while word != np.uint32(0):
                    out[at] = place * WORD + np.int64(cuda.ffs(word)) - 1
                    at += 1
                    word &= word - np.uint32(1)


@kernel
def _choose(
    turn: Turn,
    queries: Array,
    parameters: Array,
    centres: Any,
    bounds: Array,
    words: Array,
    counts: Array,
    enough: Enough,
    keep: int,
    room: int,
    chosen: Chosen,
) -> None:
    number, most = cuda.blockIdx.x, chosen.rows.shape[1]
    if skipped(turn, number):
        return
    own, clusters = bitmap_of(turn, words.shape[0], number), bounds.shape[0] - 1
    n = bounds[clusters]
    count = counts[own] if counts.shape[0] > 0 else n
    lists, _, state = shared_lists(1, room, STATE)
    _rank(queries, parameters, number, centres, lists, room, keep)
    far = enough_rows(enough.far, count, max(n, 1))
    rate = enough.sparse * (count / max(n, 1))
    _take(words, own, bounds, lists, count, rate, enough, far, state)
    end, passing, taken = state[END], np.int64(state[PASSING]), np.int64(lists.sizes[0])
    if end != NOWHERE:
        taken = np.int64(end)
    given_up = state[AVOIDED] != 0 and taken >= enough.probe and _gives_up(enough, far, count)
    too_few = end == NOWHERE and taken < clusters and passing < count
    status = EXACT if passing == count else APPROXIMATE
    if given_up or too_few or passing > most:
        status = EXHAUSTED
    else:
        _write_rows(words, own, bounds, lists, taken, state, chosen.rows[number])
    if cuda.threadIdx.x == 0:
        start = np.int64(number) * most
        chosen.starts[number], chosen.stops[number] = start, start
        if status != EXHAUSTED:
            chosen.stops[number] = start + passing
        chosen.status[number], chosen.taken[number] = status, taken


def chosen_parts(m: int, most: int) -> list[tuple[tuple[int, ...], Any]]:
    """Shapes and types of `Chosen`."""
    each = [((m,), kind) for kind in (np.int64, np.int64, np.int8, np.int64)]
    return [((m, most), np.int32), *each]


def choose_rows(
    queries: DeviceArray,
    parameters: DeviceArray,
    centres: tuple[DeviceArray, DeviceArray, DeviceArray],
    bounds: DeviceArray,
    words: DeviceArray,
    counts: DeviceArray,
    enough: Enough,
    clusters: int,
    chosen: Chosen,
    workspace: Workspace,
) -> None:
    """The passing rows of the nearest clusters that hold enough of them, for each query.

    Prepared queries (codes int32[m, w / 4], parameters); codes int32[c, w / 4], scale and square of
    centres; bounds int64[c + 1]; words uint32[s, 2 w] with counts int64[s] of their bits, or
    neither ([0, 0] and [0]): every row passes. Of each query the nearest `clusters` are ranked, and
    more than `probe`; one that needs more of them, or more rows than there are places, is given up.
    ValueError for more than MOST_CLUSTERS.
    """
    total = bounds.shape[0] - 1
    keep = min(max(clusters, enough.probe + 1), total)
    if keep > MOST_CLUSTERS:
        raise ValueError(f"{keep} clusters: a query ranks at most {MOST_CLUSTERS} on the device")
    room = room_for(keep, SUMS * (workspace.threads // WARP))
    shared = bytes_of_lists(1, room) + 4 * STATE
    given = (queries, parameters, centres, bounds, words, counts, enough, keep, room, chosen)
    workspace.launch(_choose, queries.shape[0], workspace.turn, *given, shared=shared)
