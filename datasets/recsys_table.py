"""Embedding tables of recommenders: one protocol for full and compressed ones, and the full one.

A table turns row numbers into vectors. How many numbers it may hold for that is a budget; each kind
(`recsys_tables.KINDS`) keeps to it in its own way, trains inside any model, and is handed over as
a vector store that the index searches without decompressing it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.stores_base import NativeStore

from .recsys_torch import Tensor, array, functional, generator, normal, torch

Store = NativeStore | NDArray[np.float32]  # a native store, or plain vectors float32[rows, dim]

STD = 0.1  # of the entries of untrained vectors, unless told otherwise
BATCH = 1 << 16  # rows decoded at a time


@dataclass(frozen=True)
class FrequencyStats:
    """What training data says of the rows of a table.

    Attributes:
        counts: int64[rows], how often each row is looked up.
        starts, samples: int64[rows + 1] and int64[n], the samples (users, sessions) that hold each
            row, one row after the other; None where only counts are known.
    """

    counts: NDArray[np.int64]
    starts: NDArray[np.int64] | None = None
    samples: NDArray[np.int64] | None = None

    @classmethod
    def of_columns(cls, starts: NDArray[np.int64], samples: NDArray[np.int64]) -> FrequencyStats:
        """From the samples of each row: counts are their numbers."""
        starts = np.asarray(starts, np.int64)
        return cls(np.diff(starts), starts, np.asarray(samples, np.int64))

    def check(self, rows: int) -> None:
        """Raises InputError unless this tells of a table of so many rows."""
        if self.counts.shape != (rows,) or (len(self.counts) and self.counts.min() < 0):
            raise InputError(
                f"stats: expected {rows} counts of at least 0, got shape {self.counts.shape}"
            )
        if self.starts is not None and self.samples is not None:
            whole = len(self.starts) == rows + 1 and self.starts[-1] == len(self.samples)
            if not whole or self.starts[0] != 0 or (np.diff(self.starts) < 0).any():
                raise InputError(
                    f"stats: starts must ascend from 0 to the samples, for {rows} rows"
                )


@dataclass(frozen=True)
class Budget:
    """A table that is wanted, and the numbers it may hold.

    Attributes:
        params: numbers at most. rows, dim: of the table.
        stats, std, seed: see `EmbeddingTable.for_budget`.
    """

    params: int
    rows: int
    dim: int
    stats: FrequencyStats | None
    std: float
    seed: int

    def allow(self, what: str, least: int) -> None:
        """Raises InputError where the budget is below what a kind of table needs at least."""
        check_budget(what, self.params, least)

    def known(self, what: str) -> FrequencyStats:
        """The stats, checked; InputError where there are none."""
        if self.stats is None:
            raise InputError(
                f"{what} needs stats: how often each of the {self.rows} rows is looked up"
            )
        self.stats.check(self.rows)
        return self.stats


class EmbeddingTable(torch.nn.Module, ABC):
    """Row numbers in, vectors out; the base of all kinds.

    Attributes:
        rows, dim: of the table that this stands for.
    """

    def __init__(self, rows: int, dim: int) -> None:
        if rows < 1 or dim < 1:
            raise InputError(f"a table needs at least one row and dimension, got {rows} x {dim}")
        super().__init__()
        self.rows, self.dim = rows, dim

    @classmethod
    def for_budget(
        cls,
        rows: int,
        dim: int,
        budget_params: int,
        stats: FrequencyStats | None = None,
        *,
        std: float = STD,
        seed: int = 0,
    ) -> Self:
        """An untrained table of at most `budget_params` numbers.

        stats: needed by kinds that treat frequent rows differently. std: of the entries of the
        vectors at first. Raises InputError where no table of this kind is so small, telling the
        least budget, or where stats are missing.
        """
        return cls.within(Budget(budget_params, rows, dim, stats, std, seed))

    @classmethod
    @abstractmethod
    def within(cls, budget: Budget) -> Self:
        """What `for_budget` gives, by each kind in its own way."""

    @property
    def num_params(self) -> int:
        """Numbers that the table holds when it is trained; those that are pruned do not count."""
        return sum(parameter.numel() for parameter in self.parameters())

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Vectors float32[..., dim] of row numbers int64[...]."""

    def after_step(self, step: int, optimizer: Any) -> None:
        """To be called after every step of the optimiser, counted from 1, with its gradients."""

    def after_epoch(self, epoch: int) -> None:
        """To be called after every epoch, counted from 1."""

    @abstractmethod
    def to_store(self) -> Store:
        """What an index takes as its vectors: all rows as they stand, compressed as they are."""

    def decode(self, ids: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Vectors float32[n, dim] of those rows, or of all, as they stand."""
        wanted = np.arange(self.rows) if ids is None else np.asarray(ids, np.int64)
        made = np.empty((len(wanted), self.dim), np.float32)
        with torch.no_grad():
            for first in range(0, len(wanted), BATCH):
                part = torch.from_numpy(wanted[first : first + BATCH])
                made[first : first + BATCH] = self(part).numpy()
        return made


class FullTable(EmbeddingTable):
    """One vector a row, nothing compressed."""

    def __init__(self, rows: int, dim: int, *, std: float = STD, seed: int = 0) -> None:
        super().__init__(rows, dim)
        self.weight = normal((rows, dim), std, generator(seed))

    @classmethod
    def within(cls, budget: Budget) -> Self:
        budget.allow("a full table", budget.rows * budget.dim)
        return cls(budget.rows, budget.dim, std=budget.std, seed=budget.seed)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight)

    def to_store(self) -> Store:
        return array(self.weight)


def check_budget(what: str, budget: int, least: int) -> None:
    """Raises InputError where a budget is below what a kind of table needs at least."""
    if budget < least:
        raise InputError(
            f"{what} of this shape holds at least {least:,} numbers, got a budget of "
            f"{budget:,}: give more, or take another kind of table"
        )


def frequency_blocks(counts: NDArray[np.int64], shares: tuple[float, ...]) -> NDArray[np.int64]:
    """int64[rows]: the block of each row when the most frequent rows come first.

    shares: of the rows in each block, adding up to 1. Rows of like frequency go by number.
    """
    order = np.argsort(-counts, kind="stable")
    ends = np.round(np.cumsum(shares) * len(counts)).astype(np.int64)
    blocks = np.empty(len(counts), np.int64)
    blocks[order] = np.searchsorted(ends[:-1], np.arange(len(counts)), side="right")
    return blocks
