"""Scans in full precision for many queries that share a selection, by products of matrices.

`scan_exact` adds in float64 what every pair of a query and a row gives, which waits for arithmetic
from some 8 queries on: float64 has half the rate of float32 on an H200, a 64th on chips for
graphics. Here cuBLAS multiplies the queries by all rows in float32, the rows that pass with the
best keys go to a shortlist, and that is compared in float64. A sum of d float32 products, in
whatever order, is off by at most g |q| |x|, with g = d u / (1 - d u) and u = 2^-24 (Higham,
Accuracy and Stability of Numerical Algorithms, 3.1): so the rows behind the shortlist are proved
not to belong to the answer, but for near ties. Those queries end as EXHAUSTED, for `scan_exact` to
answer. What is found is then always what it finds.

Bound: 2 d operations for each pair, 16 microseconds a query of 10^6 rows of 384 at 50 TFLOP/s, then
reading their products, 4 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.distance_cuda import query_norms
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, bytes_of, cuda, inner, kernel
from fanns.kernels.masked_scan_cuda import ROWS_AT_ONCE, Answers, best_of, best_of_bytes, scanner
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import EXACT, EXHAUSTED, FULL, WORDS
from fanns.kernels.selection_cuda import Selection
from fanns.kernels.turns_cuda import skipped
from fanns.kernels.warp_cuda import SUMS, sum_of_lane

GREATEST = 3.4028234663852886e38
"""The largest float32."""

Multiply = Callable[[DeviceArray, DeviceArray, DeviceArray], None]
"""Puts out float32[m, n] = the products of queries float32[m, d] and vectors float32[n, d] on the
stream of the workspace, in single precision and nothing less."""

LARGEST = GREATEST / 8.0
"""Products of lengths from here on may overflow float32: nothing is proved then."""

LOST = 2.0**-125
"""What a product may lose where it is too small for a normal float32, or its sum is."""


@inner
def product_key(metric: int, product: float, length: float, norm: float) -> Any:
    """What rows are ranked by: a row's squared distance less |q|^2 under l2, else its distance."""
    if metric == L2:
        return norm * norm - 2.0 * product
    if metric == COSINE:
        lengths = length * norm
        return 1.0 - product / lengths if lengths > 0.0 else 1.0
    return -product


@inner
def product_error(metric: int, d: Any, length: float, longest: float, shortest: float) -> Any:
    """Most that a key can be off for rows of these lengths; infinite where it is not known."""
    if length * longest >= LARGEST:
        return np.inf
    unit = np.float64(d) * 2.0**-24
    share, lost = unit / (1.0 - unit), np.float64(d) * LOST
    if metric == COSINE:
        least = length * shortest
        return share + 1e-12 + lost / least if least > 0.0 else 1e-12
    largest = length + longest
    # The last part is for what float64 rounds, here and in the distances of the shortlist.
    error = share * length * longest + lost
    return (2.0 * error if metric == L2 else error) + 1e-12 * largest * largest


def _compare_products(rows_at_once: int) -> Any:
    """Reads products; held: products float32[m, n], norms, metric, lengths of queries."""
    queries_at_once = SUMS // rows_at_once

    @inner
    def compare(held: Any, first: Any, m: int, picked: Array, start: Any, count: Any) -> Any:
        products, norms, metric, lengths = held
        pair = sum_of_lane()
        place, number = start + pair // queries_at_once, first + pair % queries_at_once
        if place >= count or number >= m or cuda.laneid & 1:
            return -1, 0.0
        row = picked[place]
        product: Any = np.float64(products[number, row])
        if not abs(product) <= GREATEST:  # it overflowed, to infinity or to no number
            product = GREATEST
        return row, product_key(metric, product, lengths[number], norms[row])

    return compare


_SCANNERS = {rows: scanner("products", rows, _compare_products(rows)) for rows in ROWS_AT_ONCE}


@kernel
def _judge(
    turn: Turn,
    d: int,
    metric: int,
    lengths: Array,
    extremes: Array,
    shortlist: Answers,
    answers: Answers,
) -> None:
    """The status of answers from products and a shortlist, and their work; a thread a query."""
    number = cuda.grid(1)
    if number < answers.rows.shape[0] and not skipped(turn, number):
        k, size = answers.rows.shape[1], shortlist.found[number]
        compared, length = shortlist.work[number, FULL], lengths[number]
        exact = compared <= shortlist.rows.shape[1]
        if not exact and answers.found[number] == k:
            worst = answers.distances[number, k - 1]
            if metric == L2:
                worst = worst * worst - length * length
            error = product_error(metric, d, length, extremes[0], extremes[1])
            exact = shortlist.distances[number, size - 1] - error > worst
        answers.status[number] = EXACT if exact else EXHAUSTED
        for column in range(answers.work.shape[1]):
            answers.work[number, column] = compared + size if column == FULL else 0


def _scratch(m: int, limit: int) -> list[tuple[tuple[int, ...], Any]]:
    """Lengths of queries, and the answers of the products alone."""
    return [
        ((m,), np.float64),
        ((m, limit), np.int32),
        ((m, limit), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def scan_products_bytes(m: int, k: int, n: int, shortlist: int, workspace: Workspace) -> int:
    """What `scan_products` borrows from a workspace for m queries at a time."""
    best = best_of_bytes(m, shortlist, n, True, workspace)
    rest = max(best, rerank_bytes(m, k, shortlist, workspace))
    return bytes_of(((m, n), np.float32), *_scratch(m, shortlist)) + rest


def scan_products(
    queries: DeviceArray,
    words: DeviceArray,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    extremes: DeviceArray,
    shortlist: int,
    at_once: int,
    multiply: Multiply,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """The best selected rows of each query by (distance, tie), as `scan_cuda.scan_exact` has them.

    queries float32[m, d] share one bitmap, words uint64[1, w]; vectors float32[n, d]; norms
    float64[n]; extremes float64[2]: the greatest length of a row, and the least but zero. The
    `shortlist`, more than k and at most MOST rows, is compared in float64. `at_once` queries are
    multiplied at a time (`scan_products_bytes`). The status is EXACT, or EXHAUSTED where the
    shortlist proves nothing. ValueError for vectors of another type, or a bitmap for each query.
    """
    if vectors.dtype != np.float32 or words.shape[0] != 1:
        raise ValueError(
            f"vectors {vectors.dtype}, {words.shape[0]} bitmaps: products are of float32 vectors, "
            "for queries that share a bitmap"
        )
    (m, d), n = queries.shape, vectors.shape[0]
    halves = words.view(np.uint32)
    with workspace.frame():
        none, starts = workspace.take((0,), np.int32), workspace.take((0,), np.int64)
        selection = Selection(WORDS, none, starts, starts, halves, n)
        for first in range(0, m, at_once):
            part = slice(first, min(first + at_once, m))
            asked, size = queries[part], min(first + at_once, m) - first
            whole = (out_rows, out_distances, out_found, out_status, out_work)
            out = Answers(*(array[part] for array in whole))
            with workspace.frame():
                product = workspace.take((size, n), np.float32)
                lengths, *taken = (workspace.take(*one) for one in _scratch(size, shortlist))
                best = Answers(*taken)
                query_norms(asked, lengths, workspace)
                multiply(asked, vectors, product)
                held = (product, norms, metric, lengths)
                best_of(_SCANNERS, held, selection, ties[:0], FULL, best, workspace)
                rerank(
                    asked, vectors, norms, metric, best.rows, best.found, ties, *out, workspace
                )  # fmt: skip
                given = (workspace.turn, d, metric, lengths, extremes, best, out)
                workspace.launch(_judge, -(-size // workspace.threads), *given)
