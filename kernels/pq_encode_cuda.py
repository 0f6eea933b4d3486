"""Encoding rows into product codes on the device: the twin of `pq.encode_pq`, with its bytes.

Of codes of 4 bits without a rotation, which segments hold. A warp encodes a row: each lane finds
the codewords of two sub-spaces, whose codes are the halves of one byte. The row's residual and what
its codes stand for lie in shared memory, or, beyond 6,144 dimensions, in the workspace. Only their
difference is summed by one lane alone, as the CPU adds its squares one after the other.

Bound: the L1 cache, which gives the 16 d values of the codebooks for every row in pieces of 32
bytes, 4 a cycle: 25 cycles a row of 768 dimensions over the whole device. Reading rows over the bus
takes longer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32

from fanns.kernels.distance import L2
from fanns.kernels.distance_cuda import STEP, ordered_place, ordered_turns
from fanns.kernels.fastscan import CENTROIDS, GROUP_BYTES, LINE
from fanns.kernels.int8_encode_cuda import (
    inverse_length,
    moved,
    product_with_moved,
    squared_moved,
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
from fanns.kernels.pq import FACTOR, SECOND, STEEPEST
from fanns.kernels.rounding_cuda import times, times32
from fanns.kernels.warp_cuda import warp_sum


@inner
def _nearest_codeword(turned: Array, books: Array, j: Integer) -> Any:
    """The nearest centroid of sub-space j; the first of equals."""
    start, best, nearest = j * books.shape[1], np.float32(math.inf), 0
    for k in range(CENTROIDS):
        squared = np.float32(0.0)
        for t in range(books.shape[1]):
            gap = turned[start + t] - books[j, t, k]
            squared += times32(gap, gap)
        if squared < best:
            best, nearest = squared, k
    return nearest


@inner
def _write_codes(turned: Array, books: Array, row: Integer, codes: Array, near: Array) -> None:
    """Codes of a row in the layout of `fastscan`, and what they stand for."""
    m, s, _ = books.shape
    for byte in range(cuda.laneid, -(-m // 8) * 4, WARP):
        code = 0
        for half in range(2):
            j = (byte >> 2) * 8 + (byte & 3) + 4 * half
            if j < m:
                nearest = _nearest_codeword(turned, books, j)
                code |= nearest << 4 * half
                for t in range(s):
                    near[j * s + t] = books[j, t, nearest]
        place = (byte >> 2) * GROUP_BYTES + ((row & 63) >> 4) * LINE + (byte & 3) * 16 + (row & 15)
        codes[row >> 6, place] = np.uint8(code)


@inner
def _product(a: Array, b: Array) -> Any:
    """<a, b> of float32, in every lane."""
    size, total = a.shape[0], 0.0
    for turn in range(ordered_turns(size)):
        j = ordered_place(turn, size)
        if j >= 0:
            total = cuda.fma(np.float64(a[j]), np.float64(b[j]), total)
    total = warp_sum(total)
    for j in range(size // STEP * STEP, size):
        total = cuda.fma(np.float64(a[j]), np.float64(b[j]), total)
    return total


@inner
def _centre_value(centre: Array, mean: Array, j: Integer) -> Any:
    """Element j of c - mean as it is held, float32; zero behind the last."""
    if j >= mean.shape[0]:
        return np.float32(0.0)
    return np.float32(np.float64(centre[j]) - np.float64(mean[j]))


@inner
def _product_with_centre(centre: Array, mean: Array, near: Array) -> Any:
    """<c - mean, zhat>, in every lane."""
    size, total = near.shape[0], 0.0
    for turn in range(ordered_turns(size)):
        j = ordered_place(turn, size)
        if j >= 0:
            value = np.float64(_centre_value(centre, mean, j))
            total = cuda.fma(value, np.float64(near[j]), total)
    total = warp_sum(total)
    for j in range(size // STEP * STEP, size):
        value = np.float64(_centre_value(centre, mean, j))
        total = cuda.fma(value, np.float64(near[j]), total)
    return total


@inner
def _error(turned: Array, near: Array, factor: float) -> Any:
    """|f zhat - z|; by one lane."""
    total = 0.0
    for j in range(turned.shape[0]):
        gap = times(factor, np.float64(near[j])) - np.float64(turned[j])
        total += times(gap, gap)
    return math.sqrt(total)


@kernel
def _encode(
    vectors: Array,
    norms: Array,
    metric: int,
    mean: Array,
    centroids: Array,
    labels: Array,
    books: Array,
    scratch: Array,
    codes: Array,
    fields: Array,
    error: Array,
) -> None:
    """A warp takes every so many rows."""
    size, d, lane = books.shape[0] * books.shape[1], vectors.shape[1], cuda.laneid
    shared = cuda.shared.array(0, float32)
    warp = cuda.threadIdx.x // WARP
    turned = shared[2 * warp * size : (2 * warp + 1) * size]
    near = shared[(2 * warp + 1) * size : (2 * warp + 2) * size]
    if scratch.shape[0] > 0:
        turned = scratch[2 * (cuda.grid(1) // WARP)]
        near = scratch[2 * (cuda.grid(1) // WARP) + 1]
    for row in range(cuda.grid(1) // WARP, vectors.shape[0], cuda.gridsize(1) // WARP):
        centre, inverse = centroids[labels[row]], inverse_length(norms, metric, row)
        squared = squared_moved(vectors, row, inverse, centre)
        for j in range(lane, size, WARP):
            wide = 0.0
            if j < d:
                wide = moved(vectors, row, j, inverse, centre)
            turned[j] = np.float32(wide)
        cuda.syncwarp()
        _write_codes(turned, books, row, codes, near)
        cuda.syncwarp()
        along = _product(turned, near)
        factor = squared / along if times(along, STEEPEST) > squared else 0.0
        beyond = times(factor, _product_with_centre(centre, mean, near))
        second = squared + 2.0 * beyond
        if metric != L2:
            second = beyond - product_with_moved(vectors, row, inverse, centre)
        if lane == 0:
            fields[row >> 6, SECOND + (row & 63)] = np.float32(second)
            fields[row >> 6, FACTOR + (row & 63)] = np.float32(factor)
            error[row] = np.float32(_error(turned, near, factor))
        cuda.syncwarp()


def _layout(size: int, workspace: Workspace) -> tuple[int, tuple[tuple[int, ...], Any]]:
    """Shared bytes of a block, and the scratch that stands for them where they are too many."""
    warps = workspace.threads // WARP
    shared = 8 * size * warps
    if shared <= SHARED_BYTES:
        return shared, ((0, size), np.float32)
    return 0, ((2 * warps * workspace.blocks, size), np.float32)


def encode_pq_bytes(size: int, workspace: Workspace) -> int:
    """What `encode_pq` borrows from a workspace, for sub-spaces of m s = size dimensions."""
    return bytes_of(_layout(size, workspace)[1])


def encode_pq(
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    mean: DeviceArray,
    centroids: DeviceArray,
    labels: DeviceArray,
    books: DeviceArray,
    codes: DeviceArray,
    fields: DeviceArray,
    error: DeviceArray,
    workspace: Workspace,
) -> None:
    """Encode all rows, the row's cluster in labels int32[n].

    As `pq.encode_pq` without a rotation, of books float32[m, s, 16]: codes uint8[blocks, 256 G] in
    the layout of `fastscan`, whose bytes behind the last row are left as they are, as are those of
    fields float32[blocks, 128]; error float32[n].
    """
    shared, part = _layout(books.shape[0] * books.shape[1], workspace)
    blocks = -(-vectors.shape[0] // (workspace.threads // WARP))
    with workspace.frame():
        scratch = workspace.take(*part)
        rows = (vectors, norms, metric, mean, centroids, labels, books, scratch)
        blocks = blocks if shared else min(blocks, workspace.blocks)
        workspace.launch(_encode, blocks, *rows, codes, fields, error, shared=shared)
