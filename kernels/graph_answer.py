"""One prepared query on the graph: walk, compare the best in full precision, and the status."""

from __future__ import annotations

from typing import Any

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
)
from fanns.kernels.graph_walk import MOST_FRESH, walk_all, walk_passing
from fanns.kernels.int8 import code_key, key_error
from fanns.kernels.intrinsics import prefetch_row
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.scan import (
    APPROXIMATE,
    CHECKS,
    CODES,
    CODES_AHEAD,
    EXACT,
    EXHAUSTED,
    FULL,
    HOPS,
    finish,
    refine,
)

# Modes.
ONE_HOP, TWO_HOP = 0, 1


@inner
def walk(
    held: Any,
    ahead: Integer,
    graph: Any,
    around: Array,
    selection: Any,
    mode: Integer,
    codes_limit: Integer,
    walk_limit: Integer,
    deadline: Integer,
    pool: Array,
    k: Integer,
    gap: float,
    floor: float,
    scratch: Any,
    state: Array,
) -> Integer:
    """Walk for one prepared query (`graph_walk`); gives the rows in `pool` int64[beam], in order.

    graph: links, which of them count (`graph_parts`), bounds, entries; selection: everything,
    words, count; scratch: bits, queue, rows as `search_graph` has them.
    """
    links, by, bounds, entries = graph
    everything, words, count = selection
    bits, queue, rows = scratch
    size = np.int64(bounds[bounds.shape[0] - 1] + 63) >> 6
    left, through = bits[:size], bits[size : 2 * size]
    pending, fresh = rows[:MOST_FRESH], rows[MOST_FRESH : 2 * MOST_FRESH]
    failing = rows[2 * MOST_FRESH : 2 * MOST_FRESH + links.shape[1]]
    for place in range(STATE):
        state[place] = 0
    state[CODES_LIMIT], state[STATUS] = codes_limit, APPROXIMATE
    state[WALK_LIMIT] = walk_limit if walk_limit > 0 else NO_LIMIT
    if everything or mode == ONE_HOP:
        for place in range(size):
            left[place] = ONES
    else:
        for place in range(size):
            left[place] = words[place]
            through[place] = np.uint64(0)
    if everything or mode == TWO_HOP:
        return walk_passing(
            held, ahead, links, by, bounds, entries, around, everything, words,
            count, deadline, left, through, pool, k, gap, floor, pending, fresh, failing, state,
        )  # fmt: skip
    return walk_all(
        held, ahead, links, bounds, entries, around, words, count, deadline, left,
        queue, pool, k, gap, floor, pending, fresh, state,
    )  # fmt: skip


@inner
def compare(
    query: Array,
    pool: Array,
    chosen: Integer,
    code: Array,
    parameters: Array,
    codes: Any,
    full: Any,
    keys: Array,
    rows: Array,
    state: Array,
    best: Array,
    best_rows: Array,
    work: Array,
) -> tuple[Integer, Integer]:
    """Order the first `chosen` rows of a pool in full precision; gives how many, and the status.

    codes: codes, scale, square, limits, and |mean|; full: vectors, norms, metric, ties. The int8
    codes tell when no further row of the pool can matter. keys float64[chosen] and rows
    int32[chosen] are scratch.
    """
    bytes_, scale, square, limits = codes
    vectors, norms, metric, ties = full
    for place in range(min(chosen, CODES_AHEAD)):
        prefetch_row(bytes_, row_of(pool[place]))
    for place in range(chosen):
        if place + CODES_AHEAD < chosen:
            prefetch_row(bytes_, row_of(pool[place + CODES_AHEAD]))
        row = row_of(pool[place])
        rows[place] = row
        keys[place] = code_key(bytes_, scale, square, row, code, parameters)
    error = key_error(parameters, limits[0], limits[1], limits[2])
    best_ties = np.empty(best.shape[0], np.int64)
    found, compared, _ = refine(
        query, vectors, norms, metric, ties, keys, rows, chosen, error, best, best_ties, best_rows
    )
    finish(best, best_ties, best_rows, found)
    work[CODES], work[FULL] = state[COMPARED], compared
    work[CHECKS], work[HOPS] = state[CHECKED], state[LISTS]
    return found, state[STATUS]


@inner
def settle(chosen: Integer, found: Integer, k: Integer, count: Integer, status: Integer) -> Integer:
    """The status of an answer, from that of its walk."""
    if chosen == count:
        return EXACT
    if status == APPROXIMATE and found < k and found < count:
        return EXHAUSTED
    return status
