"""Rows that pass a filter, in the form that a search wants: row numbers, a mask, or bits.

Measured at n = 100,000: comparing all codes takes 5 to 20 us, reading the rows back out of a mask
25 to 300 us (most at a tenth of the rows), testing rows 4 ns each, sorting them 6 ns each. So rows
stay rows until they are a quarter of all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.engine import Rows
from fanns.bench.engines.postings import Lists, Ordered, Spans

if TYPE_CHECKING:
    from fanns.bench.engines.rows import Postings

Mask = NDArray[np.bool_]
Codes = NDArray[np.unsignedinteger]

_DENSE = 4  # parts with more than this share of the rows are joined as masks
_SCATTER = 32  # a mask of fewer than this share is scattered, a larger one compared from the codes
_COMPARED = 8  # spans of a column, up to which each is compared
_SEARCH = 32  # a posting list this many times as long as the rows is searched, not scattered


class Found(ABC):
    """Some rows of n.

    Attributes:
        most: as many rows as these, or more.
    """

    most: int

    @abstractmethod
    def rows(self) -> Rows:
        """Distinct row numbers int64, in no particular order; not to be written to."""

    @abstractmethod
    def mask(self) -> Mask:
        """bool[n], the caller's own."""

    @abstractmethod
    def test(self, rows: Rows) -> Mask:
        """Which of these rows are among them."""

    def bits(self) -> NDArray[np.uint8]:
        """The mask, eight rows a byte, the first in the lowest bit."""
        return np.packbits(self.mask(), bitorder="little")


class Everything(Found):
    """All n rows."""

    def __init__(self, n: int) -> None:
        self.most = n

    def rows(self) -> Rows:
        return np.arange(self.most, dtype=np.int64)

    def mask(self) -> Mask:
        return np.ones(self.most, np.bool_)

    def test(self, rows: Rows) -> Mask:
        return np.ones(len(rows), np.bool_)


class Nothing(Found):
    """No row of n."""

    def __init__(self, n: int) -> None:
        self.most = 0
        self._n = n

    def rows(self) -> Rows:
        return np.empty(0, np.int64)

    def mask(self) -> Mask:
        return np.zeros(self._n, np.bool_)

    def test(self, rows: Rows) -> Mask:
        return np.zeros(len(rows), np.bool_)


class Sliced(Found):
    """The rows whose value of a scalar column lies in spans; `most` is exact."""

    def __init__(self, ordered: Ordered, spans: Spans) -> None:
        self._ordered = ordered
        self._spans = spans
        self.most = ordered.count(spans)

    def rows(self) -> Rows:
        return self._ordered.rows(self._spans)

    def mask(self) -> Mask:
        codes = self._ordered.codes
        if self.most * _SCATTER < len(codes) or len(self._spans) > _COMPARED:
            return _scattered(self.rows(), len(codes))
        return self._inside(codes)

    def test(self, rows: Rows) -> Mask:
        return self._inside(self._ordered.codes[rows])

    def _inside(self, codes: Codes) -> Mask:
        if not self._spans:
            return np.zeros(len(codes), np.bool_)
        if len(self._spans) > _COMPARED:
            table = np.zeros(self._ordered.top, np.bool_)
            for low, high in self._spans:
                table[low:high] = True
            return np.asarray(table[codes])
        mask = _between(codes, *self._spans[0])
        for low, high in self._spans[1:]:
            mask |= _between(codes, low, high)
        return mask


class Posted(Found):
    """The rows of one posting list; `most` is exact."""

    def __init__(self, postings: Postings, posting: Rows) -> None:
        self._postings = postings
        self._posting = posting
        self.most = len(posting)

    def rows(self) -> Rows:
        return self._posting

    def mask(self) -> Mask:
        return _scattered(self._posting, self._postings.n)

    def test(self, rows: Rows) -> Mask:
        posting = self._posting
        if len(posting) > _SEARCH * len(rows):
            at = np.minimum(posting.searchsorted(rows), len(posting) - 1)
            return np.asarray(posting[at] == rows)
        scratch = self._postings.scratch()
        scratch[posting] = True
        inside = scratch[rows]
        scratch[posting] = False
        return inside


class Listed(Found):
    """The rows whose list is in all (`every`) or any of posting lists.

    With `truth` False: those that have a list which is not.
    """

    def __init__(
        self, postings: Postings, lists: Lists, found: Sequence[Rows], every: bool, truth: bool
    ) -> None:
        self._n = postings.n
        self._some = Sliced(lists.lengths, ((1, lists.lengths.top),))  # with a list at all
        self._parts = [Posted(postings, posting) for posting in sorted(found, key=len)]
        self._every = every
        self._truth = truth
        lengths = [part.most for part in self._parts]
        inside = min(lengths, default=self._some.most) if every else sum(lengths)
        self.most = min(inside, self._n) if truth else self._some.most

    def rows(self) -> Rows:
        return self._inside() if self._truth else np.flatnonzero(self.mask())

    def mask(self) -> Mask:
        if self._every:
            mask = _scattered(self._inside(), self._n)
        else:
            mask = np.zeros(self._n, np.bool_)
            for part in self._parts:
                mask[part.rows()] = True
        return mask if self._truth else np.asarray(self._some.mask() > mask)

    def test(self, rows: Rows) -> Mask:
        inside = np.full(len(rows), self._every)
        for part in self._parts:
            if self._every:
                inside &= part.test(rows)
            else:
                inside |= part.test(rows)
        if self._truth:
            return inside if self._parts else inside & self._some.test(rows)
        return np.asarray(self._some.test(rows) > inside)

    def _inside(self) -> Rows:
        if not self._parts:
            return self._some.rows() if self._every else np.empty(0, np.int64)
        if not self._every:
            return _union([part.rows() for part in self._parts], self._n)
        rows = self._parts[0].rows()
        for part in self._parts[1:]:
            rows = rows[part.test(rows)]
        return rows


class Meet(Found):
    """The rows of all parts: the smallest part's, tested against the others."""

    def __init__(self, n: int, parts: Sequence[Found]) -> None:
        self._n = n
        self._parts = sorted(parts, key=lambda part: part.most)
        self.most = self._parts[0].most

    def rows(self) -> Rows:
        if self.most * _DENSE > self._n:
            return np.flatnonzero(self.mask())
        rows = self._parts[0].rows()
        for part in self._parts[1:]:
            rows = rows[part.test(rows)]
        return rows

    def mask(self) -> Mask:
        if self.most * _SCATTER < self._n:
            return _scattered(self.rows(), self._n)
        mask = self._parts[0].mask()
        for part in self._parts[1:]:
            mask &= part.mask()
        return mask

    def test(self, rows: Rows) -> Mask:
        inside = self._parts[0].test(rows)
        for part in self._parts[1:]:
            inside = inside & part.test(rows)
        return inside


class Join(Found):
    """The rows of any part."""

    def __init__(self, n: int, parts: Sequence[Found]) -> None:
        self._n = n
        self._parts = parts
        self.most = min(n, sum(part.most for part in parts))

    def rows(self) -> Rows:
        if self.most * _DENSE > self._n:
            return np.flatnonzero(self.mask())
        return _union([part.rows() for part in self._parts], self._n)

    def mask(self) -> Mask:
        mask = self._parts[0].mask()
        for part in self._parts[1:]:
            if part.most * _SCATTER < self._n:
                mask[part.rows()] = True
            else:
                mask |= part.mask()
        return mask

    def test(self, rows: Rows) -> Mask:
        inside = self._parts[0].test(rows)
        for part in self._parts[1:]:
            inside = inside | part.test(rows)
        return inside


def _between(codes: Codes, low: int, high: int) -> Mask:
    if high - low == 1:
        return np.asarray(codes == low)
    # One comparison for both ends: what is below `low` wraps around to large numbers.
    return np.asarray(codes - codes.dtype.type(low) < high - low)


def _scattered(rows: Rows, n: int) -> Mask:
    mask = np.zeros(n, np.bool_)
    mask[rows] = True
    return mask


def _union(many: Sequence[Rows], n: int) -> Rows:
    """Rows of any of the arrays, each once; every array has its rows once."""
    if len(many) == 1:
        return many[0]
    both = np.concatenate(many)
    if len(both) * _DENSE > n:
        return np.flatnonzero(_scattered(both, n))
    both.sort()  # np.unique hashes, twenty times as slow
    first = np.ones(len(both), np.bool_)
    np.not_equal(both[1:], both[:-1], out=first[1:])
    return both[first]
