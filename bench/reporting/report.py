"""A run's report: one HTML page, the same in Markdown, and its tables as CSV and Parquet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from fanns.bench.reporting import ratios
from fanns.bench.reporting.heat import CORRELATIONS
from fanns.bench.reporting.ratios import RECALLS, Comparison, Measurements, Summary
from fanns.bench.running.results import Run, RunError

RECALL = 0.95  # of the tables that show only one


@dataclass(frozen=True)
class Findings:
    """What a run says, computed once for every form of the report.

    Attributes:
        ours: the engine that the ratios speak of. cells: rows by name, in the workload's order.
        engines: names, ours first, oracles last. modes: those that have points.
        comparisons: empty if `ours` has no points.
    """

    header: Mapping[str, Any]
    ours: str
    measured: Measurements
    cells: Mapping[str, Mapping[str, Any]]
    builds: Sequence[Mapping[str, Any]]
    problems: Sequence[Mapping[str, Any]]
    engines: Sequence[str]
    modes: Sequence[str]
    comparisons: Sequence[Comparison]
    summaries: Sequence[Summary]
    tables: Mapping[str, pa.Table] = field(repr=False)

    def of(self, mode: str, recall: float) -> list[Comparison]:
        """The comparisons of one mode and recall, in the order of the cells."""
        return [one for one in self.comparisons if (one.mode, one.recall) == (mode, recall)]

    def summaries_of(self, mode: str, recall: float) -> list[Summary]:
        """The summaries of one mode and recall, that of all families last."""
        found = [one for one in self.summaries if (one.mode, one.recall) == (mode, recall)]
        return sorted(found, key=lambda one: one.family == ratios.ALL)

    @property
    def raw(self) -> int:
        """Bytes of the vectors as float32; 0 if the run does not tell."""
        workload = self.header.get("workload", {})
        return 4 * int(workload.get("rows", 0)) * int(workload.get("dims", 0))


def write(folder: str | os.PathLike[str], ours: str = "fanns") -> Path:
    """Writes report.html, report.md and tables/ into a run's folder; the page's path.

    Raises:
        RunError: the folder holds no run, or a run without any point.
    """
    from fanns.bench.reporting import page, prose

    path = Path(folder)
    found = findings(Run.load(path), ours)
    _write_tables(path / "tables", found.tables)
    (path / "report.md").write_text(prose.markdown(found), encoding="utf-8")
    html = path / "report.html"
    html.write_text(page.html(found), encoding="utf-8")
    return html


def findings(run: Run, ours: str = "fanns") -> Findings:
    """Everything that a report says, from a run on disk.

    Raises:
        RunError: nothing was measured.
    """
    points, cells, problems = run.points(), run.cells(), run.problems()
    if points.num_rows == 0:
        raise RunError(f"{run.folder} holds no measured point: run the benchmark again")
    measured = Measurements(points, run.rounds())
    by_name = {row["cell"]: row for row in _sorted(cells.to_pylist())}
    order = {name: i for i, name in enumerate(by_name)}
    comparisons = ratios.compare(measured, ours, RECALLS)
    comparisons.sort(key=lambda one: order[one.cell])
    families = {name: row["family"] for name, row in by_name.items()}
    return Findings(
        header=run.header,
        ours=ours,
        measured=measured,
        cells=by_name,
        builds=run.builds().to_pylist(),
        problems=problems.to_pylist(),
        engines=_engines(measured, ours),
        modes=sorted({mode for _, mode in measured.places}),
        comparisons=comparisons,
        summaries=ratios.summarise(comparisons, families),
        tables={
            "points": points,
            "ratios": ratios.table(comparisons),
            "cells": cells,
            "builds": run.builds(),
            "problems": problems,
        },
    )


def _sorted(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Family by family in the workload's order, from many passing rows to few."""
    families = list(dict.fromkeys(cell["family"] for cell in cells))

    def place(cell: Mapping[str, Any]) -> tuple[int, float, int]:
        asked = cell["target"] if cell["target"] is not None else cell["selectivity"]
        known = cell["correlation"] in CORRELATIONS
        rank = CORRELATIONS.index(cell["correlation"]) if known else len(CORRELATIONS)
        return families.index(cell["family"]), -asked, rank

    return sorted(cells, key=place)


def _engines(measured: Measurements, ours: str) -> list[str]:
    kinds = {point["engine"]: point["kind"] for point in measured.points}
    return sorted(kinds, key=lambda name: (name != ours, kinds[name] == "oracle"))


def _write_tables(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        pa.parquet.write_table(table, folder / f"{name}.parquet")
        pa.csv.write_csv(table, folder / f"{name}.csv")
