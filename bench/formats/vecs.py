"""Reading fvecs and ivecs: every row is an int32 with its length, then its values, little-endian.

Rows of fvecs have one length. Rows of ivecs may be shorter than others, or padded with -1.
`fanns.datasets.vecs` writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanns.bench.formats.hostile import header, mapped, size_of, wrong
from fanns.datasets.vecs import Lists

_BLOCK = 1 << 14  # rows at a time


def read_fvecs(path: Path) -> NDArray[np.float32]:
    """Vectors [n, d], mapped: a view of the file that skips the lengths. An empty file: [0, 0]."""
    size = size_of(path)
    if size == 0:
        return np.empty((0, 0), np.float32)
    (dimensions,) = header(path, "<i4", 1)
    width = 4 * (dimensions + 1)
    if size % width:
        found = f"{size:,} bytes, {size % width} too many"
        raise wrong(path, size - size % width, f"rows of {width:,} bytes", found)
    words = mapped(path, "<i4", 0, (size // width, dimensions + 1))
    for start in range(0, len(words), _BLOCK):
        other = words[start : start + _BLOCK, 0] != dimensions
        if other.any():
            row = start + int(other.argmax())
            raise wrong(path, row * width, f"a row of length {dimensions}", int(words[row, 0]))
    return words.view("<f4")[:, 1:]


def read_ivecs(path: Path) -> Lists:
    """Rows of row numbers; a row ends where its values become negative."""
    size = size_of(path)
    if size % 4:
        raise wrong(path, size - size % 4, "a multiple of 4 bytes", f"{size:,}")
    words = mapped(path, "<i4", 0, (size // 4,))
    starts, counts = _rows(path, words)
    total = int(counts.sum())
    places = np.arange(total) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    values, owner = words[places], np.repeat(np.arange(len(counts)), counts)
    used = values >= 0
    late = used[1:] & ~used[:-1] & (owner[1:] == owner[:-1])
    if late.any():
        at = int(late.argmax()) + 1
        raise wrong(path, 4 * int(places[at]), "padding up to the end of the row", int(values[at]))
    kept = np.bincount(owner[used], minlength=len(counts))
    return Lists(values[used], np.concatenate([[0], kept.cumsum()]).astype(np.int64))


def _rows(path: Path, words: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the values of every row start, in words, and how many they are."""
    if len(words) and words[0] >= 0 and len(words) % (int(words[0]) + 1) == 0:
        table = words.reshape(-1, int(words[0]) + 1)
        if (table[:, 0] == words[0]).all():  # the common case: one length
            starts = np.arange(len(table), dtype=np.int64) * table.shape[1] + 1
            return starts, np.full(len(table), int(words[0]), np.int64)
    found, counts, at = [], [], 0
    while at < len(words):
        count = int(words[at])
        if not 0 <= count < len(words) - at:
            left = len(words) - at - 1
            raise wrong(path, 4 * at, f"a row of 0 to {left} values, which are left", count)
        found.append(at + 1)
        counts.append(count)
        at += count + 1
    return np.array(found, np.int64), np.array(counts, np.int64)
