"""A metric on frozen vectors, learned from pairs that belong together: scale and shift of values.

Vectors stay as they are, and so does an index of them: `AffineAdapter.fold` asks it under the
learned metric. Training begins at the plain inner product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.transforms import AffineAdapter

from .recsys_torch import array, functional, generator, nn, torch

TEMPERATURE = 0.05
"""Of the softmax over a batch of vectors of about unit length."""


def fit_affine_adapter(
    vectors: npt.NDArray[np.float32],
    pairs: npt.NDArray[np.integer],
    *,
    steps: int = 500,
    batch: int = 256,
    lr: float = 1e-2,
    seed: int = 0,
) -> AffineAdapter:
    """Learn to tell the second row of a pair from those of other pairs; the same on every run.

    The loss is the cross entropy of a softmax over the batch (InfoNCE: van den Oord, Li and Vinyals
    2018), on inner products of adapted vectors, as an index is asked for them; of the asking side
    only the direction counts.

    Args:
        vectors: float32[n, d]. pairs: int[m, 2], rows that belong together.
        steps: batches, each of up to `batch` pairs.

    Raises:
        InputError: vectors or pairs cannot be used.
    """
    rows, chosen = np.ascontiguousarray(vectors, np.float32), np.asarray(pairs)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise InputError(f"vectors: expected finite numbers [rows, d], got {rows.shape}")
    if chosen.ndim != 2 or chosen.shape[1:] != (2,) or len(chosen) < 2:
        raise InputError(f"pairs: expected at least two, [pairs, 2], got {chosen.shape}")
    if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= len(rows):
        raise InputError(f"pairs: expected row numbers from 0 to {len(rows) - 1}")
    held, both = torch.from_numpy(rows), torch.from_numpy(chosen.astype(np.int64))
    scale = nn.Parameter(torch.ones(rows.shape[1]))
    shift = nn.Parameter(torch.zeros(rows.shape[1]))
    optimizer = torch.optim.Adam([scale, shift], lr=lr)
    random = generator(seed)
    for _ in range(steps):
        some = both[torch.randperm(len(both), generator=random)[:batch]]
        asking, found = (held[one] * scale + shift for one in some.T)
        products = functional.normalize(asking) @ found.T
        optimizer.zero_grad()
        loss = functional.cross_entropy(products / TEMPERATURE, torch.arange(len(some)))
        loss.backward()
        optimizer.step()
    return AffineAdapter(array(scale), array(shift))
