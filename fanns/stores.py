"""Native vector stores: compressed embedding tables that an index searches as they are.

    store = fanns.stores.QuotientRemainder((by_remainder, by_quotient), rows=1_000_000)
    index = fanns.Index.build(items, vectors=store, metric="ip")

A store is made of plain numpy arrays, saved to a folder and loaded from it without executing
anything. `decode(rows)` gives vectors back; searches do not use it but for the rows they answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fanns.bundles import read_bundle
from fanns.errors import CorruptIndexError, InputError
from fanns.stores_base import STEM, NativeStore
from fanns.stores_coded import Coded, hash_codes
from fanns.stores_masked import Masked
from fanns.stores_mixed import MixedDimension
from fanns.stores_quotient import QuotientRemainder

__all__ = [
    "FOLDER",
    "Coded",
    "Masked",
    "MixedDimension",
    "NativeStore",
    "QuotientRemainder",
    "hash_codes",
    "load",
    "restored",
]

FOLDER = "items.store"
"""Name of the folder beside `items.parquet` that holds the vectors of a data set."""

KINDS: dict[str, type[NativeStore]] = {
    kind.name: kind for kind in (QuotientRemainder, MixedDimension, Coded, Masked)
}


def load(folder: str | Path) -> NativeStore:
    """The store that `save` wrote to a folder, memory-mapped; every byte is compared first.

    Raises:
        NotAnIndexError: there is none. CorruptIndexError: it is damaged. StorageError.
    """
    try:
        return restored(*read_bundle(Path(folder), STEM))
    except InputError as error:
        raise CorruptIndexError(f"{folder}: {error}") from error


def restored(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
) -> NativeStore:
    """The store of a description and arrays, checked as far as kernels depend on them.

    Raises:
        InputError: they are no store.
    """
    kind = KINDS.get(str(description.get("kind")))
    if kind is None:
        raise InputError(f"no kind of store is {description.get('kind')!r:.40}")
    return kind.restore(description, arrays)
