"""Sorted dictionaries of a column's distinct values; the rank of a value is its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.attributes import domain
from fanns.attributes.intervals import Bounds, interval, of_codes
from fanns.errors import CorruptIndexError
from fanns.kernels import postings as kernels
from fanns.kernels.jit import frozen
from fanns.once import once
from fanns.schema import ColumnType

Array = NDArray[Any]
Codes = NDArray[np.int32]
Arrays = Mapping[str, Array]

FEW = 4_096
"""Distinct strings that a column may have to be found by Python's own hashing, for 100 B each."""


class Dictionary(Protocol):
    """What columns ask of a dictionary, whatever its values are."""

    size: int

    def code(self, value: Any) -> int:
        """The code of a value, -1 when it is not there."""

    def rank(self, value: Any, after: bool) -> int:
        """How many values sort below this one; with `after`, at or below it."""

    def take(self, codes: Codes) -> pa.Array:
        """The values of codes, null for -1."""

    def arrays(self) -> dict[str, Array]:
        """The parts to be stored."""


def compare(dictionary: Dictionary, op: str, value: Any) -> Bounds:
    """The codes of the values for which `value_of(code) op value` holds."""
    if op == "=":
        code = dictionary.code(value)
        return [code, code + 1] if code >= 0 else []
    if op == "<":
        return interval(0, dictionary.rank(value, False))
    if op == "<=":
        return interval(0, dictionary.rank(value, True))
    if op == ">":
        return interval(dictionary.rank(value, True), dictionary.size)
    return interval(dictionary.rank(value, False), dictionary.size)


def among(dictionary: Dictionary, values: Sequence[Any]) -> Bounds:
    """The codes of those values that occur."""
    if len(values) == 1:  # the hot path
        code = dictionary.code(values[0])
        return [code, code + 1] if code >= 0 else []
    codes = {dictionary.code(value) for value in values}
    return of_codes(sorted(codes - {-1}))


class NumberDictionary:
    """Distinct bools, numbers, dates or timestamps, as sorted int64 keys."""

    def __init__(self, keys: NDArray[np.int64], kind: ColumnType) -> None:
        self.keys = frozen(keys)
        self.kind = kind
        self.size = len(keys)

    def code(self, value: Any) -> int:
        found: int = kernels.search_key(self.keys, domain.key_of(value, self.kind))
        return found >> 1 if found & 1 else -1

    def rank(self, value: Any, after: bool) -> int:
        found: int = kernels.search_key(self.keys, domain.key_of(value, self.kind))
        return (found >> 1) + (found & after)

    def values(self, codes: Codes) -> Array:
        """The values of codes in their natural numpy type, zero for -1."""
        keys = self.keys[codes] if self.size else np.zeros(len(codes), np.int64)
        values = domain.values_of(keys, self.kind)
        if len(codes) and codes.min() < 0:
            values = np.where(codes < 0, values.dtype.type(0), values)
        return values

    def take(self, codes: Codes) -> pa.Array:
        return domain.arrow_of(self.values(codes), codes < 0, self.kind)

    def arrays(self) -> dict[str, Array]:
        return {"keys": self.keys}

    @classmethod
    def load(cls, arrays: Arrays, kind: ColumnType) -> NumberDictionary:
        """Raises CorruptIndexError when the keys are not rising int64 of values of the kind."""
        keys = arrays["keys"]
        if keys.dtype != np.int64 or keys.ndim != 1 or (keys[1:] <= keys[:-1]).any():
            raise CorruptIndexError("the dictionary's keys are not sorted int64")
        if not domain.are_keys(keys, kind):
            raise CorruptIndexError(f"the dictionary holds what is no {kind}")
        return cls(keys, kind)


class TextDictionary:
    """Distinct strings in UTF-8, in byte order: offsets[i] : offsets[i + 1] of data is string i.

    They stay in these two arrays, so that a mapped file costs no private memory; a few strings are
    kept as Python's as well.
    """

    def __init__(self, offsets: Array, data: Array) -> None:
        self.offsets = frozen(offsets)
        self.data = frozen(data)
        self.size = len(offsets) - 1
        kind = pa.string() if offsets.dtype == np.int32 else pa.large_string()
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        self.strings = pa.Array.from_buffers(kind, self.size, buffers)

    @once
    def numbers(self) -> dict[str, int] | None:
        """The code of each string, where there are at most FEW: found in a fiftieth of the time."""
        if self.size > FEW:
            return None
        return {text: code for code, text in enumerate(self.strings.to_pylist())}

    def code(self, value: str) -> int:
        found: int = kernels.search_text(self.offsets, self.data, _utf8(value))
        return found >> 1 if found & 1 else -1

    def codes(self, values: Sequence[str]) -> NDArray[np.int64]:
        """The codes of many strings, -1 for those that are not there."""
        texts = [domain.utf8(value) for value in values]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        out = np.empty(len(texts), np.int64)
        kernels.search_texts(self.offsets, self.data, ends, _utf8(b"".join(texts)), out)
        return out

    def rank(self, value: str | bytes, after: bool) -> int:
        found: int = kernels.search_text(self.offsets, self.data, _utf8(value))
        return (found >> 1) + (found & after)

    def prefix(self, text: str) -> Bounds:
        """The codes of the strings that start with a text."""
        start = domain.utf8(text)
        stem = start.rstrip(b"\xff")
        if not stem:
            return interval(0, self.size)
        stop = stem[:-1] + bytes([stem[-1] + 1])  # the first byte string above all with the stem
        return interval(self.rank(start, False), self.rank(stop, False))

    def take(self, codes: Codes) -> pa.Array:
        if not self.size:
            return pa.nulls(len(codes), pa.string())
        indices = pa.array(codes, mask=codes < 0) if len(codes) and codes.min() < 0 else codes
        taken = self.strings.take(indices if isinstance(indices, pa.Array) else pa.array(codes))
        return taken if taken.type == pa.string() else _as_string(taken)

    def arrays(self) -> dict[str, Array]:
        return {"text_offsets": self.offsets, "text": self.data}

    @classmethod
    def load(cls, arrays: Arrays) -> TextDictionary:
        """Raises CorruptIndexError unless offsets rise over the whole text and it is UTF-8."""
        offsets, data = arrays["text_offsets"], arrays["text"]
        if offsets.dtype not in (np.int32, np.int64) or data.dtype != np.uint8:
            raise CorruptIndexError("the dictionary's text has the wrong types")
        if offsets.ndim != 1 or data.ndim != 1 or not rises(offsets, len(data)):
            raise CorruptIndexError("the dictionary's text offsets do not rise over its text")
        dictionary = cls(offsets, data)
        try:
            dictionary.strings.validate(full=True)
        except pa.ArrowInvalid as error:
            raise CorruptIndexError(f"the dictionary's text is not UTF-8 ({error})") from error
        return dictionary


def rises(offsets: Array, total: int) -> bool:
    """The offsets rise from 0 to total."""
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total:
        return False
    return bool((offsets[1:] >= offsets[:-1]).all())


def _as_string(array: pa.Array) -> pa.Array:
    """As `string` where its 32-bit offsets reach, else as it is."""
    return array.cast(pa.string()) if array.nbytes <= domain.MAX_ARROW_BYTES else array


def _utf8(value: str | bytes) -> NDArray[np.uint8]:
    """The bytes of a string, read-only as kernels expect them."""
    if isinstance(value, str):
        value = value.encode() if value.isascii() else domain.utf8(value)
    return np.frombuffer(value, np.uint8)


def encode(array: pa.Array, kind: ColumnType) -> tuple[Dictionary, Codes]:
    """The dictionary of a plain scalar array and its codes, -1 for null."""
    return _encode_text(array) if kind.kind == "string" else _encode_numbers(array, kind)


def _encode_numbers(array: pa.Array, kind: ColumnType) -> tuple[Dictionary, Codes]:
    values, null = domain.storage_of(array, kind)
    codes = np.full(len(array), -1, np.int32)
    keys, codes[~null] = np.unique(domain.keys_of(values[~null], kind), return_inverse=True)
    return NumberDictionary(keys, kind), codes


def _encode_text(array: pa.Array) -> tuple[Dictionary, Codes]:
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary
    order = pc.array_sort_indices(distinct)  # by bytes, as DuckDB compares strings
    rank = np.empty(len(distinct) + 1, np.int32)
    rank[order.to_numpy()] = np.arange(len(distinct), dtype=np.int32)
    rank[-1] = -1
    codes = rank[encoded.indices.fill_null(-1).to_numpy()]
    strings = distinct.take(order)
    wide = pa.types.is_large_string(strings.type)
    _, offsets, data = strings.buffers()
    ends = (
        np.frombuffer(offsets, np.int64 if wide else np.int32) if offsets else np.zeros(1, np.int32)
    )
    ends = ends[strings.offset : strings.offset + len(strings) + 1]
    if not len(ends):
        ends = np.zeros(1, np.int32)
    text = np.frombuffer(data, np.uint8)[: ends[-1]] if data else np.zeros(0, np.uint8)
    if wide and ends[-1] <= domain.MAX_ARROW_BYTES:
        ends = ends.astype(np.int32)
    return TextDictionary(ends.copy(), text.copy()), codes
