"""Encoding rows into codes of few bits on the device: the twin of `bit_encode`, with its bytes.

A warp encodes a row, whose rotated residual it holds in shared memory, or, where that has no room
for it (beyond 12,288 dimensions), in the workspace. Rotated centres come first, one by each warp.

Bound: arithmetic. The grid's step is searched for by 16 tries of 3 sums over the row, and the
rotation takes 4 log2(d) steps: 8,000 instructions of a warp for 768 dimensions, 15 cycles a row
over the whole device, a tenth of a second for 10,000,000 rows. Reading them over the bus takes
longer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32

from fanns.kernels.bit_encode import ROUND, TRIES
from fanns.kernels.distance import L2
from fanns.kernels.distance_cuda import ordered_place, ordered_turns
from fanns.kernels.int8_encode_cuda import (
    inverse_length,
    largest_moved,
    moved,
    product_with_moved,
    squared_moved,
    warp_largest,
)
from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import (
    SHARED_BYTES,
    WARP,
    DeviceArray,
    Workspace,
    bytes_of,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.rotation_cuda import rotate
from fanns.kernels.rounding_cuda import times, times32
from fanns.kernels.warp_cuda import warp_sum

STEPS = np.array([(1.6 / 0.6) ** (number / (TRIES - 1)) for number in range(TRIES)])
"""The scales tried, in units of the first."""


@inner
def _centre_value(centres: Array, cluster: Integer, mean: Array, j: Integer) -> Any:
    return np.float64(centres[cluster, j]) - np.float64(mean[j])


@kernel
def _turn_centres(
    centres: Array, mean: Array, signs: Array, scratch: Array, shifts: Array, reaches: Array
) -> None:
    """R(c - mean) in units of its largest value, and that; a warp takes every so many clusters."""
    size, d, lane = signs.shape[1], mean.shape[0], cuda.laneid
    warp, shared = cuda.threadIdx.x // WARP, cuda.shared.array(0, float32)
    own = shared[warp * size : (warp + 1) * size]
    if scratch.shape[0] > 0:
        own = scratch[cuda.grid(1) // WARP]
    for cluster in range(cuda.grid(1) // WARP, centres.shape[0], cuda.gridsize(1) // WARP):
        most = 0.0
        for j in range(lane, d, WARP):
            most = max(most, abs(_centre_value(centres, cluster, mean, j)))
        most = warp_largest(most)
        unit = 1.0 / most if most > 0.0 else 1.0
        for j in range(lane, size, WARP):
            wide = 0.0
            if j < d:
                wide = _centre_value(centres, cluster, mean, j) * unit
            own[j] = np.float32(wide)
        rotate(own, signs)
        for j in range(lane, size, WARP):
            shifts[cluster, j] = own[j]
        if lane == 0:
            reaches[cluster] = most
        cuda.syncwarp()


@inner
def _odd(magnitude: float, cells: Any, top: Any) -> Any:
    """2 m + 1 for the cell m of a magnitude; all float32."""
    cell = (times32(magnitude, cells) - np.float32(0.5) + ROUND) - ROUND
    cell = min(max(cell, np.float32(0.0)), top)
    return np.float32(2.0) * cell + np.float32(1.0)


@inner
def _fit(values: Array, cells: Any, top: Any) -> Any:
    """<|values|, s> and |s|^2 for a step of the grid, in every lane."""
    size, along, squared = values.shape[0], 0.0, 0.0
    for turn in range(ordered_turns(size)):
        j = ordered_place(turn, size)
        if j >= 0:
            magnitude = abs(values[j])
            odd = np.float64(_odd(magnitude, np.float32(cells), top))
            along = cuda.fma(np.float64(magnitude), odd, along)
            squared = cuda.fma(odd, odd, squared)
    return warp_sum(along), warp_sum(squared)


@inner
def _squared(values: Array) -> Any:
    """|values|^2, in every lane."""
    size, total = values.shape[0], 0.0
    for turn in range(ordered_turns(size)):
        j = ordered_place(turn, size)
        if j >= 0:
            value = np.float64(values[j])
            total = cuda.fma(value, value, total)
    return warp_sum(total)


@inner
def _best_cells(values: Array, bits: int, top: Any, steps: Array) -> Any:
    """The cells of the grid to one unit, 0 where every level is 1: `bit_encode._fit_levels`."""
    squared = _squared(values)
    if bits == 1 or squared == 0.0:
        return 0.0
    usual = 0.9957 if bits == 2 else 0.3352
    cells = math.sqrt(values.shape[0] / squared) / usual
    best, chosen = -1.0, cells
    for number in range(steps.shape[0]):
        tried = cells * 0.6 * steps[number]
        along, length = _fit(values, tried, top)
        cosine = along * along / length
        if cosine > best:
            best, chosen = cosine, tried
    return chosen


@inner
def _level(value: float, cells: Any, top: Any) -> Any:
    """s of a value without its sign, float32."""
    return _odd(abs(value), np.float32(cells), top) if cells > 0.0 else np.float32(1.0)


@inner
def _along(values: Array, shift: Array, cells: Any, top: Any) -> Any:
    """<|values|, |s|> and <shift, s>, in every lane."""
    size, along, shifted = values.shape[0], 0.0, 0.0
    for turn in range(ordered_turns(size)):
        j = ordered_place(turn, size)
        if j >= 0:
            odd = np.float64(_level(values[j], cells, top))
            along = cuda.fma(np.float64(abs(values[j])), odd, along)
            odd = odd if values[j] > 0.0 else -odd
            shifted = cuda.fma(np.float64(shift[j]), odd, shifted)
    return warp_sum(along), warp_sum(shifted)


@inner
def _write_words(values: Array, cells: Any, top: Any, bits: int, record: Array) -> None:
    """The codes of a row: a lane puts together one word at a time."""
    length, half = values.shape[0] * bits // 8, 1 << (bits - 1)
    for number in range(cuda.laneid, record.shape[0], WARP):
        word = np.uint64(0)
        for byte in range(8):
            p = number * 8 + byte
            if p < length:
                for field in range(8 // bits):
                    value = values[field * length + p]
                    cell = np.int64(_level(value, cells, top)) >> 1
                    level = half + cell if value > 0.0 else half - 1 - cell
                    word |= np.uint64(level) << np.uint64(8 * byte + field * bits)
        record[number] = word


@kernel
def _encode(
    vectors: Array,
    norms: Array,
    metric: int,
    labels: Array,
    centres: Array,
    signs: Array,
    bits: int,
    steps: Array,
    shifts: Array,
    reaches: Array,
    scratch: Array,
    records: Array,
    factors: Array,
) -> None:
    """A warp takes every so many rows."""
    size, d, lane = signs.shape[1], vectors.shape[1], cuda.laneid
    place = factors.shape[1] - 2
    warp, shared = cuda.threadIdx.x // WARP, cuda.shared.array(0, float32)
    own = shared[warp * size : (warp + 1) * size]
    if scratch.shape[0] > 0:
        own = scratch[cuda.grid(1) // WARP]
    top = np.float32((1 << (bits - 1)) - 1)
    for row in range(cuda.grid(1) // WARP, vectors.shape[0], cuda.gridsize(1) // WARP):
        cluster = labels[row]
        centre, inverse = centres[cluster], inverse_length(norms, metric, row)
        squared = squared_moved(vectors, row, inverse, centre)
        second = squared
        if metric != L2:
            second = -product_with_moved(vectors, row, inverse, centre)
        largest = largest_moved(vectors, row, inverse, centre)
        unit = 1.0 / largest if largest > 0.0 else 1.0
        for j in range(lane, size, WARP):
            wide = 0.0
            if j < d:
                wide = moved(vectors, row, j, inverse, centre) * unit
            own[j] = np.float32(wide)
        rotate(own, signs)
        cells = _best_cells(own, bits, top, steps)
        along, shifted = _along(own, shifts[cluster], cells, top)
        along, shifted = along * largest, shifted * reaches[cluster]
        _write_words(own, cells, top, bits, records[row])
        cuda.syncwarp()
        if lane == 0:
            factor = squared / along if along > 0.0 else 0.0
            weight = 2.0 * factor if metric == L2 else factor
            factors[row, place] = np.float32(factor)
            factors[row, place + 1] = np.float32(second + times(weight, shifted))


def _layout(size: int, workspace: Workspace) -> tuple[int, list[tuple[tuple[int, ...], Any]]]:
    """Shared bytes of a block, and the scratch that stands for them where they are too many."""
    warps = workspace.threads // WARP
    shared = 4 * size * warps
    if shared <= SHARED_BYTES:
        return shared, [((0, size), np.float32)]
    return 0, [((warps * workspace.blocks, size), np.float32)]


def _scratch(c: int, size: int, workspace: Workspace) -> list[tuple[tuple[int, ...], Any]]:
    """Rotated centres, their units, and what stands for shared memory."""
    centres: list[tuple[tuple[int, ...], Any]] = [((c, size), np.float32), ((c,), np.float64)]
    return [*centres, *_layout(size, workspace)[1]]


def encode_bits_bytes(c: int, size: int, workspace: Workspace) -> int:
    """What `encode_bits` borrows from a workspace, for c clusters and D = size."""
    return bytes_of(*_scratch(c, size, workspace))


def encode_bits(
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    mean: DeviceArray,
    signs: DeviceArray,
    bits: int,
    labels: DeviceArray,
    centres: DeviceArray,
    steps: DeviceArray,
    records: DeviceArray,
    factors: DeviceArray,
    workspace: Workspace,
) -> None:
    """Write the records of all rows, whose clusters are labels int32[n].

    As `bit_encode.encode_bits`: centres float32[c, d], signs float32[rounds, D], records
    uint64[n, S] and factors float32[n, 2 S], the same memory; `steps` are STEPS.
    """
    c, size = centres.shape[0], signs.shape[1]
    shared = _layout(size, workspace)[0]
    with workspace.frame():
        taken = [workspace.take(*part) for part in _scratch(c, size, workspace)]
        shifts, reaches, scratch = taken
        wide = (centres, mean, signs, scratch, shifts, reaches)
        workspace.launch(_turn_centres, workspace.blocks, *wide, shared=shared)
        rows = (vectors, norms, metric, labels, centres, signs, bits, steps, *taken)
        blocks = -(-vectors.shape[0] // (workspace.threads // WARP))
        blocks = blocks if shared else min(blocks, workspace.blocks)
        workspace.launch(_encode, blocks, *rows, records, factors, shared=shared)
