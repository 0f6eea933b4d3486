"""The salted hash by which hashed tables find their entries; stored indexes depend on every bit.

`mix` is the finaliser of splitmix64 (Steele, Lea and Flood 2014; constants of Stafford's variant
13): a bijection of 64 bits. A key's hash under a salt is mix(key ^ mix(salt + GOLDEN)), and its
entry in a table of `size` <= 2^31 rows is (hash >> 32) * size >> 32, which divides nothing (Lemire
2019). The tests hold vectors of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.jit import Array, Integer, inner, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@inner
def mix(value: Any) -> Any:
    """A bijection of uint64 in which every bit of the value bears on every bit of the result."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@inner
def entry(key: Any, seed: Any, size: Integer) -> Integer:
    """The entry of a key (uint64) in a table of `size` rows, under the seed of a salt."""
    return np.int64(((mix(key ^ seed) >> _32) * np.uint64(size)) >> _32)


@kernel
def seeds_of(salts: Array, out: Array) -> None:
    """What salts uint64[c] count for in hashes, into out uint64[c]."""
    for place in range(salts.shape[0]):
        out[place] = mix(salts[place] + GOLDEN)


@kernel
def hash_keys(keys: Array, seeds: Array, sizes: Array, out: Array) -> None:
    """The entry of each key uint64[n] under each seed uint64[c], in tables of sizes int64[c], into
    out int64[n, c].
    """
    for row in range(keys.shape[0]):
        for column in range(seeds.shape[0]):
            out[row, column] = entry(keys[row], seeds[column], sizes[column])
