"""The rows nearest to each row by int8 codes, among rows of near clusters, for building a graph.

The rows of a cluster are the queries of one scan (`masked_scan_cuda`) over the rows that they are
compared with, a list that they share: a warp compares 4 of these with 4 queries. Distances are
those of `graph_build.between`, to the bit.

Bound: dp4a, a quarter of a row's bytes for each pair, and the loads beside them: 8 lines from the
L1 cache for 16 dp4a of each lane. 10,000,000 rows of 768 dimensions against 50,000 each are 9.6e13
dp4a, 7 s at the device's 1.4e13 a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import int32

from fanns.kernels.graph_build import OFFSET, SCALE, SQUARE
from fanns.kernels.int8_cuda import pair_products
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import ROWS_AT_ONCE, Answers, best_of, best_of_bytes, scanner
from fanns.kernels.rounding_cuda import times32
from fanns.kernels.scan import CODES, ROWS
from fanns.kernels.selection_cuda import Selection
from fanns.kernels.warp_cuda import SUMS, sum_of_lane, warp_sums

SIGNS = np.int32(-0x7F7F7F80)
"""0x80808080: by which codes plus 128 become signed bytes, and the other way round."""


@inner
def between(parameters: Array, row: Integer, other: Integer, product: Integer) -> Any:
    """Distance of two rows from the product of a signed and a stored code: `graph_build.between`.

    The signed one is `row`'s.
    """
    exact = np.int32(product) - np.int32(parameters[row, OFFSET])
    scales = times32(parameters[row, SCALE], parameters[other, SCALE])
    shared = times32(scales, np.float32(exact))
    squared = parameters[row, SQUARE] + parameters[other, SQUARE] - np.float32(2.0) * shared
    return max(squared, np.float32(0.0))


def _compare(rows_at_once: int) -> Any:
    """Compares codes; held: signed codes of rows first_row .., codes, parameters, first_row."""
    queries_at_once = SUMS // rows_at_once
    products_of = pair_products(rows_at_once)

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        queries, codes, parameters, first_row = held
        rows = cuda.local.array(rows_at_once, int32)
        sums = cuda.local.array(SUMS, int32)
        for r in range(rows_at_once):
            rows[r] = picked[min(start + r, count - 1)]
        products_of(codes, rows, queries, first, m, sums)
        product, pair = warp_sums(sums), sum_of_lane()
        place, number = start + pair // queries_at_once, first + pair % queries_at_once
        if place >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        if row == first_row + number:
            return -1, 0.0
        return row, np.float64(between(parameters, first_row + number, row, product))

    return compare


_SCANNERS = {rows: scanner("near", rows, _compare(rows)) for rows in ROWS_AT_ONCE}


@kernel
def _sign(codes: Array, first: int, out: Array) -> None:
    place = cuda.grid(1)
    if place < out.shape[0] * out.shape[1]:
        row, word = place // out.shape[1], place % out.shape[1]
        out[row, word] = codes[first + row, word] ^ SIGNS


def sign_codes(codes: DeviceArray, first: int, out: DeviceArray, workspace: Workspace) -> None:
    """Rows first, first + 1, ... of codes uint8[n, w] as signed bytes, into int8[m, w]."""
    quads = out.view(np.int32)
    blocks = -(-quads.shape[0] * quads.shape[1] // workspace.threads)
    workspace.launch(_sign, blocks, codes.view(np.int32), first, quads)


def _scratch(m: int, k: int) -> list[tuple[tuple[int, ...], Any]]:
    """What a scan answers beside rows."""
    small: list[tuple[tuple[int, ...], Any]] = [((m,), np.int32), ((m,), np.int8)]
    return [((m, k), np.float64), *small, ((m, 4), np.int64), ((0,), np.int64), ((0, 0), np.uint32)]


def nearest_rows_bytes(m: int, k: int, n: int, workspace: Workspace) -> int:
    """What `nearest_rows` borrows from a workspace."""
    return bytes_of(*_scratch(m, k)) + best_of_bytes(m, k, n, True, workspace)


def nearest_rows(
    signed: DeviceArray,
    codes: DeviceArray,
    parameters: DeviceArray,
    first: int,
    rows: DeviceArray,
    bounds: DeviceArray,
    count: int,
    out: DeviceArray,
    workspace: Workspace,
) -> None:
    """The k nearest of some rows to each of rows first .. first + m, itself not among them.

    signed int8[m, w] are their codes as `sign_codes` makes them; codes uint8[n, w] and parameters
    float32[n, PARAMETERS] are those of all rows (`graph_build`). They are compared with
    rows[bounds[0] : bounds[1]], `count` of them, int32. Writes out int32[m, k], by (distance, row),
    -1 behind the last.
    """
    m, k = out.shape
    with workspace.frame():
        taken = [workspace.take(*part) for part in _scratch(m, k)]
        distances, found, status, work, no_ties, no_words = taken
        selection = Selection(ROWS, rows, bounds[:1], bounds[1:], no_words, count)
        held = (signed.view(np.int32), codes.view(np.int32), parameters, first)
        best = Answers(out, distances, found, status, work)
        best_of(_SCANNERS, held, selection, no_ties, CODES, best, workspace)


@kernel
def _put_columns(part: Array, first: int, column: int, out: Array) -> None:
    place = cuda.grid(1)
    if place < part.shape[0] * part.shape[1]:
        row, own = place // part.shape[1], place % part.shape[1]
        out[first + row, column + own] = part[row, own]


def join_columns(
    parts: Sequence[DeviceArray], first: int, out: DeviceArray, workspace: Workspace
) -> None:
    """Put parts int32[m, k] side by side into rows first .. first + m of out int32[n, sum of k]."""
    column = 0
    for part in parts:
        blocks = -(-part.shape[0] * part.shape[1] // workspace.threads)
        workspace.launch(_put_columns, blocks, part, first, column, out)
        column += part.shape[1]
