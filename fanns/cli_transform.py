"""The command that fits transforms to vectors in Parquet files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from fanns.cli_options import progress, quiet_option, say
from fanns.errors import InputError
from fanns.ingest import split
from fanns.parquet_source import ParquetSource
from fanns.transforms import (
    PCA,
    InnerProductToL2,
    Sketch,
    StreamingPCA,
    Transform,
    Transforms,
    Whitening,
)

ROW_BYTES = 16_384
"""What a row may take while it is read: batches of some thousand vectors."""


def _sketched(batches: Any, width: int, centre: bool) -> Transform:
    return PCA.of_moments(Sketch.fit(batches), width, centre=centre)


FITS = {
    "pca": lambda batches, width, centre: PCA.fit(batches, width, centre=centre),
    "whiten": lambda batches, width, centre: Whitening.fit(batches, width, centre=centre),
    "streaming-pca": lambda batches, width, _: StreamingPCA.fit(batches, width),
    "sketch": _sketched,
}
BY_LENGTH = "ip-to-l2"


@click.group()
def transform() -> None:
    """Transforms that vectors go through before they are held."""


@transform.command()
@click.argument("kind", type=click.Choice([*FITS, BY_LENGTH]))
@click.argument("data", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--vector", help="Column of vectors. Default: the only one that can be it.")
@click.option("--width", type=int, help="Components to keep; not for ip-to-l2.")
@click.option(
    "--no-centre", is_flag=True, help="About the origin, not the mean: for inner products."
)
@click.option(
    "--slack", type=float, default=0.0, show_default=True, help="Room for longer rows, of ip-to-l2."
)
@click.option("--overwrite", is_flag=True, help="Replace a transform at the output.")
@quiet_option
def fit(
    kind: str,
    data: tuple[str, ...],
    output: Path,
    vector: str | None,
    width: int | None,
    no_centre: bool,
    slack: float,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Fit a transform to the vectors of Parquet files, for fanns build --transform.

    KIND is pca, whiten, streaming-pca (for so many dimensions that d x d numbers are a burden),
    sketch (components of an oblivious sketch) or ip-to-l2 (rows of one length, so that the nearest
    by Euclidean distance has the largest inner product). DATA is files, folders or patterns.
    """
    if (kind == BY_LENGTH) != (width is None):
        raise click.UsageError(f"--width is for {', '.join(FITS)}, and they need it")
    if no_centre and kind in ("streaming-pca", BY_LENGTH):
        raise click.UsageError(f"--no-centre is not for {kind}")
    if slack and kind != BY_LENGTH:
        raise click.UsageError(f"--slack is for {BY_LENGTH}")
    source = ParquetSource.of(list(data))
    if source is None:
        raise InputError(f"{', '.join(data)}: no Parquet files")
    with progress(quiet) as report:
        batches = _batches(source, vector, report)
        made: Transform
        if width is None:
            made = InnerProductToL2.fit(batches, slack=slack)
        else:
            made = FITS[kind](batches, width, not no_centre)
    Transforms([made]).save(output, overwrite=overwrite)
    say(f"{output}: {Transforms([made]).told()[0]}, of {source.rows:,} rows", quiet)


def _batches(source: ParquetSource, vector: str | None, report: Any) -> Iterator[np.ndarray]:
    """The vectors, batch by batch."""
    columns = None if vector is None else [vector]
    if vector is not None and vector not in source.schema.names:
        raise InputError(f"no column {vector!r}; there are {', '.join(source.schema.names)}")
    for start, table in source.batches(columns, row_bytes=ROW_BYTES):
        part = split(table, vector, None, (), (), start)
        columns, vector = [part.vector], part.vector
        yield part.vectors
        if report is not None:
            report("fit", start + len(table), source.rows)
