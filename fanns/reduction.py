"""Lossless rank reduction: rows that lie in a subspace, held by their coordinates in it.

Heads of embedding models that are wider than what they read give vectors of low rank: those of a
linear layer from 1,024 to 4,096 dimensions with a bias have rank 1,025 at most. With an orthonormal
basis B [d, r] of the subspace, x = B z, and a query q = B y + e with e orthogonal to it,

    <q, x> = <y, z>,   |q - x|^2 = |y - z|^2 + |e|^2,   |x| = |z|,   |q|^2 = |y|^2 + |e|^2.

So the nearest rows to q are those nearest to y under every metric, and distances follow from those
to y and from |e|. The paths and codes see y and z only: what lies outside the subspace would be
noise to them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.distance import COSINE, IP
from fanns.kernels.jit import Array, frozen
from fanns.kernels.projection import PANEL, multiply, packed, project, unpacked
from fanns.once import once
from fanns.threads import run_chunks

TOLERANCE = 1e-6
"""Most that a row may differ from what its coordinates give back, as a share of its length.

Rounding a row to float32 leaves up to 6e-8, its coordinates and the basis as much each; a float32
matrix product over 1,024 terms, which such rows come from, left 3.1e-7 on every row.
"""

CHUNK = 64
"""Rows whose values and coordinates fit the cache beside a panel of the basis."""

SHARED = 16
"""Rows that one of several threads multiplies at a time."""

_LONGEST = float(np.finfo(np.float32).max)


class Projected(NamedTuple):
    """Queries as a segment's rows are held.

    `queries` float32[m, r], coordinates in the basis; `lengths` float64[m], |q|; `outside`
    float64[m], the length of the part outside the subspace, 0 where it is within rounding.
    """

    queries: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]


class Reduction:
    """The basis of a segment's rows.

    - `basis` float32[ceil(r / 64), d, 64]: B in panels, as `kernels/projection.py` reads it
    - `gram` float32[ceil(r / 64), r, 64]: B^T B - I in panels, which rounding B has left
    - `residual`: the largest |x - decoded| / |x| of the rows

    Coordinates are summed in double precision in one fixed order and rounded to float32, so equal
    rows stay equal, and a query that is a row gets the coordinates of that row.
    """

    DESCRIPTION = ("dimensions", "rank", "residual")

    def __init__(self, basis: Array, gram: Array, rank: int, residual: float) -> None:
        self.basis, self.gram = frozen(basis), frozen(gram)
        self.dimensions, self.rank, self.residual = int(basis.shape[1]), rank, residual

    @classmethod
    def of_basis(cls, directions: npt.NDArray[np.float64]) -> Reduction:
        """From r orthonormal directions, float64[r, d]."""
        rank = len(directions)
        rounded = directions.astype(np.float32)
        basis = frozen(packed(np.ascontiguousarray(rounded.T)))
        gram = product(rounded, basis)[:, :rank] - np.eye(rank)
        return cls(basis, packed(gram.astype(np.float32)), rank, 0.0)

    @staticmethod
    def shapes(dimensions: int, rank: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and type of each array, by which a file is checked."""
        panels = -(-rank // PANEL)
        return {
            "basis": ((panels, dimensions, PANEL), "float32"),
            "gram": ((panels, rank, PANEL), "float32"),
        }

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down."""
        return {"basis": self.basis, "gram": self.gram}

    def describe(self) -> dict[str, Any]:
        """What is written down beside the arrays."""
        return {name: getattr(self, name) for name in self.DESCRIPTION}

    @once
    def _transposed(self) -> Array:
        """The panels of B^T, made when rows are first asked back."""
        return frozen(packed(np.ascontiguousarray(unpacked(self.basis, self.rank).T)))

    def encode(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Coordinates float32[m, r] of rows float32[m, d]."""
        return product(rows, self.basis)[:, : self.rank].astype(np.float32)

    def decode(self, coordinates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Rows float32[m, d] from their coordinates, within `residual` of those that were given.

        Not to the bit: the last bits of a row of low rank are rounding, which has full rank. Of
        4,096 values computed in float32 from 1,024, a tenth came back equal and none differed by
        more than 12 units in the last place of the row's largest value.
        """
        return product(coordinates, self._transposed)[:, : self.dimensions].astype(np.float32)

    def project(self, queries: npt.NDArray[np.float32], threads: int = 1) -> Projected:
        """Queries float32[m, d] in the subspace; reads the basis once for a few of them.

        Raises:
            InputError: a query is longer than float32 can say, which its coordinates might be.
        """
        m = len(queries)
        made = Projected(np.empty((m, self.rank), np.float32), np.empty(m), np.empty(m))
        fixed = (queries, self.basis, self.gram, TOLERANCE)
        run_chunks(lambda start, stop: project(*fixed, start, stop, *made), m, CHUNK, threads)
        if (made.lengths > _LONGEST).any():
            number = int(np.argmax(made.lengths > _LONGEST))
            raise InputError(
                f"query {number} is longer than float32's range, and this index holds rows by "
                'their coordinates in a subspace; scale the query, or build with reduce="off"'
            )
        return made

    @staticmethod
    def restore(
        projected: Projected, distances: npt.NDArray[np.float64], metric: int
    ) -> npt.NDArray[np.float64]:
        """Distances to the queries from those to their coordinates, both float64[m, k].

        l2: sqrt(d^2 + |e|^2); cosine: the cosine shrinks by |y| / |q|; ip: the same.
        """
        outside = projected.outside[:, None]
        if metric == IP or not outside.any():
            return distances
        if metric != COSINE:
            with np.errstate(all="ignore"):  # places beyond the rows found hold anything
                return np.hypot(distances, outside)
        shares = np.sqrt(np.maximum(1.0 - (outside / projected.lengths[:, None]) ** 2, 0.0))
        with np.errstate(all="ignore"):
            return 1.0 - (1.0 - distances) * shares


def product(rows: Array, panels: Array, threads: int = 1) -> npt.NDArray[np.float64]:
    """rows [m, d] times a matrix in panels, float64[m, 64 p]; see `kernels/projection.py`."""
    out = np.empty((len(rows), panels.shape[0] * PANEL), np.float64)
    fixed = (frozen(rows), panels)
    size = SHARED if threads > 1 else max(1, len(rows))
    run_chunks(lambda start, stop: multiply(*fixed, start, stop, out), len(rows), size, threads)
    return out
