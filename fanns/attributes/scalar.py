"""A column with one value, or null, in each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.attributes import domain
from fanns.attributes.dictionary import (
    Codes,
    Dictionary,
    NumberDictionary,
    TextDictionary,
    encode,
)
from fanns.attributes.intervals import Bounds
from fanns.attributes.postings import Postings, limits_of, within
from fanns.errors import CorruptIndexError
from fanns.kernels import postings as kernels
from fanns.kernels.jit import frozen
from fanns.schema import ColumnType
from fanns.selection import Selection, Span

Array = NDArray[Any]


class ScalarColumn:
    """Codes int32[n] (-1 for null) into a sorted dictionary, and the rows of each code.

    `negative_zeros` are the rows that hold -0.0: it equals 0.0 in every filter and shares its code,
    and `take` gives it back.
    """

    def __init__(
        self,
        kind: ColumnType,
        dictionary: Dictionary,
        codes: Codes,
        postings: Postings,
        negative_zeros: NDArray[np.int32],
    ) -> None:
        self.kind = kind
        self.dictionary = dictionary
        self.codes = frozen(codes)
        self.postings = postings
        self.negative_zeros = frozen(negative_zeros)
        self.n = len(codes)

    @classmethod
    def build(cls, column: pa.ChunkedArray | pa.Array, kind: ColumnType) -> ScalarColumn:
        """From any Arrow encoding of the type."""
        array = domain.plain(column, kind)
        dictionary, codes = encode(array, kind)
        ordered = kind.kind != "bool"  # a string range is a prefix, mostly
        postings = Postings.build(None, codes, len(codes), dictionary.size, ordered)
        return cls(kind, dictionary, codes, postings, negative_zeros(array, kind))

    @classmethod
    def of_lengths(cls, starts: Array, null: NDArray[np.bool_]) -> ScalarColumn:
        """The lengths of the lists of a column, null for a null list."""
        return cls.build(pa.array(np.diff(starts), mask=null), ColumnType("int", bits=32))

    @classmethod
    def load(cls, arrays: Mapping[str, Array], kind: ColumnType, n: int) -> ScalarColumn:
        """Raises CorruptIndexError when a kernel could not trust the arrays."""
        dictionary = load_dictionary(arrays, kind)
        codes = arrays["codes"]
        if codes.dtype != np.int32 or codes.shape != (n,):
            raise CorruptIndexError(f"its codes are not int32[{n}]")
        zeros = load_positions(arrays, n)
        column = cls(kind, dictionary, codes, Postings(n, arrays, True), zeros)
        column.postings.check(dictionary.size, column.codes)
        return column

    def arrays(self) -> dict[str, Array]:
        """The parts to be stored."""
        parts = {"codes": self.codes, **self.dictionary.arrays(), **self.postings.arrays()}
        return parts | ({"negative_zeros": self.negative_zeros} if len(self.negative_zeros) else {})

    @property
    def null_count(self) -> int:
        """The number of null rows."""
        return int(self.postings.offsets[1])

    def equal(self, value: Any) -> Selection:
        """The rows that hold a value."""
        code = self.dictionary.code(value)
        return self.postings.slot(code) if code >= 0 else Selection.none(self.n)

    def filtered(self, selection: Selection, bounds: Bounds) -> Selection:
        """The rows of a short selection whose code lies within the bounds, by looking at each."""
        rows = np.empty(selection.count, np.int32)
        found = kernels.rows_with_codes(selection.rows(), self.codes, limits_of(bounds), rows)
        kept = rows[:found]
        kept.setflags(write=False)
        spans = (*selection.spans, Span(self.postings, bounds))
        return Selection(self.n, found, kept, None, spans)

    def take(self, rows: NDArray[np.integer]) -> pa.Array:
        """The values of rows, of the column's Arrow type."""
        codes = self.codes[rows]
        if len(self.negative_zeros) and isinstance(self.dictionary, NumberDictionary):
            return take_zeros(self.dictionary, codes, np.isin(rows, self.negative_zeros))
        return self.dictionary.take(codes)

    def facets(self, selection: Selection) -> tuple[pa.Array, NDArray[np.int64]]:
        """The values among the selected rows, rising, null last, and their numbers of rows."""
        if selection.is_all:
            counts = self.postings.counts()
        else:
            slots = self.codes[selection.rows()] + 1
            counts = np.bincount(slots, minlength=self.dictionary.size + 1).astype(np.int64)
        return occurring(self.dictionary, counts)


def occurring(
    dictionary: Dictionary, counts: NDArray[np.int64]
) -> tuple[pa.Array, NDArray[np.int64]]:
    """The values whose slot's count is not zero, in order with null last, and their counts."""
    slots = np.flatnonzero(counts)
    slots = np.concatenate([slots[slots > 0], slots[slots == 0]])
    return dictionary.take((slots - 1).astype(np.int32)), counts[slots]


def negative_zeros(array: pa.Array, kind: ColumnType) -> NDArray[np.int32]:
    """Where a plain float array holds -0.0."""
    if kind.kind != "float":
        return np.zeros(0, np.int32)
    values, null = domain.storage_of(array, kind)
    return np.flatnonzero((values == 0) & np.signbit(values) & ~null).astype(np.int32)


def take_zeros(dictionary: NumberDictionary, codes: Codes, negative: NDArray[np.bool_]) -> pa.Array:
    """The values of codes, with the sign of zeros given apart."""
    values = dictionary.values(codes)
    return domain.arrow_of(np.where(negative, -0.0, values), codes < 0, dictionary.kind)


def load_dictionary(arrays: Mapping[str, Array], kind: ColumnType) -> Dictionary:
    """The dictionary of a column's arrays; raises CorruptIndexError."""
    if kind.kind == "string":
        return TextDictionary.load(arrays)
    return NumberDictionary.load(arrays, kind)


def load_positions(arrays: Mapping[str, Array], limit: int) -> NDArray[np.int32]:
    """The stored places of -0.0, within 0..limit-1."""
    if "negative_zeros" not in arrays:
        return np.zeros(0, np.int32)
    positions = arrays["negative_zeros"]
    if positions.dtype != np.int32 or positions.ndim != 1 or not within(positions, 0, limit):
        raise CorruptIndexError("its places of negative zeros are out of range")
    return positions
