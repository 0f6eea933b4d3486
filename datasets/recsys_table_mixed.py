"""Mixed-dimension tables: frequent rows get wide vectors, rare ones narrow ones.

Ginart et al., "Mixed dimension embeddings with application to memory-efficient recommendation
systems" (2019): a block of rows with popularity p has vectors of width lambda * p ** alpha, which
a matrix of its own brings to the common width.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.stores import MixedDimension

from .recsys_table import STD, Budget, EmbeddingTable, Store, check_budget, frequency_blocks
from .recsys_torch import Tensor, array, functional, generator, nn, normal, torch

SHARES = (0.1, 0.2, 0.2, 0.2, 0.3)  # of the rows in each block, the most frequent first
TEMPERATURE = 0.3  # alpha: 0 gives all blocks the same width


class MixedTable(EmbeddingTable):
    """e(x) = E_b[place of x] P_b, where b is the block of row x.

    Attributes:
        blocks: int64[rows], the block of each row. widths: of the blocks' vectors.
        places: int64[rows], where in its block each row stands, in the order of row numbers.
    """

    def __init__(
        self,
        rows: int,
        dim: int,
        blocks: NDArray[np.int64],
        widths: tuple[int, ...],
        *,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        super().__init__(rows, dim)
        if blocks.shape != (rows,) or blocks.min() < 0 or blocks.max() >= len(widths):
            raise InputError(f"blocks: expected {rows} numbers within 0..{len(widths) - 1}")
        if min(widths) < 1 or max(widths) > dim:
            raise InputError(f"widths: expected 1 to {dim}, got {widths}")
        self.widths = widths
        random = generator(seed)
        sizes = np.bincount(blocks, minlength=len(widths))
        places = np.empty(rows, np.int64)
        for block in range(len(widths)):
            places[blocks == block] = np.arange(sizes[block])
        self.register_buffer("blocks", torch.from_numpy(blocks.astype(np.int64)))
        self.register_buffer("places", torch.from_numpy(places))
        self.vectors = nn.ParameterList(
            normal((int(size), width), std, random)
            for size, width in zip(sizes, widths, strict=True)
        )
        # Xavier's deviation keeps that of the entries; a block of full width needs no matrix.
        self.projections = nn.ParameterDict(
            {
                str(block): normal((width, dim), width**-0.5, random)
                for block, width in enumerate(widths)
                if width < dim
            }
        )

    @classmethod
    def within(cls, budget: Budget) -> Self:
        counts = budget.known("a mixed-dimension table").counts
        blocks = frequency_blocks(counts, SHARES)
        sizes = np.bincount(blocks, minlength=len(SHARES))
        share = np.bincount(blocks, counts, minlength=len(SHARES)) / np.maximum(sizes, 1)
        widths = budget_widths(sizes, share, budget.dim, budget.params)
        return cls(budget.rows, budget.dim, blocks, widths, std=budget.std, seed=budget.seed)

    def forward(self, ids: Tensor) -> Tensor:
        flat = ids.reshape(-1)
        block, place = self.blocks[flat], self.places[flat]
        made = self.vectors[0].new_zeros((len(flat), self.dim))
        for number, vectors in enumerate(self.vectors):
            chosen = (block == number).nonzero().squeeze(1)
            if len(chosen):
                part = functional.embedding(place[chosen], vectors)
                if str(number) in self.projections:
                    part = part @ self.projections[str(number)]
                made = made.index_copy(0, chosen, part)
        return made.reshape(*ids.shape, self.dim)

    def to_store(self) -> Store:
        matrices = {int(block): array(matrix) for block, matrix in self.projections.items()}
        filled = [b for b, vectors in enumerate(self.vectors) if len(vectors)]
        starts = np.cumsum([0] + [len(vectors) for vectors in self.vectors])
        order = starts[self.blocks.numpy()] + self.places.numpy()
        return MixedDimension([(array(self.vectors[b]), matrices.get(b)) for b in filled], order)


def budget_widths(
    sizes: NDArray[np.int64],
    popularity: NDArray[np.float64],
    dim: int,
    budget: int,
    temperature: float = TEMPERATURE,
) -> tuple[int, ...]:
    """A width for each block, a power of two or `dim`, never less than that of a less popular one.

    lambda is the largest for which all vectors and matrices keep to the budget; what is left then
    widens the blocks, the most popular ones first. Raises InputError for less than a width of 1.
    """
    steps = sorted({*(1 << i for i in range(dim.bit_length())), dim})
    steps = [step for step in steps if step <= dim]
    at = np.zeros(len(sizes), np.int64)  # a place in steps for each block
    check_budget("a mixed-dimension table", budget, _numbers(sizes, at, steps))
    shape = np.maximum(popularity, 1e-9) ** temperature
    low, high = 0.0, 2.0 * dim / shape.min()
    for _ in range(60):
        middle = (low + high) / 2
        tried = np.searchsorted(steps, np.clip(middle * shape, 1, dim), side="right") - 1
        if _numbers(sizes, tried, steps) <= budget:
            low, at = middle, tried
        else:
            high = middle
    for block in np.argsort(-popularity, kind="stable"):
        wider = at.copy()
        wider[block] = min(at[block] + 1, len(steps) - 1)
        if _numbers(sizes, wider, steps) <= budget:
            at = wider
    return tuple(steps[i] for i in at)


def _numbers(sizes: NDArray[np.int64], at: NDArray[np.int64], steps: list[int]) -> int:
    """Numbers in the vectors and matrices of blocks whose widths are steps[at]."""
    widths = np.asarray(steps)[at]
    matrices = np.where(widths < steps[-1], widths * steps[-1], 0)
    return int((sizes * widths + matrices).sum())
