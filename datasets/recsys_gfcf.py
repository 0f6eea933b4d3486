"""GF-CF: collaborative filtering by graph filters, without training (Shen et al., CIKM 2021).

With R the users x items matrix, R~ = D_U^-1/2 R D_I^-1/2 and V the top right singular vectors of
R~, a user of the row r scores items by

    r R~^T R~  +  weight * r D_I^-1/2 V V^T D_I^1/2

a linear filter and an ideal low-pass filter. The second is an inner product: (r D_I^-1/2) V by
V D_I^1/2, of as many dimensions as there are singular vectors, so it can be searched by an index.
Lengths of item vectors grow with their popularity, and carry part of the ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Filters:
    """How to filter.

    Attributes:
        dimensions: singular vectors of the low-pass filter.
        weight: of it; the paper has 0.3 for Gowalla and Yelp2018, 0 for Amazon-Book.
        seed: of the vector that the search for singular vectors begins with.
    """

    dimensions: int = 256
    weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class GfCf:
    """A fitted model.

    Attributes:
        normalized: scipy.sparse.csr_array float32[n_users, n_items], R~.
        right: float32[n_items, d], V. item_scale: float32[n_items], D_I^1/2.
        weight: of the low-pass filter in `scores`.
    """

    normalized: Any
    right: Floats
    item_scale: Floats
    weight: float

    def item_vectors(self) -> Floats:
        """float32[n_items, d] of the low-pass filter, for the inner product."""
        return np.asarray(self.right * self.item_scale[:, None])

    def fold_in(self, rows: Interactions) -> Floats:
        """float32[n_users, d], the vectors of any users, exact: nothing is trained for them."""
        inverse = np.divide(1, self.item_scale, where=self.item_scale > 0, out=np.zeros_like(
            self.item_scale))  # fmt: skip
        return np.asarray(rows.matrix() @ (self.right * inverse[:, None]), np.float32)

    def scores(self, rows: Interactions) -> Any:
        """From rows of `rows` int64[b] to the full scores float32[b, n_items] of both filters."""
        users, items = self.fold_in(rows), self.item_vectors().T
        matrix = rows.matrix()
        transposed = self.normalized.T.tocsr()

        def full(block: Ints) -> Floats:
            linear = (matrix[block] @ transposed @ self.normalized).toarray()
            return np.asarray(linear + self.weight * (users[block] @ items), np.float32)

        return full


def fit(data: Interactions, filters: Filters | None = None) -> GfCf:
    """The filters of the interactions; nothing is trained.

    Raises InputError without interactions, or for as many dimensions as there are users or items.
    """
    from scipy.sparse import csr_array, dia_array
    from scipy.sparse.linalg import svds

    filters = filters or Filters()
    if not 0 < filters.dimensions < min(data.n_users, data.n_items):
        raise InputError(
            f"dimensions is {filters.dimensions}, expected from 1 to below the number of users "
            f"({data.n_users}) and of items ({data.n_items})"
        )
    if not len(data):
        raise InputError("there are no interactions: nothing to filter")
    sides = []
    for counts in (data.user_counts, data.item_counts):
        scale = np.zeros(len(counts))
        np.power(counts, -0.5, out=scale, where=counts > 0)
        sides.append(dia_array((scale[None], [0]), shape=(len(counts),) * 2))
    normalized = csr_array(sides[0] @ data.matrix() @ sides[1]).astype(np.float32)
    start = np.random.default_rng(filters.seed).random(min(normalized.shape), np.float32)
    _, values, right = svds(normalized, k=filters.dimensions, v0=start)
    order = np.argsort(-values, kind="stable")
    return GfCf(
        normalized,
        np.ascontiguousarray(right[order].T, np.float32),
        np.sqrt(data.item_counts).astype(np.float32),
        filters.weight,
    )
