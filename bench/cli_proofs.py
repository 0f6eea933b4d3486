"""The commands of `fanns bench` that show one thing each, with bars that are met or missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fanns.bench.cli_proof_options import (
    COUNT,
    FOLDER,
    end,
    home_option,
    keep_option,
    large_set,
    proof_options,
    rounds_option,
    sets_options,
    workload_options,
)
from fanns.cli_options import progress

ROWS, PASSING = (100_000, 1_000_000), (1_000, 10_000)


@click.command()
@click.option(
    "--rows", type=COUNT, default=100_000, show_default=True, help="Rows to scan, simulated."
)
@click.option("--dimensions", type=COUNT, default=384, show_default=True, help="Of the vectors.")
@click.option(
    "--int8-rows",
    type=COUNT,
    help="Rows of the int8 scan. [default: codes of twice the last cache]",
)
@click.option(
    "--half-keys",
    type=click.IntRange(min=6),
    default=1_000,
    show_default=True,
    help="Of each of two tables; all their pairs are the keys.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="For each comparison.",
)
@rounds_option
@proof_options
def kernels(
    rows: int,
    dimensions: int,
    int8_rows: int | None,
    half_keys: int,
    seconds: float,
    rounds: int,
    **rest: Any,
) -> None:
    """Measure single kernels, against memory and faiss's.

    On one core: the masked int8 scan against reading as many bytes in order, the 4-bit and
    one-bit scans against faiss's IndexPQFastScan and IndexRaBitQFastScan, product keys against
    scanning all pairs.

    \b
      fanns bench kernels --check
    """
    from fanns.bench.proofs import kernels as proof
    from fanns.bench.proofs.kernel_int8 import rows_beyond_caches
    from fanns.bench.proofs.kernel_rates import Pace

    sizes = proof.Sizes(rows, dimensions, int8_rows or rows_beyond_caches(dimensions), half_keys)
    with progress(rest["quiet"]) as report:
        found = proof.run(sizes, Pace(rounds, seconds), report)
    end(found, **rest)


@click.command()
@workload_options
@click.option("--queries", type=COUNT, default=100, show_default=True, help="Queries of each cell.")
@click.option("-k", "ks", multiple=True, type=COUNT, help="Neighbours. [default: 1, 10, 100]")
@click.option(
    "--recall",
    "recalls",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Recall targets. [default: 0.9, 0.95, 0.99]",
)
@click.option(
    "--selectivity",
    "selectivities",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Shares of the rows that pass. [default: ten from 0.001 to 1]",
)
@click.option("--index", type=FOLDER, help="Keep the index in this folder, and take it from there.")
@rounds_option
@proof_options
def grid(
    workload: str,
    data: Path | None,
    queries: int,
    ks: tuple[int, ...],
    recalls: tuple[float, ...],
    selectivities: tuple[float, ...],
    index: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Compare the planner's choices with every access path.

    Over selectivity x correlation x k x recall: whether the path of the least predicted cost is
    the fastest one, how much slower the chosen plan is than the fastest, and its recall.

    \b
      fanns bench grid --data DIR --check -o proofs
      fanns bench grid --workload synthetic-20000x64 --queries 20
    """
    from fanns.bench.proofs import grid_judged
    from fanns.bench.proofs.grid import KS, RECALLS, SELECTIVITIES, Axes, measure
    from fanns.bench.proofs.rows import index_over, rows_of

    rows = rows_of(workload, data).first(queries)
    axes = Axes(selectivities or SELECTIVITIES, ks or KS, recalls or RECALLS)
    with progress(rest["quiet"]) as report, index_over(rows, index) as held:
        measured = list(measure(held, rows, axes, rounds, report))
    setting = f"{rows.told}; {rounds} interleaved rounds, one thread."
    end(grid_judged.judge(measured, [setting]), **rest)


@click.command()
@sets_options("100000 and 1000000")
@click.option(
    "--passing", multiple=True, type=COUNT, help="Rows that pass. [default: 1000 and 10000]"
)
@click.option(
    "--queries", type=COUNT, default=100, show_default=True, help="Queries of each measurement."
)
@home_option
@rounds_option
@proof_options
def scaling(
    sets: tuple[int, ...],
    dimensions: int,
    passing: tuple[int, ...],
    queries: int,
    home: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Show that work follows the rows that pass, not all rows.

    As many passing rows in a small set and in a large one: rows scored, bytes read, time. Making
    the default sets takes several minutes and 6 GB of disk, once.

    \b
      fanns bench scaling --check -o proofs
    """
    from fanns.bench.proofs import scaling as proof

    sizes = passing or PASSING
    with progress(rest["quiet"]) as report:
        made = [
            large_set(rows, dimensions, sizes, home, report) for rows in sorted(set(sets or ROWS))
        ]
        places = proof.measure(made, sizes, queries, rounds, report)
    setting = f"Simulated rows of {dimensions} dimensions; {queries} queries, {rounds} rounds."
    end(proof.judge(places, [setting]), **rest)


@click.command()
@click.option("--rows", type=COUNT, default=100_000, show_default=True, help="Rows of the index.")
@click.option("--dimensions", type=COUNT, default=384, show_default=True, help="Of the vectors.")
@click.option("--queries", type=COUNT, default=200, show_default=True, help="To search with.")
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="To ask for and to reach.",
)
@click.option(
    "--limit", metavar="MB", type=COUNT, default=150, show_default=True, help="Of private memory."
)
@keep_option
@home_option
@proof_options
def memory(
    rows: int,
    dimensions: int,
    queries: int,
    recall: float,
    limit: int,
    keep_index: bool,
    home: Path | None,
    **rest: Any,
) -> None:
    """Show how little private memory searching from disk takes.

    A process of its own opens an index and searches it, with and without filters: what it holds
    above `import fanns`, and its recall. Nearly all of its time goes into building the index, anew
    whenever code changed: a minute or two for the default, a quarter of an hour for a million rows
    (6 GB of disk). --keep-index searches the one that is there.

    \b
      fanns bench memory --check
      fanns bench memory --rows 1000000 --check -o proofs
    """
    from fanns.bench.proofs import memory as proof

    with progress(rest["quiet"]) as report:
        held = large_set(rows, dimensions, PASSING, home, report, keep_index)
        measured = proof.measure(held, min(PASSING[-1], rows), queries, recall, report)
    setting = f"{rows:,} simulated rows of {dimensions} dimensions; {queries} queries."
    end(proof.judge(measured, recall, limit * 10**6, [setting]), **rest)
