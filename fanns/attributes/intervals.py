"""Sets of codes as flat, sorted lists of bounds: [a, b, c, d] is a..b-1 and c..d-1."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Bounds = list[int]


def interval(start: int, stop: int) -> Bounds:
    """The codes start..stop-1; none when stop <= start."""
    return [start, stop] if start < stop else []


def of_codes(codes: Iterable[int]) -> Bounds:
    """The bounds of sorted codes without repeats."""
    bounds: Bounds = []
    for code in codes:
        if bounds and bounds[-1] == code:
            bounds[-1] = code + 1
        else:
            bounds += (code, code + 1)
    return bounds


def of_mask(mask: NDArray[np.bool_]) -> Bounds:
    """The bounds of the codes whose entry is true."""
    edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
    bounds: Bounds = np.flatnonzero(edges).tolist()
    return bounds


def intersect(a: Bounds, b: Bounds) -> Bounds:
    """The codes in both."""
    if len(a) == 2 and len(b) == 2:  # the hot path: max and min would take ten times as long
        start = a[0] if a[0] > b[0] else b[0]
        stop = a[1] if a[1] < b[1] else b[1]
        return [start, stop] if start < stop else []
    return _covered(a, b, 2)


def unite(a: Bounds, b: Bounds) -> Bounds:
    """The codes in either."""
    return _covered(a, b, 1)


def complement(bounds: Bounds, start: int, stop: int) -> Bounds:
    """The codes of start..stop-1 that are not within the bounds, which lie in that range."""
    if not bounds:
        return interval(start, stop)
    head = bounds[1:] if bounds[0] == start else [start, *bounds]
    return head[:-1] if head[-1] == stop else [*head, stop]


def _covered(a: Bounds, b: Bounds, depth: int) -> Bounds:
    """The codes that at least `depth` of the two sets cover: a sweep over their edges."""
    edges = sorted(
        [(edge, 1 - 2 * (i & 1)) for i, edge in enumerate(a)]
        + [(edge, 1 - 2 * (i & 1)) for i, edge in enumerate(b)],
        key=lambda edge: (edge[0], -edge[1]),  # openings first: adjacent intervals become one
    )
    bounds: Bounds = []
    open_sets = 0
    for edge, change in edges:
        before, open_sets = open_sets, open_sets + change
        if (before < depth) == (open_sets < depth):
            continue
        bounds.append(edge)
    if depth == 2:  # an interval that closes where the other set's opens leaves an empty one
        return [
            x
            for i in range(0, len(bounds), 2)
            if bounds[i] < bounds[i + 1]
            for x in bounds[i : i + 2]
        ]
    return bounds
