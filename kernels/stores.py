"""Vectors that are computed from an embedding table: how a row of each kind of store is decoded.

A store comes as its kind and five arrays (`held`), which mean what its kind says:

QUOTIENT  numbers [op, m, width_1, width_2]; first float32[m width_1], second float32[c width_2]:
          row x is first[x mod m] and second[x div m], put together by op
MIXED     numbers [blocks, d, then of each block: first place, first value, width, start of its
          projection (-1: none)]; first: the values of all blocks, second: the projections; codes
          int32[n or 0, 1]: the place of each row where it is not its number
CODED     numbers [source, chunks, summed, width, nibbles, then of each column: base, stride, size,
          then the nibbles picked for each column]; first: the values. Column c * summed + t adds
          first[base + stride code] .. + width to chunk c. Codes are in codes[n, columns] (STORED),
          hashes of the row (HASHED: words are the seeds) or of bits of its signature (SIGNED: then
          n signatures, then a bitmap of the rows that are hashed by their number all the same)
MASKED    numbers [words a row]; words: which values a row has, first: these, end to end; codes
          int64[ceil(n / STEP), 1]: where those of every STEP-th row begin

A decoded row is float32: sums and products are taken in double precision and rounded once.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.hashing import entry
from fanns.kernels.intrinsics import popcount, trailing_zeros
from fanns.kernels.jit import Array, Integer, inner, kernel

QUOTIENT, MIXED, CODED, MASKED = 1, 2, 3, 4
"""Kinds of stores; `vectors.DENSE` is 0."""

CONCAT, ADD, MULT = 0, 1, 2
"""How a quotient-remainder row is put together."""

STORED, HASHED, SIGNED = 0, 1, 2
"""Where the codes of a coded row come from."""

BLOCK_HEAD, BLOCK_NUMBERS = 2, 4
COLUMN_HEAD, COLUMN_NUMBERS = 5, 3
STEP = 8
"""Rows of a masked store of which one has its start written down."""

NIBBLES = 16
_ONE, _FOUR, _LOW = np.uint64(1), np.uint64(4), np.uint64(15)
_APART = np.uint64(1 << 63)


@inner
def add_quotient(numbers: Array, first: Array, second: Array, row: Integer, sums: Array) -> None:
    """A row of a quotient-remainder table into sums float64[d]."""
    op, m, a, b = numbers[0], numbers[1], numbers[2], numbers[3]
    i, j = row % m * a, row // m * b
    if op == CONCAT:
        for c in range(a):
            sums[c] = first[i + c]
        for c in range(b):
            sums[a + c] = second[j + c]
    elif op == ADD:
        for c in range(a):
            sums[c] = np.float64(first[i + c]) + np.float64(second[j + c])
    else:
        for c in range(a):
            sums[c] = np.float64(first[i + c]) * np.float64(second[j + c])


@inner
def block_of(numbers: Array, place: Integer, block: Integer) -> Integer:
    """The block of a place, looked for from `block` on."""
    while place < numbers[BLOCK_HEAD + BLOCK_NUMBERS * block]:
        block -= 1
    while block + 1 < numbers[0] and place >= numbers[BLOCK_HEAD + BLOCK_NUMBERS * (block + 1)]:
        block += 1
    return block


@inner
def add_mixed(
    numbers: Array, first: Array, second: Array, codes: Array, row: Integer, sums: Array
) -> None:
    """A row of blocks of their own widths into sums float64[d]."""
    place = np.int64(codes[row, 0]) if codes.shape[0] > 0 else np.int64(row)
    at = BLOCK_HEAD + BLOCK_NUMBERS * block_of(numbers, place, np.int64(0))
    width, projection, d = numbers[at + 2], numbers[at + 3], sums.shape[0]
    start = numbers[at + 1] + (place - numbers[at]) * width
    if projection < 0:
        for c in range(d):
            sums[c] = first[start + c]
        return
    for c in range(d):
        sums[c] = 0.0
    for j in range(width):
        value = np.float64(first[start + j])
        for c in range(d):
            sums[c] += value * second[projection + j * d + c]


@inner
def address(numbers: Array, codes: Array, words: Array, row: Integer, column: Integer) -> Integer:
    """Where the values of a column of a coded row begin."""
    source, columns = numbers[0], numbers[1] * numbers[2]
    at = COLUMN_HEAD + COLUMN_NUMBERS * column
    base, stride, size = numbers[at], numbers[at + 1], numbers[at + 2]
    if source == STORED:
        return int(base + stride * np.int64(codes[row, column]))
    key = np.uint64(row)
    if source == SIGNED:
        n = numbers[COLUMN_HEAD + COLUMN_NUMBERS * columns]
        rare = words[columns + n + (row >> 6)] >> np.uint64(row & 63) & _ONE
        if rare == np.uint64(0):
            picks, signature = numbers[4], words[columns + row]
            at = COLUMN_HEAD + COLUMN_NUMBERS * columns + 1 + column * picks
            key = np.uint64(0)
            for k in range(picks):
                nibble = signature >> (_FOUR * np.uint64(numbers[at + k])) & _LOW
                key = key << _FOUR | nibble
        else:
            key = key ^ _APART
    return int(base + stride * entry(key, words[column], size))


@inner
def add_coded(
    numbers: Array, first: Array, codes: Array, words: Array, row: Integer, sums: Array
) -> None:
    """A row of chunks that codes point at into sums float64[d]."""
    chunks, summed, width = numbers[1], numbers[2], numbers[3]
    for chunk in range(chunks):
        start = address(numbers, codes, words, row, np.int64(chunk * summed))
        for c in range(width):
            sums[chunk * width + c] = first[start + c]
        for more in range(1, summed):
            start = address(numbers, codes, words, row, np.int64(chunk * summed + more))
            for c in range(width):
                sums[chunk * width + c] += first[start + c]


@inner
def start_of(numbers: Array, codes: Array, words: Array, row: Integer) -> Integer:
    """Where the values of a masked row begin."""
    step = row // STEP
    start = np.int64(codes[step, 0])
    for word in range(step * STEP * numbers[0], row * numbers[0]):
        start += popcount(words[word])
    return start


@inner
def add_masked(
    numbers: Array, first: Array, codes: Array, words: Array, row: Integer, sums: Array
) -> None:
    """A row of which some values are zero into sums float64[d]."""
    for c in range(sums.shape[0]):
        sums[c] = 0.0
    at = start_of(numbers, codes, words, row)
    for part in range(numbers[0]):
        word = words[row * numbers[0] + part]
        while word != np.uint64(0):
            sums[part * 64 + trailing_zeros(word)] = first[at]
            at += 1
            word &= word - _ONE


@inner
def decode_row(
    kind: Integer,
    numbers: Array,
    first: Array,
    second: Array,
    codes: Array,
    words: Array,
    row: Integer,
    sums: Array,
    out: Array,
) -> None:
    """One row into out float32[1, d]; sums float64[d] is scratch."""
    if kind == QUOTIENT:
        add_quotient(numbers, first, second, row, sums)
    elif kind == MIXED:
        add_mixed(numbers, first, second, codes, row, sums)
    elif kind == CODED:
        add_coded(numbers, first, codes, words, row, sums)
    else:
        add_masked(numbers, first, codes, words, row, sums)
    for c in range(sums.shape[0]):
        out[0, c] = sums[c]


@kernel
def decode_rows(
    kind: int,
    numbers: Array,
    first: Array,
    second: Array,
    codes: Array,
    words: Array,
    rows: Array,
    out: Array,
) -> None:
    """Rows int64[m] into out float32[m, d]."""
    sums = np.empty(out.shape[1], np.float64)
    for place in range(rows.shape[0]):
        decode_row(
            kind,
            numbers,
            first,
            second,
            codes,
            words,
            rows[place],
            sums,
            out[place : place + 1],
        )


@kernel
def codes_of_rows(numbers: Array, codes: Array, words: Array, rows: Array, out: Array) -> None:
    """The codes of rows int64[m] of a coded store, before base and stride, into out int64[m, c]."""
    for place in range(rows.shape[0]):
        for column in range(out.shape[1]):
            at = COLUMN_HEAD + COLUMN_NUMBERS * column
            found = address(numbers, codes, words, rows[place], np.int64(column))
            out[place, column] = (found - numbers[at]) // numbers[at + 1]
