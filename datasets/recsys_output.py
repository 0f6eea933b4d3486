"""A fitted recommender as a data set: items and users with vectors, features and what they took.

items.parquet    id, embedding, features of the items, popularity (interactions in training)
users.parquet    id, embedding, features of the users, seen, valid, test (lists of items' ids)

`seen` is what training held: what a recommendation leaves out. An index over items.parquet answers
a user's vector by inner product.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

from . import dataset
from .recsys_interactions import Interactions
from .recsys_models import Fitted
from .recsys_readers import Source
from .recsys_splits import Split

OWN = ("embedding", "popularity", "seen", "valid", "test")


def write(
    path: str | os.PathLike[str],
    fitted: Fitted,
    source: Source,
    split: Split,
    metrics: dict[str, Any],
) -> Path:
    """Writes the folder; metrics go to the manifest as they are.

    Raises InputError for features whose names are needed here.
    """
    train = split.train.seen()
    lists = {"seen": train, "test": split.test.seen()}
    if split.valid is not None:
        lists["valid"] = split.valid.seen()
    users = with_vectors(source.users, train.user_ids, fitted.users)
    for name in ("seen", "valid", "test"):
        if name in lists:
            users = users.append_column(name, taken(lists[name]))
    items = with_vectors(source.items, train.item_ids, fitted.items)
    items = items.append_column("popularity", pa.array(train.item_counts, pa.int32()))
    made = dataset.Dataset(
        items,
        users=users,
        seed=fitted.report.config.get("seed"),
        source=source.told,
        model=fitted.report.model,
        metric="ip",
    )
    details = {
        "fit": fitted.report.as_json(),
        "split": split.told,
        "data_hash": source.interactions.data_hash,
        "metrics": metrics,
    }
    return dataset.write(made, path, details=details)


def taken(rows: Interactions) -> pa.Array:
    """A list for each user: the ids of their items."""
    ids = rows.item_ids.take(pa.array(rows.indices))
    return pa.LargeListArray.from_arrays(pa.array(rows.indptr), ids)


def with_vectors(
    features: pa.Table | None, ids: pa.Array, vectors: NDArray[np.float32]
) -> pa.Table:
    """Features with the column `embedding` after `id`; of ids alone where there are none.

    Raises InputError for features whose names are needed here.
    """
    rows = pa.table({"id": ids}) if features is None else features
    if clash := sorted(set(OWN) & set(rows.column_names)):
        raise InputError(f"a feature is named {clash[0]!r}, which is needed here: rename it")
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return rows.add_column(1, "embedding", lists)
