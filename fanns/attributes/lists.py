"""A column with a list of values, or null, in each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.attributes import domain
from fanns.attributes.dictionary import Codes, Dictionary, NumberDictionary, among, encode, rises
from fanns.attributes.postings import Postings, within
from fanns.attributes.scalar import (
    ScalarColumn,
    load_dictionary,
    load_positions,
    negative_zeros,
    occurring,
    take_zeros,
)
from fanns.errors import CorruptIndexError
from fanns.kernels.jit import frozen
from fanns.once import once
from fanns.schema import ColumnType
from fanns.selection import Selection, word_count

Array = NDArray[Any]


class ListColumn:
    """Row r's elements are codes[starts[r] : starts[r + 1]], in the order given, -1 for null.

    `present` are the rows whose list is not null. `negative_zeros` are places in `codes`.
    """

    def __init__(
        self,
        kind: ColumnType,
        dictionary: Dictionary,
        starts: NDArray[np.int32],
        codes: Codes,
        postings: Postings,
        present: Selection,
        negative_zeros: NDArray[np.int32],
    ) -> None:
        self.kind = kind
        self.dictionary = dictionary
        self.starts = frozen(starts)
        self.codes = frozen(codes)
        self.postings = postings
        self.present = present
        self.negative_zeros = frozen(negative_zeros)
        self.n = len(starts) - 1

    @classmethod
    def build(cls, column: pa.ChunkedArray | pa.Array, kind: ColumnType) -> ListColumn:
        """From any Arrow encoding of the type."""
        starts, null, elements = domain.plain_list(column, kind)
        dictionary, codes = encode(elements, kind.item)
        postings = Postings.build(starts, codes, len(null), dictionary.size, False)
        present = Selection.from_mask(~null) if null.any() else Selection.all(len(null))
        zeros = negative_zeros(elements, kind.item)
        return cls(kind, dictionary, starts, codes, postings, present, zeros)

    @classmethod
    def load(cls, arrays: Mapping[str, Array], kind: ColumnType, n: int) -> ListColumn:
        """Raises CorruptIndexError when a kernel could not trust the arrays."""
        dictionary = load_dictionary(arrays, kind.item)
        starts, codes = frozen(arrays["starts"]), frozen(arrays["codes"])
        if starts.dtype != np.int32 or starts.shape != (n + 1,):
            raise CorruptIndexError(f"its list starts are not int32[{n + 1}]")
        if codes.dtype != np.int32 or codes.ndim != 1 or not within(codes, -1, dictionary.size):
            raise CorruptIndexError("its codes are outside its dictionary")
        if not rises(starts, len(codes)):
            raise CorruptIndexError("its list starts do not rise over its elements")
        postings = Postings(n, arrays, False)
        postings.check(dictionary.size, codes)
        zeros = load_positions(arrays, len(codes))
        return cls(kind, dictionary, starts, codes, postings, _present(arrays, n), zeros)

    def arrays(self) -> dict[str, Array]:
        """The parts to be stored."""
        parts = {"starts": self.starts, "codes": self.codes}
        parts |= {**self.dictionary.arrays(), **self.postings.arrays()}
        if not self.present.is_all:
            parts["present"] = self.present.words()
        return parts | ({"negative_zeros": self.negative_zeros} if len(self.negative_zeros) else {})

    @property
    def null_count(self) -> int:
        """The number of null lists."""
        return self.n - self.present.count

    @once
    def lengths(self) -> ScalarColumn:
        """The lengths as a column of their own, made when a filter first speaks of them."""
        null = self.present.invert()
        return ScalarColumn.of_lengths(self.starts, null.mask())

    def has(self, op: str, values: Sequence[Any]) -> Selection:
        """The rows whose list holds `any` or `all` of the values."""
        if op == "any" or len(values) == 1:
            return self.postings.select(among(self.dictionary, values))
        codes = [self.dictionary.code(value) for value in values]
        if -1 in codes:
            return Selection.none(self.n)
        lists = [self.postings.select([code, code + 1]) for code in set(codes)]
        result = self.present
        for rows in sorted(lists, key=lambda selection: selection.count):
            result = rows & result
        return result

    def take(self, rows: NDArray[np.integer]) -> pa.Array:
        """The lists of rows, of the column's Arrow type."""
        places, lengths = self._places(rows)
        ends = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        codes = self.codes[places]
        if len(self.negative_zeros) and isinstance(self.dictionary, NumberDictionary):
            items = take_zeros(self.dictionary, codes, np.isin(places, self.negative_zeros))
        else:
            items = self.dictionary.take(codes)
        null = None if self.present.is_all else ~self.present.mask()[rows]
        if null is not None and not null.any():
            null = None
        offsets = pa.array(ends.astype(np.int32))
        return pa.ListArray.from_arrays(
            offsets, items, mask=None if null is None else pa.array(null)
        ).cast(self.kind.to_arrow())

    def facets(self, selection: Selection) -> tuple[pa.Array, NDArray[np.int64]]:
        """The elements of the selected rows, rising, null last, and the number of rows of each."""
        if selection.is_all:
            return occurring(self.dictionary, self.postings.counts())
        places, lengths = self._places(selection.rows())
        slots = self.codes[places].astype(np.int64) + 1
        size = self.dictionary.size + 1
        if len(self.codes) > len(self.postings.rows):  # some list holds a value twice
            row = np.repeat(np.arange(len(lengths)), lengths)
            slots = np.unique(row * size + slots) % size
        return occurring(self.dictionary, np.bincount(slots, minlength=size).astype(np.int64))

    def _places(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the elements of rows stand in `codes`, row after row, and how many each has."""
        first = self.starts[rows].astype(np.int64)
        lengths = self.starts[np.asarray(rows) + 1] - first
        before = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(first - before, lengths), lengths


def _present(arrays: Mapping[str, Array], n: int) -> Selection:
    if "present" not in arrays:
        return Selection.all(n)
    words = arrays["present"]
    good = words.dtype == np.uint64 and words.shape == (word_count(n),)
    if not good or (n & 63 and int(words[-1]) >> (n & 63)):
        raise CorruptIndexError(f"its bitmap of lists that are not null is not of {n} rows")
    return Selection.from_words(words, n)
