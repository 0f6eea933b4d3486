"""Whether rows lie in a subspace of far fewer dimensions, and its basis.

A randomised range finder (Halko, Martinsson, Tropp 2011, algorithm 4.2 in blocks) on a sample, then
a look at all rows: none may differ from what its coordinates give back by more than rounding.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from fanns.kernels.jit import Array, frozen
from fanns.kernels.orthogonal import mix_rows, orthonormalise
from fanns.kernels.projection import PANEL, packed
from fanns.reduction import CHUNK, TOLERANCE, Reduction, product
from fanns.threads import run_chunks

MIN_DIMENSIONS = 128
"""Codes are padded to 64 dimensions: with fewer than this a reduction saves little."""

ROWS_PER_DIMENSION = 4
"""Fewer rows per dimension are left as they are: n rows have rank n at most, whatever they come
from, and the basis would weigh as much as it saves. As many are sampled."""

WALKED = 1000
"""Bytes per dimension that a search reads of rows: a walk's 750 codes and 40 vectors, some 900."""

LARGE = 8 << 30
"""Bytes of rows from which on memory counts for more than the time of a query."""

MIXED_INTO = 8
"""Mixtures that a sampled row is part of."""

SPANNING = 2048
"""Rows that refine the basis, or 4 r if that is more: a direction that 1 % of the rows have is
missing in none of 10^8 such samples."""

SHOWN = 1e-5
"""Part of a mixture, of length 1, that shows another direction. Where it is least, rounding is
some ten times larger than in a row; what is smaller and yet matters is found when rows are
looked at."""

ATTEMPTS = 3
"""Bases tried: the first one, and extensions by rows of the sample and of all that lie outside."""

EVERYTHING = 1e-12
"""Tolerance where all directions are to be kept."""

OFFENDERS = 4 * PANEL
"""Most rows outside the basis that it is extended by."""


def rank_limit(n: int, d: int, reduce: str) -> int:
    """The highest rank at which n rows [d] are reduced; 0 for never.

    A query is multiplied by the basis, 4 d r bytes to read, and then reads less of every row. With
    "auto" that must pay for one query alone, whose basis lies in no cache, or the rows must be
    LARGE; with "on" a tenth of the dimensions saved is enough.
    """
    if reduce == "off" or d < MIN_DIMENSIONS or n < ROWS_PER_DIMENSION * d:
        return 0
    if reduce == "on" or 4 * n * d >= LARGE:
        return 9 * d // 10
    return min(d // 2, WALKED * d // (4 * d + WALKED))


def find_reduction(
    vectors: Array, reduce: str, seed: int, threads: int = 1
) -> tuple[Reduction, npt.NDArray[np.float32]] | None:
    """A lossless reduction of float32 rows [n, d] and their coordinates float32[n, r], or None.

    None for other types, for ranks above `rank_limit`, and where a row is not given back within
    `TOLERANCE` (also after the basis was extended by such rows). The same for any number of
    threads.
    """
    n, d = vectors.shape
    limit = rank_limit(n, d, reduce)
    if vectors.dtype != np.float32 or not limit:
        return None
    rng = np.random.default_rng(seed)
    rows = rng.choice(n, ROWS_PER_DIMENSION * d, replace=False)
    basis = Basis(d, limit, threads)
    basis.extend(_mixtures(vectors, rows, limit + PANEL, rng), SHOWN, until_short=True)
    sample = vectors[rows[: max(SPANNING, ROWS_PER_DIMENSION * basis.rank)]]
    for _ in range(ATTEMPTS):
        if not 0 < basis.rank <= limit:
            return None
        basis = basis.refined(_unit(sample))
        reduction = basis.turned(rng)
        _, residuals = _reduce(sample, reduction, threads)
        outside = sample[~(residuals <= TOLERANCE)]
        if not len(outside):
            coordinates, residuals = _reduce(vectors, reduction, threads)
            reduction.residual = float(residuals.max())
            if reduction.residual <= TOLERANCE:
                return reduction, coordinates
            if np.isinf(reduction.residual):
                return None
            outside = vectors[residuals > TOLERANCE]
        chosen = np.linspace(0, len(outside) - 1, min(len(outside), OFFENDERS)).astype(np.int64)
        basis.extend(_unit(outside[chosen]), SHOWN)
        sample = np.concatenate([sample, outside[chosen]])
    return None


def _mixtures(
    vectors: Array, rows: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Random mixtures of rows, float64[count, d], of length 1."""
    shape = (len(rows), MIXED_INTO)
    places = rng.integers(0, count, shape)
    signs = rng.choice(np.array([-1.0, 1.0]), shape)
    out = np.zeros((count, vectors.shape[1]))
    mix_rows(frozen(vectors), rows, places, signs, out)
    return _unit(out)


def _unit(rows: Array) -> npt.NDArray[np.float64]:
    """A copy at length 1; zero rows stay."""
    wide: npt.NDArray[np.float64] = rows.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    np.divide(wide, lengths, out=wide, where=lengths > 0)
    return wide


class Basis:
    """Orthonormal directions, float64, in blocks of up to 64; more than `limit` are too many."""

    def __init__(self, dimensions: int, limit: int, threads: int) -> None:
        self.dimensions, self.limit, self.threads = dimensions, limit, threads
        self._blocks: list[tuple[Array, Array, Array]] = []

    @property
    def rank(self) -> int:
        return sum(len(block) for block, _, _ in self._blocks)

    @property
    def directions(self) -> npt.NDArray[np.float64]:
        """All of them, float64[rank, d]."""
        return np.concatenate([block for block, _, _ in self._blocks])

    def extend(
        self, vectors: npt.NDArray[np.float64], tolerance: float, until_short: bool = False
    ) -> None:
        """Add what vectors [m, d] have outside the basis, where it is longer than the tolerance.

        Block Gram-Schmidt, twice. Ends when the limit is passed, and if `until_short` with the
        first block that adds less than it could: more random mixtures would not add either.
        """
        for start in range(0, len(vectors), PANEL):
            given = np.ascontiguousarray(vectors[start : start + PANEL])
            block = self._remainder(given)
            block = block[: orthonormalise(block, tolerance)]
            if len(block):
                block = self._remainder(block)
                block = block[: orthonormalise(block, 0.5)]
                panels = (frozen(packed(np.ascontiguousarray(block.T))), frozen(packed(block)))
                self._blocks.append((block, *panels))
            if self.rank > self.limit or (until_short and len(block) < len(given)):
                break

    def _remainder(self, block: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The parts of vectors [m, d] outside the basis, in memory of their own."""
        block = block.copy()
        for rows, columns, lines in self._blocks:
            shares = product(block, columns, self.threads)[:, : len(rows)]
            back = product(np.ascontiguousarray(shares), lines, self.threads)
            block -= back[:, : self.dimensions]
        return block

    def refined(self, rows: npt.NDArray[np.float64]) -> Basis:
        """The basis after one step of subspace iteration (algorithm 4.4) on rows [m, d].

        What few mixtures tell of a direction is as wrong as their rounding is large beside it. Now
        all rows tell: left is the rounding of one row, times sqrt(r / m). Directions that were
        only rounding are dropped.
        """
        lines = frozen(packed(np.ascontiguousarray(self.directions.T)))
        shares = product(rows, lines, self.threads)[:, : self.rank]
        across = Basis(len(rows), self.rank, self.threads)
        across.extend(shares.T / np.sqrt(len(rows)), TOLERANCE)
        back = product(across.directions, frozen(packed(rows)), self.threads)
        made = Basis(self.dimensions, self.limit, self.threads)
        made.extend(_unit(back[:, : self.dimensions]), EVERYTHING)
        return made

    def turned(self, rng: np.random.Generator) -> Reduction:
        """The reduction by these directions, turned at random.

        The range finder gives the directions of most variance first; turned, all carry alike, and
        codes of one scale per row are as fine as on ordinary embeddings.
        """
        turn = Basis(self.rank, self.rank, self.threads)
        turn.extend(_unit(rng.standard_normal((self.rank, self.rank))), EVERYTHING)
        directions = product(turn.directions, frozen(packed(self.directions)), self.threads)
        return Reduction.of_basis(np.ascontiguousarray(directions[:, : self.dimensions]))


def _reduce(
    vectors: Array, reduction: Reduction, threads: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Coordinates float32[n, r] of all rows, and how far each is from what they give back.

    That is |x - decoded| / |x|, float64[n]: 0 for zero rows, infinite where a coordinate is beyond
    float32, and infinite for all once more than one row in 64 is outside: that ends the work.
    """
    n = len(vectors)
    coordinates = np.zeros((n, reduction.rank), np.float32)
    residuals = np.full(n, np.inf)
    guard, outside = threading.Lock(), [0]

    def task(start: int, stop: int) -> None:
        if outside[0] > n // PANEL:
            return
        rows = vectors[start:stop]
        with np.errstate(over="ignore", invalid="ignore"):
            coordinates[start:stop] = reduction.encode(rows)
            away = rows.astype(np.float64) - reduction.decode(coordinates[start:stop])
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
            lost = np.sqrt(np.einsum("ij,ij->i", away, away))
            lost = np.where(lost == 0.0, 0.0, lost / lengths)
            residuals[start:stop] = np.where(np.isfinite(lost), lost, np.inf)
        with guard:
            outside[0] += int((~(residuals[start:stop] <= TOLERANCE)).sum())

    run_chunks(task, n, CHUNK, threads)
    if outside[0] > n // PANEL:
        residuals[:] = np.inf
    return coordinates, residuals
