"""Posting lists: for each value its rows, and bitmaps where those save work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.attributes.dictionary import rises
from fanns.attributes.intervals import Bounds, complement
from fanns.errors import CorruptIndexError
from fanns.kernels import bitset
from fanns.kernels import postings as kernels
from fanns.kernels.jit import frozen
from fanns.selection import (
    Rows,
    Selection,
    Span,
    Words,
    full_words,
    of_unsorted,
    word_count,
)

Array = NDArray[Any]

QUANTILES = 16
"""A range starts and ends within a 32nd of the rows of a cumulative bitmap: 15 of them cost under
two bytes a row, and one more bitmap operation costs as much as a few hundred single rows."""

WORTH = 2
"""A slot has a bitmap besides its list where that takes less than so many times the list's bytes: a
bitmap joins others word by word, and few values have a 64th of the rows."""

SCATTERED = 4
"""More intervals than this are joined slot by slot, in three quarters of the time of flipping."""

MIN_ROWS_FOR_CUTS = 4096
"""Below this, flipping the rows of a range one by one is as fast as any bitmap."""


class Postings:
    """The rows of each slot of a column (slot = code + 1, slot 0 for nulls) in n rows.

    `rows[offsets[s] : offsets[s + 1]]` are those of slot s, sorted. A slot that many rows
    have has a bitmap as well, so that neither form must be made per query. `cumulative[i]` is the
    bitmap of all rows with a code below `cuts[i]`; only for ordered columns with one value a row.
    """

    def __init__(self, n: int, arrays: Mapping[str, Array], single: bool) -> None:
        width = word_count(n)
        self.n = n
        self.single = single
        self.offsets = frozen(arrays["offsets"])
        self.rows = frozen(arrays["postings"])
        none = np.zeros((0, width), np.uint64)
        self.cuts = frozen(arrays.get("cuts", np.zeros(0, np.int32)))
        self.cumulative = frozen(arrays.get("cumulative", none))
        self.frequent = frozen(arrays.get("frequent", np.zeros(0, np.int32)))
        self.bitmaps = frozen(arrays.get("bitmaps", none))
        self.slots = (self.offsets, self.rows, self.frequent, self.bitmaps)
        if self.frequent.ndim != 1 or len(self.frequent) != len(self.bitmaps):
            raise CorruptIndexError("its bitmaps are not those of its frequent values")
        self._bitmap_of = dict(zip(self.frequent.tolist(), self.bitmaps, strict=True))

    @classmethod
    def build(
        cls, starts: Array | None, codes: Array, n: int, distinct: int, ordered: bool
    ) -> Postings:
        """From codes (int32, -1 for null): one a row, or row r's at starts[r] : starts[r + 1]."""
        single = starts is None
        if starts is None:
            starts = np.arange(n + 1, dtype=np.int32)
        offsets = np.empty(distinct + 2, np.int32)
        rows = np.empty(len(codes), np.int32)
        last = np.empty(distinct + 1, np.int32)
        used = kernels.group_rows(frozen(starts), frozen(codes), last, offsets, rows)
        rows = rows[:used].copy() if used < len(rows) else rows
        arrays: dict[str, Array] = {"offsets": offsets, "postings": rows}
        slots = _frequent_slots(offsets, n)
        arrays["frequent"] = (slots - 1).astype(np.int32)
        arrays["bitmaps"] = _frequent(offsets, rows, n, slots)
        if ordered and n >= MIN_ROWS_FOR_CUTS:
            cuts = _quantile_cuts(offsets, n)
            arrays["cuts"] = cuts.astype(np.int32)
            arrays["cumulative"] = _cumulative(offsets, rows, n, cuts)
        return cls(n, arrays, single)

    def arrays(self) -> dict[str, Array]:
        """The parts to be stored; those that are empty are left out."""
        parts = {"offsets": self.offsets, "postings": self.rows}
        if len(self.frequent):
            parts |= {"frequent": self.frequent, "bitmaps": self.bitmaps}
        if len(self.cuts):
            parts |= {"cuts": self.cuts, "cumulative": self.cumulative}
        return parts

    def count(self, bounds: Bounds) -> int:
        """How many rows have a code within the bounds; for lists an upper limit."""
        offsets = self.offsets
        if len(bounds) == 2:
            count: int = offsets.item(bounds[1] + 1) - offsets.item(bounds[0] + 1)
            return count
        return kernels.count_slots(limits_of(bounds), offsets)

    def counts(self) -> NDArray[np.int64]:
        """The number of rows of each slot."""
        return np.diff(self.offsets).astype(np.int64)

    def slot(self, code: int) -> Selection:
        """The rows of one code (-1: null), without copying anything."""
        start, stop = self.offsets.item(code + 1), self.offsets.item(code + 2)
        rows, words = self.rows[start:stop], self._bitmap_of.get(code)
        return Selection(self.n, stop - start, rows, words, (Span(self, [code, code + 1]),))

    def select(self, bounds: Bounds) -> Selection:
        """The rows with a code within the bounds."""
        selection = self._select(bounds)
        selection.spans = (Span(self, bounds),)
        return selection

    def _select(self, bounds: Bounds) -> Selection:
        n = self.n
        if len(bounds) == 2:
            if bounds[1] == bounds[0] + 1:
                return self.slot(bounds[0])
            start, stop = self.offsets.item(bounds[0] + 1), self.offsets.item(bounds[1] + 1)
            if self.single and stop - start <= n >> 6:
                rows = self.rows[start:stop].copy()
                rows.sort()
                rows.setflags(write=False)
                return Selection(n, stop - start, rows, None)
        total = self.count(bounds)
        if total == 0:
            return Selection.none(n)
        if self.single and total == n:
            return Selection.all(n)
        if total <= n >> 6:
            return of_unsorted(n, self._slices(bounds))
        return self._bitmap(bounds, total)

    def slice(self, bounds: Bounds) -> Rows:
        """The rows of each slot within the bounds, slot after slot; read-only."""
        if len(bounds) == 2:
            return self.rows[self.offsets.item(bounds[0] + 1) : self.offsets.item(bounds[1] + 1)]
        return frozen(self._slices(bounds))

    def bitmap_of(self, bounds: Bounds) -> Words | None:
        """The bitmap of a single slot, where there is one already."""
        return self._bitmap_of.get(bounds[0]) if bounds[1] == bounds[0] + 1 == bounds[-1] else None

    def _slices(self, bounds: Bounds) -> Rows:
        """The rows of each slot within the bounds, slot after slot."""
        limits = self.offsets[np.array(bounds) + 1].tolist()
        slices = [self.rows[limits[i] : limits[i + 1]] for i in range(0, len(limits), 2)]
        return np.concatenate(slices)

    def _bitmap(self, bounds: Bounds, total: int) -> Selection:
        """The rows of bounds, `total` of them (for lists at most) and neither none nor all."""
        if self.single:  # their number is known: who needs no bitmap saves making it
            return Selection(self.n, total, None, None, (), lambda: self._words_of(bounds, total))
        words = np.zeros(word_count(self.n), np.uint64)
        total = kernels.fill_slots(limits_of(bounds), *self.slots, words)
        words.setflags(write=False)
        return Selection(self.n, total, None, words)

    def _words_of(self, bounds: Bounds, total: int) -> Words:
        words = np.zeros(word_count(self.n), np.uint64)
        # Values here and there have bitmaps of their own to join, which cuts do not help with.
        if len(bounds) > 2 * SCATTERED and 2 * total <= self.n:
            kernels.fill_slots(limits_of(bounds), *self.slots, words)
            return words
        last = len(self.offsets) - 2
        if bounds[-1] == last or (2 * total > self.n and not len(self.cuts)):
            # Flip those that do not pass: they are fewer, or take a prefix less.
            words = full_words(self.n).copy()
            bounds = complement(bounds, -1, last)
        limits = limits_of(bounds)
        kernels.flip_codes(limits, self.offsets, self.rows, self.cuts, self.cumulative, words)
        return words

    def check(self, distinct: int, codes: Array) -> None:
        """Check lists read from a file before a kernel follows them; `codes` as for `build`.

        Raises CorruptIndexError saying which part contradicts another.
        """
        for part in (self.offsets, self.rows, self.cuts, self.frequent):
            if part.dtype != np.int32 or part.ndim != 1:
                raise CorruptIndexError("its posting lists have the wrong type")
        offsets, rows = self.offsets, self.rows
        if len(offsets) != distinct + 2 or not rises(offsets, len(rows)):
            raise CorruptIndexError("the offsets of its posting lists are out of order")
        rising = np.ones(len(rows) + 1, np.bool_)
        np.greater(rows[1:], rows[:-1], out=rising[1:-1])
        rising[offsets] = True  # where a slot starts, any row may follow
        if not rising.all() or not within(rows, 0, self.n):
            raise CorruptIndexError("the rows of its posting lists are out of order")
        if self.single:
            slots = np.repeat(np.arange(-1, distinct, dtype=np.int32), np.diff(offsets))
            if len(rows) != self.n or not np.array_equal(slots, codes[rows]):
                raise CorruptIndexError("its posting lists contradict its codes")
        _check_codes(self.cuts, 0, distinct)
        _check_codes(self.frequent, -1, distinct)
        # A bitmap with another count than its list would lead to rows that do not exist.
        good = _same(self.bitmaps, _frequent(offsets, rows, self.n, self.frequent + 1))
        if not good or not _same(self.cumulative, _cumulative(offsets, rows, self.n, self.cuts)):
            raise CorruptIndexError("its bitmaps contradict its posting lists")


def limits_of(bounds: Bounds) -> NDArray[np.int32]:
    """Bounds as kernels take them."""
    limits = np.array(bounds, np.int32)
    limits.setflags(write=False)
    return limits


def _frequent(offsets: Array, rows: Array, n: int, slots: Array) -> Words:
    """The bitmaps of slots."""
    bitmaps = np.zeros((len(slots), word_count(n)), np.uint64)
    for words, slot in zip(bitmaps, slots, strict=True):
        bitset.set_rows(frozen(rows[offsets[slot] : offsets[slot + 1]]), words)
    return bitmaps


def _cumulative(offsets: Array, rows: Array, n: int, cuts: Array) -> Words:
    """The bitmaps of the rows below each cut."""
    bitmaps = np.zeros((len(cuts), word_count(n)), np.uint64)
    words = np.zeros(word_count(n), np.uint64)
    done = 0
    for i, end in enumerate(offsets[cuts + 1]):
        bitset.set_rows(frozen(rows[done:end]), words)
        bitmaps[i], done = words, end
    return bitmaps


def _frequent_slots(offsets: Array, n: int) -> NDArray[np.int64]:
    """The slots that many rows have: see WORTH."""
    return np.flatnonzero(4 * WORTH * np.diff(offsets).astype(np.int64) > 8 * word_count(n))


def _quantile_cuts(offsets: Array, n: int) -> NDArray[np.int64]:
    """The first codes at or above each quantile of the rows that are not null."""
    ends = offsets[1:]  # ends[c] = the number of rows with a code below c, nulls among them
    targets = ends[0] + (n - int(ends[0])) * np.arange(1, QUANTILES) / QUANTILES
    cuts = np.unique(np.searchsorted(ends, targets))
    kept: NDArray[np.int64] = cuts[(ends[cuts] > ends[0]) & (ends[cuts] < n)]
    return kept


def _check_codes(codes: Array, low: int, distinct: int) -> None:
    if not within(codes, low, distinct) or (codes[1:] <= codes[:-1]).any():
        raise CorruptIndexError("its bitmaps are of values that do not exist")


def _same(found: Array, expected: Array) -> bool:
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def within(values: Array, low: int, high: int) -> bool:
    """All values are in low..high-1."""
    return not len(values) or bool(values.min() >= low and values.max() < high)
