"""The command `fanns bench gpu`: filtered search on a GPU, beside the CPU's paths."""

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
)
from fanns.cli_options import progress

BATCHES = (1, 100, 10_000)


@click.command()
@click.option("--rows", type=COUNT, default=1_000_000, show_default=True, help="Of the set.")
@click.option("--dimensions", type=COUNT, default=384, show_default=True, help="Of the vectors.")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=COUNT,
    help="Queries of a call; give several. [default: 1, 100 and 10000]",
)
@click.option("--queries", type=COUNT, default=200, show_default=True, help="That differ.")
@click.option("--device-memory", metavar="SIZE", help='Most to take of the device, such as "20GB".')
@keep_option
@home_option
@rounds_option
@proof_options
def gpu(
    rows: int,
    dimensions: int,
    batches: tuple[int, ...],
    queries: int,
    device_memory: str | None,
    keep_index: bool,
    home: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Show what a GPU answers, and how much of its memory's bandwidth scans use.

    Without a filter and under groups of 0.1 to 50 % of the rows, a group of its own for each query,
    in batches; the CPU's paths answer the same, on one thread.

    \b
      fanns bench gpu -o proofs
      fanns bench gpu --rows 100000 --batch 1000
    """
    from fanns.bench.proofs import gpu as proof
    from fanns.bench.proofs import kernel_gpu

    chip = kernel_gpu.chip()  # before anything is built
    with progress(rest["quiet"]) as report:
        held = large_set(rows, dimensions, proof.groups(rows), home, report, keep_index)
        places = proof.measure(
            held, queries, sorted(set(batches or BATCHES)), rounds, device_memory, report
        )
        bandwidths = kernel_gpu.measure(rows, dimensions, rounds)
    setting = f"{chip}: {rows:,} simulated rows of {dimensions} dimensions, {rounds} rounds."
    end(proof.judge(places, bandwidths, [setting]), **rest)
