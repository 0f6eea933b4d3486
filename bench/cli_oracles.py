"""The command `fanns bench oracles`: what filters cost, against indexes that know them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fanns.bench.cli_proof_options import (
    COUNT,
    FOLDER,
    end,
    proof_options,
    rounds_option,
    workload_options,
)
from fanns.cli_options import progress

RANGED, LABELLED = "update_date", ("archive", "primary_category", "main_categories")
SHARE = click.FloatRange(0, 1, min_open=True)


@click.command()
@workload_options
@click.option(
    "--range",
    "ranged",
    metavar="COLUMN",
    default=RANGED,
    show_default=True,
    help="Ordered column to draw intervals of; it gets a range graph.",
)
@click.option(
    "--label",
    "labelled",
    metavar="COLUMN",
    multiple=True,
    help=f"Column or list column of values; gets label graphs. [default: {', '.join(LABELLED)}]",
)
@click.option(
    "--width",
    "widths",
    multiple=True,
    type=SHARE,
    help="Shares of the rows in intervals. [default: 0.001, 0.01, 0.1, 0.5]",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=SHARE,
    help="Shares of the rows with a value. [default: seven from 0.005 to 0.3]",
)
@click.option(
    "--intervals", type=COUNT, default=20, show_default=True, help="Intervals of each width."
)
@click.option("--queries", type=COUNT, default=100, show_default=True, help="Under each filter.")
@click.option("--index", type=FOLDER, help="Keep the index in this folder, and take it from there.")
@rounds_option
@proof_options
def oracles(
    workload: str,
    data: Path | None,
    ranged: str,
    labelled: tuple[str, ...],
    widths: tuple[float, ...],
    sizes: tuple[float, ...],
    intervals: int,
    queries: int,
    index: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Compare filtered search with an index of just the rows that pass.

    Intervals, values, and both together: how many times slower the index of all rows is under
    the filter than an oracle that holds nothing else, and the recall of both. Oracles are built
    one after another and dropped: with the default options that takes tens of minutes.

    \b
      fanns bench oracles --data DIR --check -o proofs
      fanns bench oracles --workload synthetic-20000x64 --intervals 2 --size 0.1
    """
    from fanns.bench.proofs import oracle_cells, oracles_judged
    from fanns.bench.proofs.oracles import measure
    from fanns.bench.proofs.rows import index_over, rows_of

    rows = rows_of(workload, data).first(queries)
    labels = labelled or LABELLED
    widths, sizes = widths or oracle_cells.WIDTHS, sizes or oracle_cells.SIZES
    assert rows.attributes is not None  # every workload has some, be it of no column
    cells = oracle_cells.cells(rows.attributes, ranged, labels, intervals, widths, sizes)
    columns = list(dict.fromkeys([ranged, *labels]))
    graphs = {"range_index": [ranged], "label_index": list(dict.fromkeys(labels))}
    with (
        progress(rest["quiet"]) as report,
        index_over(rows, index, columns, **graphs) as held,
    ):
        measured = list(measure(held, rows, cells, rounds, report))
    setting = (
        f"{rows.told} under each of {len(cells)} filters; {rounds} interleaved rounds. Range "
        f"graph: {ranged}. Label graphs: {', '.join(labels)}."
    )
    end(oracles_judged.judge(measured, [setting], widths, sizes), **rest)
