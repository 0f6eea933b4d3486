"""The two loops of k-means on the device: the twin of `kmeans`, with its labels, keys and sums.

Nearest centroids are a product of codes, rows by centroids, cut into tiles: a block compares
8 rows for each 16 of its threads with 64 centroids at a time, whose bytes it reads into shared
memory 64 at a time, once for all of these rows; a thread keeps 8 x 4 sums. Products of bytes are
exact, and a key is put together in the CPU's order with each product rounded (`rounding_cuda`), so
labels and keys have the CPU's bits.

Sums of clusters are taken in the order of rows, as the CPU takes them: a block adds the rows of one
cluster, a thread for each dimension, in the order of their list. So they have the CPU's bits too.

Bounds (H200): dp4a, 64 a cycle and multiprocessor: n c d / 4 of them, 0.5 s for 10,000,000 rows of
768 dimensions and 3,162 centroids, beside n d bytes of codes that are read once from memory (2 ms)
and tiles from the L2 cache, 1 byte for 32 products. Sums read every vector once; the largest
cluster is added by one thread a dimension.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float64, int32

from fanns.kernels.distance import COSINE
from fanns.kernels.int8 import CONSTANT, MULTIPLIER, OFFSET, WEIGHT
from fanns.kernels.int8_cuda import dp4a
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import (
    ALL_LANES,
    REGISTERS,
    DeviceArray,
    Workspace,
    cuda,
    inner,
    kernel,
)
from fanns.kernels.rounding_cuda import times

ACROSS = 16
"""Threads side by side that share rows: half a warp, which settles by exchanges."""

ROWS_OF_THREAD = 8
CENTROIDS_OF_THREAD = 4
SUMS = ROWS_OF_THREAD * CENTROIDS_OF_THREAD
CENTROIDS = ACROSS * CENTROIDS_OF_THREAD
"""Centroids of a tile."""

DEPTH = 16
"""Words of 4 bytes of a tile: 64 bytes, which the width of codes is a multiple of."""

PITCH = DEPTH + 1
"""Words from one row of a tile to the next, so that threads side by side read other banks."""


@inner
def _fill(tile: Array, codes: Array, first: Any, count: Any, word: Any) -> None:
    """Words word .. word + DEPTH of rows first .. first + count of codes; zeros behind the last."""
    for i in range(cuda.threadIdx.x, count * DEPTH, cuda.blockDim.x):
        row, place = first + i // DEPTH, i % DEPTH
        value = np.int32(0)
        if row < codes.shape[0]:
            value = codes[row, word + place]
        tile[i // DEPTH * PITCH + place] = value


@inner
def _multiply(rows: Array, centroids: Array, down: Any, sums: Array) -> None:
    """Add the products of this thread's rows and centroids over one tile."""
    across = cuda.threadIdx.x % ACROSS
    left = cuda.local.array(ROWS_OF_THREAD, int32)
    for word in range(DEPTH):
        for i in range(ROWS_OF_THREAD):
            left[i] = rows[(cuda.threadIdx.x // ACROSS + down * i) * PITCH + word]
        for j in range(CENTROIDS_OF_THREAD):
            right = centroids[(across + ACROSS * j) * PITCH + word]
            for i in range(ROWS_OF_THREAD):
                place = i * CENTROIDS_OF_THREAD + j
                sums[place] = dp4a(left[i], right, sums[place])


@kernel(max_registers=REGISTERS)
def _nearest(
    codes: Array,
    scale: Array,
    square: Array,
    centroid_codes: Array,
    parameters: Array,
    labels: Array,
    keys: Array,
) -> None:
    shared = cuda.shared.array(0, int32)
    across, down = cuda.threadIdx.x % ACROSS, cuda.blockDim.x // ACROSS
    height = down * ROWS_OF_THREAD
    rows, centroids = shared[: height * PITCH], shared[height * PITCH :]
    first, n, c = cuda.blockIdx.x * height, codes.shape[0], centroid_codes.shape[0]
    sums = cuda.local.array(SUMS, int32)
    best = cuda.local.array(ROWS_OF_THREAD, float64)
    label = cuda.local.array(ROWS_OF_THREAD, int32)
    for i in range(ROWS_OF_THREAD):
        best[i], label[i] = math.inf, 0
    for start in range(0, c, CENTROIDS):
        for i in range(SUMS):
            sums[i] = 0
        for word in range(0, codes.shape[1], DEPTH):
            cuda.syncthreads()
            _fill(rows, codes, first, height, word)
            _fill(centroids, centroid_codes, start, CENTROIDS, word)
            cuda.syncthreads()
            _multiply(rows, centroids, down, sums)
        for i in range(ROWS_OF_THREAD):
            row = first + cuda.threadIdx.x // ACROSS + down * i
            for j in range(CENTROIDS_OF_THREAD):
                cluster = start + across + ACROSS * j
                if row < n and cluster < c:
                    own = parameters[cluster]
                    exact = np.float64(sums[i * CENTROIDS_OF_THREAD + j]) - own[OFFSET]
                    step = times(own[MULTIPLIER], np.float64(scale[row]))
                    key = times(own[WEIGHT], square[row]) + own[CONSTANT] - times(step, exact)
                    if key < best[i]:
                        best[i], label[i] = key, cluster
    for i in range(ROWS_OF_THREAD):
        row = first + cuda.threadIdx.x // ACROSS + down * i
        step = ACROSS // 2
        while step > 0:
            key = cuda.shfl_xor_sync(ALL_LANES, best[i], step)
            other = cuda.shfl_xor_sync(ALL_LANES, label[i], step)
            if key < best[i] or (key == best[i] and other < label[i]):
                best[i], label[i] = key, other
            step >>= 1
        if across == 0 and row < n:
            labels[row], keys[row] = label[i], best[i]


def nearest_centroids(
    codes: DeviceArray,
    scale: DeviceArray,
    square: DeviceArray,
    centroid_codes: DeviceArray,
    parameters: DeviceArray,
    labels: DeviceArray,
    keys: DeviceArray,
    workspace: Workspace,
) -> None:
    """The nearest centroid of all rows: labels int32[n], squared distances float64[n].

    As `kmeans.nearest_centroids`: codes uint8[n, w] with scale float32[n] and square float64[n],
    centroids as `kmeans.prepare_centroids` prepares them, int8[c, w] and float64[c, PARAMETERS].
    """
    height = workspace.threads // ACROSS * ROWS_OF_THREAD
    blocks = -(-codes.shape[0] // height)
    quads: Any = (codes.view(np.int32), scale, square, centroid_codes.view(np.int32))
    shared = 4 * PITCH * (height + CENTROIDS)
    workspace.launch(_nearest, blocks, *quads, parameters, labels, keys, shared=shared)


@kernel
def _add_rows(
    vectors: Array, norms: Array, metric: int, rows: Array, bounds: Array, sums: Array
) -> None:
    """One block a cluster and so many dimensions as it has threads."""
    label, j = cuda.blockIdx.x, cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    if j < vectors.shape[1] and bounds[label] < bounds[label + 1]:
        total = sums[label, j]
        for place in range(bounds[label], bounds[label + 1]):
            row = rows[place]
            length = norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
            total += np.float64(vectors[row, j]) / length
        sums[label, j] = total


def add_rows(
    vectors: DeviceArray,
    norms: DeviceArray,
    metric: int,
    rows: DeviceArray,
    bounds: DeviceArray,
    sums: DeviceArray,
    workspace: Workspace,
) -> None:
    """Add rows[bounds[i] : bounds[i + 1]], of length 1 under cosine, to sums[i] float64[c, d].

    `kmeans.add_rows`, of rows int32 grouped by their cluster, in each in rising order.
    """
    across = -(-vectors.shape[1] // workspace.threads)
    blocks = (bounds.shape[0] - 1, across)
    workspace.launch(_add_rows, blocks, vectors, norms, metric, rows, bounds, sums)
