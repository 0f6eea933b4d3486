"""Some rows of Parquet files, as a segment is built of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from fanns.building import Recipe
from fanns.errors import InputError
from fanns.ingest import Ingest, split
from fanns.parquet_source import ParquetSource


def read_rows(source: ParquetSource, recipe: Recipe, start: int, stop: int) -> Ingest:
    """Rows start..stop of the files, taken apart, in memory of their own.

    Raises:
        InputError: the file is not as it was when it was surveyed.
    """
    vectors = np.empty((stop - start, recipe.dimensions), recipe.dtype)
    columns = [recipe.vector_name, *recipe.attributes, *recipe.stored]
    id = None if recipe.generated else recipe.id_name
    parts: list[Ingest] = []
    batches = source.batches(
        columns if id is None else [id, *columns], start, stop, recipe.row_bytes
    )
    for at, table in batches:
        part = split(
            table,
            vector=recipe.vector_name,
            id=id,
            attributes=recipe.attributes,
            store=recipe.stored,
            start=at,
        )
        if part.vectors.shape[1] != recipe.given_dimensions:
            raise InputError(f"rows from {at} on have vectors of another length than before")
        held = part.vectors
        if recipe.transforms:
            held = recipe.transforms.rows(held, threads=recipe.threads)
        vectors[at - start : at - start + len(held)] = held
        parts.append(replace(part, vectors=vectors[:0]))
    if not parts:
        part = split(source.empty(), recipe.vector_name, id, recipe.attributes, recipe.stored)
        return replace(part, vectors=vectors)
    return replace(joined_rows(parts), vectors=vectors)


def joined_rows(parts: list[Ingest]) -> Ingest:
    """Rows of several tables as those of one."""
    ids = [part.ids for part in parts]
    return replace(
        parts[0],
        ids=np.concatenate(ids) if isinstance(ids[0], np.ndarray) else pa.concat_arrays(ids),
        vectors=np.concatenate([part.vectors for part in parts]),
        attributes=pa.concat_tables([part.attributes for part in parts]),
        stored=pa.concat_tables([part.stored for part in parts]),
    )
