"""Cut rows into blocks of 64 near ones: halves of halves, each cut between two means.

A balanced tree: the rows of a node are ordered by where they project on the line through two means
of a sample of them (2-means, Lloyd 1982), and cut at a whole number of blocks. Rows are taken as
their int8 codes stand for, without the mean that all share.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.fastscan import ROWS
from fanns.kernels.jit import Array, Integer, inner, kernel

SAMPLE = 256
"""Rows of a node that its means are taken of."""

TURNS = 4
"""Assignments to two means."""

ZERO = 128  # the byte of zero
DEEPEST = 64


@inner
def read_row(codes: Array, scale: Array, row: Integer, out: Array) -> None:
    """What a row's codes stand for, float32[d]."""
    step = scale[row]
    for j in range(out.shape[0]):
        out[j] = step * np.float32(np.int32(codes[row, j]) - ZERO)


@inner
def farthest(points: Array, start: Array) -> Integer:
    """Which of points float32[m, d] is farthest from start, the first of equals."""
    best, found = np.float32(-1.0), np.int64(0)
    for i in range(points.shape[0]):
        squared = np.float32(0.0)
        for j in range(start.shape[0]):
            gap = points[i, j] - start[j]
            squared += gap * gap
        if squared > best:
            best, found = squared, np.int64(i)
    return found


@inner
def along(point: Array, line: Array) -> float:
    """<point, line>, both float32[d]."""
    total = np.float32(0.0)
    for j in range(line.shape[0]):
        total += point[j] * line[j]
    return total  # type: ignore[return-value]


@inner
def line_between(points: Array, sides: Array, line: Array, other: Array) -> None:
    """line = the difference of two means of points float32[m, d]; sides int8[m], other: scratch."""
    first = farthest(points, points[0])
    second = farthest(points, points[first])
    for j in range(line.shape[0]):
        line[j], other[j] = points[first, j], points[second, j]
    for _ in range(TURNS):
        middle = np.float32(0.0)
        for j in range(line.shape[0]):
            a, b = line[j], other[j]
            line[j] = a - b
            middle += np.float32(0.5) * (a - b) * (a + b)
        ones = np.float32(0.0)
        for i in range(points.shape[0]):
            sides[i] = along(points[i], line) > middle
            ones += np.float32(sides[i])
        rest = np.float32(points.shape[0]) - ones
        if ones == 0.0 or rest == 0.0:  # equal points
            return
        for j in range(line.shape[0]):
            line[j] = other[j] = np.float32(0.0)
        for i in range(points.shape[0]):
            if sides[i]:
                for j in range(line.shape[0]):
                    line[j] += points[i, j]
            else:
                for j in range(line.shape[0]):
                    other[j] += points[i, j]
        for j in range(line.shape[0]):
            line[j] /= ones
            other[j] /= rest
    for j in range(line.shape[0]):
        line[j] -= other[j]


@kernel
def balance(codes: Array, scale: Array, d: int, rows: Array) -> None:
    """Order rows int32[m] in place so that each 64 from the first on are near each other.

    codes uint8[n, w], scale float32[n]: as in `Int8Codes`.
    """
    line, other, point = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    starts, stops = np.empty(DEEPEST, np.int64), np.empty(DEEPEST, np.int64)
    places = np.empty(rows.shape[0], np.float32)
    points, sides = np.empty((SAMPLE, d), np.float32), np.empty(SAMPLE, np.int8)
    starts[0], stops[0], depth = 0, rows.shape[0], 1
    while depth > 0:
        depth -= 1
        start, stop = starts[depth], stops[depth]
        blocks = (stop - start + ROWS - 1) // ROWS
        if blocks < 2:
            continue
        own = rows[start:stop].copy()
        taken = min(SAMPLE, own.shape[0])
        for i in range(taken):
            read_row(codes, scale, np.int64(own[i * own.shape[0] // taken]), points[i])
        line_between(points[:taken], sides, line, other)
        for i in range(own.shape[0]):
            read_row(codes, scale, np.int64(own[i]), point)
            places[i] = along(point, line)
        order = np.argsort(places[: own.shape[0]], kind="mergesort")
        for i in range(own.shape[0]):
            rows[start + i] = own[order[i]]
        cut = start + ROWS * ((blocks + 1) // 2)
        starts[depth], stops[depth] = cut, stop
        starts[depth + 1], stops[depth + 1] = start, cut
        depth += 2
