"""Two runs side by side: which speeds, ratios and ranks changed beyond their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from fanns.bench.reporting import ratios
from fanns.bench.reporting.ratios import Comparison, Measurements, Point
from fanns.bench.reporting.sheets import Sheet, share
from fanns.bench.reporting.wording import mode_name, spread, times
from fanns.bench.running.results import Run
from fanns.errors import InputError

Change = Literal["same", "up", "down", "state", "unknown"]


@dataclass(frozen=True)
class RatioChange:
    """One ratio in both runs."""

    a: Comparison
    b: Comparison

    @property
    def change(self) -> Change:
        """ "same" where the intervals overlap, "state" where only one run has a ratio."""
        if self.a.interval is None or self.b.interval is None:
            return "same" if self.a.state == self.b.state else "state"
        a, b = self.a.interval, self.b.interval
        return _apart((a.low, a.high), (b.low, b.high))

    @property
    def words(self) -> str:
        """The change as a table says it, and whether other settings won in the two runs."""
        sides = ((self.a.ours, self.b.ours), (self.a.peer, self.b.peer))
        other = any(x and y and _which(x) != _which(y) for x, y in sides)
        said = "" if self.change == "same" else self.change
        return f"{said}, other setting" if said and other else said


@dataclass(frozen=True)
class PointChange:
    """One point in both runs."""

    a: Point
    b: Point

    @property
    def change(self) -> Change:
        """Of the speed, beyond both intervals."""
        return _apart(*((point["qps_low"], point["qps_high"]) for point in (self.a, self.b)))

    @property
    def recall_change(self) -> Change:
        """Of the recall, beyond both intervals."""
        return _apart(*((p["recall_low"], p["recall_high"]) for p in (self.a, self.b)))


@dataclass(frozen=True)
class Ranking:
    """How two runs order every pair of engines, over all cells, modes and recalls.

    Attributes:
        pairs: pairs that both runs can order. alike: ordered the same way. decided: both runs
            order them beyond their intervals. reversed: those of them that are ordered oppositely.
    """

    pairs: int
    alike: int
    decided: int
    reversed: int


@dataclass(frozen=True)
class Difference:
    """Two runs compared.

    Attributes:
        warnings: why the runs may not be comparable. only_a, only_b: points of one run alone.
    """

    warnings: Sequence[str]
    ratios: Sequence[RatioChange]
    points: Sequence[PointChange]
    ranking: Ranking
    only_a: int
    only_b: int

    @property
    def overlapping(self) -> float | None:
        """Share of the ratios, of those with an interval in both runs, whose intervals overlap."""
        known = [one.change for one in self.ratios if one.a.interval and one.b.interval]
        known = [change for change in known if change != "unknown"]
        return known.count("same") / len(known) if known else None


def compare(
    a: Run, b: Run, ours: str = "fanns", recalls: Sequence[float] = ratios.RECALLS
) -> Difference:
    """Compares two runs of one workload.

    Raises:
        InputError: the runs have no point in common.
    """
    first, second = (Measurements(run.points(), run.rounds()) for run in (a, b))
    ours_a, ours_b = (
        {_where(c): c for c in ratios.compare(m, ours, recalls)} for m in (first, second)
    )
    points_a, points_b = ({_which(p): p for p in m.points} for m in (first, second))
    common = [key for key in points_a if key in points_b]
    if not common:
        raise InputError(
            f"{a.folder.name} and {b.folder.name} have no point in common: compare runs of one "
            "workload with the same engines and settings"
        )
    return Difference(
        warnings=_warnings(a.header, b.header),
        ratios=[RatioChange(one, ours_b[key]) for key, one in ours_a.items() if key in ours_b],
        points=[PointChange(points_a[key], points_b[key]) for key in common],
        ranking=_ranking(first, second, recalls),
        only_a=len(points_a) - len(common),
        only_b=len(points_b) - len(common),
    )


def sentences(found: Difference) -> list[str]:
    """What two runs agree on, in words."""
    changed = [one for one in found.points if one.change in ("up", "down")]
    said = [
        f"{len(found.points)} points in both runs, {len(changed)} of them with another speed "
        f"beyond both intervals; {found.only_a} only in A, {found.only_b} only in B."
    ]
    if found.overlapping is not None:
        states = sum(one.change == "state" for one in found.ratios)
        more = f"; {states} were reached in one run alone" if states else ""
        said.append(
            f"{100 * found.overlapping:.0f} % of the ratios have intervals that overlap{more}."
        )
    rank = found.ranking
    if rank.pairs:
        said.append(
            f"Of {rank.pairs} pairs of engines, {100 * rank.alike / rank.pairs:.0f} % are in the "
            f"same order; of {rank.decided} that both runs decide, {rank.reversed} are reversed."
        )
    return said


def ratio_sheet(changes: Iterable[RatioChange]) -> Sheet:
    """Ratios side by side."""
    rows = [
        [
            one.a.cell, mode_name(one.a.mode), f"{one.a.recall:g}", *_ratio(one.a), *_ratio(one.b),
            one.words,
        ]
        for one in changes
    ]  # fmt: skip
    heads = ["cell", "mode", "recall", "A", "interval", "peer", "B", "interval", "peer", "change"]
    return Sheet(heads, rows, 3)


def point_sheet(changes: Iterable[PointChange]) -> Sheet:
    """Points side by side."""
    heads = [
        "engine", "cell", "mode", "setting", "A, queries/s", "B, queries/s", "B / A", "A, recall",
        "B, recall", "change",
    ]  # fmt: skip
    rows = []
    for one in changes:
        a, b = one.a, one.b
        what = [name for name, change in (("speed", one.change), ("recall", one.recall_change))
                if change in ("up", "down")]  # fmt: skip
        rows.append(
            [
                a["engine"], a["cell"], mode_name(a["mode"]), a["setting"], f"{a['qps']:,.0f}",
                f"{b['qps']:,.0f}", f"{b['qps'] / a['qps']:.2f}" if a["qps"] else "-",
                share(a["recall"]), share(b["recall"]), " and ".join(what),
            ]
        )  # fmt: skip
    return Sheet(heads, rows, 4)


def as_json(found: Difference) -> dict[str, Any]:
    """Everything, as plain data."""
    return {
        "warnings": list(found.warnings),
        "overlapping_ratios": found.overlapping,
        "ranking": vars(found.ranking),
        "points_only_in_a": found.only_a,
        "points_only_in_b": found.only_b,
        "ratios": [
            {
                **dict(zip(("cell", "mode", "recall"), _where(one.a), strict=True)),
                "a": _side(one.a),
                "b": _side(one.b),
                "change": one.change,
            }
            for one in found.ratios
        ],
        "points": [
            {
                **dict(zip(("engine", "cell", "mode", "setting"), _which(one.a), strict=True)),
                **{f"{name}_{side}": point[name] for side, point in (("a", one.a), ("b", one.b))
                   for name in ("qps", "qps_low", "qps_high", "recall")},
                "change": one.change,
                "recall_change": one.recall_change,
            }
            for one in found.points
        ],
    }  # fmt: skip


def _side(one: Comparison) -> dict[str, Any]:
    interval = vars(one.interval) if one.interval else {}
    return {"state": one.state, "peer": one.peer["engine"] if one.peer else None, **interval}


def _ratio(one: Comparison) -> tuple[str, str, str]:
    peer = one.peer["engine"] if one.peer else "-"
    if one.interval is None:
        return "-", one.verdict, peer
    return times(one.interval.ratio), spread(one), peer


def _apart(a: tuple[float | None, float | None], b: tuple[float | None, float | None]) -> Change:
    """Where interval b lies, seen from a."""
    (a_low, a_high), (b_low, b_high) = a, b
    if a_low is None or a_high is None or b_low is None or b_high is None:
        return "unknown"
    return "up" if b_low > a_high else "down" if b_high < a_low else "same"


def _ranking(a: Measurements, b: Measurements, recalls: Sequence[float]) -> Ranking:
    pairs = alike = decided = turned = 0
    for cell, mode in a.places:
        names = [name for name in a.engines(cell, mode) if name in b.engines(cell, mode)]
        for recall in recalls:
            for one, other in combinations(names, 2):
                orders = [_order(m, cell, mode, recall, one, other) for m in (a, b)]
                if None in orders:
                    continue
                (faster_a, sure_a), (faster_b, sure_b) = (o for o in orders if o is not None)
                pairs += 1
                alike += faster_a == faster_b
                decided += sure_a and sure_b
                turned += sure_a and sure_b and faster_a != faster_b
    return Ranking(pairs, alike, decided, turned)


def _order(
    measured: Measurements, cell: str, mode: str, recall: float, one: str, other: str
) -> tuple[bool, bool] | None:
    """Whether `one` is faster, and whether beyond the interval; None if either has no point."""
    x, y = (measured.fastest(cell, mode, name, recall) for name in (one, other))
    if x is None or y is None:
        return None
    found = measured.interval(x, y)
    sure = found.low is not None and found.high is not None and not found.low <= 1 <= found.high
    return found.ratio > 1, sure


def _warnings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs between the circumstances of two runs."""
    made = []
    if _at(a, "workload", "fingerprint") != _at(b, "workload", "fingerprint"):
        made.append("the workloads differ: ratios may be compared, speeds hardly")
    for name in ("k", "threads"):
        if _at(a, "config", name) != _at(b, "config", name):
            made.append(f"{name} differs: {_at(a, 'config', name)} and {_at(b, 'config', name)}")
    machines = [header.get("machine", {}) for header in (a, b)]
    for part, name in (("cpu", "model"), ("cpu", "usable_cores"), ("memory", "total_bytes")):
        one, other = (_at(machine, part, name) for machine in machines)
        if one != other:
            made.append(f"the machines differ in {part} {name}: {one} and {other}")
    packages = [_versions(machine) for machine in machines]
    for name in sorted(packages[0].keys() | packages[1].keys()):
        one, other = (found.get(name, "missing") for found in packages)
        if one != other:
            made.append(f"{name} differs: {one} and {other}")
    return made


def _versions(machine: Mapping[str, Any]) -> Mapping[str, Any]:
    found = machine.get("packages")
    return found if isinstance(found, Mapping) else {}


def _at(header: Mapping[str, Any], part: str, name: str) -> Any:
    found = header.get(part)
    return found.get(name) if isinstance(found, Mapping) else None


def _where(one: Comparison) -> tuple[str, str, float]:
    return one.cell, one.mode, one.recall


def _which(point: Point) -> tuple[str, str, str, str]:
    return point["engine"], point["cell"], point["mode"], point["setting"]
