"""The exact answers of queries under filters, by brute force in float64.

The distances of a query vector are computed once for all filters that it meets: a benchmark asks
the same vectors under many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.workloads.masks import Masks, Table
from fanns.datasets import exact

DEPTH = 100
Report = Callable[[str, int, int], None]
_BLOCK_BYTES = 128 << 20  # of distances at a time
_MARGIN = 1e-9  # relative error allowed to the blocked products that pick candidates


class Answers(NamedTuple):
    """Of m queries: matches int64[m] (passing rows), near float64[m] (share of the query's
    nearest rows, filter aside, that pass: see `neighbourhood`), and their nearest passing rows,
    best first, flat: rows int64, distances float64, query i owns offsets[i]:offsets[i + 1].
    """

    matches: NDArray[np.int64]
    near: NDArray[np.float64]
    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    offsets: NDArray[np.int64]


def neighbourhood(rows: int) -> int:
    """How many nearest rows are a query's neighbourhood: one in a hundred, at least a hundred.

    Fewer would hold too few passing rows of a selective filter to tell a correlation from chance.
    """
    return min(rows, max(100, rows // 100))


def solve(
    vectors: NDArray[np.float32],
    attributes: pa.Table,
    queries: NDArray[np.float32],
    wheres: Sequence[str | None],
    params: Sequence[Mapping[str, Any]],
    metric: str = "cosine",
    depth: int = DEPTH,
    report: Report | None = None,
) -> Answers:
    """The exact answers of every query under its own filter; equal distances by row number.

    vectors [n, d], queries [m, d], a filter text and its parameters for each.
    """
    table = Table(attributes)
    masks = {where: Masks(table, where) for where in dict.fromkeys(wheres)}
    unique, groups = _same(queries)
    inside = neighbourhood(len(vectors))
    matches = np.zeros(len(queries), np.int64)
    near = np.zeros(len(queries))
    best: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(queries)
    values: list[NDArray[np.float64]] = [np.empty(0)] * len(queries)
    for number, keys in _keys(vectors, queries[unique], metric, report):
        order = np.argsort(keys, kind="stable")
        for query in groups[number]:
            mask = masks[wheres[query]](params[query])
            matches[query] = np.count_nonzero(mask)
            near[query] = np.count_nonzero(mask[order[:inside]]) / max(1, inside)
            rows = _candidates(keys, order, mask, int(matches[query]), depth)
            found = exact.distances(vectors[rows], queries[query], metric)
            chosen = np.lexsort((rows, found))[:depth]
            best[query], values[query] = rows[chosen], found[chosen]
    offsets = np.cumsum([0, *map(len, best)], dtype=np.int64)
    empty = np.empty(0, np.int64)
    return Answers(
        matches,
        near,
        np.concatenate([empty, *best]),
        np.concatenate([np.empty(0), *values]),
        offsets,
    )


def nearest_rows(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: str, count: int
) -> NDArray[np.int64]:
    """int64[m, count]: the nearest rows of every query, filter aside, in no order."""
    found = np.empty((len(queries), count), np.int64)
    for number, keys in _keys(vectors, queries, metric, None):
        whole = count == len(keys)
        found[number] = np.arange(count) if whole else np.argpartition(keys, count)[:count]
    return found


def _same(queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """A query number for each distinct vector, and the queries that have this vector."""
    first: dict[bytes, int] = {}
    members: list[list[int]] = []
    for number, query in enumerate(np.ascontiguousarray(queries)):
        at = first.setdefault(query.tobytes(), len(members))
        if at == len(members):
            members.append([])
        members[at].append(number)
    unique = np.array([group[0] for group in members], np.int64)
    return unique, [np.array(group, np.int64) for group in members]


def _keys(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    metric: str,
    report: Report | None,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """For every query its number and keys float64[n] that order rows as their distances do, up to
    rounding."""
    if metric not in exact.METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(exact.METRICS)}")
    block = max(1, _BLOCK_BYTES // (8 * max(1, len(vectors))))
    step = max(1, _BLOCK_BYTES // (8 * max(1, vectors.shape[1])))
    for start in range(0, len(queries), block):
        q = queries[start : start + block].astype(np.float64)
        keys = np.empty((len(q), len(vectors)))
        for at in range(0, len(vectors), step):
            x = vectors[at : at + step].astype(np.float64)
            part = -(q @ x.T)
            if metric == "l2":
                part = 2.0 * part + (x * x).sum(axis=1)
            elif metric == "cosine":
                part /= np.sqrt((x * x).sum(axis=1))
                part /= np.sqrt((q * q).sum(axis=1))[:, None]
            keys[:, at : at + step] = part
        for offset, row in enumerate(keys):
            yield start + offset, row
            if report is not None:
                report("exact answers", start + offset + 1, len(queries))


def _candidates(
    keys: NDArray[np.float64],
    order: NDArray[np.int64],
    mask: NDArray[np.bool_],
    matches: int,
    depth: int,
) -> NDArray[np.int64]:
    """The `depth` nearest passing rows, and all that rounding could put among them."""
    if matches <= depth:
        return np.flatnonzero(mask)
    # As far along the order as should hold them, and twice as far until it does.
    reach = min(len(order), 2 * depth * len(order) // matches + depth)
    while True:
        passing = order[:reach][mask[order[:reach]]]
        if len(passing) > depth or reach == len(order):
            scale = max(1.0, abs(float(keys[order[0]])), abs(float(keys[order[-1]])))
            bound = keys[passing[depth - 1]] + _MARGIN * scale
            if reach == len(order) or keys[passing[-1]] > bound:
                return passing[: int(np.searchsorted(keys[passing], bound, side="right"))]
        reach = min(len(order), 2 * reach)
