"""What all native stores share: rows that are computed from an embedding table, never written out.

A store is a kind, five arrays that kernels take (`kernels/stores.py` says what they mean) and what
is told of it. Searches work on these arrays; `decode` gives rows back for whoever wants vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fanns.bundles import Bundle, write_bundle
from fanns.errors import InputError
from fanns.kernels.jit import Array, frozen
from fanns.kernels.stores import decode_rows
from fanns.vectors import MAX_DIMENSIONS

STEM = "store"
"""Of the names of the files of a store that is saved."""

SLOTS = ("numbers", "first", "second", "codes", "words")
"""Names of the arrays, in the order in which kernels take them."""

EMPTY: dict[str, Array] = {
    "numbers": frozen(np.empty(0, np.int64)),
    "first": frozen(np.empty(0, np.float32)),
    "second": frozen(np.empty(0, np.float32)),
    "codes": frozen(np.empty((0, 0), np.int32)),
    "words": frozen(np.empty(0, np.uint64)),
}
CODE_TYPES = ("uint8", "uint16", "int32", "int64")
MOST_ROWS = 2**31 - 1
CHUNK = 4096
_LARGEST = float(np.finfo(np.float32).max)


class NativeStore(ABC):
    """Rows of a compressed embedding table, as an index holds and searches them.

    Attributes:
        kind: the number by which kernels know it; name: the same for people and files.
        n, d: rows and dimensions.
        held: the arrays `SLOTS`, read-only.
        reach: no row is longer. rounds: whether decoding rounds sums to float32.
    """

    kind: ClassVar[int]
    name: ClassVar[str]
    n: int
    d: int
    held: tuple[Array, Array, Array, Array, Array]
    reach: float

    @property
    @abstractmethod
    def rounds(self) -> bool: ...

    @abstractmethod
    def _check(self) -> None:
        """Raises InputError unless kernels may read the arrays, whatever values they hold."""

    def _hold(self, n: int, d: int, reach: float, arrays: Mapping[str, Array]) -> None:
        """Take arrays by name; those not named are empty."""
        if not 1 <= d <= MAX_DIMENSIONS:
            raise InputError(f"{self.name}: {d} dimensions; expected 1 to {MAX_DIMENSIONS:,}")
        if not 0 <= n <= MOST_ROWS:
            raise InputError(f"{self.name}: {n} rows; expected at most {MOST_ROWS:,}")
        if not (0.0 <= reach <= _LARGEST):
            raise InputError(f"{self.name}: rows may be longer than float32 can say; scale them")
        self.n, self.d, self.reach = n, d, reach
        numbers, first, second, codes, words = (
            frozen(arrays.get(slot, EMPTY[slot])) for slot in SLOTS
        )
        self.held = (numbers, first, second, codes, words)
        for slot, array in zip(SLOTS, self.held, strict=True):
            kinds = CODE_TYPES if slot == "codes" else (EMPTY[slot].dtype.name,)
            if array.dtype.name not in kinds or array.ndim != EMPTY[slot].ndim:
                raise InputError(f"{self.name}: {slot} is {array.dtype}{list(array.shape)}")
        self._check()

    @classmethod
    def restore(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """What `describe` and `arrays` gave, checked as far as kernels depend on it.

        Raises:
            InputError: it is not a store of this kind.
        """
        n, d, reach = (description.get(name) for name in ("rows", "dimensions", "reach"))
        if type(n) is not int or type(d) is not int or type(reach) not in (int, float):
            raise InputError(f"{cls.name}: its description is {dict(description)!r:.80}")
        assert isinstance(reach, int | float)
        if unknown := set(arrays) - set(SLOTS):
            raise InputError(f"{cls.name}: no store has an array {min(unknown)!r}")
        made = cls.__new__(cls)
        made._hold(n, d, float(reach), arrays)
        return made

    def describe(self) -> dict[str, Any]:
        """What to write down beside `arrays`, as JSON has it."""
        return {"kind": self.name, "rows": self.n, "dimensions": self.d, "reach": self.reach}

    def arrays(self) -> dict[str, Array]:
        """What to write down: the arrays that are not empty, by name."""
        return {s: array for s, array in zip(SLOTS, self.held, strict=True) if array.size}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.held)

    def decode(self, rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The vectors of rows (whole numbers [m]), as float32[m, d].

        Raises:
            InputError: a row that the store does not have.
        """
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise InputError(f"rows: expected whole numbers [m], got {wanted.dtype}{wanted.shape}")
        if wanted.size and (int(wanted.min()) < 0 or int(wanted.max()) >= self.n):
            raise InputError(f"rows: expected numbers within 0..{self.n - 1}")
        out = np.empty((len(wanted), self.d), np.float32)
        decode_rows(self.kind, *self.held, frozen(wanted.astype(np.int64)), out)
        return out

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the store to a folder, all or nothing; `fanns.stores.load` reads it.

        Raises:
            IndexExistsError: something is there and `overwrite` is False.
            StorageError: it cannot be written.
        """
        write_bundle(Path(folder), STEM, Bundle(self.describe(), self.arrays()), overwrite)

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        share = self.nbytes / max(1, 4 * self.n * self.d)
        return (
            f"<{type(self).__name__}: {self.n:,} rows x {self.d}, {self.nbytes:,} bytes "
            f"({share:.2%} of float32)>"
        )


def accept_table(given: npt.ArrayLike, what: str) -> npt.NDArray[np.float32]:
    """A table float32[rows, width], C-contiguous, not copied where it is one already.

    Raises:
        InputError: another shape or type, no rows or columns, NaN, or beyond float32's range.
    """
    array = np.asarray(given)
    if array.ndim != 2 or not array.size:
        raise InputError(f"{what}: expected a table [rows, width], got shape {array.shape}")
    return accept_values(array, what).reshape(array.shape)


def accept_values(given: npt.ArrayLike, what: str) -> npt.NDArray[np.float32]:
    """Numbers as float32[...], flat and finite; raises InputError as `accept_table` does."""
    array = np.asarray(given)
    if array.dtype.kind != "f":
        raise InputError(f"{what}: expected floats, got {array.dtype}")
    with np.errstate(over="ignore"):
        flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if wrong.size:
        place = tuple(int(at) for at in np.unravel_index(wrong[0], array.shape))
        raise InputError(
            f"{what}: {array[place]} at {list(place)} ({wrong.size} values are not finite in "
            "float32); repair them"
        )
    return flat


def longest(table: npt.NDArray[np.float32]) -> float:
    """The length of the longest row, a little upwards."""
    most = 0.0
    for start in range(0, len(table), CHUNK):
        part = table[start : start + CHUNK].astype(np.float64)
        most = max(most, float(np.einsum("ij,ij->i", part, part).max(initial=0.0)))
    return math.sqrt(most) * (1 + 1e-12)


def whole(value: Any, what: str, least: int) -> int:
    """A whole number of at least `least`; raises InputError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{what}: expected a whole number of at least {least}, got {value!r}")
    return int(value)
