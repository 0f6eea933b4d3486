"""The command `fanns bench make`: workloads from named data, or from a file and a declaration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fanns.cli_options import progress, quiet_option, say


@click.command()
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write. A named workload goes without it where `fanns bench run` looks for it.",
)
@click.option(
    "--declare",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file that says which columns get which filters; needed for a file.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or Arrow file of queries, with vectors in a column of the same name. "
    "Without it a tenth of the rows, at most 1,000, is held out.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of arXiv records, for arxiv-*; default: FANNS_BENCH_DATA.",
)
@click.option("--full", is_flag=True, help="Every cell that the data can give, not the short list.")
@click.option("--cell", "patterns", multiple=True, metavar="GLOB", help="Only cells named so.")
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="True neighbours of each query.",
)
@click.option("--dry-run", is_flag=True, help="Print the cells with what they measure, and end.")
@quiet_option
def make(
    source: str,
    output: Path | None,
    declare: Path | None,
    queries: Path | None,
    data: Path | None,
    full: bool,
    patterns: tuple[str, ...],
    depth: int,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Make a workload: filters drawn and measured, and their exact answers.

    SOURCE is a name (quick, arxiv-100k, synthetic-<rows>x<dimensions>), the folder of a data set
    (fanns dataset arxiv), or a Parquet or Arrow file, which needs --declare. A cell that the data
    cannot give is left out, and said so.

    \b
      fanns bench make arxiv-100k --data DIR
      fanns bench make papers/ -o DIR
      fanns bench make items.parquet --declare filters.toml --queries queries.parquet -o DIR
    """
    from fanns.bench.workloads import families, making, papers

    own_data = papers.is_one(Path(source))
    if own_data and queries is not None:
        raise click.UsageError("the folder of a data set has its own queries: leave out --queries")
    name = None if declare is not None or own_data else source
    if name is not None and not families.is_name(source):
        if Path(source).is_file():
            raise click.UsageError("a file needs --declare, which says what filters it gets")
        families.recipe(source)  # raises, and says what there is
    if output is None and not dry_run and (name is None or patterns or depth != 100):
        raise click.UsageError("give -o, the folder to write")
    with progress(quiet) as report:
        if output is None and not dry_run:
            folder = families.named(
                source, full, data, say=lambda line: say(line, quiet), report=report
            )
            click.echo(folder)
            return
        corpus, declaration, cells = _asked(source, declare, queries, data, full, patterns)
        corpus, kept = making.plan(
            corpus, declaration, cells, lambda line: say(line, quiet), report
        )
        if output is not None and not dry_run:
            own = output.resolve().name
            making.make(output, corpus, kept, own, depth, report)
    if dry_run:
        _show(kept)
    else:
        click.echo(output)


def _asked(
    source: str,
    declare: Path | None,
    queries: Path | None,
    data: Path | None,
    full: bool,
    patterns: tuple[str, ...],
) -> Any:
    """The corpus, the declaration of its filters, and the cells that are asked for."""
    from fanns.bench.workloads import declared, families, grid, papers, synthetic

    given = None if declare is None else declared.read(declare)
    if papers.is_one(Path(source)):
        cells = given.cells() if given else papers.cells(full)

        def corpus() -> tuple[Any, Any]:
            return papers.read(Path(source), given)
    elif given is not None:
        cells = given.cells()

        def corpus() -> tuple[Any, Any]:
            return declared.corpus(Path(source), given, queries), given.filters
    else:
        recipe = families.recipe(source, data)
        cells = recipe.cells(full)

        def corpus() -> tuple[Any, Any]:
            return recipe.corpus(), synthetic.DECLARATION

    chosen = grid.matching(cells, patterns)
    if not chosen:
        raise click.UsageError(
            f"no cell is named {' or '.join(patterns)}; there are: "
            f"{', '.join(cell.name for cell in cells)}"
        )
    return *corpus(), chosen


def _show(kept: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("cell", "selectivity", "affinity", "where", box=None)
    for cell in kept:
        where = cell.draft.where or ""
        table.add_row(cell.asked.name, f"{cell.selectivity:.3g}", f"{cell.affinity:+.2f}", where)
    Console(soft_wrap=True).print(table)
