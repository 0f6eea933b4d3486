"""Exact answers by brute force in float64, the oracle that everything else is measured against.

Plain numpy, independent of the search code. Distances follow the library's convention, smaller is
better: "l2" is Euclidean, "cosine" is 1 - cos, "ip" is minus the inner product; ties go to the
smaller id (int64 by value, strings by code point, which is the order of their UTF-8 bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
METRICS = ("cosine", "l2", "ip")
_CHUNK_BYTES = 64 << 20  # of float64 vectors at a time
_MARGIN = 1e-9  # relative error allowed to the blocked products that pick candidates


class Truth(NamedTuple):
    """Nearest rows of m queries, best first, flat: query i owns `offsets[i]:offsets[i + 1]`.

    rows int64[total], ids of those rows (int64 or str), distances float64[total],
    offsets int64[m + 1].
    """

    rows: NDArray[np.int64]
    ids: NDArray[Any]
    distances: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def of(self, query: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The ids and distances of one query."""
        part = slice(self.offsets[query], self.offsets[query + 1])
        return self.ids[part], self.distances[part]


def distances(
    vectors: NDArray[Any], query: NDArray[Any], metric: str = "cosine"
) -> NDArray[np.float64]:
    """Distances float64[n] of each row of `vectors` [n, d] to one `query` [d].

    Every row is computed alone, so equal rows get equal distances.
    """
    x, q = np.asarray(vectors, np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        difference = x - q
        return np.asarray(np.sqrt((difference * difference).sum(axis=1)))
    products = (x * q).sum(axis=1)
    if metric == "ip":
        return np.asarray(-products)
    if metric == "cosine":
        lengths = np.sqrt((x * x).sum(axis=1)) * np.sqrt((q * q).sum())
        return np.asarray(1.0 - products / lengths)
    raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")


def nearest(
    vectors: NDArray[Any],
    queries: NDArray[Any],
    k: int,
    *,
    metric: str = "cosine",
    mask: Mask | Sequence[Mask | None] | None = None,
    ids: NDArray[Any] | None = None,
) -> Truth:
    """The k nearest passing rows of every query, exactly, by (distance, id).

    vectors [n, d], queries [m, d] or [d]; `mask` is bool[n] for all queries, or one of them (or
    None) per query, or bool[m, n]; `ids` [n] default to row numbers. A query with fewer than k
    passing rows gets all of them.
    """
    queries = np.atleast_2d(np.asarray(queries))
    masks = _masks(mask, len(queries), len(vectors))
    names = np.arange(len(vectors), dtype=np.int64) if ids is None else np.asarray(ids)
    ranks = _ranks(names)
    candidates: list[list[NDArray[np.int64]]] = [[] for _ in queries]
    for rows, keys in _approximate_keys(vectors, queries, metric):
        for q, passing in enumerate(masks):
            key = keys[q] if passing is None else keys[q][passing[rows]]
            local = rows if passing is None else rows[passing[rows]]
            candidates[q].append(local[_smallest(key, k)])
    parts = [
        _best(vectors, query, np.concatenate([*found, np.empty(0, np.int64)]), ranks, k, metric)
        for query, found in zip(queries, candidates, strict=True)
    ]
    rows = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
    values = np.concatenate([part[1] for part in parts]) if parts else np.empty(0)
    offsets = np.cumsum([0, *(len(part[0]) for part in parts)], dtype=np.int64)
    return Truth(rows, names[rows], values, offsets)


def recall(
    found_ids: Sequence[Any] | NDArray[Any],
    found_distances: NDArray[np.float64],
    true_distances: NDArray[np.float64],
    tolerance: float = 1e-9,
) -> float:
    """Share of the true neighbours that were found, in [0, 1], admitting ties.

    A found row counts when its distance is at most the last true distance (plus `tolerance`,
    absolute and relative), so any of several tied rows will do. An id counts once. The caller
    passes found rows that pass the filter, with distances recomputed by `distances`.
    With no true neighbour recall is 1.
    """
    if len(true_distances) == 0:
        return 1.0
    last = float(np.max(true_distances))
    bound = last + tolerance * max(1.0, abs(last))
    inside = {i for i, d in zip(found_ids, found_distances, strict=True) if d <= bound}
    return min(1.0, len(inside) / len(true_distances))


def _masks(mask: Any, queries: int, rows: int) -> list[Mask | None]:
    """One mask per query."""
    if mask is None:
        return [None] * queries
    if isinstance(mask, np.ndarray) and mask.ndim == 1:
        masks: list[Mask | None] = [mask] * queries
    else:
        masks = list(mask)
    if len(masks) != queries:
        raise ValueError(f"expected {queries} masks, one per query, got {len(masks)}")
    for one in masks:
        if one is not None and (one.dtype != np.bool_ or one.shape != (rows,)):
            raise ValueError(f"a mask must be bool[{rows}], got {one.dtype}{list(one.shape)}")
    return masks


def _ranks(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Position of each id in sorted order, the tie-breaker."""
    ranks = np.empty(len(ids), np.int64)
    ranks[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    return ranks


def _approximate_keys(
    vectors: NDArray[Any], queries: NDArray[Any], metric: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Chunks of row numbers [c] with keys [m, c] that order like distances up to rounding."""
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    q = queries.astype(np.float64)
    step = max(1, _CHUNK_BYTES // (8 * max(1, vectors.shape[1])))
    for start in range(0, len(vectors), step):
        x = np.asarray(vectors[start : start + step], np.float64)
        keys = -(q @ x.T)
        if metric == "l2":
            keys = 2.0 * keys + (x * x).sum(axis=1) + (q * q).sum(axis=1)[:, None]
        elif metric == "cosine":
            keys /= np.sqrt((x * x).sum(axis=1))
            keys /= np.sqrt((q * q).sum(axis=1))[:, None]
        yield np.arange(start, start + len(x)), keys


def _smallest(keys: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Positions of the k smallest keys and of all that rounding could put among them."""
    if len(keys) <= k:
        return np.arange(len(keys))
    kth = np.partition(keys, k - 1)[k - 1]
    scale = max(1.0, float(np.abs(keys).max()))
    return np.flatnonzero(keys <= kth + _MARGIN * scale)


def _best(
    vectors: NDArray[Any],
    query: NDArray[Any],
    rows: NDArray[np.int64],
    ranks: NDArray[np.int64],
    k: int,
    metric: str,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k best of the candidate rows by (distance, id), each distance computed alone."""
    values = distances(vectors[rows], query, metric)
    order = np.lexsort((ranks[rows], values))[:k]
    return rows[order], values[order]
