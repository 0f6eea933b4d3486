"""Users and items as points of hyperbolic space: matrix factorisation with distances for products.

A tree fits into few dimensions there, since room grows with the exponential of the radius (Nickel
and Kiela, ICML 2018). Scores are negative squared distances, learned from triples by the BPR loss
(Vinh Tran et al., WSDM 2020, "HyperML"), with the optimiser of geoopt (Kochurov, Karimov, Kozlukov
2020), which keeps points on the hyperboloid. The points go into an index by `Lorentz`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError, MissingDependencyError

from .recsys_interactions import Interactions
from .recsys_sampling import epoch
from .recsys_torch import Tensor, array, functional, generator, torch

try:
    import geoopt
except ImportError as error:
    raise MissingDependencyError(
        "hyperbolic embeddings need geoopt: pip install geoopt (beside 'fanns[recsys]')"
    ) from error

SPREAD = 0.1
"""Standard deviation of the first points, in the tangent space of the origin."""


class HyperbolicPoints(NamedTuple):
    """Points of the hyperboloid, time first: users float32[u, d + 1], items float32[i, d + 1]."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]


def fit_hyperbolic(
    train: Interactions,
    dimensions: int = 16,
    *,
    k: float = 1.0,
    epochs: int = 20,
    batch: int = 2048,
    lr: float = 5e-3,
    seed: int = 0,
) -> HyperbolicPoints:
    """Train points on interactions; the same on every run.

    Args:
        dimensions: of the space; a point has one value more. k: the curvature is -1 / k.

    Raises:
        InputError: an argument makes no sense.
    """
    if dimensions < 1 or epochs < 1 or not 0.0 < k < float("inf"):
        raise InputError(
            f"dimensions {dimensions}, epochs {epochs} and k {k}: expected numbers above 0"
        )
    space, random = geoopt.Lorentz(k=k), generator(seed)
    users, items = (
        geoopt.ManifoldParameter(_points(space, count, dimensions, random), manifold=space)
        for count in (train.n_users, train.n_items)
    )
    optimizer = geoopt.optim.RiemannianAdam([users, items], lr=lr, stabilize=10)
    drawn = np.random.default_rng(seed)
    for _ in range(epochs):
        for triples in epoch(train, batch, drawn):
            who, liked, other = (torch.from_numpy(one.reshape(-1)) for one in triples)
            gap = _squared(space, users[who], items[liked]) - _squared(
                space, users[who], items[other]
            )
            optimizer.zero_grad()
            functional.softplus(gap).mean().backward()
            optimizer.step()
    return HyperbolicPoints(_on_sheet(users, k), _on_sheet(items, k))


def _points(space: Tensor, count: int, dimensions: int, random: Tensor) -> Tensor:
    """Points near the origin."""
    tangent = torch.randn((count, dimensions), generator=random) * SPREAD
    return space.expmap0(torch.cat([torch.zeros(count, 1), tangent], dim=1))


def _squared(space: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return space.dist(a, b) ** 2


def _on_sheet(points: Tensor, k: float) -> NDArray[np.float32]:
    """Points whose time follows from the other values, which float32 steps leave a little off."""
    held = array(points)
    squares = (held[:, 1:].astype(np.float64) ** 2).sum(axis=1)
    held[:, 0] = np.sqrt(k + squares)
    return held
