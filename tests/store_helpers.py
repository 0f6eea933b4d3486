"""Small native stores of every kind, and what their rows are by plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.stores import Coded, Masked, MixedDimension, NativeStore, QuotientRemainder

GOLDEN = 0x9E3779B97F4A7C15
FULL = (1 << 64) - 1

KINDS = [
    *("concat", "add", "mult", "mixed", "mixed-ordered", "stored", "stored-summed"),
    *("hashed", "hashed-summed", "robe", "lma", "masked"),
]


def mix(value: int) -> int:
    """The finaliser of splitmix64 in whole numbers."""
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & FULL
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & FULL
    return value ^ value >> 31


def entry(key: int, salt: int, size: int) -> int:
    """The entry of a key under a salt, in whole numbers."""
    return (mix(key ^ mix((salt + GOLDEN) & FULL)) >> 32) * size >> 32


def numbers(rng: np.random.Generator, *shape: int, whole: bool = False) -> np.ndarray[Any, Any]:
    """Values float32: normal ones, or small whole ones that make ties."""
    if whole:
        return rng.integers(-2, 3, shape).astype(np.float32)
    return rng.standard_normal(shape).astype(np.float32)


def make(
    kind: str, n: int, rng: np.random.Generator, d: int = 12, whole: bool = False
) -> tuple[NativeStore, np.ndarray[Any, Any]]:
    """A store of n rows of d dimensions (a multiple of 4), and these rows as float32[n, d]."""
    if kind in ("concat", "add", "mult"):
        m = max(1, int(np.sqrt(n)) - 1)
        c = -(-n // m) + 1
        first, second = (d // 4, d - d // 4) if kind == "concat" else (d, d)
        w1 = numbers(rng, m, first, whole=whole)
        w2 = numbers(rng, c, second, whole=whole)
        a, b = w1[np.arange(n) % m], w2[np.arange(n) // m]
        rows = np.hstack([a, b]) if kind == "concat" else a + b if kind == "add" else a * b
        return QuotientRemainder((w1, w2), n, kind), rows
    if kind.startswith("mixed"):
        third = n // 3 if n > 2 else 0
        sizes = [n - 2 * third, *((third, third) if third else ())]
        widths = (d, 4, 1)[: len(sizes)]
        tables = [numbers(rng, s, w, whole=whole) for s, w in zip(sizes, widths, strict=True)]
        ways = [None, *(numbers(rng, w, d, whole=whole) for w in widths[1:])]
        blocks = list(zip(tables, ways, strict=True))
        wide = [t.astype(np.float64) if p is None else t.astype(np.float64) @ p for t, p in blocks]
        flat = np.vstack(wide).astype(np.float32)
        order = rng.permutation(n) if kind == "mixed-ordered" else None
        return MixedDimension(blocks, order), flat if order is None else flat[order]
    salts = rng.integers(0, 2**63, 8, dtype=np.uint64)
    if kind.startswith(("stored", "hashed")):
        summed = 2 if kind.endswith("summed") else 1
        width, columns = d // 4, 4 * summed
        shared = numbers(rng, 7, width, whole=whole)
        if kind.startswith("stored"):
            tables = [numbers(rng, 3 + c, width, whole=whole) for c in range(columns)]
            codes = np.stack([rng.integers(0, len(t), n) for t in tables], axis=1)
            store = Coded.stored(tables, codes, summed)
        else:
            tables = [shared] * columns
            codes = np.array([[entry(x, int(s), 7) for s in salts[:columns]] for x in range(n)])
            codes = codes.reshape(n, columns)
            store = Coded.hashed(shared, n, salts[:columns], summed)
        picked = np.stack([t[codes[:, c]] for c, t in enumerate(tables)], axis=1)
        sums = picked.astype(np.float64).reshape(n, 4, summed, width).sum(axis=2)
        return store, sums.astype(np.float32).reshape(n, d)
    if kind in ("robe", "lma"):
        width = 3 if kind == "robe" else 1
        chunks = d // width
        values = numbers(rng, 40, whole=whole)
        salts = rng.integers(0, 2**63, chunks, dtype=np.uint64)
        size = len(values) - width + 1
        keys = [[x] * chunks for x in range(n)]
        if kind == "lma":
            signatures = rng.integers(0, 2**63, n, dtype=np.uint64)
            picks = rng.integers(0, 16, (chunks, 3))
            rare = rng.random(n) < 0.3
            for x in range(n):
                own = [int(signatures[x]) >> 4 * i & 15 for i in range(16)]
                for c in range(chunks):
                    a, b, e = (own[p] for p in picks[c])
                    keys[x][c] = x ^ 1 << 63 if rare[x] else a << 8 | b << 4 | e
            store = Coded.signed(values, signatures, picks, salts, 1, rare)
        else:
            store = Coded.blocks(values, n, salts, width)
        places = [[entry(k, int(s), size) for k, s in zip(row, salts, strict=True)] for row in keys]
        starts = np.array(places, np.int64).reshape(n, chunks, 1) + np.arange(width)
        return store, values[starts].reshape(n, d)
    assert kind == "masked"
    table = numbers(rng, n, d, whole=whole) * (rng.random((n, d)) < 0.4)
    mask = table != 0
    return Masked(mask, table[mask]), table
