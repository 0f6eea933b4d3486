"""`fanns bench scaling`: the same number of passing rows among ten times as many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs.asking import Asking, recalls
from fanns.bench.proofs.findings import Bar, Finding, ratio
from fanns.bench.proofs.grid_judged import over_queries
from fanns.bench.proofs.large import Large, asked, column, group_filters
from fanns.bench.proofs.touched import touched
from fanns.bench.reporting.ratios import Interval
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads.truth import Report
from fanns.datasets import exact

WORK, TIME = 1.5, 2.5  # at most so many times that of the smaller set
K, RECALL = 10, 0.95
Mode = Literal["end to end", "prepared"]
MODES: tuple[Mode, ...] = ("end to end", "prepared")


@dataclass
class Place:
    """One selection size in one set of rows.

    Attributes:
        seconds: by mode, float64[rounds, queries]. scored, read: codes and full distances
            compared, and bytes, of each query. recalls: of each query. paths: that answered.
    """

    rows: int
    size: int
    seconds: dict[Mode, list[NDArray[np.float64]]] = field(
        default_factory=lambda: {mode: [] for mode in MODES}
    )
    scored: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    read: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    recalls: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    paths: list[str] = field(default_factory=list)

    def typical(self, mode: Mode) -> NDArray[np.float64]:
        """Seconds of each query, medians over rounds."""
        return np.asarray(np.median(self.seconds[mode], axis=0))


def measure(
    sets: Sequence[Large],
    sizes: Sequence[int],
    queries: int,
    rounds: int,
    report: Report | None = None,
) -> list[Place]:
    """Every selection size in every set, all taking turns. sets: in the order of their rows."""
    indexes = [fanns.open(one.index) for one in sets]
    try:
        wanted = asked(queries, indexes[0].dimensions)
        places: list[_Asked] = []
        for index, held in zip(indexes, sets, strict=True):
            index.warmup()
            places += [_Asked(index, held, size, wanted) for size in sizes]
        for one in places:
            one.explain()
        for turn in range(rounds):
            if report is not None:
                report("scaling", turn, rounds)
            for one in shuffled(places, "scaling", turn):
                one.time()
        return [one.place for one in places]
    finally:
        for index in indexes:
            index.close()


class _Asked:
    """The queries of one place: each under a group drawn by chance."""

    def __init__(
        self, index: fanns.Index, held: Large, size: int, queries: NDArray[np.float32]
    ) -> None:
        self.vectors, self.queries = held.vectors(), queries
        self.groups = held.attributes()[column(size)].to_numpy()
        self.filters = group_filters(len(self.vectors), size, len(queries))
        prepared = [index.prepare(where).bind(**params) for where, params in self.filters]
        for one in prepared:
            one.count()
        self.bits = index.info()["bits"]
        self.asking: dict[Mode, Asking] = {
            "end to end": Asking(index, queries, self.filters, K, RECALL),
            "prepared": Asking(index, queries, [(one, None) for one in prepared], K, RECALL),
        }
        self.place = Place(len(self.vectors), size)

    def explain(self) -> None:
        """Counters, bytes, paths and recall of every query, untimed."""
        told, width = self.asking["prepared"].answered(), self.queries.shape[1]
        work = [[sum(part.work[:2]) for part in parts] for parts in told.parts]
        read = [[touched(part, width, self.bits) for part in parts] for parts in told.parts]
        self.place.scored = np.array([sum(own) for own in work], np.float64)
        self.place.read = np.array([sum(own) for own in read], np.float64)
        best = [self._nearest(number) for number in range(len(self.queries))]
        self.place.recalls = recalls(self.vectors, self.queries, told.ids, best)
        self.place.paths = sorted(told.paths)

    def time(self) -> None:
        """One round, in both modes."""
        for mode in MODES:
            self.place.seconds[mode].append(self.asking[mode].timed())

    def _nearest(self, number: int) -> NDArray[np.float64]:
        passing = np.flatnonzero(self.groups == self.filters[number][1]["group"])
        query = self.queries[number]
        return np.sort(exact.distances(self.vectors[passing], query, "cosine"))[:K]


def judge(places: Sequence[Place], setting: Sequence[str]) -> Finding:
    """The largest set against the smallest one, for each selection size."""
    sizes = list(dict.fromkeys(place.size for place in places))
    bars: list[Bar] = []
    for size in sizes:
        mine = sorted((p for p in places if p.size == size), key=lambda place: place.rows)
        few, many = mine[0], mine[-1]
        step = f"{size:,} passing rows among {many.rows:,} against {few.rows:,}"
        bars += [
            _bar(f"{step}: rows scored", over_queries(many.scored, few.scored), WORK),
            _bar(f"{step}: bytes read", over_queries(many.read, few.read), WORK),
        ]
        for mode in MODES:
            found = over_queries(many.typical(mode), few.typical(mode))
            bars.append(_bar(f"{step}: time, {mode}", found, TIME))
    return Finding(
        "scaling", "Work and time by passing rows", [*setting, _METHOD],
        [("Measured", _sheet(places))], bars, [_record(place) for place in places],
    )  # fmt: skip


_METHOD = (
    f"One thread, k = {K}, recall {RECALL:g}. Times are means over queries of their medians over "
    "interleaved rounds; end to end the filter is evaluated for each query, prepared it was "
    "before. Rows scored count every code and every full vector that was compared; bytes follow "
    "from them and the sizes of records. Ratios have 95 % intervals over queries."
)


def _bar(what: str, found: Interval, most: float) -> Bar:
    return Bar(what, f"at most {most:g}x", ratio(found), found.ratio <= most)


def _record(place: Place) -> dict[str, Any]:
    return {
        "rows": place.rows, "passing": place.size, "paths": "/".join(place.paths),
        "rows_scored": float(place.scored.mean()), "bytes_read": float(place.read.mean()),
        "recall": float(place.recalls.mean()),
        **{f"{mode} us": float(place.typical(mode).mean()) * 1e6 for mode in MODES},
    }  # fmt: skip


def _sheet(places: Sequence[Place]) -> Sheet:
    heads = ["passing", "among", "path", "rows scored", "KB read", *(f"{m}, us" for m in MODES)]
    rows = [
        [
            f"{place.size:,}", f"{place.rows:,}", "/".join(place.paths),
            f"{place.scored.mean():,.0f}", f"{place.read.mean() / 1e3:,.0f}",
            *(f"{place.typical(mode).mean() * 1e6:,.0f}" for mode in MODES),
            f"{place.recalls.mean():.3f}",
        ]
        for place in places
    ]  # fmt: skip
    return Sheet([*heads, "recall"], rows, words=3)
