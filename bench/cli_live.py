"""The command `fanns bench live`: writes beside searches, beside peers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from fanns.bench.cli_proof_options import (
    COUNT,
    end,
    proof_options,
    rounds_option,
    workload_options,
)
from fanns.cli_options import progress


@click.command()
@workload_options
@click.option(
    "--engine",
    "engines",
    multiple=True,
    help='Engines, as the tables name them ("fanns, deferred"). [default: all]',
)
@click.option("--rows", type=COUNT, default=30_000, show_default=True, help="Rows to begin with.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Of each phase.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    help="Searches a second.",
)
@rounds_option
@proof_options
def live(
    workload: str,
    data: Path | None,
    engines: tuple[str, ...],
    rows: int,
    seconds: float,
    rate: float,
    rounds: int,
    **rest: Any,
) -> None:
    """Write and search at once, beside LanceDB, zvec and hnswlib.

    Inserts and updates a second, latencies of searches beside them and beside merges; and whether
    an index of which half was replaced is as fast, right and small as one that was built anew.

    \b
      fanns bench live --data DIR -o proofs
      fanns bench live --workload synthetic-20000x64 --rows 5000 --rounds 2
    """
    from fanns.bench.proofs import live as proof
    from fanns.bench.proofs.live_engines import LIVING
    from fanns.bench.proofs.rows import rows_of

    unknown = set(engines) - set(LIVING)
    if unknown:
        raise click.UsageError(f"no engine {sorted(unknown)[0]!r}: {'; '.join(LIVING)}")
    held = rows_of(workload, data).first(200)
    if len(held.vectors) < 2 * rows:
        raise click.UsageError(f"--rows {rows}: the workload has {len(held.vectors):,}, not twice")
    mixed = proof.Mixed(rows, rounds, seconds, rate)
    with progress(rest["quiet"]) as report, tempfile.TemporaryDirectory(prefix="fanns-") as scratch:
        place = Path(scratch)
        told = proof.measure(held, engines or tuple(LIVING), mixed, place / "live", report)
        replaced = proof.replace_half(held, rows, place, rounds, 2 * seconds)
    setting = (
        f"{held.told}; {rows:,} to begin with, {rounds} rounds, {seconds:g} s a phase, "
        f"{rate:g} searches a second."
    )
    end(proof.judge(told, replaced, [setting]), **rest)
