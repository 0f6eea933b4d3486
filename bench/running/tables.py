"""What `fanns bench run` prints on stdout: the plan of a run, and in short what came of it."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from fanns.bench.running.metrics import wrong
from fanns.bench.running.results import Run
from fanns.bench.running.runner import Setup

RECALL = 0.95
_PIPED_WIDTH = 160


def show(run: Run) -> None:
    """For each cell the engines that reach the recall, fastest first, and who answered wrongly."""
    console = _console()
    points = run.points().to_pylist()
    table = Table(
        "cell", "passing", f"queries a second at recall {RECALL:.2f} or more, end to end",
        title=_title(run), title_justify="left", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for cell in run.cells().to_pylist():
        mine = [p for p in points if p["cell"] == cell["cell"] and p["mode"] == "end_to_end"]
        table.add_row(cell["cell"], f"{cell['selectivity']:.2%}", _fastest(mine))
    console.print(table)
    for name in dict.fromkeys(p["engine"] for p in points if wrong(p)):
        violations = max(p["violations"] for p in points if p["engine"] == name)
        invalid = max(p["invalid"] for p in points if p["engine"] == name)
        console.print(
            f"[bold red]WRONG ANSWERS[/] {name}: up to {violations:.1%} of its rows fail the "
            f"filter, {invalid:.1%} are no rows, repeated or too many"
        )
    for row in run.builds().to_pylist():
        if row["state"] != "ok":
            console.print(f"{row['engine']}: {row['state']}: {row['reason']}", markup=False)
    _problems(console, run)


def show_plan(setup: Setup) -> None:
    """What would be measured."""
    console, config, loaded = _console(), setup.config, setup.workload
    rows, dims = loaded.vectors.shape
    console.print(
        f"{loaded.name}: {rows:,} rows of {dims} dimensions, {loaded.metric}; k = {config.k}; "
        f"{config.rounds} rounds; {config.threads} thread(s)"
    )
    limit = config.time_limit
    console.print("no time limit" if limit is None else f"time limit {limit / 60:g} minutes")
    engines = Table("engine", "kind", "modes", "settings", "version", box=None)
    for one in setup.contestants:
        version = ", ".join((one.version or {}).values())
        state = version if one.absent is None else f"absent: {one.absent}"
        settings = str(len(one.options["settings"]))
        engines.add_row(one.name, one.kind, " ".join(one.modes), settings, state)
    cells = Table("cell", "passing", "correlation", "measured", "filter", box=None)
    for cell in setup.cells:
        count = str(min(config.queries, len(cell.measure)))
        share = f"{cell.selectivity:.2%}"
        cells.add_row(cell.name, share, cell.correlation, count, cell.where or "")
    console.print(engines)
    console.print(cells)


def _title(run: Run) -> str:
    workload = run.header["workload"]
    return f"{workload['name']}: {workload['rows']:,} rows of {workload['dims']} dimensions"


def _fastest(points: list[dict[str, Any]]) -> str:
    best: dict[str, float] = {}
    for point in points:
        if point["recall"] >= RECALL and not wrong(point):
            best[point["engine"]] = max(best.get(point["engine"], 0.0), point["qps"])
    ranked = sorted(best.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in ranked) or "none"


def _problems(console: Console, run: Run) -> None:
    """One line for each engine, state and reason, with the number of cells."""
    counts: dict[tuple[str, str, str], int] = {}
    for row in run.problems().to_pylist():
        key = (row["engine"], row["state"], row["reason"])
        counts[key] = counts.get(key, 0) + 1
    for (engine, state, reason), count in counts.items():
        cells = f"{count} cell" + "s" * (count != 1)
        console.print(f"{engine}: {state} in {cells}: {reason}", markup=False)


def _console() -> Console:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width)
