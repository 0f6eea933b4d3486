"""Linear maps of frozen vectors whose first coordinates are good vectors of their own, trained.

Each step takes one of the prefixes and trains the coordinates up to it alone, so that what matters
most comes first (Maestro: Horvath et al., ICML 2024; Matryoshka: Kusupati et al., NeurIPS 2022).
Training begins at the principal components, which cost nothing and are what a head has to beat: on
reconstruction they are the best there is, on the order of neighbours they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.transforms import PCA, OrderedHead

from .recsys_torch import Tensor, array, functional, generator, nn, torch

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of a batch [n, d] and the first columns of the matrix [d, b]."""

TEMPERATURE = 0.05
"""Of the softmax over similarities: near rows of a batch count, far ones hardly."""

NEVER = -1e4
"""A similarity that no softmax sees: infinity times a share of 0 would be no number."""


def reconstruction(batch: Tensor, matrix: Tensor) -> Tensor:
    """Mean squared distance of vectors from what their coordinates give back, |x - x V V^T|^2."""
    return ((batch - batch @ matrix @ matrix.T) ** 2).sum(dim=1).mean()


def contrastive(batch: Tensor, matrix: Tensor) -> Tensor:
    """How badly a row's coordinates tell which others of the batch its vector is near to.

    Cross entropy between the softmax of cosine similarities of the vectors, and that of their
    coordinates.
    """
    own = torch.eye(len(batch), dtype=torch.bool)
    wanted, seen = (
        (functional.normalize(one) @ functional.normalize(one).T / TEMPERATURE).masked_fill(
            own, NEVER
        )
        for one in (batch, batch @ matrix)
    )
    return functional.cross_entropy(seen, wanted.softmax(dim=1))


LOSSES: dict[str, Loss] = {"reconstruction": reconstruction, "contrastive": contrastive}


def fit_ordered_head(
    vectors: npt.NDArray[np.float32],
    prefixes: Sequence[int],
    loss: str = "contrastive",
    *,
    steps: int = 1000,
    batch: int = 512,
    lr: float = 1e-3,
    seed: int = 0,
) -> OrderedHead:
    """Train a head on vectors float32[n, d]; the same on every run.

    Args:
        prefixes: numbers of coordinates to be valid, rising; the last is the head's width.
        loss: a name of `LOSSES`. steps: batches, each of `batch` rows and one of the prefixes.

    Raises:
        InputError: prefixes or loss make no sense, or vectors cannot be used.
    """
    if loss not in LOSSES:
        raise InputError(f"loss is {loss!r}, expected one of {', '.join(LOSSES)}")
    if not prefixes or any(before >= after for before, after in pairwise(prefixes)):
        raise InputError(f"prefixes are {list(prefixes)!r}, expected rising numbers")
    start = PCA.fit(vectors, prefixes[-1], centre=False)
    rows = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
    matrix = nn.Parameter(torch.from_numpy(np.array(start.matrix)))
    optimizer = torch.optim.Adam([matrix], lr=lr)
    random = generator(seed)
    for _ in range(steps):
        chosen = rows[torch.randint(len(rows), (min(batch, len(rows)),), generator=random)]
        prefix = prefixes[int(torch.randint(len(prefixes), (), generator=random))]
        optimizer.zero_grad()
        LOSSES[loss](chosen, matrix[:, :prefix]).backward()
        optimizer.step()
    return OrderedHead(array(matrix), np.zeros(prefixes[-1]), tuple(prefixes))
