"""Searches of the graph: prepare a query, walk, and compare the best in full precision."""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.graph_keys import row_of
from fanns.kernels.graph_steps import (
    CHECKED,
    CODES_LIMIT,
    COMPARED,
    LISTS,
    NO_LIMIT,
    ONES,
    STATE,
    STATUS,
    WALK_LIMIT,
    key_factors,
)
from fanns.kernels.graph_walk import MOST_FRESH, walk_all, walk_passing
from fanns.kernels.int8 import PARAMETERS, prepare_query
from fanns.kernels.jit import Array, Integer, kernel
from fanns.kernels.rerank import rerank
from fanns.kernels.scan import APPROXIMATE, CHECKS, CODES, EXACT, EXHAUSTED, FULL, HOPS

# Modes.
ONE_HOP, TWO_HOP = 0, 1


@kernel
def check_links(links: Array) -> Integer:
    """The first row with a link that is neither a row number nor -1, or -1 when there is none."""
    n = links.shape[0]
    for row in range(n):
        good = True
        for place in range(links.shape[1]):
            good &= -1 <= links[row, place] < n
        if not good:
            return row
    return -1


@kernel
def search_graph(
    queries: Array,
    everything: bool,
    words: Array,
    count: int,
    links: Array,
    bounds: Array,
    entries: Array,
    entry_codes: Array,
    entry_scale: Array,
    entry_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    mode: int,
    beam: int,
    shortlist: int,
    walk_limit: int,
    max_work: int,
    deadline: int,
    bits: Array,
    keys: Array,
    rows: Array,
    out_rows: Array,
    out_distances: Array,
    out_found: Array,
    out_status: Array,
    out_work: Array,
) -> None:
    """Walk the graph for each query and order the best of its beam in full precision.

    queries float32[m, d]; the selection: `everything`, or words uint64[(n + 63) // 64] with
    `count` bits set. Graph: links int32[n, places]; clusters of rows bounds[i]..bounds[i + 1] with
    their entry row's code. `Int8Codes`: codes, scale, square, mean, limits. At least k places in
    `beam`; `shortlist` rows are compared in full precision. `walk_limit` codes and lists of links
    end a walk as EXHAUSTED, `max_work` distances of both kinds or the `deadline` as INCOMPLETE (0:
    none). A walk that met every passing row and compared all in full precision is EXACT. Work
    counts codes, full-precision distances, links looked at and lists of links.

    Scratch: bits uint64[2 * words], keys int64[beam (+ n for one-hop)], rows int32[MOST_FRESH +
    places + beam].
    """
    n, places, k = codes.shape[0], links.shape[1], np.int64(out_rows.shape[1])
    size = (n + 63) >> 6
    left, through = bits[:size], bits[size : 2 * size]
    pool, queue = keys[:beam], keys[beam:]
    fresh, failing = rows[:MOST_FRESH], rows[MOST_FRESH : MOST_FRESH + places]
    best = rows[MOST_FRESH + places :]
    code = np.empty(codes.shape[1], np.int8)
    parameters, factors = np.empty(PARAMETERS, np.float64), np.empty(4, np.float64)
    state = np.empty(STATE, np.int64)
    full = np.int64(shortlist)
    if max_work > 0 and full > (max_work + 1) // 2:
        full = np.int64((max_work + 1) // 2)
    passing_only = everything or mode == TWO_HOP
    for number in range(queries.shape[0]):
        prepare_query(queries[number], metric, mean, code, parameters)
        key_factors(parameters, metric, limits[0], factors)
        for place in range(size):
            left[place] = words[place] if passing_only and not everything else ONES
            through[place] = np.uint64(0)
        for place in range(STATE):
            state[place] = 0
        state[CODES_LIMIT] = max_work - full if max_work > 0 else NO_LIMIT
        state[WALK_LIMIT] = walk_limit if walk_limit > 0 else NO_LIMIT
        state[STATUS] = APPROXIMATE
        if passing_only:
            met = walk_passing(
                links,
                bounds,
                entries,
                entry_codes,
                entry_scale,
                entry_square,
                codes,
                scale,
                square,
                code,
                factors,
                everything,
                words,
                np.int64(count),
                np.int64(deadline),
                left,
                through,
                pool,
                fresh,
                failing,
                state,
            )
        else:
            met = walk_all(
                links,
                bounds,
                entries,
                entry_codes,
                entry_scale,
                entry_square,
                codes,
                scale,
                square,
                code,
                factors,
                words,
                np.int64(count),
                np.int64(deadline),
                left,
                queue,
                pool,
                fresh,
                state,
            )
        chosen = full if full < met else met
        for place in range(chosen):
            best[place] = row_of(pool[place])
        found = rerank(
            queries[number],
            vectors,
            norms,
            metric,
            best,
            chosen,
            ties,
            k,
            out_rows[number],
            out_distances[number],
        )
        for place in range(found, k):
            out_rows[number, place] = -1
            out_distances[number, place] = math.inf
        status = state[STATUS]
        if chosen == count:
            status = EXACT
        elif status == APPROXIMATE and found < k and found < count:
            status = EXHAUSTED
        out_found[number], out_status[number] = found, status
        out_work[number, CODES], out_work[number, FULL] = state[COMPARED], chosen
        out_work[number, CHECKS], out_work[number, HOPS] = state[CHECKED], state[LISTS]
