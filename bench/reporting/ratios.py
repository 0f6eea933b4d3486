"""Who is how much faster at the same recall, with intervals, from measured points and rounds.

A point takes part if it reached the recall asked for and answered rightly: one that returned rows
which fail the filter, or no rows at all, has won nothing. Of an engine's points the fastest stands
for it; of the peers the fastest stands for all. Oracles know the filter beforehand and are never
peers. What was not reached is a state of its own, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from fanns.bench.running.metrics import student, wrong

RECALLS = (0.80, 0.90, 0.95, 0.99)
PEERS = ("engine", "exact")
ALL = "all"  # the family of a summary over all cells

Point = Mapping[str, Any]
State = Literal[
    "ratio",  # both reached the recall
    "ours_not_reached",  # a peer did, ours did not
    "peers_not_reached",  # ours did, no peer did
    "none_reached",  # neither did
    "no_peer",  # no peer was measured
]
Verdict = Literal["faster", "slower", "undecided", "not reached", "only ours", "not judged"]


@dataclass(frozen=True)
class Interval:
    """A ratio of speeds; low and high are None if fewer than two rounds are common to both."""

    ratio: float
    low: float | None
    high: float | None
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """One engine against the fastest of the others, in one cell, mode and recall."""

    cell: str
    mode: str
    recall: float
    state: State
    ours: Point | None
    peer: Point | None
    oracle: Point | None
    interval: Interval | None

    @property
    def verdict(self) -> Verdict:
        """Faster and slower only if the whole interval lies on that side of 1."""
        if self.state != "ratio":
            states: dict[State, Verdict] = {
                "ours_not_reached": "not reached",
                "peers_not_reached": "only ours",
            }
            return states.get(self.state, "not judged")
        assert self.interval is not None
        if self.interval.low is not None and self.interval.low > 1:
            return "faster"
        if self.interval.high is not None and self.interval.high < 1:
            return "slower"
        return "undecided"


@dataclass(frozen=True)
class Summary:
    """The comparisons of one family (or of all) counted by verdict."""

    family: str
    mode: str
    recall: float
    cells: int
    counts: Mapping[Verdict, int]
    mean: float | None  # geometric, over the cells that have a ratio
    lowest: float | None
    highest: float | None


class Measurements:
    """Points and rounds of a run, ready to be asked. Tables as `Run.points` and `Run.rounds`."""

    def __init__(self, points: pa.Table, rounds: pa.Table) -> None:
        self.points: list[Point] = points.to_pylist()
        self._of: dict[tuple[str, str], dict[str, list[Point]]] = {}
        for point in self.points:
            engines = self._of.setdefault((point["cell"], point["mode"]), {})
            engines.setdefault(point["engine"], []).append(point)
        self._rounds: dict[tuple[str, str, str, str], dict[int, float]] = {}
        for row in rounds.to_pylist():
            key = (row["engine"], row["cell"], row["mode"], row["setting"])
            if row["seconds"] and row["seconds"] > 0:
                self._rounds.setdefault(key, {})[row["round"]] = row["queries"] / row["seconds"]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every (cell, mode) that has a point, in the order of the points."""
        return list(self._of)

    def engines(self, cell: str, mode: str) -> list[str]:
        return list(self._of.get((cell, mode), {}))

    def of(self, cell: str, mode: str, engine: str) -> list[Point]:
        """All points of an engine in a cell."""
        return self._of.get((cell, mode), {}).get(engine, [])

    def fastest(self, cell: str, mode: str, engine: str, recall: float) -> Point | None:
        """The engine's fastest right point of at least this recall."""
        points = self.of(cell, mode, engine)
        return _fastest(p for p in points if p["recall"] >= recall and not wrong(p))

    def best(
        self, cell: str, mode: str, recall: float, kinds: Sequence[str], without: str
    ) -> Point | None:
        """The fastest point of all engines of these kinds but one."""
        points = (
            self.fastest(cell, mode, engine, recall)
            for engine, own in self._of.get((cell, mode), {}).items()
            if engine != without and own[0]["kind"] in kinds
        )
        return _fastest(point for point in points if point is not None)

    def interval(self, ours: Point, peer: Point) -> Interval:
        """How many times faster ours is: a 95 % t interval over the logarithms of paired rounds."""
        a, b = self._rounds.get(_key(ours), {}), self._rounds.get(_key(peer), {})
        common = sorted(a.keys() & b.keys())
        if len(common) < 2:
            return Interval(ours["qps"] / peer["qps"], None, None, len(common))
        return paired([a[r] for r in common], [b[r] for r in common])

    def compare(self, cell: str, mode: str, recall: float, ours: str) -> Comparison:
        """`ours` against the fastest peer."""
        own = self.fastest(cell, mode, ours, recall)
        peer = self.best(cell, mode, recall, PEERS, ours)
        oracle = self.best(cell, mode, recall, ("oracle",), ours)
        interval = self.interval(own, peer) if own and peer else None
        state = self._state(cell, mode, ours, own, peer)
        return Comparison(cell, mode, recall, state, own, peer, oracle, interval)

    def _state(
        self, cell: str, mode: str, ours: str, own: Point | None, peer: Point | None
    ) -> State:
        if own and peer:
            return "ratio"
        engines = self._of.get((cell, mode), {})
        if not any(e != ours and points[0]["kind"] in PEERS for e, points in engines.items()):
            return "no_peer"
        if own:
            return "peers_not_reached"
        return "ours_not_reached" if peer else "none_reached"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """How many times `theirs` is contained in `ours`, both above 0 and round by round: the
    geometric mean, with a 95 % t interval over the logarithms of the rounds' ratios.
    """
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean = sum(logs) / len(logs)
    if len(logs) < 2:
        return Interval(math.exp(mean), None, None, len(logs))
    variance = sum((x - mean) ** 2 for x in logs) / (len(logs) - 1)
    reach = student(len(logs) - 1) * math.sqrt(variance / len(logs))
    return Interval(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), len(logs))


def compare(
    measured: Measurements, ours: str = "fanns", recalls: Sequence[float] = RECALLS
) -> list[Comparison]:
    """`ours` in every cell of every mode that it was measured in, at every recall."""
    modes = {mode for cell, mode in measured.places if ours in measured.engines(cell, mode)}
    return [
        measured.compare(cell, mode, recall, ours)
        for recall in recalls
        for cell, mode in measured.places
        if mode in modes
    ]


def summarise(comparisons: Iterable[Comparison], families: Mapping[str, str]) -> list[Summary]:
    """One line for every (recall, mode, family), and one for all families. `families`: by cell."""
    groups: dict[tuple[float, str, str], list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault((one.recall, one.mode, ALL), []).append(one)
        groups.setdefault((one.recall, one.mode, families[one.cell]), []).append(one)
    return [_summary(key, group) for key, group in groups.items()]


def geometric_mean(values: Sequence[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def table(comparisons: Iterable[Comparison]) -> pa.Table:
    """The comparisons as rows; null where there is no number."""
    rows = [_row(one) for one in comparisons]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("cell", "mode")]
    + [("recall", pa.float64())]
    + [(name, pa.string()) for name in ("state", "verdict")]
    + [(name, pa.float64()) for name in ("ratio", "low", "high")]
    + [("rounds", pa.int64())]
    + [
        (f"{who}_{what}", pa.string() if what in ("engine", "setting") else pa.float64())
        for who in ("ours", "peer", "oracle")
        for what in ("engine", "setting", "recall", "qps")
    ]
)


def _row(one: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {
        "cell": one.cell,
        "mode": one.mode,
        "recall": one.recall,
        "state": one.state,
        "verdict": one.verdict,
    }
    if one.interval:
        row |= {name: getattr(one.interval, name) for name in ("ratio", "low", "high", "rounds")}
    for who, point in (("ours", one.ours), ("peer", one.peer), ("oracle", one.oracle)):
        if point:
            row |= {f"{who}_{n}": point[n] for n in ("engine", "setting", "recall", "qps")}
    return row


def _summary(key: tuple[float, str, str], group: list[Comparison]) -> Summary:
    counts: dict[Verdict, int] = {}
    for one in group:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    values = [one.interval.ratio for one in group if one.interval]
    recall, mode, family = key
    lowest, highest = (min(values), max(values)) if values else (None, None)
    return Summary(
        family, mode, recall, len(group), counts, geometric_mean(values), lowest, highest
    )


def _fastest(points: Iterable[Point]) -> Point | None:
    return max(points, key=lambda point: float(point["qps"]), default=None)


def _key(point: Point) -> tuple[str, str, str, str]:
    return point["engine"], point["cell"], point["mode"], point["setting"]
