"""What was measured, as tables of text for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanns.bench.reporting.ratios import Comparison, Measurements, Summary, Verdict
from fanns.bench.reporting.wording import mode_name, percent, signed, spread, times
from fanns.bench.running.metrics import wrong

Row = Mapping[str, Any]
VERDICTS: tuple[Verdict, ...] = (
    "faster",
    "slower",
    "undecided",
    "not reached",
    "only ours",
    "not judged",
)
_NONE = "-"


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        heads: of the columns; numeric ones, from the `words`-th on, are set to the right.
        marks: one word for each row (or none at all), by which a page may colour it.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    marks: Sequence[str] = ()


def summary(summaries: Iterable[Summary]) -> Sheet:
    """A line for each family, with how many cells were won and lost."""
    lines = list(summaries)
    used = [v for v in VERDICTS if v in VERDICTS[:3] or any(v in one.counts for one in lines)]
    heads = ["family", "cells", *used, "geometric mean", "lowest", "highest"]
    rows = [
        [
            one.family,
            str(one.cells),
            *(str(one.counts.get(verdict, 0)) for verdict in used),
            *(times(v) if v is not None else _NONE for v in (one.mean, one.lowest, one.highest)),
        ]
        for one in lines
    ]
    return Sheet(heads, rows)


def sentence(total: Summary, ours: str) -> str:
    """The counts of one summary in words."""
    said: dict[Verdict, str] = {
        "faster": "faster than the best peer in {n}",
        "slower": "slower in {n}",
        "undecided": "within the noise in {n}",
        "not reached": "short of the recall, which a peer reaches, in {n}",
        "only ours": "alone in reaching the recall in {n}",
        "not judged": "without a comparison in {n}",
    }
    parts = [text.format(n=total.counts[v]) for v, text in said.items() if v in total.counts]
    mean = f" Geometric mean of the ratios: {times(total.mean)}." if total.mean else ""
    lead = f"At recall {total.recall:g}, {mode_name(total.mode)}, over {total.cells} cells"
    return f"{lead}, {ours} is {'; '.join(parts)}.{mean}"


def ratios(comparisons: Iterable[Comparison], cells: Mapping[str, Row], ours: str) -> Sheet:
    """Every cell of one mode and recall: ours, the best peer, the ratio and its interval."""
    heads = [
        "cell", "rows passing", "affinity", f"{ours}, queries/s", "recall",
        "best peer", "queries/s", "recall", "ratio", "95 % interval", "oracle, queries/s",
    ]  # fmt: skip
    rows, marks = [], []
    for one in comparisons:
        cell = cells[one.cell]
        peer = one.peer["engine"] if one.peer else "no peer" if one.state == "no_peer" else _NONE
        rows.append(
            [
                one.cell,
                percent(cell["selectivity"]),
                signed(cell["affinity"]),
                *_speed(one.ours),
                peer,
                *_speed(one.peer),
                times(one.interval.ratio) if one.interval else _NONE,
                spread(one) if one.interval else one.verdict,
                f"{one.oracle['qps']:,.0f} ({one.oracle['engine']})" if one.oracle else _NONE,
            ]
        )
        marks.append(one.verdict)
    return Sheet(heads, rows, 1, marks)


def _speed(point: Row | None) -> tuple[str, str]:
    return (f"{point['qps']:,.0f}", share(point["recall"])) if point else ("not reached", _NONE)


def share(recall: float) -> str:
    """Recall as printed: rounded down, so that nothing claims a recall that it misses."""
    return f"{int(recall * 1000 + 1e-6) / 1000:.3f}"


def recalls(comparisons: Iterable[Comparison]) -> Sheet:
    """The ratio of every cell at every recall, with the best peer there."""
    by_cell: dict[str, dict[float, Comparison]] = {}
    for one in comparisons:
        by_cell.setdefault(one.cell, {})[one.recall] = one
    wanted = sorted({recall for found in by_cell.values() for recall in found})
    rows = [
        [cell, *(_short(found[recall]) if recall in found else "" for recall in wanted)]
        for cell, found in by_cell.items()
    ]
    return Sheet(["cell", *(f"recall {recall:g}" for recall in wanted)], rows)


def _short(one: Comparison) -> str:
    if one.interval and one.peer:
        return f"{times(one.interval.ratio)} {one.peer['engine']}"
    return one.verdict


def engines(
    measured: Measurements,
    cells: Sequence[str],
    names: Sequence[str],
    mode: str,
    recall: float,
    problems: Iterable[Row],
) -> Sheet:
    """Every engine's queries per second at a recall; where there are none, why."""
    why = {(p["engine"], p["cell"], p["mode"]): p["state"] for p in problems}
    here = [name for name in names if any(name in measured.engines(c, mode) for c in cells)]
    rows = []
    for cell in cells:
        row = [cell]
        for name in here:
            best = measured.fastest(cell, mode, name, recall)
            # A problem may concern all modes at once.
            state = why.get((name, cell, mode)) or why.get((name, cell, None)) or ""
            row.append(
                f"{best['qps']:,.0f}" if best else _without(measured, cell, mode, name, state)
            )
        rows.append(row)
    return Sheet(["cell", *here], rows)


def _without(measured: Measurements, cell: str, mode: str, name: str, state: str) -> str:
    points = measured.of(cell, mode, name)
    if not points:
        return state or _NONE
    if all(wrong(point) for point in points):
        return "WRONG"
    return f"R {share(max(p['recall'] for p in points if not wrong(p)))}"


def cells(rows: Iterable[Row]) -> Sheet:
    """The workload's cells: filter, selectivity and correlation asked for and measured."""
    heads = [
        "cell", "filter", "correlation", "asked for", "rows passing", "affinity", "queries",
    ]  # fmt: skip
    lines = [
        [
            row["cell"],
            row["where"] or "(none)",
            row["correlation"],
            percent(row["target"]) if row["target"] is not None else _NONE,
            percent(row["selectivity"]),
            signed(row["affinity"]),
            f"{row['measure']:,}",
        ]
        for row in rows
    ]
    return Sheet(heads, lines, 3)
