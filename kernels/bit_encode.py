"""Encoding rows into codes of 1, 2 or 4 bits a dimension; `bits` tells what a record holds."""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.bits import narrow
from fanns.kernels.distance import COSINE, L2
from fanns.kernels.intrinsics import dot_float, element
from fanns.kernels.jit import Array, inner, kernel
from fanns.kernels.rotation import rotate

TRIES = 16
"""Scales tried for a row's grid, from 0.6 to 1.6 times that for normal values."""

ROUND = np.float32(12582912.0)
"""1.5 * 2^23: adding and taking it away rounds a float32 to the nearest integer."""


@inner
def _odd_levels(magnitudes: Array, cells: float, top: int, odd: Array) -> None:
    """2 m + 1 for the cell m = 0 .. top of each magnitude, `cells` to one unit."""
    times, most = np.float32(cells), np.float32(top)
    for j in range(magnitudes.shape[0]):
        cell = (magnitudes[j] * times - np.float32(0.5) + ROUND) - ROUND
        cell = most if cell > most else cell
        cell = np.float32(0.0) if cell < np.float32(0.0) else cell
        odd[j] = np.float32(2.0) * cell + np.float32(1.0)


@inner
def _fit_levels(turned: Array, bits: int, magnitudes: Array, odd: Array) -> None:
    """The magnitudes of s, odd numbers from 1 to 2^bits - 1, float32[D]: see `bits`.

    For a given step of the grid the nearest s is found by rounding, so only the step is searched
    for (Gao et al. 2024, section 3), around the best one for normal values (Max 1960, table 1).
    """
    top = (1 << (bits - 1)) - 1
    for j in range(turned.shape[0]):
        magnitudes[j] = abs(turned[j])
    squared = dot_float(magnitudes, 0, magnitudes)
    if top == 0 or squared == 0.0:
        for j in range(odd.shape[0]):
            odd[j] = np.float32(1.0)
        return
    usual = 0.9957 if bits == 2 else 0.3352
    cells = math.sqrt(magnitudes.shape[0] / squared) / usual
    best, chosen = -1.0, cells
    for number in range(TRIES):
        tried = cells * 0.6 * (1.6 / 0.6) ** (number / (TRIES - 1))
        _odd_levels(magnitudes, tried, top, odd)
        dot = dot_float(magnitudes, 0, odd)
        cosine = dot * dot / dot_float(odd, 0, odd)
        if cosine > best:
            best, chosen = cosine, tried
    _odd_levels(magnitudes, chosen, top, odd)


@kernel
def encode_bits(
    vectors: Array,
    norms: Array,
    metric: int,
    mean: Array,
    signs: Array,
    bits: int,
    bounds: Array,
    centres: Array,
    start: int,
    stop: int,
    records: Array,
    factors: Array,
) -> None:
    """Write the records of rows start..stop.

    Cluster i, with centre centres[i] of float32[c, d], holds rows bounds[i] .. bounds[i + 1] of
    int64[c + 1]. `factors` float32[n, 2 S] is the same memory as records uint64[n, S].
    """
    d, size = vectors.shape[1], signs.shape[1]
    z = np.empty(d, np.float64)
    turned = np.empty(size, np.float32)
    magnitudes, odd = np.empty(size, np.float32), np.empty(size, np.float32)
    shift, reach = np.empty(size, np.float32), 0.0  # R(c - mean) and its unit
    place, length, half = factors.shape[1] - 2, size * bits // 8, 1 << (bits - 1)
    times = 2.0 if metric == L2 else 1.0
    cluster = np.searchsorted(bounds, start, side="right") - 1
    entered = False
    for row in range(start, stop):
        while row >= bounds[cluster + 1]:
            cluster += 1
            entered = False
        centre = centres[cluster]
        if not entered:
            for j in range(d):
                z[j] = np.float64(centre[j]) - mean[j]
            reach = narrow(z, shift)
            rotate(shift, signs)
            entered = True
        inverse = 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
        for j in range(d):
            z[j] = element(vectors, np.int64(row), j) * inverse - centre[j]
        squared = dot_float(z, 0, z)
        second = squared if metric == L2 else -dot_float(z, 0, centre)
        largest = narrow(z, turned)
        rotate(turned, signs)
        _fit_levels(turned, bits, magnitudes, odd)
        along = dot_float(magnitudes, 0, odd) * largest  # <Rz, s>
        record = records[row]
        for word in range(record.shape[0]):
            record[word] = np.uint64(0)
        for field in range(8 // bits):
            for p in range(length):
                j = field * length + p
                cell = np.int64(odd[j]) >> 1
                level = half + cell if turned[j] > 0.0 else half - 1 - cell
                record[p >> 3] |= np.uint64(level) << np.uint64(8 * (p & 7) + field * bits)
        for j in range(size):
            odd[j] = odd[j] if turned[j] > 0.0 else -odd[j]
        factor = squared / along if along > 0.0 else 0.0
        shifted = dot_float(shift, 0, odd) * reach
        factors[row, place] = np.float32(factor)
        factors[row, place + 1] = np.float32(second + times * factor * shifted)
