"""The 64-bit salted hash by which tables place rows; stores that are searched repeat its every bit.

splitmix64's finaliser (Steele, Lea and Flood 2014) of the key and a mixed salt, brought to a table
of `size` rows by a product instead of a division (Lemire 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MOST = 1 << 31  # rows of a table that hashes are brought to

Words = NDArray[np.uint64]


def salted(keys: NDArray[np.int64] | Words, salt: int) -> Words:
    """uint64 hashes of keys under a salt, of the same shape: a bijection for each salt."""
    with np.errstate(over="ignore"):
        seed = _mixed(np.asarray([salt], np.uint64) + GOLDEN)
        return _mixed(np.asarray(keys).astype(np.uint64) ^ seed)


def entries(keys: NDArray[np.int64] | Words, salt: int, size: int) -> NDArray[np.int64]:
    """int64 entries below `size` (at most MOST) of keys under a salt, of the same shape."""
    high = salted(keys, salt) >> np.uint64(32)
    return np.asarray((high * np.uint64(size)) >> np.uint64(32)).astype(np.int64)


def _mixed(value: Words) -> Words:
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
