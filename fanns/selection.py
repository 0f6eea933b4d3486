"""The rows of one segment that pass a filter, exactly: as a bitmap, as a sorted list, or both."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError
from fanns.kernels import bitset
from fanns.kernels.jit import frozen

Rows = NDArray[np.int32]
Words = NDArray[np.uint64]
Array = TypeVar("Array", bound=NDArray[Any])


def word_count(n: int) -> int:
    """The length of a bitmap of n rows."""
    return (n + 63) >> 6


@lru_cache(maxsize=8)
def full_words(n: int) -> Words:
    """The bitmap of all n rows, read-only and shared."""
    words = np.full(word_count(n), bitset.FULL)
    if n & 63:
        words[-1] >>= np.uint64(64 - (n & 63))
    return _seal(words)


class Span(NamedTuple):
    """Slots of posting lists, as sorted bounds of codes; see `attributes.intervals`."""

    postings: Any
    bounds: list[int]


class Selection:
    """The passing rows of one segment of n rows, and their exact number; immutable.

    It holds a sorted row list (int32[count]), a bitmap (uint64[(n + 63) // 64], bit r % 64 of word
    r // 64 for row r, unused bits 0), or both: the form that is asked for is made once and kept.
    Arrays handed out are read-only. Equality is that of the sets.

    Attributes:
        spans: what is known of the rows besides: each lies in all of these spans.
    """

    __slots__ = ("_make", "_rows", "_words", "count", "n", "spans")

    n: int
    count: int
    _rows: Rows | None
    _words: Words | None
    _make: Callable[[], Words] | None
    spans: tuple[Span, ...]

    def __init__(
        self,
        n: int,
        count: int,
        rows: Rows | None,
        words: Words | None,
        spans: tuple[Span, ...] = (),
        make: Callable[[], Words] | None = None,
    ) -> None:
        """For the class methods and for kernels' results: arrays are frozen and taken as they are.

        `rows` is sorted, without repeats, within 0..n-1; `words` has its unused bits clear; both
        hold `count` rows; both None means all n rows or none, or a bitmap to `make` when needed.
        """
        self.n = n
        self.count = count
        self._rows = rows
        self._words = words
        self._make = make
        self.spans = spans

    @classmethod
    def all(cls, n: int) -> Selection:
        """Every row."""
        return cls(n, n, None, None)

    @classmethod
    def none(cls, n: int) -> Selection:
        """No row."""
        return cls(n, 0, None, None)

    @classmethod
    def from_rows(cls, rows: NDArray[np.integer], n: int) -> Selection:
        """From sorted rows without repeats (int32; other integers are converted).

        Raises InputError when they are not sorted, repeated or outside 0..n-1.
        """
        rows = np.asarray(rows)
        if rows.size and (rows[0] < 0 or rows[-1] >= n or (rows[1:] <= rows[:-1]).any()):
            raise InputError(f"rows of a selection must be sorted, unique and within 0..{n - 1}")
        return cls(n, len(rows), frozen(rows.astype(np.int32, copy=False)), None)

    @classmethod
    def from_words(cls, words: Words, n: int, count: int | None = None) -> Selection:
        """From a bitmap, taken without a copy; `count` is its popcount where it is known.

        Raises InputError when its length is wrong or a bit beyond row n - 1 is set.
        """
        if words.dtype != np.uint64 or words.shape != (word_count(n),):
            raise InputError(
                f"a bitmap of {n} rows is uint64[{word_count(n)}], got {words.dtype}{words.shape}"
            )
        if n & 63 and int(words[-1]) >> (n & 63):
            raise InputError(f"the bitmap has a bit set beyond row {n - 1}")
        words = frozen(words)
        return cls(n, int(bitset.count(words)) if count is None else count, None, words)

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_]) -> Selection:
        """From one boolean per row."""
        n = len(mask)
        packed = np.packbits(mask, bitorder="little")
        words = np.zeros(word_count(n), np.uint64)
        words.view(np.uint8)[: len(packed)] = packed
        _seal(words)
        return cls(n, int(bitset.count(words)), None, words)

    @property
    def is_all(self) -> bool:
        """Every row passes."""
        return self.count == self.n

    @property
    def has_rows(self) -> bool:
        """The row list is there already, or is empty."""
        return self._rows is not None or self.count == 0

    @property
    def has_words(self) -> bool:
        """The bitmap is there already."""
        return self._words is not None

    def rows(self) -> Rows:
        """The passing rows, int32[count], sorted, read-only."""
        rows = self._rows
        if rows is None:
            if self._words is None and self._make is None:
                rows = np.arange(self.count, dtype=np.int32)  # all, or none
            else:
                rows = np.empty(self.count, np.int32)
                bitset.rows_of_words(self.words(), rows)
            self._rows = _seal(rows)
        return rows

    def words(self) -> Words:
        """The bitmap, uint64[(n + 63) // 64], read-only."""
        words = self._words
        if words is None:
            if self._make is not None:
                words = self._make()
            elif self._rows is None and self.count:
                words = full_words(self.n)
            else:
                words = np.zeros(word_count(self.n), np.uint64)
                bitset.set_rows(self.rows(), words)
            self._words = _seal(words)
        return words

    def mask(self) -> NDArray[np.bool_]:
        """One boolean per row, bool[n]."""
        bits = np.unpackbits(self.words().view(np.uint8), count=self.n, bitorder="little")
        return bits.view(np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes of the forms that are held."""
        return sum(form.nbytes for form in (self._rows, self._words) if form is not None)

    def __and__(self, other: Selection) -> Selection:
        self._check(other)
        few, many = (self, other) if self.count <= other.count else (other, self)
        if few.count == 0 or many.is_all:
            return few
        met = few._filtered(many) if few._is_short() else few._combined(many, bitset.AND)
        met.spans = self.spans + other.spans
        return met

    def __or__(self, other: Selection) -> Selection:
        self._check(other)
        few, many = (self, other) if self.count <= other.count else (other, self)
        if few.count == 0 or many.is_all:
            return many
        if few._is_short() and many._is_short():
            return of_unsorted(self.n, np.concatenate([few.rows(), many.rows()]))
        return few._combined(many, bitset.OR)

    def __sub__(self, other: Selection) -> Selection:
        """The rows of this selection that are not in the other."""
        self._check(other)
        if self.count == 0 or other.count == 0:
            return self
        if self._is_short():
            rows = np.empty(self.count, np.int32)
            found = bitset.filter_rows(self.rows(), other.words(), 0, rows)
            left = _of_rows(self.n, rows, found)
        else:
            left = self._combined(other, bitset.AND_NOT)
        left.spans = self.spans
        return left

    def invert(self) -> Selection:
        """The rows that do not pass."""
        return Selection.all(self.n) - self

    __invert__ = invert

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        same_size = self.n == other.n and self.count == other.count
        return same_size and bool((self.words() == other.words()).all())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Selection({self.count} of {self.n} rows)"

    def _is_short(self) -> bool:
        """A walk over its rows costs less than one over the bitmap's words."""
        return self.count <= self.n >> 6

    def _filtered(self, many: Selection) -> Selection:
        """The rows of this short selection that are in the other."""
        rows = np.empty(self.count, np.int32)
        if many._words is None and many._rows is not None:
            found = bitset.intersect_rows(self.rows(), many._rows, rows)
        else:
            found = bitset.filter_rows(self.rows(), many.words(), 1, rows)
        return _of_rows(self.n, rows, found)

    def _combined(self, other: Selection, operation: int) -> Selection:
        words = np.empty(word_count(self.n), np.uint64)
        count = bitset.combine(self.words(), other.words(), operation, words)
        return Selection(self.n, count, None, _seal(words))

    def _check(self, other: Selection) -> None:
        if self.n != other.n:
            raise InputError(f"selections of {self.n} and of {other.n} rows cannot be combined")


def _seal(array: Array) -> Array:
    array.setflags(write=False)
    return array


def _of_rows(n: int, rows: Rows, found: int) -> Selection:
    """A selection of the first `found` of the rows that a kernel wrote."""
    return Selection(n, found, _seal(rows[:found]), None)


def of_unsorted(n: int, rows: Rows) -> Selection:
    """A selection of a few rows, in any order and with repeats."""
    rows.sort()
    if (rows[1:] == rows[:-1]).any():
        rows = rows[np.concatenate([[True], rows[1:] != rows[:-1]])]
    return Selection(n, len(rows), _seal(rows), None)
