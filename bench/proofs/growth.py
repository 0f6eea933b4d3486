"""`fanns bench growth`: queries a second as the rows grow, and the exponent of time against rows.

The shares of the rows that pass stay the same, so that as many times more pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs.asking import Asking, Taken, nearest, recalls
from fanns.bench.proofs.findings import Bar, Finding
from fanns.bench.proofs.grid_judged import DRAWS
from fanns.bench.proofs.large import Large, asked, group_filters
from fanns.bench.proofs.oracle_cells import Intervals
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import percent
from fanns.bench.running.metrics import Estimate
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads import truth

K, RECALL, SLACK = 10, 0.95, 0.02
SHARES = (0.01, 0.1)
COLUMN = "submitted_date"
"""Of which intervals are drawn."""


@dataclass
class Place:
    """One kind of filter, in words, in one set of rows; `matches` pass, the mean over queries."""

    rows: int
    kind: str
    matches: float
    taken: Taken


def groups(rows: int) -> list[int]:
    """Rows in the groups that a set of so many rows needs."""
    return [max(1, round(share * rows)) for share in SHARES]


def measure(
    sets: Sequence[Large], queries: int, rounds: int, report: truth.Report | None = None
) -> list[Place]:
    """Every kind of filter in every set, all taking turns."""
    indexes = [fanns.open(one.index) for one in sets]
    try:
        wanted = asked(queries, indexes[0].dimensions)
        asking: list[tuple[Place, Asking]] = []
        for index, held in zip(indexes, sets, strict=True):
            index.warmup()
            asking += _set(index, held, wanted, report)
        for turn in range(rounds):
            if report is not None:
                report("growth", turn, rounds)
            for place, one in shuffled(asking, "growth", turn):
                place.taken.seconds.append(one.timed())
        return [place for place, _ in asking]
    finally:
        for index in indexes:
            index.close()


def _set(
    index: fanns.Index, held: Large, queries: NDArray[np.float32], report: truth.Report | None
) -> list[tuple[Place, Asking]]:
    """The places of one set, with their recall; not timed yet."""
    vectors, attributes, m = held.vectors(), held.attributes(), len(queries)
    kinds = _filters(held, m)
    flat = [one for filters in kinds.values() for one in filters]
    found = truth.solve(
        vectors, attributes, np.tile(queries, (len(kinds), 1)),
        [where for where, _ in flat], [params for _, params in flat],
        depth=K, report=report,
    )  # fmt: skip
    best, made = nearest(found), []
    for number, (kind, filters) in enumerate(kinds.items()):
        part = slice(number * m, (number + 1) * m)
        one = Asking(index, queries, filters, K, RECALL)
        told = one.answered()
        reached = recalls(vectors, queries, told.ids, best[part])
        matches = float(found.matches[part].mean())
        made.append((Place(len(vectors), kind, matches, Taken(reached, told.paths)), one))
    return made


def _filters(held: Large, count: int) -> dict[str, list[tuple[str | None, dict[str, Any]]]]:
    """`count` filters of each kind, each query with one of its own."""
    attributes = held.attributes()
    rows, spans = attributes.num_rows, Intervals(attributes, COLUMN)
    made: dict[str, list[tuple[str | None, dict[str, Any]]]] = {"no filter": [(None, {})] * count}
    for share, size in zip(SHARES, groups(rows), strict=True):
        made[f"group of {percent(share)}"] = [*group_filters(rows, size, count)]
    for share in SHARES:
        drawn = spans.draw(share, count)
        made[f"interval of {percent(share)}"] = [(spans.where, ends) for ends in drawn]
    return made


def exponent(places: Sequence[Place]) -> Estimate:
    """The exponent b of time ~ rows^b: least squares of log mean time against log rows, with a
    95 % interval by the bootstrap over queries, which are the same in all sets.
    """
    rows = np.log([place.rows for place in places])
    times = np.array([place.taken.typical for place in places])  # [sets, m]
    m = times.shape[1]
    drawn = np.random.default_rng(0).integers(0, m, (DRAWS, m))
    means = np.log(times[:, drawn].mean(axis=2))  # [sets, draws]
    low, high = np.quantile(_slopes(rows, means), [0.025, 0.975])
    value = _slopes(rows, np.log(times.mean(axis=1, keepdims=True)))[0]
    return Estimate(float(value), float(low), float(high))


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column of y [points, lines] over x [points]."""
    centred = x - x.mean()
    return np.asarray(centred @ y / (centred @ centred))


def judge(places: Sequence[Place], setting: Sequence[str]) -> Finding:
    """Times and exponents are told; recall has a bar."""
    worst = min(places, key=lambda place: place.taken.recalls.mean())
    least, found = RECALL - SLACK, float(worst.taken.recalls.mean())
    told = f"worst {found:.3f} at {worst.kind}, {worst.rows:,} rows"
    bars = [Bar(f"recall@{K} at every number of rows", f"at least {least:g}", told, found >= least)]
    sheets = [("Time against rows", _fits(places)), ("Measured", _sheet(places))]
    return Finding(
        "growth", "Queries a second as the rows grow", [*setting, _METHOD], sheets, bars,
        [_record(place) for place in places],
    )  # fmt: skip


_METHOD = (
    f"One thread, k = {K}, recall {RECALL:g}. Times are end to end, the filter evaluated anew for "
    "each query: means over queries of their medians over interleaved rounds. Exponents are fitted "
    "by least squares to the logarithms of time and rows, with 95 % intervals over queries."
)


def _kinds(places: Sequence[Place]) -> dict[str, list[Place]]:
    """The places of each kind, by rows."""
    made: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: place.rows):
        made.setdefault(place.kind, []).append(place)
    return made


def _fits(places: Sequence[Place]) -> Sheet:
    kinds = _kinds(places)
    sizes = sorted({place.rows for place in places})
    rows = []
    for kind, own in kinds.items():
        rates = [f"{1 / place.taken.typical.mean():,.0f}" for place in own]
        rows.append([kind, *rates, _told(own)])
    return Sheet(["filter", *(f"queries/s of {n:,} rows" for n in sizes), "exponent"], rows)


def _told(places: Sequence[Place]) -> str:
    if len(places) < 2:
        return "one set: none"
    fit = exponent(places)
    return f"{fit.value:.2f} ({fit.low:.2f} … {fit.high:.2f})"


def _sheet(places: Sequence[Place]) -> Sheet:
    heads = ["filter", "path", "rows", "passing", "us", "queries/s", "recall"]
    rows = [
        [
            place.kind, "/".join(place.taken.paths), f"{place.rows:,}", f"{place.matches:,.0f}",
            f"{place.taken.typical.mean() * 1e6:,.0f}", f"{1 / place.taken.typical.mean():,.0f}",
            f"{place.taken.recalls.mean():.3f}",
        ]
        for own in _kinds(places).values()
        for place in own
    ]  # fmt: skip
    return Sheet(heads, rows, words=2)


def _record(place: Place) -> dict[str, Any]:
    mean = float(place.taken.typical.mean())
    return {
        "filter": place.kind, "rows": place.rows, "passing": place.matches, "us": mean * 1e6,
        "queries_per_second": 1 / mean, "recall": float(place.taken.recalls.mean()),
        "paths": "/".join(f"{path}:{count}" for path, count in place.taken.paths.items()),
    }  # fmt: skip
