"""Masked tables: rows with many zeros, held by a bitmap and the values that are there."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array
from fanns.kernels.stores import MASKED, STEP
from fanns.stores_base import NativeStore, accept_table, accept_values


class Masked(NativeStore):
    """Row x has values where its mask is set, and zeros elsewhere: what pruned tables (DNIS: Cheng
    et al. 2020; DSL: Wang et al. 2024) come to.

    A row takes ceil(d / 64) * 8 + 1 bytes and 4 for each value that is there.
    """

    kind = MASKED
    name = "masked"

    def __init__(self, mask: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Hold values row by row.

        Args:
            mask: bool[rows, d]. values: [number of True], those of row 0 first.

        Raises:
            InputError: another number of values than the mask has, NaN or infinity.
        """
        given = np.asarray(mask)
        if given.ndim != 2 or given.dtype != np.bool_ or given.shape[1] < 1:
            raise InputError(f"mask: expected bool[rows, d], got {given.dtype}{given.shape}")
        if np.ndim(values) != 1:
            raise InputError(f"values: expected an array [m], got {np.ndim(values)} dimensions")
        flat = accept_values(values, "values")
        n, d = given.shape
        counts = given.sum(axis=1, dtype=np.int64)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if n else 0
        if len(flat) != total:
            raise InputError(f"values: the mask has {total}, got {len(flat)}")
        size = -(-d // 64)
        words = np.zeros((n, size), np.uint64)
        packed = np.packbits(given, axis=1, bitorder="little")
        words.view(np.uint8)[:, : packed.shape[1]] = packed
        starts = (ends - counts)[::STEP].reshape(-1, 1)
        squares = flat.astype(np.float64) ** 2
        sums = np.add.reduceat(np.append(squares, 0.0), ends - counts) if n else np.zeros(0)
        longest = float(np.sqrt(np.where(counts > 0, sums, 0.0).max(initial=0.0)))
        arrays: dict[str, Array] = {
            "numbers": np.array([size], np.int64),
            "first": flat,
            "codes": starts,
            "words": words.reshape(-1),
        }
        self._hold(n, d, longest * (1 + 1e-12), arrays)

    @classmethod
    def from_dense(cls, table: npt.ArrayLike) -> Self:
        """The values of a table [rows, d] that are not zero."""
        dense = accept_table(table, "table")
        mask = dense != 0
        return cls(mask, dense[mask])

    def _check(self) -> None:
        numbers, first, _, codes, words = self.held
        size = -(-self.d // 64)
        steps = -(-self.n // STEP)
        good = numbers.tolist() == [size] and len(words) == self.n * size
        good = good and (codes.shape == (steps, 1) or not steps) and codes.dtype == np.int64
        if not good and self.n:
            raise InputError(f"{self.name}: arrays of other sizes than {self.n} rows x {self.d}")
        table = words.reshape(-1, size)
        if self.d % 64 and (table[:, -1] >> np.uint64(self.d % 64)).any():
            raise InputError(f"{self.name}: the bitmap has a bit set beyond dimension {self.d - 1}")
        counts = np.bitwise_count(table).sum(axis=1, dtype=np.int64)
        ends = np.cumsum(counts)
        if len(first) != (int(ends[-1]) if self.n else 0):
            raise InputError(f"{self.name}: {len(first)} values, the bitmap has another number")
        if not np.array_equal(codes.reshape(-1), (ends - counts)[::STEP]):
            raise InputError(f"{self.name}: starts are not those of the bitmap")

    @property
    def rounds(self) -> bool:
        return False
