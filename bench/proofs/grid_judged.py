"""The grid judged: does the prediction name the fastest path, and what does a wrong choice cost?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.proofs.findings import Bar, Finding, ratio
from fanns.bench.proofs.grid import Measured, Path
from fanns.bench.reporting.ratios import Interval
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import percent, signed, times

EQUAL = 1.10  # plans within this of each other count as equally fast
AGREE = 0.90
REGRET = 2.0
SLACK = 0.02  # of recall
DRAWS = 1_000


def valid(measured: Measured) -> dict[str, Path]:
    """The paths that reach the recall target, as far as the queries can tell; all, if none does."""
    least = measured.cell.recall - SLACK
    reaching = {name: path for name, path in measured.paths.items() if path.recall.high >= least}
    return reaching or measured.paths


def fastest(measured: Measured) -> str:
    """The path with the least mean time, of those that reach the target."""
    paths = valid(measured)
    return min(paths, key=lambda name: paths[name].mean)


def expected(measured: Measured) -> str:
    """The path with the least predicted cost."""
    return min(measured.paths, key=lambda name: measured.paths[name].predicted_us)


def agrees(measured: Measured) -> bool:
    """Whether the path that should be the fastest is, or is as good as the fastest."""
    best = measured.paths[fastest(measured)].mean
    return measured.paths[expected(measured)].mean <= EQUAL * best


def regret(measured: Measured) -> Interval:
    """How many times slower the planner's choice is than the fastest path, over queries."""
    return over_queries(measured.chosen.typical, measured.paths[fastest(measured)].typical)


def over_queries(ours: NDArray[np.float64], best: NDArray[np.float64]) -> Interval:
    """The ratio of two sums over the same queries, with a 95 % interval by the bootstrap (Efron
    1979): the queries are drawn anew with return, by one seed.
    """
    drawn = np.random.default_rng(0).integers(0, len(ours), (DRAWS, len(ours)))
    low, high = np.quantile(ours[drawn].sum(axis=1) / best[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(float(ours.sum() / best.sum()), float(low), float(high), len(ours))


def recalled(measured: Measured) -> bool:
    """Whether the chosen plan reaches the target less the slack, as far as the queries can tell."""
    return measured.chosen.recall.high >= measured.cell.recall - SLACK


def judge(grid: Sequence[Measured], setting: Sequence[str]) -> Finding:
    """Bars, a summary and the whole grid."""
    choice = [one for one in grid if len(one.paths) > 1]
    sheets = [("By selectivity and correlation", _summary(grid)), ("Every cell", _every(grid))]
    bars = [_agreement(choice), _regret(grid), _recall(grid)]
    return Finding(
        "grid", "The planner's choices over a grid", [*setting, *_method(grid, choice)], sheets,
        bars, [_record(one) for one in grid],
    )  # fmt: skip


def _method(grid: Sequence[Measured], choice: Sequence[Measured]) -> list[str]:
    paths = sorted({name for one in grid for name in one.paths})
    same = sum(map(agrees, grid))
    short = sum(one.chosen.recall.value < one.cell.recall - SLACK for one in grid)
    return [
        f"{len(grid)} cells, {len(choice)} of them with a choice between paths "
        f"({', '.join(paths)}). Times are those of whole calls with the filter prepared: means "
        "over queries of their medians over rounds. Ratios have 95 % intervals over queries. A "
        "path counts where it reaches the target less 0.02, by the upper end of its recall's "
        "interval.",
        f"Over all cells, those without a choice too, {same} of {len(grid)} agree. The mean recall "
        f"of the chosen plan is below the target less 0.02 in {short} cells, chance included.",
    ]


def _agreement(choice: Sequence[Measured]) -> Bar:
    what = "cells with a choice where the least predicted cost is the fastest path, within 10 %"
    needed = percent(AGREE)
    if not choice:
        return Bar(what, needed, "no cell has a choice", None)
    same = sum(map(agrees, choice))
    share = same / len(choice)
    return Bar(what, needed, f"{percent(share)} ({same} of {len(choice)})", share >= AGREE)


def _regret(grid: Sequence[Measured]) -> Bar:
    worst = max(grid, key=lambda one: _low(regret(one)))
    found = regret(worst)
    over = sum(_low(regret(one)) > REGRET for one in grid)
    told = f"worst {ratio(found)} at {worst.cell.name}; {over} cells above"
    what = "chosen plan against the fastest path, lower end, in every cell"
    return Bar(what, f"at most {REGRET:g}x", told, over == 0)


def _recall(grid: Sequence[Measured]) -> Bar:
    missed = [one for one in grid if not recalled(one)]
    worst = min(grid, key=lambda one: one.chosen.recall.value - one.cell.recall)
    told = f"worst {worst.chosen.recall.value:.3f} at {worst.cell.name}; {len(missed)} cells below"
    what = "recall of the chosen plan, upper end, in every cell"
    return Bar(what, f"target - {SLACK:g}", told, not missed)


def _low(found: Interval) -> float:
    return found.ratio if found.low is None else found.low


def _summary(grid: Sequence[Measured]) -> Sheet:
    """A line for each selectivity and correlation."""
    groups: dict[tuple[float, str], list[Measured]] = {}
    for one in grid:
        groups.setdefault((one.cell.selectivity, one.cell.correlation), []).append(one)
    rows = []
    for (share, correlation), group in groups.items():
        choice = [one for one in group if len(one.paths) > 1]
        planned: dict[str, int] = {}
        for one in group:
            for path, count in one.planned.items():
                planned[path] = planned.get(path, 0) + count
        total = sum(planned.values())
        worst = max(regret(one).ratio for one in group)
        rows.append(
            [
                f"{share:g}", correlation, signed(group[0].affinity),
                ", ".join(f"{path} {percent(n / total)}" for path, n in sorted(planned.items())),
                f"{sum(map(agrees, choice))} of {len(choice)}",
                times(worst),
                f"{min(one.chosen.recall.value - one.cell.recall for one in group):+.3f}",
            ]
        )  # fmt: skip
    heads = ["selectivity", "correlation", "affinity", "planned", "agree", "worst ratio", "recall"]
    return Sheet(heads, rows, words=4)


def _every(grid: Sequence[Measured]) -> Sheet:
    names = sorted({name for one in grid for name in one.paths})
    rows = []
    for one in grid:
        told = [_path(one.paths.get(name)) for name in names]
        notes = [
            text
            for text, wrong in (
                ("other path faster", not agrees(one)),
                ("SLOW", _low(regret(one)) > REGRET),
                ("RECALL", not recalled(one)),
            )
            if wrong
        ]
        rows.append(
            [
                one.cell.name, "/".join(sorted(one.planned)), f"{one.chosen.mean * 1e6:,.0f}",
                f"{one.chosen.recall.value:.3f}", *told, fastest(one), ratio(regret(one)),
                ", ".join(notes),
            ]
        )  # fmt: skip
    heads = [
        "cell", "planned", "us", "recall", *(f"{name} us (predicted)" for name in names), "fastest",
        "ratio", "",
    ]  # fmt: skip
    return Sheet(heads, rows, words=2)


def _path(path: Path | None) -> str:
    return "-" if path is None else f"{path.mean * 1e6:,.0f} ({path.predicted_us:,.0f})"


def _record(one: Measured) -> dict[str, Any]:
    found, best = regret(one), fastest(one)
    record: dict[str, Any] = {
        **one.cell._asdict(), "affinity": one.affinity,
        "planned": "/".join(f"{path}:{n}" for path, n in sorted(one.planned.items())),
        "us": one.chosen.mean * 1e6, "found_recall": one.chosen.recall.value,
        "recall_high": one.chosen.recall.high, "fastest": best, "expected": expected(one),
        "agrees": agrees(one), "ratio": found.ratio, "low": found.low, "high": found.high,
    }  # fmt: skip
    for name, path in one.paths.items():
        record |= {
            f"{name}_us": path.mean * 1e6, f"{name}_predicted_us": path.predicted_us,
            f"{name}_recall": path.recall.value,
        }  # fmt: skip
    return record
