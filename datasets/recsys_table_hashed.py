"""Hashed tables, and unified ones: one small table that many rows, and many features, share.

Weinberger et al., "Feature hashing for large scale multitask learning" (2009); Coleman et al.,
"Unified embedding: battle-tested feature representations for web-scale ML systems" (2023), whose
feature multiplexing lets every feature look up chunks of its vectors in the same table.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from fanns.errors import InputError
from fanns.stores import Coded

from .recsys_hashing import entries
from .recsys_table import STD, Budget, EmbeddingTable, Store
from .recsys_torch import Tensor, array, functional, generator, nn, torch

CHUNKS = 4  # look-ups that make a vector of a unified table, unless told otherwise


class Memory(torch.nn.Module):
    """float32[rows, width] that tables share; drawn evenly, with deviation `std`."""

    def __init__(self, rows: int, width: int, *, std: float = STD, seed: int = 0) -> None:
        super().__init__()
        if rows < 1 or width < 1:
            raise InputError(f"a memory needs at least one row and column, got {rows} x {width}")
        self.rows, self.width = rows, width
        reach = std * 3**0.5
        drawn = torch.rand((rows, width), generator=generator(seed))
        self.weight = nn.Parameter((drawn * 2 - 1) * reach)


class UnifiedTable(EmbeddingTable):
    """Chunk j of a row's vector is memory[hash(row, salt of feature and j) mod M].

    Attributes:
        memory: float32[M, dim / chunks], which tables of other features may share: give each its
            own `feature`, so that their salts differ.
        feature, chunks: what salts are made of.
    """

    def __init__(
        self, rows: int, dim: int, memory: Memory, *, feature: int = 0, chunks: int = CHUNKS
    ) -> None:
        super().__init__(rows, dim)
        if chunks * memory.width != dim:
            raise InputError(
                f"{chunks} chunks of {memory.width} columns do not make {dim} dimensions"
            )
        self.memory, self.feature, self.chunks = memory, feature, chunks
        ids = np.arange(rows, dtype=np.int64)
        codes = [entries(ids, salt(feature, j), memory.rows) for j in range(chunks)]
        self.register_buffer("codes", torch.from_numpy(np.stack(codes, axis=1)), persistent=False)

    @classmethod
    def within(cls, budget: Budget) -> Self:
        chunks = _chunks(budget.dim)
        width = budget.dim // chunks
        budget.allow("a unified table", width)
        memory = Memory(budget.params // width, width, std=budget.std, seed=budget.seed)
        return cls(budget.rows, budget.dim, memory, chunks=chunks)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(self.codes[ids], self.memory.weight).flatten(-2)

    def to_store(self) -> Store:
        salts = [salt(self.feature, j) for j in range(self.chunks)]
        return Coded.hashed(array(self.memory.weight), self.rows, np.array(salts, np.uint64))


class HashedTable(UnifiedTable):
    """A whole vector at one place: rows that fall on the same place are the same from then on."""

    @classmethod
    def within(cls, budget: Budget) -> Self:
        budget.allow("a hashed table", budget.dim)
        places = min(budget.rows, budget.params // budget.dim)
        memory = Memory(places, budget.dim, std=budget.std, seed=budget.seed)
        return cls(budget.rows, budget.dim, memory, chunks=1)


def salt(feature: int, chunk: int) -> int:
    """The salt of a feature's chunk; another one for every pair."""
    return feature << 16 | chunk


def _chunks(dim: int) -> int:
    """CHUNKS where dimensions can be cut so, else the least number above, or one."""
    return next((n for n in range(CHUNKS, dim + 1) if dim % n == 0), 1)
