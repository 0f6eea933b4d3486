"""Whether the ids of a table that is larger than memory are distinct."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.ingest import read_ids
from fanns.parquet_source import ParquetSource

ROW_BYTES = 18
"""Memory per key looked at in one pass: the keys, a second time while they are joined, and flags"""

ID_BYTES = 16.0  # of an id, as a batch of them is sized by
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads keys over passes


def check_distinct(source: ParquetSource, name: str, budget: int, seed: int) -> None:
    """Refuse ids that occur twice, in about `budget` bytes.

    Integers stand for themselves, strings by a 64-bit hash. Where not all keys fit, the column is
    read several times, a share of the keys each time.

    Raises:
        InputError: an id occurs twice, is null, or no id can be of its type.
    """
    passes = max(1, -(-source.rows * ROW_BYTES // max(1, budget)))
    for number in range(passes):
        parts = []
        for start, table in source.batches([name], row_bytes=ID_BYTES):
            keys = keys_of(read_ids(table, name, start), seed)
            if passes > 1:
                keys = keys[(keys * MIX >> np.uint64(32)) % np.uint64(passes) == number]
            parts.append(keys)
        every = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        del parts
        every.sort()
        twice = every[1:][every[1:] == every[:-1]]
        if len(twice):
            _raise_if_equal(source, name, twice, seed)


def keys_of(ids: NDArray[np.int64] | pa.Array, seed: int) -> NDArray[np.uint64]:
    """A number for each id, uint64[n]; equal for equal ids."""
    if isinstance(ids, np.ndarray):
        return ids.view(np.uint64)
    digest = xxhash.xxh3_64_intdigest
    found = (digest(text.as_buffer(), seed) for text in ids)
    return np.fromiter(found, np.uint64, len(ids))


def _raise_if_equal(source: ParquetSource, name: str, twice: NDArray[np.uint64], seed: int) -> None:
    """Raise for the first id that occurs twice among those of such keys; strings may differ."""
    seen: dict[Any, int] = {}
    wanted = np.unique(twice)
    for start, table in source.batches([name], row_bytes=ID_BYTES):
        ids = read_ids(table, name, start)
        for row in np.flatnonzero(np.isin(keys_of(ids, seed), wanted)).tolist():
            key = ids[row].as_py() if isinstance(ids, pa.Array) else int(ids[row])
            if key in seen:
                more = f" (about {len(wanted):,} ids occur more than once)" * (len(wanted) > 1)
                raise InputError(
                    f"id column {name!r}: duplicate id {key!r} in rows {seen[key]} and "
                    f"{start + row}{more}; every row needs an id of its own"
                )
            seen[key] = start + row
