"""What the commands that show one thing each share: options, simulated sets, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanns.cli_options import Report, quiet_option, say
from fanns.cli_output import render

if TYPE_CHECKING:
    from fanns.bench.proofs.findings import Finding
    from fanns.bench.proofs.large import Large

Command = TypeVar("Command", bound=Callable[..., Any])
BAR_MISSED = 4
COUNT = click.IntRange(min=1)
FOLDER = click.Path(file_okay=False, path_type=Path)


def proof_options(command: Command) -> Command:
    """-o, --check and -q."""
    for option in (
        quiet_option,
        click.option("--check", is_flag=True, help="Exit with 4 when a bar is missed."),
        click.option(
            "-o",
            "--output",
            type=FOLDER,
            help="Folder for the same as Markdown and CSV.",
        ),
    ):
        command = option(command)
    return command


def rounds_option(command: Command) -> Command:
    return click.option(
        "--rounds", type=COUNT, default=5, show_default=True, help="Interleaved rounds."
    )(command)


def workload_options(command: Command) -> Command:
    """--workload and --data."""
    for option in (
        click.option(
            "--data",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of arXiv records, for arxiv-*; default: FANNS_BENCH_DATA.",
        ),
        click.option(
            "--workload",
            metavar="NAME|DIR",
            default="arxiv-100k",
            show_default=True,
            help="Its rows and queries; what filters speak of is drawn anew.",
        ),
    ):
        command = option(command)
    return command


def sets_options(told: str) -> Callable[[Command], Command]:
    """--rows, several times, and --dimensions; `told`: which rows without."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--dimensions", type=COUNT, default=384, show_default=True, help="Of the vectors."
            ),
            click.option(
                "--rows",
                "sets",
                multiple=True,
                type=COUNT,
                help=f"Rows of a set; give several. [default: {told}]",
            ),
        ):
            command = option(command)
        return command

    return add


def home_option(command: Command) -> Command:
    return click.option(
        "--dir",
        "home",
        type=FOLDER,
        help="Where simulated rows and their indexes are kept. [default: beside the workloads]",
    )(command)


def keep_option(command: Command) -> Command:
    return click.option(
        "--keep-index",
        is_flag=True,
        help="Take an index that is there as it is. Without, one that other code built is built "
        "anew: ten minutes and more for a million rows.",
    )(command)


def large_set(
    rows: int,
    dimensions: int,
    sizes: Sequence[int],
    home: Path | None,
    report: Report | None,
    keep: bool = False,
    ranged: Sequence[str] = (),
) -> Large:
    """The simulated set, made when it is not there; see `fanns.bench.proofs.large.prepare`."""
    from fanns.bench.proofs.large import prepare
    from fanns.bench.workloads.families import bench_folder

    return prepare(rows, dimensions, sizes, home or bench_folder() / "proofs", report, keep, ranged)


def end(found: Finding, output: Path | None, check: bool, quiet: bool) -> None:
    """Print what was found, write it where asked to, and judge it."""
    from fanns.bench.proofs.findings import bars_sheet, write

    say("\n".join(found.setting), quiet)
    for heading, sheet in found.sheets:
        click.echo(f"{heading}\n{render(sheet.heads, sheet.rows)}\n")
    told = bars_sheet(found.bars)
    click.echo(render(told.heads, told.rows))
    if output is not None:
        say("\n".join(map(str, write(found, output))), quiet)
    missed = sum(not bar.met for bar in found.bars)
    if missed:
        say(f"{missed} of {len(found.bars)} bars are not met", quiet)
    if check and missed:
        click.get_current_context().exit(BAR_MISSED)
