"""Random mixtures of rows, and an orthonormal basis of what they span."""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.intrinsics import dot_float
from fanns.kernels.jit import Array, Integer, inner, kernel


@kernel
def mix_rows(vectors: Array, rows: Array, places: Array, signs: Array, out: Array) -> None:
    """Add each row, at length 1, to several mixtures: a sparse sign sketch.

    vectors float32[n, d]; rows int64[s]; places int64[s, t] and signs float64[s, t] say to which
    rows of out float64[l, d] it is added, and with which sign. Zero rows are left out. (Martinsson
    and Tropp 2020, section 9.2.)
    """
    for i in range(rows.shape[0]):
        vector = vectors[rows[i]]
        length = math.sqrt(dot_float(vector, 0, vector))
        if length > 0.0:
            for turn in range(places.shape[1]):
                target, factor = out[places[i, turn]], signs[i, turn] / length
                for j in range(vector.shape[0]):
                    target[j] += factor * vector[j]


@inner
def _scale(vector: Array, factor: float) -> None:
    for j in range(vector.shape[0]):
        vector[j] *= factor


@inner
def _take_away(vector: Array, direction: Array) -> None:
    """Make a vector orthogonal to a direction of length 1."""
    share = dot_float(vector, 0, direction)
    for j in range(vector.shape[0]):
        vector[j] -= share * direction[j]


@kernel
def orthonormalise(block: Array, tolerance: float) -> Integer:
    """Gram-Schmidt with pivoting, in place: how many rows of block float64[m, d] are left.

    The row of which most is left comes next; when that is at most `tolerance` long, the rest is
    dropped. The first rows, as many as the result says, are orthonormal then. Each is made
    orthogonal twice, which is enough (Giraud, Langou, Rozloznik 2005).
    """
    m = np.int64(block.shape[0])
    for number in range(m):
        longest, most = number, -1.0
        for i in range(number, m):
            squared = dot_float(block, i, block[i])
            if squared > most:
                longest, most = i, squared
        if not most > tolerance * tolerance:
            return np.int64(number)
        vector = block[number]
        for j in range(vector.shape[0]):
            vector[j], block[longest, j] = block[longest, j], vector[j]
        _scale(vector, 1.0 / math.sqrt(most))
        for i in range(number):
            _take_away(vector, block[i])
        _scale(vector, 1.0 / math.sqrt(dot_float(vector, 0, vector)))
        for i in range(number + 1, m):
            _take_away(block[i], vector)
    return m
