"""The commands `fanns bench report`, `compare` and `gate`: what reads runs, and the gate's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fanns.cli_options import progress, quiet_option, say
from fanns.cli_output import choose_format, plain, render, write_text

if TYPE_CHECKING:
    from fanns.bench.reporting.gate import Judgement
    from fanns.bench.reporting.sheets import Sheet

GATE_MISSED = 4
RUN = click.Path(path_type=Path, exists=True, file_okay=False)
OURS = click.option(
    "--ours", default="fanns", show_default=True, help="The engine that the ratios speak of."
)
OUTPUT = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of stdout.",
)  # fmt: skip


@click.command()
@click.argument("run", type=RUN)
@OURS
@quiet_option
def report(run: Path, ours: str, quiet: bool) -> None:
    """Write the report of a run, also of one that is not finished.

    RUN is a folder that `fanns bench run` wrote. It gets report.html (one page, to be opened
    anywhere, without network), report.md, and the tables as CSV and Parquet in tables/. Prints
    the page's path.
    """
    from fanns.bench.reporting.report import write

    page = write(run, ours)
    say(f"{page.with_suffix('.md')} and {page.parent / 'tables'} hold the same as text", quiet)
    click.echo(page)


@click.command()
@click.argument("a", type=RUN)
@click.argument("b", type=RUN)
@OURS
@click.option(
    "--recall",
    "recalls",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Recall to compare ratios at; may be repeated. Default: 0.8, 0.9, 0.95, 0.99.",
)
@click.option("--all", "everything", is_flag=True, help="Print unchanged points, too.")
@click.option(
    "--format", "format_", type=click.Choice(["table", "json"]),
    help="Default: table on a terminal, json otherwise.",
)  # fmt: skip
@OUTPUT
def compare(
    a: Path,
    b: Path,
    ours: str,
    recalls: tuple[float, ...],
    everything: bool,
    format_: str | None,
    output: Path | None,
) -> None:
    """Compare two runs: which ratios, speeds and recalls changed beyond their intervals.

    A and B are folders that `fanns bench run` wrote; B is seen from A. JSON holds every point.
    """
    from fanns.bench.reporting import comparison
    from fanns.bench.reporting.ratios import RECALLS
    from fanns.bench.running.results import Run

    found = comparison.compare(Run.load(a), Run.load(b), ours, recalls or RECALLS)
    if choose_format(format_, output, "json") == "json":
        write_text(json.dumps(plain(comparison.as_json(found)), indent=2), output)
        return
    points = [one for one in found.points
              if everything or {one.change, one.recall_change} & {"up", "down"}]  # fmt: skip
    parts = [f"A: {a}", f"B: {b}", *(f"warning: {text}" for text in found.warnings), ""]
    parts += [*comparison.sentences(found), "", "Ratios"]
    parts.append(_text(comparison.ratio_sheet(found.ratios)))
    parts += ["", "Points" if everything else "Points that changed"]
    parts.append(_text(comparison.point_sheet(points)) if points else "none")
    write_text("\n".join(parts), output)


@click.command()
@click.option(
    "--min-ratio",
    "floors",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file of floors and of what to run. Default: the one that comes with fanns.",
)
@click.option("--update", is_flag=True, help="Raise the floors in the file that were exceeded.")
@click.option(
    "--run",
    "measured",
    type=RUN,
    help="Judge this run instead of measuring one.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the run in this folder, with its report.",
)
@quiet_option
@click.pass_context
def gate(
    context: click.Context,
    floors: Path | None,
    update: bool,
    measured: Path | None,
    output: Path | None,
    quiet: bool,
) -> None:
    """Measure a few cells and fail if fanns has become slower, as against a peer.

    Takes a minute or two. Prints each floor with the ratio that was measured; exits with 4 if a
    ratio lies under its floor with its whole interval, or misses the recall.
    """
    from fanns.bench.reporting import gate as gates
    from fanns.bench.running.results import Run

    path = floors or gates.DEFAULT
    asked = gates.load(path)
    if measured is not None:
        judged = gates.judge(asked.floors, Run.load(measured))
    else:
        with progress(quiet) as told:
            judged = gates.measure(asked, output, told)
    click.echo(_text(gates.sheet(judged)))
    if output is not None and measured is None:
        from fanns.bench.reporting.report import write

        say(f"report: {write(output)}", quiet)
    if update:
        gates.save(path, gates.raised(judged))
        say(f"raised what was exceeded in {path}", quiet)
    _end(context, judged, quiet)


def _end(context: click.Context, judged: list[Judgement], quiet: bool) -> None:
    from fanns.bench.reporting.gate import UNMEASURED
    from fanns.bench.running.results import RunError

    absent = [
        one.missing.partition(": ")[2] for one in judged if one.missing.startswith(UNMEASURED)
    ]
    if peers := [name for name in absent if name != "fanns"]:
        raise RunError(
            f"{len(absent)} of {len(judged)} floors cannot be judged: is {peers[0]} installed, and "
            "is the cell in the workload?"
        )
    missed = [one for one in judged if not one.passed]
    if missed:
        say(f"{len(missed)} of {len(judged)} floors missed", quiet)
        context.exit(GATE_MISSED)
    say(f"all {len(judged)} floors hold", quiet)


def _text(sheet: Sheet) -> str:
    return render(sheet.heads, sheet.rows)
