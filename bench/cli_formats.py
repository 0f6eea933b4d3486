"""`fanns bench import` and `fanns bench export`: workloads from and to other people's formats."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from fanns.cli_options import progress, quiet_option
from fanns.errors import MissingDependencyError

Command = TypeVar("Command", bound=Callable[..., Any])
FORMATS = {"annbench": "annbench", "bigann": "bigann", "arxiv-fanns": "arxiv_fanns"}

EXISTING = click.Path(exists=True, path_type=Path)
RESULTS = "bigann-csv"


def _format(names: list[str]) -> Callable[[Command], Command]:
    return click.argument("form", metavar="FORMAT", type=click.Choice(names))


OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to."
)


@click.command("import")
@_format([*FORMATS])
@click.argument("path", type=EXISTING)
@OUTPUT
@click.option(
    "--metric",
    type=click.Choice(["l2", "cosine", "ip"]),
    help="For formats that do not say it. [default: l2]",
)
@click.option(
    "--queries",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Queries of each set to take, from the first one on; 0: all.",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Exact neighbours to compute for each query.",
)
@click.option("--own-answers", is_flag=True, help="Do not look at the answers that are there.")
@click.option("--base", type=EXISTING, help="bigann: the file of the items.")
@click.option("--query", type=EXISTING, help="bigann: the file of the queries.")
@click.option("--answers", type=EXISTING, help="bigann: the file of the exact answers.")
@click.option("--base-tags", type=EXISTING, help="bigann: the tags of the items.")
@click.option("--query-tags", type=EXISTING, help="bigann: the tags that queries ask for.")
@quiet_option
def import_(
    form: str,
    path: Path,
    output: Path,
    metric: str | None,
    queries: int,
    depth: int,
    own_answers: bool,
    quiet: bool,
    **files: Path | None,
) -> None:
    """Make a workload of benchmark data in a foreign FORMAT.

    \b
    annbench     an HDF5 file of ann-benchmarks
    bigann       a folder of the big-ann benchmarks, with or without tags
    arxiv-fanns  a folder in the layout of arxiv-for-fanns

    The exact answers are computed anew, under the filters; those that come with the data are
    compared with them, and the import fails when they differ.
    """
    options: dict[str, Any] = {} if metric is None else {"metric": metric}
    given = {name: file for name, file in files.items() if file is not None}
    if given and form != "bigann":
        raise click.UsageError(f"{', '.join(given)}: only for the format bigann")
    if metric is not None and form == "annbench":
        raise click.UsageError("--metric: a file of ann-benchmarks says its own")
    from fanns.bench.formats import exchange

    foreign = _module(form).read(path, **options, **given)
    with progress(quiet) as report:
        exchange.write(foreign, output, queries or None, depth, not own_answers, report)
    if not quiet:
        cells = ", ".join(f"{one.name} ({len(one.vectors):,})" for one in foreign.sets)
        click.echo(f"{output}: {len(foreign.vectors):,} items; queries: {cells}", err=True)


@click.command()
@_format([*FORMATS, RESULTS])
@click.argument("source", type=EXISTING)
@OUTPUT
@click.option(
    "--cell", "globs", multiple=True, default=["*"], metavar="GLOB", help="Only these cells."
)
@quiet_option
def export(form: str, source: Path, output: Path, globs: tuple[str, ...], quiet: bool) -> None:
    """Write a workload, or the results of a run, in a foreign FORMAT.

    SOURCE is the folder of a workload; for bigann-csv that of a run. Cells that a format cannot
    hold are named on stderr.

    \b
    annbench     an HDF5 file for each cell without a filter
    bigann       items, and queries, answers and tags of cells that ask for tags of a list
    arxiv-fanns  cells with one column =, a range of it, or a list that contains a value
    bigann-csv   the points of a run, in the columns of the big-ann benchmarks' own export
    """
    if form == RESULTS:
        from fanns.bench.formats import bigann_csv
        from fanns.bench.running.results import Run

        run = Run.load(source)
        output.mkdir(parents=True, exist_ok=True)
        click.echo(bigann_csv.write(run, output / "results.csv"))
        return
    from fanns.bench.workloads import workload as workloads

    loaded = workloads.load(source)
    names = [c.name for c in loaded.cells if any(fnmatchcase(c.name, glob) for glob in globs)]
    if not names:
        known = ", ".join(cell.name for cell in loaded.cells)
        raise click.UsageError(f"no cell is named {' or '.join(globs)}; there are: {known}")
    output.mkdir(parents=True, exist_ok=True)
    for line in _module(form).write(loaded, names, output):
        if not (quiet and line.startswith("left out")):
            click.echo(line, err=line.startswith("left out"))


def _module(form: str) -> Any:
    try:
        return import_module(f"fanns.bench.formats.{FORMATS[form]}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the format {form} needs {error.name}: pip install 'fanns[bench]'"
        ) from error
