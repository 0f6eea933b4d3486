"""Searches of an index whose vectors went through transforms: queries go the same way, and hits
have the distances that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fanns.arguments import check_radius
from fanns.explanation import Explanation
from fanns.hits import BatchHits, Hits
from fanns.kernels.distance import L2
from fanns.transforms import Transforms
from fanns.vectors import accept_queries

if TYPE_CHECKING:
    from fanns.index import Index


def search(
    held: Index,
    transforms: Transforms,
    q: Any,
    radius: float | None,
    options: Mapping[str, Any],
) -> Any:
    """The hits of one query or of many, as `Index.search` gives them.

    Args:
        held: the index, searched by transformed queries.
        q, radius: as they are given to `Index.search`; options: all others by name.
    """
    check_radius(radius)
    queries = accept_queries(q, transforms.dimensions, L2)
    moved = transforms.queries(queries)
    metric = transforms.asked_metric(held.metric)
    if np.ndim(q) == 1:
        return _restated(held.search(moved[0], **options), queries[0], transforms, metric, radius)
    found = held.search(moved, **options)
    return BatchHits(
        [
            _restated(hits, query, transforms, metric, radius)
            for hits, query in zip(found, queries, strict=True)
        ]
    )


def _restated(
    hits: Hits, query: np.ndarray, transforms: Transforms, metric: str, radius: float | None
) -> Hits:
    """Hits with distances of the metric asked for, those within the radius."""
    distances = transforms.distances(query, hits.distances)
    restated = hits.restated(
        distances, metric, hits.status, partial(_explained, hits, transforms, metric)
    )
    if radius is None:
        return restated
    return restated.subset(range(int(np.searchsorted(distances, radius, side="right"))))


def _explained(hits: Hits, transforms: Transforms, metric: str) -> Explanation:
    told = hits.explain()
    way = ", ".join(transforms.told())
    note = f"vectors and query transformed: {way}; held under {hits.metric}, asked under {metric}"
    return replace(told, notes=(*told.notes, note))
