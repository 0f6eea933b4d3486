"""The masked scan on the device: the twin of `scan`, with the top-k in the same kernel.

The grid is (groups of queries) x (shares of the rows), groups first, so that blocks that run at
once read the same rows, from the L2 cache. A block takes its share of the selection as
row numbers into shared memory (`selection_cuda`), and each warp reads the vectors of several rows
at a time, 128 bytes side by side of each, straight to registers; no vector is written anywhere.
Queries that share a selection share what is read: a warp compares 4 rows with 4 queries, and the
warps of a block take different queries of the same rows, which the L1 cache then holds. The best k
of a block stay in shared memory (`topk_cuda`); a second kernel, a block a query, merges what
the blocks found.

Bound: the bytes of the selected rows, once for each group of queries; a copy on an H200 moves
4.3 TB/s, so that 10^6 rows of 384 float32 take a third of a millisecond. From about 8 queries on
it is float64 arithmetic (`distance_cuda`).

Shared memory: 12 bytes for each place of a list, 16 KB for the rows of a bitmap's words at 128
threads. It limits k to MOST.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, int32, int64

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.distance_cuda import add_rest, distance_of, pair_sums, query_norm
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import (
    SHARED_BYTES,
    WARP,
    DeviceArray,
    Workspace,
    bytes_of,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.scan import CHECKS, CODES, EXACT, FULL, HOPS
from fanns.kernels.selection_cuda import WORD, pick, share_of
from fanns.kernels.topk_cuda import clear_lists, cut_back, offer, room_for
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

MOST = 1024
"""The largest k: its list, and room for offers, take half of the shared memory of a block."""

ROUNDS = 4
"""Rounds of rows that are picked from a bitmap at a time, at least, so that few are half empty."""

MERGED = 1 << 17
"""Most entries that one block merges for a query, which bounds the shares at large k."""

SHARED_QUERIES = 4
"""Queries that a warp compares with as many rows, where they share a selection."""


REGISTERS = 128
"""Of a thread of the scan, for 16 warps a multiprocessor and 32 KB of loads under way; it would
take 240, for half of that. What ptxas then keeps in memory is 0.3 KB a thread."""


class Shape(NamedTuple):
    """How a scan is laid out on the device.

    A block has `teams` teams of warps; warps of different teams compare the same rows with other
    queries, `SUMS / rows_at_once` each. `shares` blocks divide the rows of a group of queries.
    """

    rows_at_once: int
    teams: int
    shares: int
    room: int

    @property
    def queries(self) -> int:
        """Queries of a block, each with a list."""
        return SUMS // self.rows_at_once * self.teams

    def offers(self, threads: int) -> int:
        """Rows compared between two barriers."""
        return self.rows_at_once * threads // WARP // self.teams

    def picked(self, threads: int) -> int:
        return ROUNDS * self.offers(threads) + WORD * threads

    def shared_bytes(self, threads: int) -> int:
        lists = self.queries * (12 * self.room + 28)
        return lists + 4 * (self.picked(threads) + 2)


def shape_of(m: int, k: int, n: int, one_selection: bool, threads: int, blocks: int) -> Shape:
    """The layout for m queries over up to n rows, so that about so many blocks run.

    ValueError for a k above MOST.
    """
    if not 0 < k <= MOST:
        raise ValueError(f"k = {k}: scans on the device keep 1 to {MOST} rows a query")
    layouts = [(SUMS, 1)]
    if one_selection and m > 1:
        groups = -(-m // SHARED_QUERIES)
        teams = min(threads // WARP, 1 << (groups - 1).bit_length())
        smaller = [(SUMS // SHARED_QUERIES, teams >> i) for i in range(teams.bit_length())]
        layouts = smaller + layouts
    shapes = (Shape(rows, teams, 1, 0) for rows, teams in layouts)
    shapes = (shape._replace(room=room_for(k, shape.offers(threads))) for shape in shapes)
    fitting = (shape for shape in shapes if shape.shared_bytes(threads) <= SHARED_BYTES)
    shape = next(fitting, None)
    if shape is None:
        raise ValueError(f"k = {k} does not fit blocks of {threads} threads; 128 take any")
    wanted = -(-blocks // -(-m // shape.queries)) if m else 1
    shares = min(wanted, -(-n // shape.offers(threads)), MERGED // k)
    return shape._replace(shares=max(1, shares))


def scan_exact_bytes(m: int, k: int, n: int, one_selection: bool, workspace: Workspace) -> int:
    """What `scan_exact` borrows from a workspace of these threads and blocks."""
    shape = shape_of(m, k, n, one_selection, workspace.threads, workspace.blocks)
    return bytes_of(*_parts(shape, m, k))


def _parts(shape: Shape, m: int, k: int) -> list[tuple[tuple[int, ...], Any]]:
    """What the blocks leave for the merge: distances, rows, and how many rows they compared."""
    parts = (m, shape.shares)
    return [((*parts, k), np.float64), ((*parts, k), np.int32), (parts, np.int32)]


@inner
def _lists(lists: Any, room: int, picked_places: int) -> Any:
    """The arrays of a block's lists in its dynamic shared memory, and what lies behind them.

    float64: distances [lists * room], bars, norms; int64: ties of bars; int32: rows [lists * room],
    sizes, the count of picked rows (and a gap), the picked rows.
    """
    numbers = cuda.shared.array(0, float64)
    ties = cuda.shared.array(0, int64)
    small = cuda.shared.array(0, int32)
    places = lists * room
    behind = 2 * (places + 3 * lists)
    return (
        numbers[:places],
        numbers[places : places + lists],
        numbers[places + lists : places + 2 * lists],
        ties[places + 2 * lists : places + 3 * lists],
        small[behind : behind + places],
        small[behind + places : behind + places + lists],
        small[behind + places + lists : behind + places + lists + 1],
        small[behind + places + lists + 2 : behind + places + lists + 2 + picked_places],
    )


@inner
def _compare(
    metric: int,
    total: float,
    vectors: Array,
    norms: Array,
    row: Any,
    queries: Array,
    number: Any,
    norm: float,
) -> Any:
    """The distance of one pair from its sum over whole steps."""
    total = add_rest(metric == L2, vectors, row, queries, number, total)
    length = norms[row] if metric == COSINE else 1.0
    return distance_of(metric, total, norm, length)


def _scanner(rows_at_once: int) -> Any:
    """The kernel that compares so many rows at a time with `SUMS / rows_at_once` queries."""
    queries_at_once = SUMS // rows_at_once
    parts_of = pair_sums(rows_at_once)

    @inner
    def compare_rows(
        queries: Array,
        first: Any,
        m: int,
        vectors: Array,
        norms: Array,
        metric: int,
        picked: Array,
        start: Any,
        held: Any,
        lengths: Array,
        own: Any,
    ) -> Any:
        """Compare rows of the list, from `start` on, with queries from `first` on.

        Gives the row of this lane's pair, or -1, and its distance.
        """
        rows = cuda.local.array(rows_at_once, int32)
        sums = cuda.local.array(SUMS, float64)
        for r in range(rows_at_once):
            rows[r] = picked[min(start + r, held - 1)]
        # The last queries of the last group may not be there: others stand for them.
        parts_of(metric == L2, vectors, rows, queries, first, m, sums)
        total = warp_sums(sums)
        pair = sum_of_lane()
        place, number = start + pair // queries_at_once, pair % queries_at_once
        if place >= held or first + number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        norm = lengths[own + number]
        return row, _compare(metric, total, vectors, norms, row, queries, first + number, norm)

    @kernel(max_registers=REGISTERS)
    def scan(
        queries: Array,
        form: int,
        rows: Array,
        offsets: Array,
        words: Array,
        n: int,
        vectors: Array,
        norms: Array,
        metric: int,
        ties: Array,
        k: int,
        room: int,
        teams: int,
        picked_places: int,
        part_distances: Array,
        part_rows: Array,
        part_counts: Array,
    ) -> None:
        m, lists = queries.shape[0], teams * queries_at_once
        distances, bars, lengths, bar_ties, best, sizes, count, picked = _lists(
            lists, room, picked_places
        )
        clear_lists(lists, bars, bar_ties, sizes)
        warp, warps = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
        team, step = warp % teams, rows_at_once * (warps // teams)
        share, group = cuda.blockIdx.y, cuda.blockIdx.x * lists
        own = team * queries_at_once
        for number in range(warp, lists, warps):
            if group + number < m:
                norm = query_norm(queries, group + number)
                if cuda.laneid == 0:
                    lengths[number] = norm
        selection = cuda.blockIdx.x if max(offsets.shape[0] - 1, words.shape[0]) > 1 else 0
        position = share_of(form, offsets, words, n, selection, 0)
        stop = share_of(form, offsets, words, n, selection, 1)
        wanted, compared = picked_places - WORD * cuda.blockDim.x, 0
        while True:
            position = pick(form, rows, words, selection, position, stop, wanted, picked, count)
            held = count[0]
            if held == 0:
                break
            compared += held
            for start in range(0, held, step):
                mine = start + warp // teams * rows_at_once
                size: Any = 0
                if mine < held and group + own < m:
                    row, distance = compare_rows(
                        queries,
                        group + own,
                        m,
                        vectors,
                        norms,
                        metric,
                        picked,
                        mine,
                        held,
                        lengths,
                        own,
                    )
                    if row >= 0:
                        number = own + sum_of_lane() % queries_at_once
                        size = offer(
                            number,
                            room,
                            distances,
                            best,
                            bars,
                            bar_ties,
                            sizes,
                            distance,
                            ties[row],
                            row,
                        )
                if cuda.syncthreads_or(np.int32(size > room - step)):
                    cut_back(lists, room, k, distances, best, bars, bar_ties, sizes, ties)
        cut_back(lists, room, k, distances, best, bars, bar_ties, sizes, ties)
        for i in range(cuda.threadIdx.x, lists * k, cuda.blockDim.x):
            number = group + i // k
            if number < m:
                place = i // k * room + i % k
                part_distances[number, share, i % k] = distances[place]
                part_rows[number, share, i % k] = best[place]
        for number in range(group + cuda.threadIdx.x, min(group + lists, m), cuda.blockDim.x):
            part_counts[number, share] = compared

    return scan


_scan_alone = _scanner(SUMS)
_scan_together = _scanner(SUMS // SHARED_QUERIES)


@kernel
def _merge(
    part_distances: Array,
    part_rows: Array,
    part_counts: Array,
    ties: Array,
    room: int,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """The best k of what the blocks found for a query; one block a query."""
    number, k = cuda.blockIdx.x, out_rows.shape[1]
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    distances, bars, _, bar_ties, best, sizes, _, _ = _lists(1, room, 0)
    clear_lists(1, bars, bar_ties, sizes)
    cuda.syncthreads()
    entries = part_rows.shape[1] * k
    for start in range(0, entries, threads):
        entry, size = start + thread, np.int64(0)
        if entry < entries and part_rows[number, entry // k, entry % k] >= 0:
            row = part_rows[number, entry // k, entry % k]
            distance = part_distances[number, entry // k, entry % k]
            size = offer(0, room, distances, best, bars, bar_ties, sizes, distance, ties[row], row)
        if cuda.syncthreads_or(np.int32(size > room - threads)):
            cut_back(1, room, k, distances, best, bars, bar_ties, sizes, ties)
    cut_back(1, room, k, distances, best, bars, bar_ties, sizes, ties)
    for place in range(thread, k, threads):
        out_rows[number, place] = best[place]
        out_distances[number, place] = distances[place]
    if thread == 0:
        compared = 0
        for share in range(part_counts.shape[1]):
            compared += part_counts[number, share]
        out_found[number], out_status[number] = min(k, compared), EXACT
        out_work[number, CODES], out_work[number, FULL] = 0, compared
        out_work[number, CHECKS], out_work[number, HOPS] = 0, 0


def scan_exact(
    queries: DeviceArray,
    form: int,
    rows: DeviceArray,
    offsets: DeviceArray,
    words: DeviceArray,
    n: int,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Compare every selected row in full precision; the best by (distance, tie).

    As `scan.scan_exact`, without a budget: queries float32[m, d]; vectors [n, d] float32, float16
    or int8; norms float64[n]; ties int64[n]. The selection is shared by all queries, or there is
    one for each (`selection_cuda`): rows int32 with offsets int64[2] or int64[m + 1], or words
    uint64[1, w] or uint64[m, w]; those of other forms have no rows, offsets [0] and words [0, 0].
    Writes rows int32[m, k] (-1 where there is none), distances float64[m, k], found int32[m],
    status int8[m] (EXACT) and work int64[m, 4]. ValueError for a k above MOST.
    """
    m, k = out_rows.shape
    selections = max(offsets.shape[0] - 1, words.shape[0])
    shape = shape_of(m, k, n, selections <= 1, workspace.threads, workspace.blocks)
    scanner = _scan_alone if shape.rows_at_once == SUMS else _scan_together
    threads, halves = workspace.threads, words.view(np.uint32)
    room = room_for(k, threads)
    with workspace.frame():
        parts = [workspace.take(*part) for part in _parts(shape, m, k)]
        given = (queries, form, rows, offsets, halves, n, vectors, norms, metric, ties, k)
        layout = (shape.room, shape.teams, shape.picked(threads))
        grid = (-(-m // shape.queries), shape.shares)
        shared = shape.shared_bytes(threads)
        workspace.launch(scanner, grid, *given, *layout, *parts, shared=shared)
        answers = (out_rows, out_distances, out_found, out_status, out_work)
        workspace.launch(_merge, m, *parts, ties, room, *answers, shared=12 * room + 48)
