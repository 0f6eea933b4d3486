"""The command `fanns bench growth`: how the time of queries grows with the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fanns.bench.cli_proof_options import (
    COUNT,
    end,
    home_option,
    keep_option,
    large_set,
    proof_options,
    rounds_option,
    sets_options,
)
from fanns.cli_options import progress

ROWS = (10_000, 100_000, 1_000_000)


@click.command()
@sets_options("10000, 100000 and 1000000")
@click.option(
    "--range-index", is_flag=True, help="Give the column of the intervals a graph of its own."
)
@click.option("--queries", type=COUNT, default=100, show_default=True, help="Under each filter.")
@keep_option
@home_option
@rounds_option
@proof_options
def growth(
    sets: tuple[int, ...],
    dimensions: int,
    range_index: bool,
    queries: int,
    keep_index: bool,
    home: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Show how queries a second fall as the rows grow.

    Without a filter, and under groups drawn by chance and intervals that pass 1 % and 10 % of the
    rows, at recall 0.95; with the exponent of time against rows. Making the default sets takes
    several minutes and 6 GB of disk, once.

    \b
      fanns bench growth -o proofs
      fanns bench growth --rows 2000 --rows 20000 --dimensions 64
    """
    from fanns.bench.proofs import growth as proof

    ranged = [proof.COLUMN] if range_index else []
    with progress(rest["quiet"]) as report:
        made = [
            large_set(rows, dimensions, proof.groups(rows), home, report, keep_index, ranged)
            for rows in sorted(set(sets or ROWS))
        ]
        places = proof.measure(made, queries, rounds, report)
    graph = f"with a range graph of {proof.COLUMN}" if range_index else "without column graphs"
    setting = (
        f"Simulated rows of {dimensions} dimensions, {graph}; {queries} queries, {rounds} rounds."
    )
    end(proof.judge(places, [setting]), **rest)
