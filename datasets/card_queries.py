"""What a data card says of the queries: selectivity of their filters, and how it correlates with
the neighbourhood that each asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from . import card_figures as figures
from .card_text import percent, table

UNFILTERED = "none"
# Mean selectivity of the published sets, large; of R also the percentiles on medium.
PUBLISHED = {"em": "37 %", "r": "43 % (p10 17 %, p50 44 %, p90 74 %)"}
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class QuerySet:
    """Queries of one set.

    Attributes:
        rows: their rows in queries.parquet. where: their filter. selectivity: float64[m], the
            share of the items that passes, None where it is not told.
        near: float64[m], the share of each query's nearest items that passes; None without truth.
    """

    name: str
    rows: slice
    where: str | None
    selectivity: Doubles | None
    near: Doubles | None

    @property
    def correlations(self) -> Doubles:
        """Of each query; see `correlation`."""
        near, share = _told(self.near), _told(self.selectivity)
        return np.array([correlation(*pair) for pair in zip(near, share, strict=True)])


def correlation(near: float, share: float) -> float:
    """Of the share of neighbours that passes a filter with the share of all items that does: from
    -1, no neighbour passes, over 0, as many as elsewhere, to 1, all of them do.
    """
    room = 1.0 - share if near >= share else share
    return float((near - share) / room) if room > 0 else 0.0


def read(folder: Path, items: int) -> list[QuerySet]:
    """The sets of a data set's queries, told apart by the column `set`; [] where there is none."""
    path = folder / "queries.parquet"
    names = pq.read_schema(path).names if path.exists() else []
    if "set" not in names:
        return []
    wanted = [name for name in ("set", "where", "matches") if name in names]
    queries = pq.read_table(path, columns=wanted)
    labels = queries["set"].to_pylist()
    starts = [at for at in range(len(labels)) if at == 0 or labels[at] != labels[at - 1]]
    found = []
    nearest = _Nearest(folder / "truth.parquet")
    spans = {
        str(labels[a]): slice(a, b) for a, b in zip(starts, [*starts[1:], len(labels)], strict=True)
    }
    plain = spans.get(UNFILTERED)
    for name, span in spans.items():
        where = queries["where"][span.start].as_py() if "where" in wanted else None
        share = None
        if "matches" in wanted and items:
            share = np.asarray(queries["matches"][span].to_numpy(), np.float64) / items
        near = None
        if plain is not None and span.stop - span.start == plain.stop - plain.start:
            near = nearest.passing(plain, span)
        found.append(QuerySet(name, span, where, share, near))
    return found


def section(folder: Path, items: int, pictures: Path, place: str) -> str:
    """Tables and figures of selectivity and correlation."""
    sets = [one for one in read(folder, items) if one.selectivity is not None]
    filtered = [one for one in sets if one.name != UNFILTERED]
    if not filtered:
        return "No sets of filtered queries.\n"
    lines = [_selectivity(one) for one in filtered]
    heads = ("set", "filter", "queries", "mean", "least", "p10", "p50", "p90", "most", "published")
    curves = {one.name: _quantiles(_told(one.selectivity)) for one in filtered}
    figures.lines(
        pictures / "selectivity.png",
        curves,
        "share of the items that passes",
        ("queries, by selectivity", "selectivity"),
    )
    text = f"{table(heads, lines)}\n\n![selectivity]({place}/selectivity.png)\n"
    known = [one for one in filtered if one.near is not None]
    if not known:
        return text
    figures.lines(
        pictures / "filters.png",
        {one.name: _quantiles(one.correlations) for one in known},
        "correlation of filters with neighbourhoods",
        ("queries, by correlation", "correlation"),
    )
    columns = ("passes, of all", "of the nearest", "times as many", "correlation", "p10", "p90")
    return (
        f"{text}\nHow many of a query's nearest items, found without a filter, pass its filter. "
        "Correlation is 0 where as many do as elsewhere, 1 where all, -1 where none.\n\n"
        f"{table(('set', *columns), [_correlated(one) for one in known])}\n\n"
        f"![filters]({place}/filters.png)\n"
    )


class _Nearest:
    """The exact answers of a data set, as pairs of query and item."""

    def __init__(self, path: Path) -> None:
        self._query = self._item = np.empty(0, np.int64)
        if path.exists():
            truth = pq.read_table(path, columns=["query", "id"])
            self._query = np.asarray(truth["query"]).astype(np.int64)
            codes = truth["id"].combine_chunks().dictionary_encode()
            if isinstance(codes, pa.ChunkedArray):
                codes = codes.combine_chunks()
            self._item = np.asarray(codes.indices).astype(np.int64)

    def passing(self, plain: slice, filtered: slice) -> Doubles | None:
        """Of each query's nearest items those that pass its filter: they are also among the
        nearest that pass. None where there are no answers.
        """
        near, own = self._pairs(plain), self._pairs(filtered)
        count = plain.stop - plain.start
        total = np.bincount(near[:, 0], minlength=count)
        if not len(near) or not total.all():
            return None
        size = int(self._item.max()) + 1
        passing = np.isin(near @ np.array([size, 1]), own @ np.array([size, 1]))
        return np.asarray(np.bincount(near[passing, 0], minlength=count) / total)

    def _pairs(self, span: slice) -> NDArray[np.int64]:
        inside = (self._query >= span.start) & (self._query < span.stop)
        return np.stack([self._query[inside] - span.start, self._item[inside]], axis=1)


def _selectivity(one: QuerySet) -> tuple[Any, ...]:
    share = _told(one.selectivity)
    at = [percent(float(value)) for value in np.percentile(share, [0, 10, 50, 90, 100])]
    mean = percent(float(share.mean()))
    return one.name, one.where, len(share), mean, *at, PUBLISHED.get(one.name, "")


def _correlated(one: QuerySet) -> tuple[Any, ...]:
    share, near = float(_told(one.selectivity).mean()), float(_told(one.near).mean())
    low, high = np.percentile(one.correlations, [10, 90])
    times = near / share if share else None
    own = correlation(near, share)
    return one.name, percent(share), percent(near), times, own, float(low), float(high)


def _told(values: Doubles | None) -> Doubles:
    assert values is not None
    return values


def _quantiles(values: Doubles) -> tuple[Doubles, Doubles]:
    return np.linspace(0.0, 1.0, len(values)), np.sort(values)
