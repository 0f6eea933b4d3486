"""Text to query vectors, by the encoder that an index records (extra `text`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fanns.datasets.encoder_names import moved
from fanns.datasets.encoders import Encoder, load
from fanns.errors import InputError
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
    trust_remote_code: bool = False,
) -> NDArray[np.float32]:
    """Query vectors float32[len(texts), d] of texts.

    model: what the index records: a model's name, with the options that its vectors were made
        with where those are not the model's own (`datasets.encoder_names`).
    location: a folder or other name to load the model from, for machines that keep it elsewhere;
        the recorded options hold.
    dimensions: what the index expects.
    trust_remote_code: run the Python code that some models come with.

    The model's own "query" prompt is applied where it has one and no other is recorded. A model in
    the local cache is used without asking the network.

    Raises InputError when no model is recorded, the vectors are simulated, the model cannot be
    loaded, is not the recorded one or gives other dimensions; MissingDependencyError without
    sentence-transformers.
    """
    if model == SIMULATED:
        raise InputError(
            "the vectors of this index are simulated, not computed from its texts, so a text has "
            f"no place among them; {TO_REAL_VECTORS}. Query this one with a vector or by --like"
        )
    if model is None and location is None:
        raise InputError(
            "the index records no text encoder, so texts cannot become query vectors: build it "
            "with --model NAME, the sentence-transformers model its vectors came from, or give "
            "a vector"
        )
    name = model if location is None else moved(model, location)
    assert name is not None
    encoder = _load(name, trust_remote_code)
    if dimensions is not None and encoder.dimensions != dimensions:
        raise InputError(
            f"the model {encoder.name!r} gives {encoder.dimensions} dimensions, but the index has "
            f"{dimensions}: it is not the model that its vectors came from"
        )
    return encoder.queries(texts)


@lru_cache(maxsize=2)
def _load(name: str, trust_remote_code: bool) -> Encoder:
    return load(name, trust_remote_code=trust_remote_code)
