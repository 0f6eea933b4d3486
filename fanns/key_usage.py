"""Which product keys are used, and half keys that nobody uses made useful again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array

Counts = npt.NDArray[np.int64]


class KeyUsage:
    """How often keys were answered.

    Attributes:
        a, b: int64[c_a] and int64[c_b], per half key.
        keys: int64[c_a, c_b], per key, or None when only halves are counted.
    """

    def __init__(self, shape: tuple[int, int], what: str) -> None:
        """Counters for a table of `shape`; `what` is "halves" or "keys"."""
        if what not in ("halves", "keys"):
            raise InputError(f'usage: expected "halves", "keys" or None, got {what!r}')
        self.shape = shape
        self.a = np.zeros(shape[0], np.int64)
        self.b = np.zeros(shape[1], np.int64)
        self.keys = np.zeros(shape, np.int64) if what == "keys" else None

    def record(self, ids: npt.ArrayLike) -> None:
        """Count key numbers, each as often as it occurs; InputError for one outside the table."""
        given, n = np.asarray(ids), self.shape[0] * self.shape[1]
        if given.size == 0:
            return
        if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= n:
            raise InputError(f"ids: expected key numbers within 0..{n - 1}")
        rows, columns = np.divmod(given.ravel().astype(np.int64), self.shape[1])
        self.a += np.bincount(rows, minlength=self.shape[0])
        self.b += np.bincount(columns, minlength=self.shape[1])
        if self.keys is not None:
            np.add.at(self.keys, (rows, columns), 1)

    def reset(self) -> None:
        """Count from zero again."""
        for counts in (self.a, self.b, self.keys):
            if counts is not None:
                counts[:] = 0


class Reinitialised(NamedTuple):
    """The half keys that were replaced, int64, and the used ones they were copied from."""

    dead_a: Counts
    donors_a: Counts
    dead_b: Counts
    donors_b: Counts


def reseed_dead(
    table: Array, usage: Counts, threshold: float, noise: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Counts, Counts]:
    """A copy of float32[c, d] whose rows used at most `threshold` times repeat used ones.

    Donors are drawn in proportion to their use; a copy gets Gaussian noise of `noise` times the
    donor's length, so that the two part ways in training (Karimov et al. 2021). Gives (the table,
    dead rows, donors); without a row used more often than `threshold` nothing is dead.
    """
    dead = np.flatnonzero(usage <= threshold)
    made = np.array(table, np.float32)
    alive = np.where(usage > threshold, usage, 0)
    if not len(dead) or not alive.any():
        nobody = np.zeros(0, np.int64)
        return made, nobody, nobody
    donors = rng.choice(len(usage), len(dead), p=alive / alive.sum()).astype(np.int64)
    lengths = np.linalg.norm(table[donors].astype(np.float64), axis=1)
    steps = rng.standard_normal((len(dead), table.shape[1])) / np.sqrt(table.shape[1])
    made[dead] = table[donors] + steps * (noise * lengths)[:, None]
    return made, dead, donors
