"""From the value of a parameter to codes of a column, in as little Python as may be.

A look-up is made once for a column, and gives None for every value that binding has to judge: one
of another type than the column's own (dates may be text), null, text that is not valid Unicode.
Literals of a filter's text are looked up in the same way.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanns.attributes import domain
from fanns.attributes.dictionary import Dictionary, NumberDictionary, TextDictionary
from fanns.attributes.intervals import Bounds, interval, of_codes
from fanns.kernels.postings import search_text
from fanns.schema import ColumnType

EPOCH = date(1970, 1, 1).toordinal()
LOW_63_BITS = (1 << 63) - 1
_DOUBLE, _SINGLE, _LONG = struct.Struct("<d"), struct.Struct("<f"), struct.Struct("<q")

SIDES: dict[str, Literal["left", "right"]] = {
    "=": "left",
    "<": "left",
    "<=": "right",
    ">": "right",
    ">=": "left",
}
"""Where bisection stops among equal keys, by operator."""

LISTS = (list, tuple)

Key = Callable[[Any], int | None]
Code = Callable[[Any], int | None]
Codes = Callable[[Any], set[int] | None]
Find = Callable[[Any], Bounds | None]
Spans = tuple[NDArray[np.int64], NDArray[np.int64]]
FindMany = Callable[[Sequence[Any]], Spans | None]


def code_of(dictionary: Dictionary, kind: ColumnType) -> Code | None:
    """A look-up of one value's code, -1 where it does not occur; None for types left to binding."""
    if isinstance(dictionary, TextDictionary):
        return _text_code(dictionary)
    key = _key_of(kind)
    if key is None or not isinstance(dictionary, NumberDictionary):
        return None
    keys, size = _integers(dictionary), dictionary.size

    def find(value: Any) -> int | None:
        wanted = key(value)
        if wanted is None:
            return None
        place = bisect_left(keys, wanted)
        return place if place < size and keys[place] == wanted else -1

    return find


def comparison(dictionary: Dictionary, kind: ColumnType, op: str) -> Find | None:
    """A look-up of the codes of the values for which `value_of(code) op value` holds."""
    if op == "=":
        code = code_of(dictionary, kind)
        return None if code is None else _one(code)
    if op not in ("<", "<=", ">", ">="):
        return None
    after = op in ("<=", ">")
    text = isinstance(dictionary, TextDictionary)
    rank = _text_rank(dictionary, after) if text else _number_rank(dictionary, kind, after)
    if rank is None:
        return None
    size, below = dictionary.size, op[0] == "<"

    def find(value: Any) -> Bounds | None:
        place = rank(value)
        if place is None:
            return None
        return interval(0, place) if below else interval(place, size)

    return find


def membership(dictionary: Dictionary, kind: ColumnType) -> Find | None:
    """A look-up of the codes of those values of a list that occur."""
    look = codes_of(dictionary, kind)
    if look is None:
        return None

    def find(values: Any) -> Bounds | None:
        codes = look(values)
        return None if codes is None else of_codes(sorted(codes - {-1}))

    return find


def codes_of(dictionary: Dictionary, kind: ColumnType) -> Codes | None:
    """A look-up of the codes of a list's values, -1 among them where one does not occur.

    It gives None for an empty list as well; None itself as for `code_of`.
    """
    code = code_of(dictionary, kind)
    if code is None:
        return None
    numbers = dictionary.numbers if isinstance(dictionary, TextDictionary) else None
    known: Code = dict[Any, int]().get if numbers is None else numbers.get

    def find(values: Any) -> set[int] | None:
        if type(values) not in LISTS or not values:
            return None
        try:
            codes: set[int | None] = set(map(known, values))
        except TypeError:  # one that has no hash, and so is none of the column's type
            return None
        if None in codes:
            codes = {code(value) for value in values}
        return None if None in codes else codes  # type: ignore[return-value]

    return find


def comparisons(dictionary: Dictionary, kind: ColumnType, op: str) -> FindMany | None:
    """As `comparison` for many values: the first code of each, and the one after the last."""
    if isinstance(dictionary, TextDictionary):
        return _texts(dictionary) if op == "=" else None
    key = _key_of(kind)
    if key is None or not isinstance(dictionary, NumberDictionary) or op not in SIDES:
        return None
    keys, size, side = dictionary.keys, dictionary.size, SIDES[op]

    def find(values: Sequence[Any]) -> Spans | None:
        given = [key(value) for value in values]
        if None in given:
            return None
        wanted = np.array(given, np.int64)
        places = keys.searchsorted(wanted, side)
        if op == "=":
            found = keys.take(places, mode="clip") == wanted if size else 0
            return places, places + found
        if op[0] == "<":
            return np.zeros(len(values), np.int64), places
        return places, np.full(len(values), size)

    return find


def _texts(dictionary: TextDictionary) -> FindMany:
    code = _text_code(dictionary)

    def find(values: Sequence[Any]) -> Spans | None:
        if dictionary.numbers is None and all(map(_is_text, values)):
            codes = dictionary.codes(values)
        else:
            found = [code(value) for value in values]
            if None in found:
                return None
            codes = np.array(found, np.int64)
        low = np.maximum(codes, 0)
        return low, low + (codes >= 0)

    return find


def _one(code: Code) -> Find:
    def find(value: Any) -> Bounds | None:
        found = code(value)
        if found is None:
            return None
        return [found, found + 1] if found >= 0 else []

    return find


def _text_code(dictionary: TextDictionary) -> Code:
    numbers = dictionary.numbers
    if numbers is None:
        return _searched(dictionary)

    def find(value: Any) -> int | None:
        if type(value) is not str:
            return None
        found = numbers.get(value)
        if found is None:
            return -1 if _is_text(value) else None
        return found

    return find


def _searched(dictionary: TextDictionary) -> Code:
    offsets, data = dictionary.offsets, dictionary.data

    def find(value: Any) -> int | None:
        if type(value) is not str:
            return None
        try:
            text = value.encode()
        except UnicodeEncodeError:
            return None
        found: int = search_text(offsets, data, np.frombuffer(text, np.uint8))
        return found >> 1 if found & 1 else -1

    return find


def _text_rank(dictionary: Dictionary, after: bool) -> Code:
    return lambda value: dictionary.rank(value, after) if _is_text(value) else None


def _number_rank(dictionary: Dictionary, kind: ColumnType, after: bool) -> Code | None:
    key = _key_of(kind)
    if key is None or not isinstance(dictionary, NumberDictionary):
        return None
    keys, bisect = _integers(dictionary), bisect_right if after else bisect_left

    def find(value: Any) -> int | None:
        wanted = key(value)
        return None if wanted is None else bisect(keys, wanted)

    return find


def _integers(dictionary: NumberDictionary) -> Sequence[int]:
    """The keys as bisection likes them: without an array's element in between."""
    return memoryview(dictionary.keys)  # type: ignore[arg-type]


def _is_text(value: Any) -> bool:
    """A string that is valid Unicode."""
    if type(value) is not str:
        return False
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def _key_of(kind: ColumnType) -> Key | None:
    """From a value of the column's own type to its key (`domain.key_of`)."""
    if kind.kind == "date":
        return _date_key
    if kind.kind == "int":
        low, high = kind.int_range()
        shift = domain.UINT64_SHIFT if not kind.signed and kind.bits == 64 else 0
        return lambda value: value - shift if type(value) is int and low <= value <= high else None
    if kind.kind == "float" and kind.bits != 16:
        return _double_key if kind.bits == 64 else _single_key
    return None


def _date_key(value: Any) -> int | None:
    """Of a date, or of one as text, year-month-day."""
    if type(value) is str and len(value) == 10 and value[4] == value[7] == "-":
        try:
            value = date.fromisoformat(value)
        except ValueError:
            return None
    return value.toordinal() - EPOCH if type(value) is date else None


def _double_key(value: Any) -> int | None:
    if type(value) is not float or value != value:
        return None
    bits: int = _LONG.unpack(_DOUBLE.pack(value + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits if bits >= 0 else bits ^ LOW_63_BITS


def _single_key(value: Any) -> int | None:
    """Rounded to the column's own precision, as binding does; None for what overflows it."""
    if type(value) is not float:
        return None
    try:
        return _double_key(_SINGLE.unpack(_SINGLE.pack(value))[0])
    except OverflowError:
        return None
