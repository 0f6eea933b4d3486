"""Masks over product keys: which of the c_a * c_b keys pass, in the form that kernels take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels import bitset
from fanns.kernels.jit import Array, frozen

EXPECTED = (
    "expected bool[{n}] or bool[{a}, {b}], a bitmap uint64[{w}], or an array of key numbers within "
    "0..{last}"
)


class KeyMask:
    """The passing keys of a table of c_a x c_b, checked and packed: make it once, use it often.

    `count` of them pass. It holds a bitmap (bit r % 64 of word r // 64 for key r), the sorted key
    numbers int64[count], or both.
    """

    __slots__ = ("_keys", "_words", "count", "shape")

    def __init__(self, given: Any, shape: tuple[int, int]) -> None:
        """From booleans, a bitmap or key numbers; InputError for anything else."""
        self.shape = shape
        self._keys: Array | None = None
        self._words: Array | None = None
        n = shape[0] * shape[1]
        array = (
            np.asarray(given) if not isinstance(given, list | tuple) or given else np.empty(0, int)
        )
        if array.dtype == np.bool_ and array.shape in ((n,), shape):
            self._words = _packed(array.reshape(n))
        elif array.dtype == np.uint64 and array.shape == (_word_count(n),):
            if n & 63 and int(array[-1]) >> (n & 63):
                raise InputError(f"mask: the bitmap has a bit set beyond key {n - 1}")
            self._words = frozen(array)
        elif array.dtype.kind in "iu" and array.dtype != np.uint64 and array.ndim == 1:
            self._keys = _sorted_keys(array, n)
        else:
            told = EXPECTED.format(n=n, a=shape[0], b=shape[1], w=_word_count(n), last=n - 1)
            raise InputError(f"mask: {told}; got {array.dtype}{list(array.shape)}")
        words = self._words
        self.count = len(self._keys) if words is None else int(bitset.count(words))  # type: ignore[arg-type]

    @property
    def has_words(self) -> bool:
        """The bitmap is there already."""
        return self._words is not None

    def words(self) -> npt.NDArray[np.uint64]:
        """The bitmap, uint64[(c_a * c_b + 63) // 64], read-only; made from the keys if need be."""
        if self._words is None:
            words = np.zeros(_word_count(self.shape[0] * self.shape[1]), np.uint64)
            bitset.set_rows(self._keys, words)  # type: ignore[arg-type]
            self._words = frozen(words)
        return self._words

    def keys(self) -> npt.NDArray[np.int64]:
        """The passing key numbers, int64[count], sorted, read-only; for masks made of them."""
        assert self._keys is not None
        return self._keys


def _word_count(n: int) -> int:
    return (n + 63) >> 6


def _packed(mask: npt.NDArray[np.bool_]) -> Array:
    packed = np.packbits(mask, bitorder="little")
    words = np.zeros(_word_count(len(mask)), np.uint64)
    words.view(np.uint8)[: len(packed)] = packed
    return frozen(words)


def _sorted_keys(given: Array, n: int) -> Array:
    if given.size and (given.min() < 0 or given.max() >= n):
        wrong = given[(given < 0) | (given >= n)][0]
        raise InputError(f"mask: key {wrong} is outside 0..{n - 1}")
    keys = given.astype(np.int64)
    if (keys[1:] <= keys[:-1]).any():
        keys = np.unique(keys)
    return frozen(keys)


def as_masks(given: Any, shape: tuple[int, int], queries: int) -> list[KeyMask | None]:
    """One mask for all queries, as a list of one, or one for each.

    A list or tuple of anything but plain numbers holds a mask (or None) per query, as do arrays
    bool[m, c_a * c_b] and bool[m, c_a, c_b]. InputError when their number is another.
    """
    if given is None or isinstance(given, KeyMask):
        return [_checked(given, shape)]
    if isinstance(given, list | tuple):
        several = any(not isinstance(part, int | np.integer | np.bool_) for part in given)
    else:
        shapes = ((queries, shape[0] * shape[1]), (queries, *shape))
        array = np.asarray(given)
        several = array.dtype == np.bool_ and array.ndim > 1 and array.shape != shape
        several = several and array.shape in shapes
    if not several:
        return [KeyMask(given, shape)]
    if len(given) != queries:
        raise InputError(f"mask: {len(given)} masks for {queries} queries; give one for each")
    parts = list(given)  # kept alive together, so that an id means one of them
    made = {id(part): _checked(part, shape) for part in parts}
    return [made[id(part)] for part in parts]


def _checked(given: Any, shape: tuple[int, int]) -> KeyMask | None:
    if given is None:
        return None
    if not isinstance(given, KeyMask):
        return KeyMask(given, shape)
    if given.shape != shape:
        raise InputError(f"mask: made for {given.shape} half keys, used with {shape}")
    return given
