"""The best rows of a selection by product codes: 4 bits, 64 rows at a time, or 8 bits, row by row.

A selection is the words of a bitmap, uint64[blocks]; a block of 4-bit codes is one word, and is
skipped where that is zero. Queries share a pass over the codes in fours: the codes are read and
taken apart once (as Andre, Kermarrec and Le Scouarnec's followers in faiss do), and with more codes
than a cache holds reading them is what takes the time.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE
from fanns.kernels.fastscan import MANY, ROWS, block_keys, block_sums, block_sums_many
from fanns.kernels.intrinsics import dot_float, prefetch_row, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.pq import (
    BASE,
    PARAMETERS,
    STEP,
    center_base,
    pq_key,
    prepare_fast,
    prepare_pq,
)
from fanns.kernels.shortlist import SLACK, cut_back, make_heap, sink


@inner
def _next_word(words: Array, block: Integer) -> Integer:
    """The first block from this one on with a selected row; their number if there is none."""
    while block < words.shape[0] and words[block] == np.uint64(0):
        block += 1
    return block


@inner
def _bases(query: Array, metric: int, centroids: Array, bases: Array) -> None:
    """A of every cluster, float64[c], in full precision."""
    wide = np.empty(query.shape[0], np.float64)
    inverse = 1.0
    if metric == COSINE:
        norm = math.sqrt(dot_float(query, 0, query))
        inverse = 1.0 / norm if norm > 0.0 else 1.0
    for j in range(query.shape[0]):
        wide[j] = query[j] * inverse
    for cluster in range(bases.shape[0]):
        bases[cluster] = center_base(wide, metric, centroids, np.int64(cluster))


@inner
def members(block: Integer, start: Integer, stop: Integer) -> np.uint64:
    """The word of the rows of a block that lie in [start, stop)."""
    low, high = max(start - block * ROWS, 0), min(stop - block * ROWS, ROWS)
    if high <= low:
        return np.uint64(0)
    ones = ~np.uint64(0)
    return (ones << np.uint64(low)) & (ones >> np.uint64(ROWS - high))


@inner
def add_candidates(
    block: Integer,
    word: np.uint64,
    base: float,
    block_key: Array,
    keys: Array,
    rows: Array,
    size: Integer,
) -> Integer:
    """Append the rows of `word` with the keys that `block_keys` gave; gives the new size.

    `base` = A of their cluster.
    """
    while word != np.uint64(0):
        place = trailing_zeros(word)
        keys[size], rows[size] = base + block_key[place], block * ROWS + place
        size += 1
        word &= word - np.uint64(1)
    return size


@inner
def _in_order(keys: Array, rows: Array, size: Integer, out_rows: Array, out_keys: Array) -> None:
    """Write candidates down by (key, row), and mark the places that stay empty: -1, infinity."""
    make_heap(keys, rows, size)
    for place in range(out_rows.shape[0]):
        if place < size:
            out_rows[place], out_keys[place] = rows[0], keys[0]
            last = size - 1 - place
            keys[0], rows[0] = keys[last], rows[last]
            sink(keys, rows, np.int64(0), np.int64(last))
        else:
            out_rows[place], out_keys[place] = -1, math.inf


@kernel
def scan_fast(
    queries: Array,
    metric: int,
    mean: Array,
    rotation: Array,
    books: Array,
    centroids: Array,
    offsets: Array,
    words: Array,
    codes: Array,
    fields: Array,
    out_rows: Array,
    out_keys: Array,
) -> None:
    """The rows with the least keys of 4-bit codes, for each query, by (key, row).

    queries float32[q, d]; the arrays of `PQCodes`; words uint64[blocks]; out_rows int32[q, L] (-1
    where there is none) and out_keys float64[q, L].
    """
    limit = np.int64(out_rows.shape[1])
    room = 2 * limit + SLACK + ROWS
    keys, rows = np.empty((MANY, room), np.float64), np.empty((MANY, room), np.int32)
    bases = np.empty((MANY, centroids.shape[0]), np.float64)
    parameters = np.empty((MANY, PARAMETERS), np.float64)
    tables = np.empty((books.shape[0], books.shape[2]), np.float32)
    quantised = np.zeros((MANY, codes.shape[1] // 2), np.uint8)
    for first in range(0, queries.shape[0], MANY):
        count = np.int64(min(MANY, queries.shape[0] - first))
        for q in range(count):
            query = queries[first + q]
            prepare_pq(query, metric, mean, rotation, books, tables, parameters[q])
            prepare_fast(tables, parameters[q], quantised[q])
            _bases(query, metric, centroids, bases[q])
        sizes = np.zeros(MANY, np.int64)
        _scan_blocks(
            count,
            offsets,
            words,
            codes,
            fields,
            quantised,
            parameters,
            bases,
            limit,
            keys,
            rows,
            sizes,
        )
        for q in range(count):
            size = sizes[q]
            if size > limit:
                cut_back(keys[q], rows[q], size, limit)
                size = limit
            _in_order(keys[q], rows[q], size, out_rows[first + q], out_keys[first + q])


@inner
def _keep(
    q: Integer,
    block: Integer,
    word: np.uint64,
    base: float,
    block_key: Array,
    limit: Integer,
    keys: Array,
    rows: Array,
    sizes: Array,
    thresholds: Array,
) -> None:
    """Add a block's candidates to those of query q; arrays are cut here, not in the loop of all."""
    size = add_candidates(block, word, base, block_key, keys[q], rows[q], sizes[q])
    if size >= 2 * limit + SLACK:
        thresholds[q] = cut_back(keys[q], rows[q], size, limit)
        size = limit
    sizes[q] = size


@inner
def _scan_blocks(
    count: Integer,
    offsets: Array,
    words: Array,
    codes: Array,
    fields: Array,
    quantised: Array,
    parameters: Array,
    bases: Array,
    limit: Integer,
    keys: Array,
    rows: Array,
    sizes: Array,
) -> None:
    """One pass over the selected blocks for up to MANY prepared queries."""
    thresholds = np.full(MANY, math.inf, np.float64)
    lows, steps = np.empty(MANY, np.float32), np.empty(MANY, np.float32)
    for q in range(count):
        lows[q], steps[q] = parameters[q, BASE], parameters[q, STEP]
    sums = np.empty((MANY, ROWS), np.int32)
    block_key = np.empty(ROWS, np.float32)
    cluster = np.int64(0)
    block = _next_word(words, np.int64(0))
    while block < words.shape[0]:
        later = _next_word(words, block + 1)
        ahead = min(later, np.int64(words.shape[0] - 1))
        prefetch_row(fields, ahead)
        if count == 1:
            block_sums(codes, block, ahead, quantised, sums)
        else:
            block_sums_many(codes, block, ahead, quantised, sums)
        while offsets[cluster + 1] <= block * ROWS:
            cluster += 1
        part = cluster
        while part < offsets.shape[0] - 1 and offsets[part] < (block + 1) * ROWS:
            word = words[block] & members(block, offsets[part], offsets[part + 1])
            for q in range(count):
                base = bases[q, part]
                bound = np.float32(thresholds[q] - base)
                number = np.int64(q)
                below = word & block_keys(
                    sums, number, fields, block, lows[q], steps[q], bound, block_key
                )
                if below != np.uint64(0):
                    _keep(
                        number, block, below, base, block_key, limit, keys, rows, sizes, thresholds
                    )
            part += 1
        block = later


@kernel
def scan_tables(
    queries: Array,
    metric: int,
    mean: Array,
    rotation: Array,
    books: Array,
    centroids: Array,
    offsets: Array,
    words: Array,
    codes: Array,
    fields: Array,
    out_rows: Array,
    out_keys: Array,
) -> None:
    """As `scan_fast`, by 8-bit codes uint8[n, m] and tables of float32, a row at a time."""
    limit = np.int64(out_rows.shape[1])
    room = 2 * limit + SLACK + ROWS
    keys, rows = np.empty(room, np.float64), np.empty(room, np.int32)
    bases = np.empty(centroids.shape[0], np.float64)
    parameters = np.empty(PARAMETERS, np.float64)
    tables = np.empty((books.shape[0], books.shape[2]), np.float32)
    for number in range(queries.shape[0]):
        query = queries[number]
        prepare_pq(query, metric, mean, rotation, books, tables, parameters)
        _bases(query, metric, centroids, bases)
        size: Integer = np.int64(0)
        cluster, threshold = np.int64(0), math.inf
        block = _next_word(words, np.int64(0))
        while block < words.shape[0]:
            word = words[block]
            while word != np.uint64(0):
                row = block * ROWS + trailing_zeros(word)
                word &= word - np.uint64(1)
                while offsets[cluster + 1] <= row:
                    cluster += 1
                key = pq_key(codes, row, tables, fields, parameters, bases[cluster])
                keys[size], rows[size] = key, row
                size += key < threshold
            if size >= 2 * limit + SLACK:
                threshold = cut_back(keys, rows, size, limit)
                size = limit
            block = _next_word(words, block + 1)
        if size > limit:
            cut_back(keys, rows, size, limit)
            size = limit
        _in_order(keys, rows, size, out_rows[number], out_keys[number])
