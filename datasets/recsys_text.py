"""Item vectors from what items are called and described by, and user vectors from their items.

Encoders, by name:
    tf-idf    words and pairs of words, weighted, by their main directions: no model, no training
    static    word vectors trained on the items' own texts (see `static_embedding`)
    others    sentence-transformers models (see `encoders`)

Vectors have unit length. A user is the mean of their items, of unit length as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions

Floats = NDArray[np.float32]
TF_IDF, STATIC = "tf-idf", "static"


@dataclass(frozen=True)
class Settings:
    """What of an item is read, and by whom.

    Attributes:
        text: columns, joined by ". "; None takes all of strings and lists of strings.
        encoder: see the module's head. dimensions: of tf-idf and static; of others, where to cut.
        seed: of what is drawn.
    """

    text: tuple[str, ...] | None = None
    encoder: str = TF_IDF
    dimensions: int | None = None
    seed: int = 0


def vectors(features: pa.Table | None, settings: Settings) -> Floats:
    """float32[n_items, d] of unit length; an item without words may have zeros.

    Raises InputError where there are no texts; MissingDependencyError without what encodes them.
    """
    words = texts(features, settings.text)
    if settings.encoder == TF_IDF:
        return tf_idf(words, settings.dimensions or 256, settings.seed)
    from . import encoders

    if settings.encoder != STATIC:
        encoder = encoders.load(settings.encoder, dimensions=settings.dimensions)
        return encoder.documents(words)
    from .static_embedding import Training, train

    size = {} if settings.dimensions is None else {"dimensions": settings.dimensions}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "texts.parquet")
        pq.write_table(pa.table({"text": words}), source)
        training = Training(seed=settings.seed, **size)
        made = train([source], _column, Path(folder, "encoder"), training)
        return encoders.load(str(made)).documents(words)


def _column(table: pa.Table) -> list[str]:
    found: list[str] = table["text"].to_pylist()
    return found


def texts(features: pa.Table | None, columns: Sequence[str] | None = None) -> list[str]:
    """One text for each row: these columns, joined, nulls left out."""
    if features is None:
        raise InputError(
            "the items have no features: put items.parquet with `id` and texts beside the "
            "interactions"
        )
    if columns is None:
        columns = [f.name for f in features.schema if f.name != "id" and _readable(f.type)]
    if missing := [name for name in columns if name not in features.column_names]:
        raise InputError(
            f"items have no column {missing[0]!r}; they have {', '.join(features.column_names)}"
        )
    if not columns:
        raise InputError("items have no column of texts: name some, or choose another model")
    parts = [features[name].to_pylist() for name in columns]
    return [". ".join(_said(p) for p in row if p) for row in zip(*parts, strict=True)]


def _readable(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _said(part: object) -> str:
    return " ".join(map(str, part)) if isinstance(part, list) else str(part)


def tf_idf(words: Sequence[str], dimensions: int, seed: int, least: int = 3) -> Floats:
    """Weighted words and pairs of words, by their first singular vectors (latent semantics).

    float32[n, d] of unit length, d at most `dimensions`. least: texts that a word must occur in;
    1 where that leaves nothing.
    """
    from .recsys_sklearn import sklearn

    for enough in (least, 1):
        try:
            counted = sklearn.feature_extraction.text.TfidfVectorizer(
                ngram_range=(1, 2), min_df=min(enough, len(words)), sublinear_tf=True
            ).fit_transform(words)
            break
        except ValueError as error:  # no word is left
            problem = error
    else:
        raise InputError(f"the texts hold no words: {problem}") from problem
    most = min(counted.shape) - 1
    if most < 1:
        raise InputError("tf-idf needs at least two texts and two words")
    svd = sklearn.decomposition.TruncatedSVD(min(dimensions, most), random_state=seed)
    return unit(svd.fit_transform(counted))


def profiles(items: Floats, rows: Interactions) -> Floats:
    """float32[n_users, d], the mean of each user's items, of unit length; zeros without items."""
    return unit(rows.matrix() @ items)


def unit(rows: NDArray[np.floating]) -> Floats:
    """Rows of unit length, zeros left as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
