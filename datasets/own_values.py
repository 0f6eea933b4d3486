"""How filters by a row's own values correlate with its neighbourhood, for one table of items.

A filter such as "in the archive of this paper" passes more of the paper's neighbours than of all
papers; one by the archive that is farthest from it passes fewer. How much so is what makes
filtered search of one data set easy or hard, and is compared between data sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .card_queries import correlation

PROBES = 1000
NEIGHBOURS = 50
WIDTH = 0.1  # of the rows, on either side of a row's date
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Own(NamedTuple):
    """Of one kind of filter: the mean share of all rows, and of neighbours, that passes."""

    share: float
    near: float

    @property
    def correlation(self) -> float:
        """Of the means: single filters of few neighbours would be pulled down by chance."""
        return correlation(self.near, self.share)


class Neighbours(NamedTuple):
    """probes int64[p], rows; nearest int64[p, NEIGHBOURS] others, best first; similarity
    float32[p, n] to all rows (cosine).
    """

    probes: Ints
    nearest: Ints
    similarity: Floats


def neighbours(vectors: Floats, seed: int = 0) -> Neighbours:
    """The nearest rows of some random ones; vectors float32[n, d] of unit length."""
    rows = len(vectors)
    rng = np.random.default_rng([seed, 13])
    probes = np.sort(rng.choice(rows, min(PROBES, rows), replace=False))
    similarity = vectors[probes] @ vectors.T
    similarity[np.arange(len(probes)), probes] = -2.0
    count = min(NEIGHBOURS, rows - 1)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(similarity, nearest, axis=1), axis=1, kind="stable")
    return Neighbours(probes, np.take_along_axis(nearest, order, axis=1), similarity)


def of_table(attributes: pa.Table, found: Neighbours, vectors: Floats) -> dict[str, Own]:
    """All kinds of filters for which the attributes have a column."""
    made: dict[str, Own] = {}
    for name in ("main_categories", "sub_categories"):
        if name in attributes.column_names:
            rows = _lists(attributes[name])
            made[f"{name} have its first"] = _mean(_first_of(rows, found), found)
            if name == "main_categories":
                farthest = _farthest_of(rows, found, vectors)
                made[f"{name} have the farthest"] = _mean(farthest, found)
    for name in ("number_of_sub_categories", "has_comments", "number_of_authors"):
        if name in attributes.column_names:
            made[f"{name} as its own"] = _mean(_equal(attributes[name], found), found)
    if "update_date" in attributes.column_names:
        name = f"update_date within {WIDTH:.0%} of the rows"
        made[name] = _mean(_between(attributes["update_date"], found), found)
    return made


def _mean(masks: Iterator[NDArray[np.bool_] | None], found: Neighbours) -> Own:
    """Over probes whose filter is known."""
    shares, nears = [], []
    for mask, nearest in zip(masks, found.nearest, strict=True):
        if mask is not None:
            shares.append(mask.mean())
            nears.append(mask[nearest].mean())
    if not shares:
        return Own(0.0, 0.0)
    return Own(float(np.mean(shares)), float(np.mean(nears)))


class _Lists(NamedTuple):
    """A column of lists as codes: value codes int64[total], their rows, first code per row (-1:
    none), number of values, rows in all.
    """

    codes: Ints
    rows: Ints
    first: Ints
    values: int
    total: int

    def having(self, code: int) -> NDArray[np.bool_]:
        mask = np.zeros(self.total, np.bool_)
        mask[self.rows[self.codes == code]] = True
        return mask


def _lists(column: pa.ChunkedArray) -> _Lists:
    lists = pa.concat_arrays(column.chunks) if column.num_chunks else column.combine_chunks()
    encoded = pc.list_flatten(lists).dictionary_encode()
    codes = np.asarray(encoded.indices).astype(np.int64)
    rows = np.asarray(pc.list_parent_indices(lists)).astype(np.int64)
    first = np.full(len(lists), -1, np.int64)
    first[rows[::-1]] = codes[::-1]
    return _Lists(codes, rows, first, len(encoded.dictionary), len(lists))


def _first_of(lists: _Lists, found: Neighbours) -> Iterator[NDArray[np.bool_] | None]:
    for probe in found.probes:
        code = int(lists.first[probe])
        yield None if code < 0 else lists.having(code)


def _farthest_of(
    lists: _Lists, found: Neighbours, vectors: Floats
) -> Iterator[NDArray[np.bool_] | None]:
    """Of the values that 1 % of the rows have, the one whose rows' mean is farthest."""
    sizes = np.bincount(lists.codes, minlength=lists.values)
    common = np.flatnonzero(sizes >= max(1, lists.total // 100))
    if not len(common):
        yield from (None for _ in found.probes)
        return
    masks = [lists.having(int(code)) for code in common]
    means = np.stack([vectors[mask].mean(axis=0) for mask in masks])
    farthest = np.argmin(vectors[found.probes] @ means.T, axis=1)
    for place in farthest:
        yield masks[place]


def _equal(column: pa.ChunkedArray, found: Neighbours) -> Iterator[NDArray[np.bool_] | None]:
    values = column.cast(pa.float64()) if not pa.types.is_boolean(column.type) else column
    known: Any = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    for probe in found.probes:
        yield None if np.isnan(known[probe]) else known == known[probe]


def _between(column: pa.ChunkedArray, found: Neighbours) -> Iterator[NDArray[np.bool_] | None]:
    """By the place among sorted dates, so that all filters pass about the same share."""
    days = column.cast(pa.int32()) if pa.types.is_date(column.type) else column
    known: Any = days.cast(pa.float64()).to_numpy(zero_copy_only=False)
    ordered = np.sort(known[~np.isnan(known)])
    reach = int(WIDTH * len(ordered))
    for probe in found.probes:
        if np.isnan(known[probe]) or not len(ordered):
            yield None
            continue
        at = int(np.searchsorted(ordered, known[probe]))
        low, high = ordered[max(0, at - reach)], ordered[min(len(ordered) - 1, at + reach)]
        yield (known >= low) & (known <= high)
