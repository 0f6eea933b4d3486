"""Rows of a table as an index holds them: checked, and through its transforms."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from fanns.errors import InputError
from fanns.ingest import Ingest
from fanns.kernels.distance import L2, METRICS
from fanns.transforms import Transforms
from fanns.transforms_base import Namer
from fanns.vectors import check_vectors


def hold_rows(
    ingest: Ingest, transforms: Transforms, metric: str, threads: int, start: int = 0
) -> Ingest:
    """The rows as they are held, after every one was checked.

    Args:
        metric: of the held vectors.
        start: the number of the first row, for messages.

    Raises:
        InputError: a vector holds NaN or infinity, or is zero under cosine, or cannot be
            transformed; the message names row and id.
    """
    name = namer(ingest, start)
    if not transforms:
        check_vectors(ingest.vectors, METRICS[metric], threads, name)
        return ingest
    dimensions = ingest.vectors.shape[1]
    if dimensions != transforms.dimensions:
        raise InputError(
            f"vectors have {dimensions} dimensions, the first transform"
            f" ({transforms.steps[0].kind}) takes {transforms.dimensions}"
        )
    check_vectors(ingest.vectors, L2, threads, name)
    vectors = transforms.rows(ingest.vectors, name, threads)
    check_vectors(
        vectors, METRICS[metric], threads, lambda row: f"{name(row)}, once it is transformed,"
    )
    return replace(ingest, vectors=vectors)


def namer(ingest: Ingest, start: int) -> Namer:
    """How messages name rows, of which the first has the number `start`."""

    def name(row: int) -> str:
        if ingest.id is None:
            return f"row {start + row}"
        key = ingest.ids[row]
        return f"row {start + row} (id {key.as_py() if isinstance(key, pa.Scalar) else int(key)!r})"

    return name
