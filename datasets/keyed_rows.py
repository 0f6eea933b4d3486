"""Distances of a block of rows to many queries: keys in float32 at once, and pairs exactly.

Keys are matrix products, off by no more than a known bound; pairs are computed in float64 one by
one, as `exact.distances` does, so that equal rows have equal distances.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .best_rows import Block
from .exact import METRICS
from .products import Products

_PAIR_BYTES = 1 << 19  # of copies in float64 that one core works on: they stay in its cache
_LONGEST = 1e18  # of vectors: squares of longer ones overflow float32
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Asked:
    """Queries [m, d] with their lengths float64[m]; of unit length for products under cosine."""

    def __init__(self, queries: Floats, metric: str, products: Products) -> None:
        if metric not in METRICS:
            raise InputError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
        if queries.ndim != 2:
            raise InputError(f"expected queries float32[m, d], got {list(queries.shape)}")
        self.metric, self.products = metric, products
        self.queries = queries
        self.lengths = _lengths(queries, 0, "query", metric)

    def part(self, queries: slice) -> Floats:
        """The queries to multiply with."""
        found = self.queries[queries]
        if self.metric == "cosine":
            return np.asarray(found / self.lengths[queries, None], np.float32)
        return found


class Rows:
    """A block of rows: vectors float32[r, d], lengths float64[r]."""

    def __init__(self, rows: NDArray[Any], first: int, asked: Asked) -> None:
        self.vectors: Floats = np.ascontiguousarray(rows, np.float32)
        self.first, self.asked = first, asked
        self.lengths = _lengths(self.vectors, first, "row", asked.metric)

    def keys(self, queries: slice) -> Block:
        """Distances in float32 (squares under l2) and how far they may be off."""
        asked = self.asked
        keys = asked.products(asked.part(queries), self.vectors)
        off = asked.products.error(self.vectors.shape[1])
        longest = float(self.lengths.max(initial=0.0))
        own = asked.lengths[queries]
        if asked.metric == "cosine":
            keys *= (-1.0 / self.lengths).astype(np.float32)
            keys += np.float32(1.0)
            error = np.full(len(own), 2.0 * off)
        elif asked.metric == "ip":
            np.negative(keys, out=keys)
            error = off * own * longest
        else:
            keys *= np.float32(-2.0)
            keys += (self.lengths**2).astype(np.float32)
            keys += (own**2).astype(np.float32)[:, None]
            error = 2.0 * off * (own + longest) ** 2
        return Block(queries, self.first, keys, error, asked.metric == "l2", self.exactly)

    def exactly(self, query: NDArray[np.int64], row: NDArray[np.int64]) -> Doubles:
        """The distances of pairs, as `exact.distances` computes each; on all cores."""
        found = np.empty(len(query))

        def fill(part: slice) -> None:
            found[part] = self._exactly(query[part], row[part])

        parts = _parts(len(query), self.vectors.shape[1])
        if len(parts) == 1:
            fill(parts[0])
        else:
            with ThreadPoolExecutor(_cores()) as pool:
                list(pool.map(fill, parts))
        return found

    def _exactly(self, query: NDArray[np.int64], row: NDArray[np.int64]) -> Doubles:
        x = self.vectors[row].astype(np.float64)
        q = self.asked.queries[query].astype(np.float64)
        if self.asked.metric == "l2":
            x -= q
            x *= x
            return np.asarray(np.sqrt(x.sum(axis=1)))
        x *= q
        products = x.sum(axis=1)
        if self.asked.metric == "ip":
            return np.asarray(-products)
        return np.asarray(1.0 - products / (self.lengths[row] * self.asked.lengths[query]))


def _parts(rows: int, dimensions: int) -> list[slice]:
    """Rows in parts whose copies in float64 stay in a core's cache."""
    step = max(1, _PAIR_BYTES // (8 * max(1, dimensions)))
    return [slice(at, at + step) for at in range(0, rows, step)] or [slice(0, 0)]


def _cores() -> int:
    """Processors that this process may use; more than 16 would only wait for memory."""
    told = getattr(os, "sched_getaffinity", None)
    return min(16, len(told(0)) if told else os.cpu_count() or 1)


def _lengths(vectors: Floats, first: int, what: str, metric: str) -> Doubles:
    """The length of every vector, in float64. InputError names the first that cannot be used."""
    found = np.empty(len(vectors))
    for part in _parts(*vectors.shape):
        x = vectors[part].astype(np.float64)
        x *= x
        found[part] = np.sqrt(x.sum(axis=1))
    usable = found <= _LONGEST  # False for NaN
    if metric == "cosine":
        usable &= found >= 1.0 / _LONGEST
    if not usable.all():
        at = int(np.argmin(usable))
        raise InputError(
            f"the vector of {what} {first + at} has length {found[at]}: "
            f"exact answers need finite vectors, for cosine not of zero, and at most {_LONGEST:g}"
        )
    return found
