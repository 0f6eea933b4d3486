"""Rows read back out of segments, in the order given, to be built into a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from fanns.building import Recipe, compact_vectors
from fanns.ingest import Ingest
from fanns.live import are_live
from fanns.segment import Segment
from fanns.selection import Selection


def gather(
    recipe: Recipe, parts: Sequence[tuple[Segment, Selection]], more: Ingest | None = None
) -> Ingest:
    """Rows of segments, and a further batch after them, as one batch.

    Vectors are as the segments hold them: float16 under `keep_originals=False`, and within float32
    rounding where they were held by coordinates in a subspace.
    """
    batches = [_read(recipe, segment, rows) for segment, rows in parts if rows.count]
    if more is not None:
        batches.append(more)
    elif not batches:
        batches = [_read(recipe, *parts[0])]
    if len(batches) == 1:
        return batches[0]
    vectors = [batch.vectors for batch in batches]
    if not recipe.keep_originals and any(part.dtype == np.float16 for part in vectors):
        vectors = [compact_vectors(part, recipe.metric) for part in vectors]
    ids = [batch.ids for batch in batches]
    whole = isinstance(ids[0], np.ndarray)
    return replace(
        batches[-1],
        ids=np.concatenate(ids) if whole else pa.concat_arrays(ids),
        vectors=np.concatenate(vectors),
        attributes=pa.concat_tables([batch.attributes for batch in batches]),
        stored=pa.concat_tables([batch.stored for batch in batches]),
    )


def _read(recipe: Recipe, segment: Segment, selected: Selection) -> Ingest:
    """Some rows of one segment."""
    rows = segment.given_order
    if not selected.is_all:
        rows = rows[are_live(selected, rows)]
    strings = recipe.id_kind == "string"
    ids = segment.ids.take_arrow(rows).cast(pa.large_string()) if strings else None
    return Ingest(
        ids=np.asarray(segment.ids.take(rows)) if ids is None else ids,
        vectors=segment.originals(rows),
        attributes=_columns(recipe, segment, recipe.attributes, rows),
        stored=_columns(recipe, segment, recipe.stored, rows),
        schema=dict(recipe.schema),
        vector=recipe.vector_name,
        id=None if recipe.generated else recipe.id_name,
        model=recipe.model,
    )


def _columns(recipe: Recipe, segment: Segment, names: Sequence[str], rows: np.ndarray) -> pa.Table:
    kinds = {name: recipe.schema[name].to_arrow() for name in names}
    values = [segment.column(name, rows).cast(kind) for name, kind in kinds.items()]
    return pa.Table.from_arrays(values, schema=pa.schema(list(kinds.items())))
