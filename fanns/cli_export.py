"""The commands that carry an index to Parquet and back: export, import."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import numpy as np

from fanns.cli_options import INDEX, progress, quiet_option, read_vectors, say, threads_option
from fanns.errors import IndexExistsError


@click.command()
@INDEX
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace a file of this name.")
@click.option(
    "--held",
    is_flag=True,
    help="Of an index without originals, write the float16 vectors that it holds.",
)
@click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    help="Rows held in memory at a time. Default: 10,000.",
)
@quiet_option
def export(
    index: Path, file: Path, overwrite: bool, held: bool, batch_rows: int | None, quiet: bool
) -> None:
    """Write all rows of an index to one Parquet file.

    FILE has ids, vectors and all columns in their types, for any reader of Parquet, and what
    `fanns import` needs to restore the index. It appears complete, or not at all.
    """
    import fanns
    from fanns.exporting import BATCH_ROWS

    try:
        with fanns.open(index) as opened, progress(quiet) as report:
            rows = opened.export(
                file,
                overwrite=overwrite,
                held=held,
                batch_rows=batch_rows or BATCH_ROWS,
                progress=report,
            )
    except IndexExistsError as error:
        raise IndexExistsError(f"{file} exists; choose another path, or --overwrite") from error
    say(f"exported {rows:,} rows; back: fanns import {shlex.quote(str(file))} -o DIR", quiet)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory of the new index.",
)
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sample queries (.npy) to calibrate the recall target on.",
)
@click.option("--overwrite", is_flag=True, help="Replace an index at the output.")
@threads_option(None, "Threads of the build. Default: all cores.")
@quiet_option
def import_(
    file: Path,
    output: Path,
    queries: Path | None,
    overwrite: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Restore an index from a file that `fanns export` wrote.

    Ids, vectors, columns, metric and options of the build are as they were; codes and graph are
    built anew.
    """
    from fanns import Index

    sample = None if queries is None else np.atleast_2d(read_vectors(queries))
    try:
        with progress(quiet) as report:
            index = Index.import_(
                file,
                output,
                overwrite=overwrite,
                queries=sample,
                threads=threads,
                progress=report,
            )
    except IndexExistsError as error:
        raise IndexExistsError(f"{output} exists; choose another path, or --overwrite") from error
    say(f"imported {len(index):,} rows into {output}", quiet)
