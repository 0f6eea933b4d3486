"""SQL LIKE patterns: `%` any run of characters, `_` any one character, and an escape character."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fanns.errors import FilterError

ANY_RUN, ANY_ONE = "%", "_"

LOWERED_AT_ONCE = 4096
"""How many strings are held in lower case at a time."""


class Pattern(NamedTuple):
    """A parsed pattern: literal text in front, the rest as a regular expression (RE2).

    `rest` is None when the pattern is its prefix alone, and ".*" when anything may follow it.
    """

    prefix: str
    rest: str | None
    ignore_case: bool


def parse_pattern(pattern: str, escape: str | None, case_sensitive: bool) -> Pattern:
    """Read a pattern; without `case_sensitive` it is lowered, as the strings must be (ILIKE).

    Raises FilterError when it ends with the escape character or is not valid Unicode.
    """
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise FilterError(
            f"the LIKE pattern {pattern!r} is not valid Unicode: it holds half a pair"
        )
    if not case_sensitive:
        pattern, escape = lowered(pattern), lowered(escape) if escape else escape
    literal, pieces = "", []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            literal += _escaped(characters, pattern)
        elif character in (ANY_RUN, ANY_ONE):
            pieces += [literal, character]
            literal = ""
        else:
            literal += character
    if not pieces:
        return Pattern(literal, None, not case_sensitive)
    wild = {ANY_RUN: ".*", ANY_ONE: "."}
    texts, signs = [*pieces[2::2], literal], pieces[1::2]
    rest = "".join(wild[sign] + _quoted(text) for sign, text in zip(signs, texts, strict=True))
    return Pattern(pieces[0], re.sub(r"(\.\*){2,}", ".*", rest), not case_sensitive)


def match(strings: pa.Array | pa.ChunkedArray, pattern: Pattern) -> pa.Array | pa.ChunkedArray:
    """Which strings match: boolean, null for null.

    Case is ignored by comparing lower-case forms character by character, as DuckDB does.
    Raises FilterError when the pattern is too long for the regular-expression engine.
    """
    if pattern.ignore_case:
        slices = [
            strings.slice(i, LOWERED_AT_ONCE) for i in range(0, len(strings), LOWERED_AT_ONCE)
        ]
        exact = pattern._replace(ignore_case=False)
        parts = [match(pc.utf8_lower(part), exact) for part in slices]
        chunks = [chunk for part in parts for chunk in getattr(part, "chunks", [part])]
        return pa.concat_arrays(chunks) if chunks else pa.array([], pa.bool_())
    prefix, rest = pattern.prefix, pattern.rest
    if rest is None:
        return pc.equal(strings, pa.scalar(prefix, strings.type))
    if rest == ".*":
        return pc.starts_with(strings, prefix)
    try:
        return pc.match_substring_regex(strings, _search(prefix, rest))
    except pa.ArrowInvalid as error:
        raise FilterError(f"the LIKE pattern cannot be evaluated: {error}") from error


def _search(prefix: str, rest: str) -> str:
    """The pattern as a search: without `.*` at its ends RE2 finds texts five times as fast."""
    free_start, free_end = not prefix and rest.startswith(".*"), rest.endswith(".*")
    body = _quoted(prefix) + rest[2 if free_start else 0 : -2 if free_end else None]
    return f"{'' if free_start else '^'}(?s:{body}){'' if free_end else '$'}"


def lowered(text: str) -> str:
    """Lower case by the same rules as `match` lowers the strings."""
    result: str = pc.utf8_lower(pa.scalar(text)).as_py()
    return result


def _escaped(characters: Iterator[str], pattern: str) -> str:
    character = next(characters, None)
    if character is None:
        raise FilterError(f"the LIKE pattern {pattern!r} ends with its escape character")
    return character


def _quoted(text: str) -> str:
    """A text as a regular expression that matches it alone."""
    return "".join(
        c if c.isalnum() or c == "_" or ord(c) > 127 else f"\\x{ord(c):02x}" for c in text
    )
