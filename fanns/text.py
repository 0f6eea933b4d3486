"""Text to query vectors, by the sentence-transformers model of an index (extra `text`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError, MissingDependencyError
from fanns.ingest import SIMULATED

TO_REAL_VECTORS = (
    "for real ones, embed your texts with a sentence-transformers model, save them as the column "
    "'embedding' of a Parquet file, and build with --model NAME (model=NAME in Python)"
)


def encode(
    texts: Sequence[str],
    model: str | None,
    dimensions: int | None = None,
    location: str | None = None,
) -> NDArray[np.float32]:
    """Query vectors float32[len(texts), d] of texts.

    model: the name recorded in the index. location: a folder or other name to load it from, for
        machines that keep it elsewhere. dimensions: what the index expects.

    The model's own "query" prompt is applied where it has one. A model in the local cache is used
    without asking the network.

    Raises InputError when no model is recorded, the vectors are simulated, the model cannot be
    loaded or gives other dimensions; MissingDependencyError without sentence-transformers.
    """
    name = location or model
    if model == SIMULATED:
        raise InputError(
            "the vectors of this index are simulated, not computed from its texts, so a text has "
            f"no place among them; {TO_REAL_VECTORS}. Query this one with a vector or by --like"
        )
    if name is None:
        raise InputError(
            "the index records no text encoder, so texts cannot become query vectors: build it "
            "with --model NAME, the sentence-transformers model its vectors came from, or give "
            "a vector"
        )
    encoder = _load(name)
    embed = getattr(encoder, "encode_query", encoder.encode)
    vectors = np.asarray(
        embed(list(texts), show_progress_bar=False, convert_to_numpy=True), np.float32
    )
    if dimensions is not None and vectors.shape[1] != dimensions:
        raise InputError(
            f"the model {name!r} gives {vectors.shape[1]} dimensions, but the index has "
            f"{dimensions}: it is not the model that its vectors came from"
        )
    return vectors


@lru_cache(maxsize=2)
def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError(
            "queries by text need sentence-transformers: pip install sentence-transformers "
            "(fanns's extra `text`)"
        ) from error
    try:
        return SentenceTransformer(name, local_files_only=True)
    except (OSError, ValueError):
        pass  # not on this machine yet: fetch it
    try:
        return SentenceTransformer(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the text encoder {name!r} cannot be loaded: {reason}; download it while online, or "
            "give the folder it lies in"
        ) from error
