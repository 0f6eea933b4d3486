"""Searches of the graph on the device, one block a query: the twin of `graph_search`.

`search_graph` prepares queries, ranks clusters for rows to begin with, walks on int8 codes
(`graph_walk_cuda`), and compares the best of a walk in full precision (`rerank_cuda`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.graph_seeds_cuda import seeds_of
from fanns.kernels.graph_walk_cuda import walk
from fanns.kernels.int8 import PARAMETERS
from fanns.kernels.int8_cuda import prepare_queries
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, bytes_of, cuda, kernel
from fanns.kernels.masked_scan_cuda import Answers
from fanns.kernels.rerank_cuda import rerank, rerank_bytes
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, EXHAUSTED, FULL, HOPS
from fanns.kernels.turns_cuda import bitmap_of, skipped

SEEDS = 128
"""Rows to begin with that are chosen for a query: a walk takes them by and by."""


@kernel
def _settle(turn: Turn, counts: Any, n: int, walked: Answers, answers: Answers) -> None:
    """The status of answers from that of their walks, and their work; a thread a query."""
    number = cuda.grid(1)
    if number < answers.found.shape[0] and not skipped(turn, number):
        k, found = answers.rows.shape[1], answers.found[number]
        count = np.int64(n)
        if counts.shape[0] > 0:
            count = counts[bitmap_of(turn, counts.shape[0], number)]
        status, chosen = walked.status[number], walked.found[number]
        if chosen == count:
            status = EXACT
        elif status == APPROXIMATE and found < k and found < count:
            status = EXHAUSTED
        answers.status[number] = status
        for column in (CODES, CHECKS, HOPS):
            answers.work[number, column] = walked.work[number, column]
        answers.work[number, FULL] = chosen


def _scratch(m: int, shortlist: int, width: int) -> list[tuple[tuple[int, ...], Any]]:
    """Query codes, parameters, seeds, and what walks answer."""
    return [
        ((m, width), np.int8),
        ((m, PARAMETERS), np.float64),
        ((m, SEEDS), np.int32),
        ((m, shortlist), np.int32),
        ((m, 0), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    ]


def search_graph_bytes(m: int, k: int, shortlist: int, width: int, workspace: Workspace) -> int:
    """What `search_graph` borrows from a workspace, for codes of so many bytes."""
    return bytes_of(*_scratch(m, shortlist, width)) + rerank_bytes(m, k, shortlist, workspace)


def search_graph(
    queries: DeviceArray,
    words: DeviceArray,
    counts: DeviceArray,
    links: DeviceArray,
    bounds: DeviceArray,
    entries: DeviceArray,
    near_codes: DeviceArray,
    near_scale: DeviceArray,
    near_square: DeviceArray,
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    mean: DeviceArray,
    limits: DeviceArray,
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    ties: DeviceArray,
    mode: int,
    beam: int,
    shortlist: int,
    gap: float,
    walk_limit: int,
    out_rows: DeviceArray,
    out_distances: DeviceArray,
    out_found: DeviceArray,
    out_status: DeviceArray,
    out_work: DeviceArray,
    workspace: Workspace,
) -> None:
    """Walk the graph for each query and order the best of its beam in full precision.

    As `graph_search.search_graph`, of graphs of all rows and without a budget: queries
    float32[m, d]; words uint64[1, w] or uint64[m, w] with counts int64[1] or int64[m] of their
    bits, or neither ([0, 0] and [0]) for every row; links int32[n, places], -1 behind the last;
    clusters of rows bounds[i]..bounds[i + 1], an entry row of each and the codes of what stands for
    it; `Int8Codes`. At least k rows in `shortlist`, no more than in `beam`, all of which are
    compared in full precision. `walk_limit` codes and lists of links (0: none), or more rows than
    a block's memory holds, end a walk as EXHAUSTED.
    """
    m, k = out_rows.shape
    out = Answers(out_rows, out_distances, out_found, out_status, out_work)
    halves = words.view(np.uint32)
    with workspace.frame():
        taken = [workspace.take(*part) for part in _scratch(m, shortlist, codes.shape[1])]
        code, parameters, seeds, walked = taken[0], taken[1], taken[2], Answers(*taken[3:])
        prepare_queries(queries, metric, mean, code, parameters, workspace)
        quads = code.view(np.int32)
        near = (near_codes.view(np.int32), near_scale, near_square)
        seeds_of(quads, parameters, near, bounds, entries, halves, seeds, workspace)
        held = (quads, codes.view(np.int32), scale, square, parameters)
        walk(
            held, limits, metric, halves, counts, links, seeds,
            (mode, beam, k, gap, walk_limit), walked, workspace,
        )  # fmt: skip
        rerank(queries, vectors, norms, metric, walked.rows, walked.found, ties, *out, workspace)
        blocks = -(-m // workspace.threads)
        workspace.launch(_settle, blocks, workspace.turn, counts, codes.shape[0], walked, out)
