"""The command `fanns bench gpu`: filtered search on a GPU, beside the CPU's paths and peers."""

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
SCANNED = 2_000_000
CHECKING = 0.3  # of what is left, that the memory check may take


@click.command()
@click.option("--rows", type=COUNT, default=250_000, show_default=True, help="Of the set.")
@click.option("--dimensions", type=COUNT, default=384, show_default=True, help="Of the vectors.")
@click.option(
    "--scan-rows",
    type=COUNT,
    help="Of the scans whose bandwidth is measured, which more rows fill better. "
    f"[default: {SCANNED:,}; as many as --rows in the simulator]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=COUNT,
    help="Queries of a call; give several. [default: 1, 100 and 10000]",
)
@click.option("--queries", type=COUNT, default=100, show_default=True, help="That differ.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="A peer that answers batches; give several, or none. [default: those of faiss and cuVS]",
)
@click.option("--device-memory", metavar="SIZE", help='Most to take of the device, such as "20GB".')
@click.option(
    "--time-limit",
    type=click.FloatRange(min=1),
    default=540,
    show_default=True,
    help="Seconds; what is costliest is left out, and told.",
)
@click.option("--memory-check", is_flag=True, help="Also search under NVIDIA's compute-sanitizer.")
@keep_option
@home_option
@rounds_option
@proof_options
def gpu(
    rows: int,
    dimensions: int,
    scan_rows: int | None,
    batches: tuple[int, ...],
    queries: int,
    engines: tuple[str, ...],
    device_memory: str | None,
    time_limit: float,
    memory_check: bool,
    keep_index: bool,
    home: Path | None,
    rounds: int,
    **rest: Any,
) -> None:
    """Show what a GPU answers, and how much of its memory's bandwidth scans use.

    Without a filter, by chance, by value, interval, list and several of these, near the query and
    far from it; one filter for all queries of a batch and one for each: queries a second at recall
    .95 on the GPU, on the CPU and by faiss and cuVS where they are installed, time on the device
    apart from end to end, builds, and the bandwidth of scans.

    \b
      fanns bench gpu -o proofs
      fanns bench gpu --rows 1000000 --batch 1000 --engine none
      fanns bench gpu --memory-check --time-limit 300
    """
    from fanns.bench.proofs import gpu as proof
    from fanns.bench.proofs import gpu_asks, gpu_builds, gpu_memory, gpu_peers, kernel_gpu
    from fanns.bench.proofs.gpu_runs import Clock

    clock = Clock(time_limit)
    chip = kernel_gpu.chip()  # before anything is built
    peers = [] if engines == ("none",) else engines or gpu_peers.PEERS
    with progress(rest["quiet"]) as report:
        held = large_set(rows, dimensions, gpu_asks.groups(rows), home, report, keep_index)
        scanned = scan_rows or kernel_gpu.scanned(rows, SCANNED)
        bandwidths = kernel_gpu.measure(scanned, dimensions, rounds)
        checked = gpu_memory.check(max(1.0, CHECKING * clock.left)) if memory_check else []
        builds = gpu_builds.measure(held, kernel_gpu.BUILDS, kernel_gpu.BUILT)
        asks, told = gpu_asks.asks(held, queries, report)
        measured = proof.run(
            held, asks, peers, sorted(set(batches or BATCHES)), rounds, clock,
            kernel_gpu.device_seconds, device_memory, report,
        )  # fmt: skip
    setting = [
        f"{rows:,} simulated rows of {dimensions} dimensions, {queries} queries, up to {rounds} "
        f"rounds within {time_limit:,.0f} s; bandwidth of scans over {scanned:,} rows.",
        kernel_gpu.TIMED,
        *told,
    ]
    end(proof.judge(chip, measured, bandwidths, builds, checked, setting), **rest)
