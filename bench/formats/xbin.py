"""Arrays as the big-ann benchmarks keep them: fbin, f16bin, u8bin, i8bin, ibin, and exact answers.

All are little-endian. Vectors: uint32 rows, uint32 columns, then the values row by row.
Answers, nearest form: uint32 queries, uint32 k, int32 ids [m, k], float32 distances [m, k].
Answers, range form: int32 queries, int32 total, int32 counts [m], int32 ids [total], float32
distances [total]. Vectors and nearest answers are memory-mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.formats.hostile import FormatError, exactly, header, mapped, size_of, wrong

TYPES = {".fbin": "<f4", ".f16bin": "<f2", ".u8bin": "|u1", ".i8bin": "|i1", ".ibin": "<i4"}
_BLOCK = 1 << 16  # rows written at a time


class Answers(NamedTuple):
    """Answers of m queries, flat: those of query i are `offsets[i]:offsets[i + 1]`.

    ids int32[total], distances float32[total], offsets int64[m + 1].
    """

    ids: NDArray[np.int32]
    distances: NDArray[np.float32]
    offsets: NDArray[np.int64]


def read(path: Path) -> NDArray[Any]:
    """The array [rows, columns] of a file, of the type that its suffix names."""
    if path.suffix not in TYPES:
        raise FormatError(f"{path}: its name should end in one of {', '.join(TYPES)}")
    dtype = np.dtype(TYPES[path.suffix])
    rows, columns = header(path, "<u4", 2)
    _not_flat(path, rows, columns)
    exactly(path, 8 + rows * columns * dtype.itemsize, f"{rows:,} rows of {columns:,} {dtype.name}")
    return mapped(path, dtype, 8, (rows, columns))


def write(path: Path, values: NDArray[Any]) -> Path:
    """Writes an array [rows, columns], cast to the type that the suffix names."""
    with path.open("wb") as file:
        np.array(values.shape, "<u4").tofile(file)
        for start in range(0, len(values), _BLOCK):
            np.ascontiguousarray(values[start : start + _BLOCK], TYPES[path.suffix]).tofile(file)
    return path


def form(path: Path) -> Literal["nearest", "range"]:
    """Which of the two forms of answers a file's size fits; the nearest form where both do."""
    queries, second = header(path, "<u4", 2)
    size, nearest = size_of(path), 8 + 8 * queries * second
    if size == nearest:
        return "nearest"
    if size == 8 + 4 * queries + 8 * second:
        return "range"
    raise wrong(
        path,
        0,
        f"answers of {queries:,} queries: {nearest:,} bytes for k = {second:,} each, or "
        f"{8 + 4 * queries + 8 * second:,} for {second:,} in all",
        f"a file of {size:,} bytes",
    )


def read_answers(path: Path) -> Answers:
    """Answers of either form. A row of the nearest form ends where ids become negative."""
    if form(path) == "range":
        return _read_range(path)
    queries, k = header(path, "<u4", 2)
    _not_flat(path, queries, k)
    ids = mapped(path, "<i4", 8, (queries, k))
    distances = mapped(path, "<f4", 8 + 4 * queries * k, (queries, k))
    used = ids >= 0
    if not used.all():
        late = np.argwhere(used[:, 1:] & ~used[:, :-1])
        if len(late):
            query, rank = int(late[0, 0]), int(late[0, 1]) + 1
            offset = 8 + 4 * (query * k + rank)
            raise wrong(path, offset, "padding up to the end of the row", int(ids[query, rank]))
    offsets = np.concatenate([[0], used.sum(axis=1, dtype=np.int64).cumsum()])
    return Answers(ids[used], distances[used], offsets)


def write_nearest(path: Path, answers: Answers, k: int) -> Path:
    """Writes rows of k; shorter ones end in id -1 at an infinite distance."""
    counts = np.diff(answers.offsets)
    used = np.arange(k) < counts[:, None]
    ids = np.full(used.shape, -1, "<i4")
    distances = np.full(used.shape, np.inf, "<f4")
    taken = np.arange(len(answers.ids)) - np.repeat(answers.offsets[:-1], counts) < k
    ids[used], distances[used] = answers.ids[taken], answers.distances[taken]
    with path.open("wb") as file:
        np.array(used.shape, "<u4").tofile(file)
        ids.tofile(file)
        distances.tofile(file)
    return path


def write_range(path: Path, answers: Answers) -> Path:
    """Writes the range form."""
    counts = np.diff(answers.offsets)
    with path.open("wb") as file:
        np.array([len(counts), len(answers.ids)], "<i4").tofile(file)
        counts.astype("<i4").tofile(file)
        np.ascontiguousarray(answers.ids, "<i4").tofile(file)
        np.ascontiguousarray(answers.distances, "<f4").tofile(file)
    return path


def _not_flat(path: Path, rows: int, columns: int) -> None:
    """Rows without columns: a few bytes that would claim billions of rows."""
    if rows and not columns:
        raise wrong(path, 4, f"at least one column in {rows:,} rows", columns)


def _read_range(path: Path) -> Answers:
    queries, total = header(path, "<i4", 2)
    counts = mapped(path, "<i4", 8, (queries,)).astype(np.int64)
    if (counts < 0).any():
        first = int((counts < 0).argmax())
        raise wrong(path, 8 + 4 * first, "a count of 0 or more", int(counts[first]))
    if counts.sum() != total:
        raise wrong(path, 8, f"counts that sum up to {total:,}", f"{int(counts.sum()):,}")
    ids = mapped(path, "<i4", 8 + 4 * queries, (total,))
    if (ids < 0).any():
        first = int((ids < 0).argmax())
        raise wrong(path, 8 + 4 * (queries + first), "an id of 0 or more", int(ids[first]))
    distances = mapped(path, "<f4", 8 + 4 * (queries + total), (total,))
    return Answers(ids, distances, np.concatenate([[0], counts.cumsum()]))
