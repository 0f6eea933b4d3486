"""Which rows of a segment are live: deleted ones stay where they are until they are compacted away.

A segment with deleted rows has an array `live/words`, the bitmap of the others; one without has
none, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fanns.errors import CorruptIndexError, InputError
from fanns.selection import Selection

LIVE = "live/words"


def load_live(arrays: Mapping[str, np.ndarray], n: int) -> Selection | None:
    """The live rows of a segment of n rows, None where all are.

    Raises:
        CorruptIndexError: the bitmap is none of n rows.
    """
    if LIVE not in arrays:
        return None
    try:
        return Selection.from_words(arrays[LIVE], n)
    except InputError as error:
        raise CorruptIndexError(f"{LIVE}: {error}") from error


def are_live(live: Selection, rows: np.ndarray) -> np.ndarray:
    """Whether each of the rows (int32[m], not negative) is live, bool[m]."""
    bits = (live.words()[rows >> 6] >> (rows & 63).astype(np.uint64)) & np.uint64(1)
    alive: np.ndarray = bits.astype(np.bool_)
    return alive
