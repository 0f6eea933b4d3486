"""Searches of the graph: prepare a query, walk, and compare the best in full precision."""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bit_products import PLANES
from fanns.kernels.bits import prepare_bits
from fanns.kernels.graph_answer import compare, settle, walk
from fanns.kernels.graph_codes import INVERSE, around_query, floor_of, key_factors, unit_of
from fanns.kernels.graph_steps import NEAR, NO_LIMIT, STATE
from fanns.kernels.graph_walk import MOST_FRESH
from fanns.kernels.int8 import PARAMETERS, prepare_query
from fanns.kernels.jit import Array, Integer, kernel
from fanns.kernels.scan import CODES

INT8_AHEAD = 6
"""Codes asked for before they are compared; all at once, as they are met, is 10 % slower."""

RECORDS_AHEAD = 32
"""The same of records, whose lines are a third as many."""


SHORTEST = 10
"""Shorter answers go by the distance of this many rows: gaps are calibrated for them."""

REFINED = 2
"""Rows compared by int8 codes after a walk on records, at least, for each of the shortlist."""


@kernel
def check_links(links: Array, n: Integer) -> Integer:
    """The first place with a link that is neither one of n rows nor -1; -1 when there is none."""
    for row in range(links.shape[0]):
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
    marks: Array,
    members: Array,
    part: Array,
    bounds: Array,
    entries: Array,
    near_codes: Array,
    near_scale: Array,
    near_square: Array,
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
    gap: float,
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
    `count` bits set. Graph: links int32[n, places], and which
    count (`graph_parts`: marks, members, part); clusters of rows bounds[i]..bounds[i + 1], the
    entry row of each, and the codes of what stands for it. `Int8Codes`: codes, scale, square, mean,
    limits. At least k places in `beam`; at most `shortlist` rows are compared in full precision;
    rows farther than the k-th best by more than a share `gap` of its distance are not followed.
    `walk_limit` codes and lists of links end a walk as EXHAUSTED, `max_work` distances of both
    kinds or the `deadline` as INCOMPLETE (0: none). A walk that met every passing row and compared
    all of them as far as they can matter is EXACT. Work counts codes, full-precision distances,
    links looked at and lists of links.

    Scratch: bits uint64[2 * words], keys int64[beam (+ n for one-hop)], rows int32[2 * MOST_FRESH +
    places + beam].
    """
    k = np.int64(out_rows.shape[1])
    rank = np.int64(max(k, min(np.int64(SHORTEST), np.int64(beam), np.int64(count))))
    code, parameters = np.empty(codes.shape[1], np.int8), np.empty(PARAMETERS, np.float64)
    factors, state = np.empty(4, np.float64), np.empty(STATE, np.int64)
    around = np.empty(entries.shape[0], np.float64)
    full = np.int64(shortlist)
    if max_work > 0 and full > (max_work + 1) // 2:
        full = np.int64((max_work + 1) // 2)
    codes_limit = np.int64(max_work - full) if max_work > 0 else NO_LIMIT
    pool, shortlisted = keys[:beam], np.empty(full, np.float64)
    listed = rows[2 * MOST_FRESH + links.shape[1] :]
    scratch, graph = (bits, keys[beam:], rows), (links, (marks, members, part), bounds, entries)
    selection = (everything, words, np.int64(count))
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, parameters)
        key_factors(parameters, metric, limits[0], factors)
        around_query(near_codes, near_scale, near_square, code, parameters, around)
        floor = floor_of(parameters, metric, limits)
        met = walk(
            (codes, scale, square, code, factors), np.int64(INT8_AHEAD), graph, around, selection,
            mode, codes_limit, walk_limit, deadline, pool, rank, gap, floor, scratch, state,
        )  # fmt: skip
        chosen = full if full < met else met
        found, status = compare(
            query, pool, chosen, code, parameters, (codes, scale, square, limits),
            (vectors, norms, metric, ties), shortlisted, listed, state, out_distances[number],
            out_rows[number], out_work[number],
        )  # fmt: skip
        for place in range(found, k):
            out_rows[number, place] = -1
            out_distances[number, place] = math.inf
        out_found[number], out_status[number] = found, settle(chosen, found, k, count, status)


@kernel
def search_graph_records(
    queries: Array,
    everything: bool,
    words: Array,
    count: int,
    links: Array,
    marks: Array,
    members: Array,
    part: Array,
    bounds: Array,
    entries: Array,
    near_codes: Array,
    near_scale: Array,
    near_square: Array,
    codes: Array,
    scale: Array,
    square: Array,
    mean: Array,
    limits: Array,
    vectors: Array,
    norms: Array,
    metric: int,
    ties: Array,
    records: Array,
    factors: Array,
    signs: Array,
    width: int,
    cluster_of: Array,
    mode: int,
    beam: int,
    shortlist: int,
    gap: float,
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
    """`search_graph` by records of `width` bits a dimension (`BitCodes`: records, factors, signs).

    What stands for a cluster is its centre here. Int8 codes compare all rows once more that were
    near enough to be followed, at least REFINED for each of `shortlist`, and tell how many of these
    must be compared in full precision. cluster_of: uint16[n].
    """
    k = np.int64(out_rows.shape[1])
    rank = np.int64(max(k, min(np.int64(SHORTEST), np.int64(beam), np.int64(count))))
    code, parameters = np.empty(codes.shape[1], np.int8), np.empty(PARAMETERS, np.float64)
    planes, estimate = np.empty((PLANES + 1, records.shape[1]), np.uint64), np.empty(INVERSE + 1)
    around, state = np.empty(entries.shape[0], np.float64), np.empty(STATE, np.int64)
    full = np.int64(beam)
    if max_work > 0 and full > (max_work + 2) // 3:
        full = np.int64((max_work + 2) // 3)
    codes_limit: Integer = NO_LIMIT
    if max_work > 0:
        codes_limit = np.int64(max_work - 2 * full) if max_work > 2 * full else np.int64(0)
    pool, shortlisted = keys[:beam], np.empty(full, np.float64)
    listed = rows[2 * MOST_FRESH + links.shape[1] :]
    scratch, graph = (bits, keys[beam:], rows), (links, (marks, members, part), bounds, entries)
    selection = (everything, words, np.int64(count))
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_query(query, metric, mean, code, parameters)
        prepare_bits(query, metric, mean, signs, width, planes, estimate)
        estimate[INVERSE] = 1.0 / unit_of(parameters, metric, limits[0])
        around_query(near_codes, near_scale, near_square, code, parameters, around)
        floor = floor_of(parameters, metric, limits)
        met = walk(
            (records, factors, planes, estimate, around, cluster_of),
            np.int64(RECORDS_AHEAD), graph, around, selection, mode, codes_limit, walk_limit,
            deadline, pool, rank, gap, floor, scratch, state,
        )  # fmt: skip
        near = state[NEAR]
        chosen = REFINED * shortlist if REFINED * shortlist > near else near
        chosen = chosen if chosen < met else met
        chosen = full if full < chosen else chosen
        found, status = compare(
            query, pool, chosen, code, parameters, (codes, scale, square, limits),
            (vectors, norms, metric, ties), shortlisted, listed, state, out_distances[number],
            out_rows[number], out_work[number],
        )  # fmt: skip
        out_work[number, CODES] += chosen
        for place in range(found, k):
            out_rows[number, place] = -1
            out_distances[number, place] = math.inf
        out_found[number], out_status[number] = found, settle(chosen, found, k, count, status)
