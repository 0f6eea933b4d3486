"""What scans of a selection share on the device: the grid, the lists of the best, and their merge.

The grid is (groups of queries) x (shares of the rows), groups first, so that blocks that run at
once read the same rows, from the L2 cache. A block takes its share of the selection as row numbers
into shared memory (`selection_cuda`); each of its warps compares several of these rows with one or
more queries at a time, reading rows straight to registers; no vector is written anywhere. Queries
that share a selection share what is read: a warp compares 4 rows with 4 queries, and the warps of a
block take different queries of the same rows, which the L1 cache then holds. The best of a block
stay in shared memory (`topk_cuda`); a second kernel, a block a query, merges what the blocks found.

Shared memory: 12 bytes for each place of a list, and 16 KB for the rows of a bitmap's words at 128
threads. It limits how many rows are kept for a query to MOST.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, int32, int64

from fanns.kernels.bitset_cuda import WORD
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import (
    REGISTERS,
    SHARED_BYTES,
    WARP,
    DeviceArray,
    Turn,
    Workspace,
    bytes_of,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.scan import CHECKS, CODES, EXACT, FULL, HOPS
from fanns.kernels.selection_cuda import Selection, own_selection, pick, share_of
from fanns.kernels.topk_cuda import Lists, clear, cut_back, offer, room_for, tie_of
from fanns.kernels.turns_cuda import all_skipped, skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane

MOST = 1024
"""The most rows that are kept for a query: their list, and room for offers, take half of the shared
memory of a block."""

ROUNDS = 4
"""Rounds of rows that are picked from a bitmap at a time, at least, so that few are half empty."""

MERGED = 1 << 17
"""Most entries that one block merges for a query, which bounds the shares at large k."""

SHARED_QUERIES = 4
"""Queries that a warp compares with as many rows, where they share a selection."""

ROWS_AT_ONCE = (SUMS, SUMS // SHARED_QUERIES)
"""The ways of a warp: many rows and one query, or as many queries as rows."""


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
        return bytes_of_lists(self.queries, self.room) + 4 * self.picked(threads)


def shape_of(m: int, k: int, n: int, one_selection: bool, workspace: Workspace) -> Shape:
    """The layout for m queries over up to n rows, so that about so many blocks run.

    ValueError for a k above MOST.
    """
    threads = workspace.threads
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
    wanted = -(-workspace.blocks // -(-m // shape.queries)) if m else 1
    shares = min(wanted, -(-n // shape.offers(threads)), MERGED // k)
    return shape._replace(shares=max(1, shares))


def bytes_of_lists(lists: int, room: int) -> int:
    return lists * (12 * room + 20) + 8


@inner
def shared_lists(count: Any, room: int, picked_places: int) -> Any:
    """The lists in a block's dynamic shared memory, the count of picked rows, and these rows."""
    numbers = cuda.shared.array(0, float64)
    ties = cuda.shared.array(0, int64)
    small = cuda.shared.array(0, int32)
    places = count * room
    behind = 2 * (places + 2 * count)
    lists = Lists(
        numbers[:places],
        small[behind : behind + places],
        numbers[places : places + count],
        ties[places + count : places + 2 * count],
        small[behind + places : behind + places + count],
    )
    behind += places + count
    return lists, small[behind : behind + 1], small[behind + 1 : behind + 1 + picked_places]


def scanner(name: str, rows_at_once: int, compare: Any) -> Any:
    """The kernel, kept by a name, that compares `rows_at_once` with `SUMS / rows_at_once` queries.

    `compare(held, first, m, picked, start, count)` is a device function that a whole warp calls:
    it compares picked[start : start + rows_at_once], as far as there are so many of `count`, with
    queries first, first + 1, ..., as far as below m. Each lane gets one pair, `sum_of_lane()` row
    by row: its row and its distance, or row -1 where another lane has the pair or there is none.
    """
    queries_at_once = SUMS // rows_at_once

    @kernel(name=f"{name}-{rows_at_once}", max_registers=REGISTERS)
    def scan(
        turn: Turn,
        held: Any,
        m: int,
        selection: Selection,
        ties: Array,
        k: int,
        room: int,
        teams: int,
        picked_places: int,
        part_distances: Array,
        part_rows: Array,
        part_counts: Array,
    ) -> None:
        queries = teams * queries_at_once
        group = cuda.blockIdx.x * queries
        if all_skipped(turn, group, min(group + queries, m)):
            return
        lists, count, picked = shared_lists(queries, room, picked_places)
        clear(lists)
        warp, warps = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
        step, own_row = rows_at_once * (warps // teams), rows_at_once * (warp // teams)
        own_query = queries_at_once * (warp % teams)
        own = own_selection(turn, selection, cuda.blockIdx.x)
        position, stop = share_of(selection, own, 0), share_of(selection, own, 1)
        wanted, compared = picked_places - WORD * cuda.blockDim.x, 0
        while True:
            position = pick(selection, own, position, stop, wanted, picked, count)
            size = count[0]
            if size == 0:
                break
            compared += size
            for start in range(own_row, size + own_row, step):
                fill = 0
                if start < size and group + own_query < m:
                    row, distance = compare(held, group + own_query, m, picked, start, size)
                    if row >= 0:
                        number = own_query + sum_of_lane() % queries_at_once
                        fill = offer(lists, number, room, distance, tie_of(ties, row), row)
                if cuda.syncthreads_or(np.int32(fill > room - step)):
                    cut_back(lists, room, k, ties)
        cut_back(lists, room, k, ties)
        for i in range(cuda.threadIdx.x, queries * k, cuda.blockDim.x):
            number, place = i // k, i % k
            if group + number < m:
                part = (group + number, cuda.blockIdx.y, place)
                part_distances[part] = lists.distances[number * room + place]
                part_rows[part] = lists.rows[number * room + place]
        for number in range(group + cuda.threadIdx.x, min(group + queries, m), cuda.blockDim.x):
            part_counts[number, cuda.blockIdx.y] = compared

    return scan


class Answers(NamedTuple):
    """Where the answers of m queries go, as `scan.scan_exact` tells."""

    rows: DeviceArray
    distances: DeviceArray
    found: DeviceArray
    status: DeviceArray
    work: DeviceArray


@kernel
def _merge(
    turn: Turn,
    part_distances: Array,
    part_rows: Array,
    part_counts: Array,
    ties: Array,
    room: int,
    column: int,
    answers: Answers,
) -> None:
    """The best k of what the blocks found for a query; one block a query."""
    number, k = cuda.blockIdx.x, answers.rows.shape[1]
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    if skipped(turn, number):
        return
    lists, _, _ = shared_lists(1, room, 0)
    clear(lists)
    cuda.syncthreads()
    entries = part_rows.shape[1] * k
    for start in range(0, entries, threads):
        entry, fill = start + thread, 0
        if entry < entries:
            row = part_rows[number, entry // k, entry % k]
            if row >= 0:
                distance = part_distances[number, entry // k, entry % k]
                fill = offer(lists, 0, room, distance, tie_of(ties, row), row)
        if cuda.syncthreads_or(np.int32(fill > room - threads)):
            cut_back(lists, room, k, ties)
    cut_back(lists, room, k, ties)
    for place in range(thread, k, threads):
        answers.rows[number, place] = lists.rows[place]
        answers.distances[number, place] = lists.distances[place]
    if thread == 0:
        compared = 0
        for share in range(part_counts.shape[1]):
            compared += part_counts[number, share]
        answers.found[number], answers.status[number] = min(k, compared), EXACT
        for part in (CODES, FULL, CHECKS, HOPS):
            answers.work[number, part] = compared if part == column else 0


Parts = list[tuple[tuple[int, ...], Any]]
"""Shapes and types of arrays in a workspace."""


def parts_of(m: int, k: int, shares: int) -> Parts:
    """What the blocks leave for `merge`: distances, rows, and how many rows they compared."""
    parts = (m, shares)
    return [((*parts, k), np.float64), ((*parts, k), np.int32), (parts, np.int32)]


def merge(
    parts: list[DeviceArray],
    ties: DeviceArray,
    column: int,
    answers: Answers,
    workspace: Workspace,
) -> None:
    """The best of what the blocks left for each query; work is counted in one `column`."""
    m, k = answers.rows.shape
    room = room_for(k, workspace.threads)
    given = (workspace.turn, *parts, ties, room, column, answers)
    workspace.launch(_merge, m, *given, shared=bytes_of_lists(1, room))


def best_of_bytes(m: int, k: int, n: int, one_selection: bool, workspace: Workspace) -> int:
    """What `best_of` borrows from a workspace of these threads and blocks."""
    return bytes_of(*parts_of(m, k, shape_of(m, k, n, one_selection, workspace).shares))


def best_of(
    scanners: dict[int, Any],
    held: tuple[Any, ...],
    selection: Selection,
    ties: DeviceArray,
    column: int,
    answers: Answers,
    workspace: Workspace,
) -> None:
    """The k best selected rows of each query by (distance, tie); by row where there are no ties.

    `scanners` for each of ROWS_AT_ONCE; `held` is what they compare
    by. Work is counted in one `column`; the status is EXACT. ValueError for a k above MOST.
    """
    m, k = answers.rows.shape
    shape = shape_of(m, k, selection.n, selection.shared, workspace)
    threads = workspace.threads
    with workspace.frame():
        parts = [workspace.take(*part) for part in parts_of(m, k, shape.shares)]
        layout = (shape.room, shape.teams, shape.picked(threads))
        grid = (-(-m // shape.queries), shape.shares)
        scan, shared = scanners[shape.rows_at_once], shape.shared_bytes(threads)
        given, turn = (held, m, selection, ties, k, *layout), workspace.turn
        workspace.launch(scan, grid, turn, *given, *parts, shared=shared)
        merge(parts, ties, column, answers, workspace)
