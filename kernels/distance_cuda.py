"""Full-precision distances on the device: the twin of `distance`, by one warp for SUMS pairs.

Vectors are float32, float16 (as such, not as uint16) or int8; queries are float32. All 32 lanes
take part: lane l reads elements l, l + 32, ... of each row, so that a warp reads whole lines, and
SUMS rows (or fewer, against several queries) are asked for before the first is needed. Sums are
float64 in the CPU's order (`warp_cuda`), so distances have the CPU's bits. H200: 64 fused float64
operations a cycle and multiprocessor against 5 float32 elements that memory delivers: one query
waits for memory alone, and so do up to 6 (l2) or 12 queries (ip, cosine) that share their rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fanns.kernels.distance import IP, L2
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import WARP, DeviceArray, Workspace, cuda, inner, kernel
from fanns.kernels.warp_cuda import SUMS, warp_sum

STEP = 8
"""Elements of the CPU's vector register: fewer than these are added one by one at the end."""


@inner
def _term(squared: bool, x: float, q: float, total: float) -> float:
    if squared:
        x = x - q
        q = x
    return cuda.fma(x, q, total)  # type: ignore[no-any-return]


def pair_sums(rows_at_once: int) -> Callable[..., None]:
    """`sums_of(squared, vectors, rows, queries, first, m, sums)` for so many rows.

    Writes this lane's part of sum(x q), or sum((x - q)^2), of `rows_at_once` rows (a local array)
    and of queries first, first + 1, ... (below m), SUMS pairs in all, row by row, into sums
    float64[SUMS], a local array.
    """
    queries_at_once = SUMS // rows_at_once

    @inner
    def add(
        squared: bool,
        vectors: Array,
        rows: Array,
        queries: Array,
        first: Integer,
        m: int,
        j: Integer,
        sums: Array,
    ) -> None:
        for g in range(queries_at_once):
            q = np.float64(queries[min(first + g, m - 1), j])
            for r in range(rows_at_once):
                x = np.float64(vectors[rows[r], j])
                place = r * queries_at_once + g
                sums[place] = _term(squared, x, q, sums[place])

    @inner
    def sums_of(
        squared: bool,
        vectors: Array,
        rows: Array,
        queries: Array,
        first: Integer,
        m: int,
        sums: Array,
    ) -> None:
        d, lane = queries.shape[1], cuda.laneid
        for i in range(SUMS):
            sums[i] = 0.0
        whole = d // WARP * WARP
        for j in range(lane, whole, WARP):
            add(squared, vectors, rows, queries, first, m, j, sums)
        if lane < STEP:
            for j in range(whole + lane, d // STEP * STEP, STEP):
                add(squared, vectors, rows, queries, first, m, j, sums)

    return sums_of


@inner
def add_rest(
    squared: bool, vectors: Array, row: Integer, queries: Array, number: Integer, total: float
) -> float:
    """The sum with the last d % 8 elements added, one by one."""
    d = queries.shape[1]
    for j in range(d // STEP * STEP, d):
        total = _term(squared, np.float64(vectors[row, j]), np.float64(queries[number, j]), total)
    return total


@inner
def ordered_place(turn: Integer, d: int) -> Any:
    """The element that this lane adds in a turn of the CPU's order, or -1 for none.

    There are `ordered_turns(d)` turns; the last d % 8 elements are not among these.
    """
    whole, lane = d // WARP, cuda.laneid
    if turn < whole:
        return turn * WARP + lane
    return whole * WARP + (turn - whole) * STEP + lane if lane < STEP else -1


@inner
def ordered_turns(d: int) -> Any:
    return d // WARP + d % WARP // STEP


@inner
def query_length(queries: Array, number: Integer) -> Any:
    """|q|, in all lanes of a warp."""
    d, total = queries.shape[1], 0.0
    for turn in range(ordered_turns(d)):
        j = ordered_place(turn, d)
        if j >= 0:
            q = np.float64(queries[number, j])
            total = cuda.fma(q, q, total)
    total = warp_sum(total)
    for j in range(d // STEP * STEP, d):
        q = np.float64(queries[number, j])
        total = cuda.fma(q, q, total)
    return math.sqrt(total)


@kernel
def _query_norms(queries: Array, out: Array) -> None:
    """One warp a query."""
    number = cuda.grid(1) // WARP
    if number < queries.shape[0]:
        length = query_length(queries, number)
        if cuda.laneid == 0:
            out[number] = length


def query_norms(queries: DeviceArray, out: DeviceArray, workspace: Workspace) -> None:
    """out float64[m] = the lengths of queries float32[m, d]."""
    warps = workspace.threads // WARP
    workspace.launch(_query_norms, -(-queries.shape[0] // warps), queries, out)


@inner
def distance_of(metric: int, total: float, norm: float, row_norm: float) -> float:
    """The distance from a sum: of squared differences under l2, else of products."""
    if metric == L2:
        return math.sqrt(total)
    if metric == IP:
        return -total
    lengths = norm * row_norm
    if lengths == 0.0:
        return 1.0
    distance = 1.0 - total / lengths
    if distance < 0.0:
        return 0.0
    return 2.0 if distance > 2.0 else distance
