"""Single values of rows that are computed from an embedding table: what `stores` decodes, on the
device.

Lanes of a warp take the elements of a row that lie side by side, so a decoded row is nowhere: each
value is computed where it is used, in double precision, rounded to float32 as `stores.decode_row`
rounds it. (Products of two float32 numbers are exact in double precision, so it does not matter
where multiplication and addition are fused.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fanns.kernels.jit import Integer
from fanns.kernels.jit_cuda import DeviceArray, cuda, inner
from fanns.kernels.stores import (
    ADD,
    BLOCK_HEAD,
    BLOCK_NUMBERS,
    CODED,
    COLUMN_HEAD,
    COLUMN_NUMBERS,
    CONCAT,
    MASKED,
    MIXED,
    QUOTIENT,
    SIGNED,
    STEP,
    STORED,
)

_ONE, _FOUR, _LOW = np.uint64(1), np.uint64(4), np.uint64(15)
_APART = np.uint64(1 << 63)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


class Store(NamedTuple):
    """A store on the device: its kind and the arrays of `stores`."""

    kind: int
    numbers: DeviceArray
    first: DeviceArray
    second: DeviceArray
    codes: DeviceArray
    words: DeviceArray


@inner
def _mix(value: Any) -> Any:
    """As `hashing.mix`."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@inner
def _entry(key: Any, seed: Any, size: Integer) -> Any:
    """As `hashing.entry`."""
    return np.int64(((_mix(key ^ seed) >> _32) * np.uint64(size)) >> _32)


@inner
def head_of(store: Store, row: Integer) -> Any:
    """Where in `numbers` a row's block is told of (MIXED); else 0."""
    if store.kind != MIXED:
        return np.int64(0)
    numbers = store.numbers
    place = np.int64(store.codes[row, 0]) if store.codes.shape[0] > 0 else np.int64(row)
    at = np.int64(BLOCK_HEAD)
    for _ in range(1, numbers[0]):
        if place < numbers[at + BLOCK_NUMBERS]:
            break
        at += BLOCK_NUMBERS
    return at


@inner
def origin(store: Store, row: Integer, head: Integer) -> Any:
    """Where a row's values begin in `first` (MIXED, MASKED); else 0."""
    numbers = store.numbers
    if store.kind == MIXED:
        place = np.int64(store.codes[row, 0]) if store.codes.shape[0] > 0 else np.int64(row)
        return numbers[head + 1] + (place - numbers[head]) * numbers[head + 2]
    if store.kind == MASKED:
        step = row // STEP
        start = np.int64(store.codes[step, 0])
        for word in range(step * STEP * numbers[0], row * numbers[0]):
            start += np.int64(cuda.popc(store.words[word]))
        return start
    return np.int64(0)


@inner
def _address(store: Store, row: Integer, column: Integer) -> Any:
    """As `stores.address`."""
    numbers, words = store.numbers, store.words
    columns = numbers[1] * numbers[2]
    at = COLUMN_HEAD + COLUMN_NUMBERS * column
    base, stride, size = numbers[at], numbers[at + 1], numbers[at + 2]
    if numbers[0] == STORED:
        return base + stride * np.int64(store.codes[row, column])
    key = np.uint64(row)
    if numbers[0] == SIGNED:
        n = numbers[COLUMN_HEAD + COLUMN_NUMBERS * columns]
        rare = (words[columns + n + (row >> 6)] >> np.uint64(row & 63)) & _ONE
        if rare == np.uint64(0):
            picks, signature = numbers[4], words[columns + row]
            at = COLUMN_HEAD + COLUMN_NUMBERS * columns + 1 + column * picks
            key = np.uint64(0)
            for k in range(picks):
                nibble = (signature >> (_FOUR * np.uint64(numbers[at + k]))) & _LOW
                key = (key << _FOUR) | nibble
        else:
            key = key ^ _APART
    return base + stride * _entry(key, words[column], size)


@inner
def _quotient(store: Store, row: Integer, j: Integer) -> Any:
    op, m, a, b = store.numbers[0], store.numbers[1], store.numbers[2], store.numbers[3]
    left, right = row % m * a, row // m * b
    if op == CONCAT:
        return np.float64(store.first[left + j] if j < a else store.second[right + j - a])
    one, other = np.float64(store.first[left + j]), np.float64(store.second[right + j])
    return one + other if op == ADD else one * other


@inner
def _mixed(store: Store, head: Integer, start: Integer, j: Integer, d: Integer) -> Any:
    width, projection = store.numbers[head + 2], store.numbers[head + 3]
    if projection < 0:
        return np.float64(store.first[start + j])
    total = 0.0
    for i in range(width):
        value = np.float64(store.first[start + i])
        total = cuda.fma(value, np.float64(store.second[projection + i * d + j]), total)
    return total


@inner
def _coded(store: Store, row: Integer, j: Integer) -> Any:
    summed, width = store.numbers[2], store.numbers[3]
    chunk = j // width
    total = 0.0
    for more in range(summed):
        start = _address(store, row, chunk * summed + more)
        total += np.float64(store.first[start + j - chunk * width])
    return total


@inner
def _masked(store: Store, row: Integer, start: Integer, j: Integer) -> Any:
    size, bit = store.numbers[0], np.uint64(j & 63)
    word = store.words[row * size + (j >> 6)]
    if (word >> bit) & _ONE == np.uint64(0):
        return 0.0
    at = start + np.int64(cuda.popc(word & ((_ONE << bit) - _ONE)))
    for part in range(row * size, row * size + (j >> 6)):
        at += np.int64(cuda.popc(store.words[part]))
    return np.float64(store.first[at])


@inner
def element(
    store: Store, row: Integer, head: Integer, start: Integer, j: Integer, d: Integer
) -> Any:
    """Value j of a row of d, as float64. head, start: what `head_of` and `origin` give for it."""
    if store.kind == QUOTIENT:
        value = _quotient(store, row, j)
    elif store.kind == MIXED:
        value = _mixed(store, head, start, j, d)
    elif store.kind == CODED:
        value = _coded(store, row, j)
    else:
        value = _masked(store, row, start, j)
    return np.float64(np.float32(value))
