"""k-means in one sub-space of a product quantizer (Lloyd 1982), without dead codewords.

A centroid that no point is nearest to is never moved again and its code is lost. It is put into the
most populated cell instead, which is split in two (the cure of product-key memories for keys that
no query selects, Karimov et al. 2021; the same as for empty clusters). Plain loops in a fixed order
on one thread: the centroids are the same on every processor.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.jit import Array, Integer, inner, kernel
from fanns.kernels.pq import nearest_codeword


@kernel
def train_codebook(points: Array, first: Array, rounds: int, book: Array, counts: Array) -> float:
    """Centroids of points float32[n, s] into book float32[s, K]; gives the mean squared distance.

    They start at the points `first` int64[K] and move for at most `rounds`; counts int64[K] are
    the points nearest to each.
    """
    n, s = points.shape
    size = book.shape[1]
    for k in range(size):
        for t in range(s):
            book[t, k] = points[first[k], t]
    labels = np.full(n, -1, np.int64)
    distances = np.empty(size, np.float32)
    sums = np.empty((size, s), np.float64)
    spread = np.empty((size, s), np.float64)
    for turn in range(rounds + 1):
        changed = _assign(points, book, labels, counts, distances)
        if turn == rounds or not changed:
            break
        _move(points, labels, counts, sums, spread, book)
        _split(counts, spread, book)
    total = 0.0
    for i in range(n):
        for t in range(s):
            gap = np.float64(points[i, t]) - book[t, labels[i]]
            total += gap * gap
    return total / max(n, 1)  # type: ignore[no-any-return]


@inner
def _assign(points: Array, book: Array, labels: Array, counts: Array, distances: Array) -> bool:
    """The nearest centroid of each point; gives whether one has changed."""
    counts[:] = 0
    changed = False
    for i in range(points.shape[0]):
        label = nearest_codeword(points[i], np.int64(0), book, distances)
        changed |= label != labels[i]
        labels[i] = label
        counts[label] += 1
    return changed


@inner
def _move(
    points: Array, labels: Array, counts: Array, sums: Array, spread: Array, book: Array
) -> None:
    """Centroids to the means of their points; `spread` becomes the variances of each cell."""
    for k in range(counts.shape[0]):
        for t in range(points.shape[1]):
            sums[k, t], spread[k, t] = 0.0, 0.0
    for i in range(points.shape[0]):
        label = labels[i]
        for t in range(points.shape[1]):
            sums[label, t] += points[i, t]
    for k in range(counts.shape[0]):
        if counts[k] > 0:
            for t in range(points.shape[1]):
                sums[k, t] /= counts[k]
                book[t, k] = np.float32(sums[k, t])
    for i in range(points.shape[0]):
        label = labels[i]
        for t in range(points.shape[1]):
            gap = points[i, t] - sums[label, t]
            spread[label, t] += gap * gap / counts[label]


@inner
def _split(counts: Array, spread: Array, book: Array) -> None:
    """Put each unused centroid into the most populated cell that is more than one point.

    Both centroids stand half a standard deviation off the middle, on either side, and each counts
    for half of the points, so that the next unused one goes to another cell if that is larger.
    """
    for k in range(counts.shape[0]):
        if counts[k] > 0:
            continue
        donor: Integer = np.int64(-1)
        for other in range(counts.shape[0]):
            apart = 0.0
            for t in range(book.shape[0]):
                apart += spread[other, t]
            if counts[other] > 1 and apart > 0.0 and (donor < 0 or counts[other] > counts[donor]):
                donor = np.int64(other)
        if donor < 0:
            return
        for t in range(book.shape[0]):
            middle, by = book[t, donor], np.float32(0.5 * math.sqrt(spread[donor, t]))
            book[t, k], book[t, donor] = middle + by, middle - by
            spread[donor, t] *= 0.75  # what half a standard deviation on either side leaves
            spread[k, t] = spread[donor, t]
        counts[k] = counts[donor] // 2
        counts[donor] -= counts[k]
