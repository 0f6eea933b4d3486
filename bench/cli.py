"""The command group `fanns bench`; its commands' modules are imported when they are called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import NOT_NEEDED, quiet_option, say, threads_option
from fanns.errors import MissingDependencyError

if TYPE_CHECKING:
    from fanns.bench.running.config import RunConfig
    from fanns.bench.running.runner import Report, Setup

_ELSEWHERE = {
    "make": "fanns.bench.cli_data:make",
    "import": "fanns.bench.cli_formats:import_",
    "export": "fanns.bench.cli_formats:export",
    "report": "fanns.bench.cli_report:report",
    "compare": "fanns.bench.cli_report:compare",
    "gate": "fanns.bench.cli_report:gate",
    "kernels": "fanns.bench.cli_proofs:kernels",
    "grid": "fanns.bench.cli_proofs:grid",
    "scaling": "fanns.bench.cli_proofs:scaling",
    "memory": "fanns.bench.cli_proofs:memory",
    "oracles": "fanns.bench.cli_oracles:oracles",
    "growth": "fanns.bench.cli_growth:growth",
    "gpu": "fanns.bench.cli_gpu:gpu",
    "compression": "fanns.bench.cli_compression:compression",
    "live": "fanns.bench.cli_live:live",
}
_SHORT_LIMIT, _QUICK_LIMIT = 40.0, 2.75  # minutes


class LazyGroup(click.Group):
    """A group whose commands may stand in modules that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _ELSEWHERE.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup)
def bench() -> None:
    """Measure filtered search, ours and others', side by side."""
    if find_spec("psutil") is None:
        raise MissingDependencyError("fanns bench needs more packages: pip install 'fanns[bench]'")
    if NOT_NEEDED in sys.meta_path:  # scipy and some peers need what other commands do without
        sys.meta_path.remove(NOT_NEEDED)


@bench.command()
@click.option(
    "--workload",
    metavar="NAME|DIR",
    help="arxiv-100k, arxiv-25k, quick, synthetic-<rows>x<dimensions>, or a folder. "
    "[default: arxiv-100k]",
)
@click.option("--quick", is_flag=True, help="A small synthetic workload, in under three minutes.")
@click.option("--full", is_flag=True, help="Every cell and setting, without a time limit.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of arXiv records, for arxiv-*; default: FANNS_BENCH_DATA.",
)
@click.option(
    "--engines",
    metavar="A,B,...",
    help="Engines, or module:Class; `all`: oracles too. [default: all installed but oracles]",
)
@click.option("--cell", "cells", multiple=True, metavar="GLOB", help="Only cells named so.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Neighbours.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(["end_to_end", "prepared"]),
    help="How the filter reaches an engine. [default: both]",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Turns of each point. [default: 5]")
@click.option(
    "--seconds", type=click.FloatRange(min=0), help="A point ends after these. [default: 5]"
)
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    help="A point ends after these; never under 200. [default: 1000]",
)
@threads_option(1, "Threads that search at the same time.")
@click.option(
    "--build-threads",
    type=click.IntRange(min=1),
    help="Threads to build with. [default: all cores]",
)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of engines' settings, for those it names instead of peers.toml.",
)
@click.option(
    "--time-limit",
    metavar="MINUTES",
    type=click.FloatRange(min=0, min_open=True),
    help="For everything. [default: 40; with --full: none]",
)
@click.option(
    "--memory-limit",
    metavar="MB",
    type=click.IntRange(min=1),
    help="For each engine. [default: three quarters of the machine's]",
)
@click.option(
    "--engine-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="For a build, and at most for any other request to an engine. [default: 900]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be measured, and end.")
@quiet_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the results; one that holds a part of the same run is resumed.",
)
def run(output: Path | None, dry_run: bool, quiet: bool, **given: Any) -> None:
    """Measure engines over a workload of filtered queries, and write a report.

    Engines run one at a time, each in a process of its own, in rounds. Ctrl-C leaves a folder from
    which the same command goes on.

    \b
      fanns bench run --quick -o DIR
      fanns bench run --workload arxiv-100k --data DIR --engines fanns,faiss-hnsw,exact -o DIR
    """
    from fanns.bench.running import runner

    config = _config(**given)
    if dry_run:
        with _progress(quiet) as report:
            setup = runner.prepare(config, report)
        _show_plan(setup)
        return
    if output is None:
        raise click.UsageError("give -o, the folder of the results")
    with _progress(quiet) as report:
        results = runner.run(config, output, report)
    from fanns.bench.reporting import report as page
    from fanns.bench.running import tables

    where = page.write(output)
    tables.show(results)
    for note in results.header["notes"]:
        say(f"note: {note}", quiet)
    say(f"report: {where}", quiet)


@bench.command()
def engines() -> None:
    """List the engines, with their installed versions or why they are absent."""
    from fanns.bench.engines import registry
    from fanns.bench.running.contestants import enlist
    from fanns.cli_output import render

    rows = []
    for one in enlist(registry.names()):
        versions = ", ".join(f"{name} {number}" for name, number in (one.version or {}).items())
        state = f"absent: {one.absent}" if one.absent is not None else versions
        rows.append(
            [one.name, one.kind, " ".join(one.modes), str(len(one.options["settings"])), state]
        )
    click.echo(render(["engine", "kind", "modes", "settings", "version"], rows), nl=False)


def _config(
    workload: str | None,
    quick: bool,
    full: bool,
    data: Path | None,
    engines: str | None,
    cells: tuple[str, ...],
    k: int,
    modes: tuple[Any, ...],
    rounds: int | None,
    seconds: float | None,
    queries: int | None,
    threads: int,
    build_threads: int | None,
    settings: Path | None,
    time_limit: float | None,
    memory_limit: int | None,
    engine_timeout: float | None,
) -> RunConfig:
    """The configuration that options ask for; what they leave open depends on --quick, --full."""
    import psutil

    from fanns.bench.engines import registry
    from fanns.bench.machine import limits
    from fanns.bench.running.config import MODES, RunConfig

    if quick and (full or workload is not None):
        raise click.UsageError("--quick has its own workload: not with --workload or --full")
    names: tuple[str, ...] | None = None
    if engines == "all":
        names = tuple(registry.names())
    elif engines is not None:
        names = tuple(name.strip() for name in engines.split(",") if name.strip())
    usual = _QUICK_LIMIT if quick else None if full else _SHORT_LIMIT
    minutes = usual if time_limit is None else time_limit
    most = None if full else 3 if quick else 5
    memory = min(psutil.virtual_memory().total, limits()["memory_bytes"] or sys.maxsize)
    return RunConfig(
        workload=workload or ("quick" if quick else "arxiv-100k"),
        data=data,
        engines=names,
        cells=cells,
        k=k,
        modes=modes or MODES,
        rounds=rounds or (3 if quick else 5),
        seconds=seconds if seconds is not None else 1.0 if quick else 5.0,
        queries=queries or 1000,
        pilot=20 if quick else 40,
        most=most,
        threads=threads,
        build_threads=build_threads,
        settings=settings,
        time_limit=None if minutes is None else 60 * minutes,
        memory_limit=memory_limit * 10**6 if memory_limit else memory * 3 // 4,
        engine_timeout=engine_timeout or (60.0 if quick else 900.0),
        full=full,
    )


@contextmanager
def _progress(quiet: bool) -> Iterator[Report | None]:
    """One bar on stderr that says what is being done; lines where stderr is no terminal."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield report


def _lines() -> Report:
    """Reports that print a line whenever a step is done."""
    last = [-1]

    def report(what: str, done: int, total: int) -> None:
        if done != last[0]:
            last[0] = done
            say(f"{done}/{total} {what}", False)

    return report


def _show_plan(setup: Setup) -> None:
    from fanns.bench.running import tables

    tables.show_plan(setup)
