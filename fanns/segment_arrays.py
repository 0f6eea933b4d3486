"""The arrays of a segment by name, from memory or from its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from fanns.stored_segment import SegmentFiles

# Name of the table of columns that are kept for display.
STORED = "stored"


class FileArrays(Mapping[str, np.ndarray]):
    """The arrays of a stored segment, mapped when asked for."""

    def __init__(self, files: SegmentFiles) -> None:
        self.files = files
        self._names = [name for name in files.names() if name != STORED]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.files.array(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Part(Mapping[str, np.ndarray]):
    """The arrays under one prefix, fetched when asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        self._arrays = arrays
        self._prefix = prefix + "/"

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        size = len(self._prefix)
        return (name[size:] for name in self._arrays if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def stored_table(files: SegmentFiles) -> pa.Table:
    """The columns of a stored segment that are kept for display; a table of none where it has none.

    Raises:
        CorruptIndexError: the table is damaged.
    """
    return files.table(STORED) if STORED in files.table_names() else pa.table({})
