"""Locality-sensitive allocation: rows share numbers in proportion to the samples they share.

Desai et al., "Semantically constrained memory allocation (SCMA) for embedding in efficient
recommendation systems" (2021). Coordinate c of row v is theta[A(v, c)]. A depends on v only through
minhashes (Broder 1997) of the samples D_v that hold v, so v and w share a coordinate with
probability near J ** PICKS, where J = |D_v and D_w| / |D_v or D_w|.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.stores import Coded

from .recsys_hashing import entries, salted
from .recsys_table import STD, Budget, EmbeddingTable, FrequencyStats, Store, check_budget
from .recsys_torch import Tensor, array, generator, normal, torch

HASHES, BITS = 16, 4  # minhashes of a signature of 64 bits, and bits kept of each
PICKS = 4  # minhashes that place a coordinate
RARE = 4  # rows in fewer samples are placed at random
SAMPLES = 1024  # of a row at most, drawn by their hash
_MINHASH, _PICK, _PLACE, _DRAW = 1, 2, 3, 4  # kinds of salts


class LocalityTable(EmbeddingTable):
    """e(x)[c] = theta[A(x, c)] for an array theta of as many numbers as the budget.

    Attributes:
        signatures: uint64[rows], HASHES minhashes of BITS bits each.
        known: bool[rows], False for rows that are placed at random.
        places: int64[rows, dim], A.
    """

    def __init__(
        self, rows: int, dim: int, size: int, stats: FrequencyStats, *,
        std: float = STD, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(rows, dim)
        if stats.starts is None or stats.samples is None:
            raise InputError("locality-sensitive allocation needs the samples of each row in stats")
        check_budget("a table by locality-sensitive allocation", size, 1)
        self.signatures = signatures(stats.starts, stats.samples)
        self.known = np.diff(stats.starts) >= RARE
        places = allocation(self.signatures, self.known, dim, size)
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        self.theta = normal((size,), std, generator(seed))

    @classmethod
    def within(cls, budget: Budget) -> Self:
        stats = budget.known("locality-sensitive allocation")
        rows, dim = budget.rows, budget.dim
        return cls(rows, dim, budget.params, stats, std=budget.std, seed=budget.seed)

    def forward(self, ids: Tensor) -> Tensor:
        # Ten times as fast as an embedding of width one, backward.
        places = self.places[ids]
        return self.theta.index_select(0, places.reshape(-1)).view(places.shape)

    def to_store(self) -> Store:
        salts = np.array([_place_salt(c) for c in range(self.dim)], np.uint64)
        picks = np.stack([picked(c) for c in range(self.dim)])
        return Coded.signed(array(self.theta), self.signatures, picks, salts, rare=~self.known)


def signatures(starts: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.uint64]:
    """uint64[rows]: the low BITS bits of each of HASHES minhashes of a row's samples."""
    starts, samples = _drawn(starts, samples)
    filled = np.flatnonzero(np.diff(starts))
    made = np.zeros(len(starts) - 1, np.uint64)
    low = np.uint64((1 << BITS) - 1)
    for number in range(HASHES):
        hashed = salted(samples, _MINHASH << 32 | number)
        if len(filled):
            least = np.minimum.reduceat(hashed, starts[filled])
            made[filled] |= (least & low) << np.uint64(BITS * number)
    return made


def allocation(
    signatures: NDArray[np.uint64], known: NDArray[np.bool_], dim: int, size: int
) -> NDArray[np.int64]:
    """int64[rows, dim]: the place of each coordinate, below `size`.

    A row that is not known is placed by its number instead of its samples.
    """
    rows = np.arange(len(signatures), dtype=np.uint64)
    places = np.empty((len(signatures), dim), np.int64)
    low = np.uint64((1 << BITS) - 1)
    for coordinate in range(dim):
        key = np.zeros(len(signatures), np.uint64)
        for number in picked(coordinate):
            part = (signatures >> np.uint64(BITS * number)) & low
            key = key << np.uint64(BITS) | part
        # Keys of minhashes and row numbers are told apart by a bit that neither has.
        key = np.where(known, key, rows ^ np.uint64(1 << 63))
        places[:, coordinate] = entries(key, _place_salt(coordinate), size)
    return places


def _place_salt(coordinate: int) -> int:
    return _PLACE << 32 | coordinate


def picked(coordinate: int) -> NDArray[np.int64]:
    """The PICKS minhashes that place a coordinate, by the hashes of their numbers."""
    order = salted(np.arange(HASHES), _PICK << 32 | coordinate)
    return np.sort(np.argsort(order, kind="stable")[:PICKS])


def _drawn(
    starts: NDArray[np.int64], samples: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most SAMPLES samples a row: those of the least hash, the same ones for every row."""
    counts = np.diff(starts)
    if counts.max(initial=0) <= SAMPLES:
        return starts, samples
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((salted(samples, _DRAW << 32), row))
    rank = np.arange(len(samples)) - np.repeat(starts[:-1], counts)
    kept = samples[order][rank < SAMPLES]
    return np.concatenate(([0], np.cumsum(np.minimum(counts, SAMPLES)))), kept
