"""Writing fvecs and ivecs: every row is an int32 with its length, then its values, little-endian.

`fanns.bench.formats.vecs` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 14  # rows at a time


class Lists(NamedTuple):
    """Rows of variable length: row i is `values[offsets[i]:offsets[i + 1]]`.

    values int32[total], offsets int64[rows + 1].
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]


def write_fvecs(path: Path, vectors: NDArray[np.floating] | Iterable[NDArray[np.floating]]) -> Path:
    """Writes vectors [n, d] as float32: one array, or blocks of rows one after another."""
    with path.open("wb") as file:
        for block in [vectors] if isinstance(vectors, np.ndarray) else vectors:
            for start in range(0, len(block), _BLOCK):
                part = block[start : start + _BLOCK]
                rows = np.empty((len(part), part.shape[1] + 1), "<f4")
                rows[:, 1:] = part
                rows.view("<i4")[:, 0] = part.shape[1]
                rows.tofile(file)
    return path


def write_ivecs(path: Path, lists: Lists) -> Path:
    """Writes rows of their own lengths, without padding."""
    counts = np.diff(lists.offsets)
    words = np.empty(len(lists.values) + len(counts), "<i4")
    heads = lists.offsets[:-1] + np.arange(len(counts))
    body = np.ones(len(words), bool)
    body[heads] = False
    words[heads], words[body] = counts, lists.values
    words.tofile(path)
    return path
