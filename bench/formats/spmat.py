"""Tags as the filter track of the big-ann benchmarks keeps them: a sparse matrix in spmat form.

Little-endian: int64 rows, int64 columns, int64 entries; int64 offsets [rows + 1]; int32 column
numbers [entries]; float32 values [entries], which are 1 and are not read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.formats.hostile import exactly, header, mapped, wrong


class Tags(NamedTuple):
    """Numbers of tags: row i has `values[offsets[i]:offsets[i + 1]]`, each below `columns`.

    values int32[entries], offsets int64[rows + 1].
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]
    columns: int


def read(path: Path) -> Tags:
    """The tags of a file, memory-mapped."""
    rows, columns, entries = header(path, "<i8", 3)
    start = 24 + 8 * (rows + 1)
    exactly(path, start + 8 * entries, f"{rows:,} rows with {entries:,} entries")
    offsets = mapped(path, "<i8", 24, (rows + 1,))
    if offsets[0] != 0:
        raise wrong(path, 24, "a first offset of 0", int(offsets[0]))
    falling = offsets[1:] < offsets[:-1]
    if falling.any():
        at = int(falling.argmax()) + 1
        found = f"{int(offsets[at])} after {int(offsets[at - 1])}"
        raise wrong(path, 24 + 8 * at, "offsets that do not fall", found)
    if offsets[rows] != entries:
        raise wrong(path, 24 + 8 * rows, f"a last offset of {entries}", int(offsets[rows]))
    values = mapped(path, "<i4", start, (entries,))
    outside = (values < 0) | (values >= columns)
    if outside.any():
        at = int(outside.argmax())
        raise wrong(path, start + 4 * at, f"a column from 0 to {columns - 1}", int(values[at]))
    return Tags(values, offsets, columns)


def write(path: Path, tags: Tags) -> Path:
    """Writes tags, all values 1."""
    with path.open("wb") as file:
        np.array([len(tags.offsets) - 1, tags.columns, len(tags.values)], "<i8").tofile(file)
        tags.offsets.astype("<i8").tofile(file)
        tags.values.astype("<i4").tofile(file)
        np.ones(len(tags.values), "<f4").tofile(file)
    return path
