"""What one leaf of a filter means for one column: a set of codes, or a pass over its strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanns.attributes import intervals
from fanns.attributes.dictionary import TextDictionary, among, compare
from fanns.attributes.intervals import Bounds
from fanns.attributes.like import Pattern, match, parse_pattern
from fanns.attributes.lists import ListColumn
from fanns.attributes.scalar import ScalarColumn
from fanns.attributes.stored import StoredText
from fanns.errors import FilterError, FilterTypeError
from fanns.expressions import Compare, In, IsNull, Like, ListHas, Node
from fanns.selection import Selection


def _compare(column: ScalarColumn, node: Compare) -> Bounds:
    return compare(column.dictionary, node.op, node.value)


def _in(column: ScalarColumn, node: In) -> Bounds:
    return among(column.dictionary, values_of(node))


def _is_null(column: ScalarColumn, node: IsNull) -> Bounds:
    return [-1, 0]


def _like(column: ScalarColumn, node: Like) -> Bounds | None:
    """None unless the pattern is a plain string or a prefix."""
    strings = _strings(column, node)
    pattern = parse_pattern(node.pattern, node.escape, node.case_sensitive)
    if pattern.ignore_case:
        return None
    if pattern.rest is None:
        return among(strings, (pattern.prefix,))
    return strings.prefix(pattern.prefix) if pattern.rest == ".*" else None


CODES_OF: dict[type[Node], Callable[[ScalarColumn, Any], Bounds | None]] = {
    Compare: _compare,
    In: _in,
    IsNull: _is_null,
    Like: _like,
}
"""The codes for which a leaf over a scalar column is true; None when its strings must be read."""


def text_leaf(column: ScalarColumn | ListColumn | StoredText, node: Node) -> Selection:
    """The rows for which a general LIKE, or any leaf over a stored string column, is true."""
    if isinstance(node, Like):
        if isinstance(column, ListColumn):
            raise FilterTypeError(f"LIKE needs strings, but column {node.column!r} is a list")
        pattern = parse_pattern(node.pattern, node.escape, node.case_sensitive)
        if isinstance(column, StoredText):
            return column.like(pattern)
        return column.postings.select(_matching_codes(_strings(column, node), pattern))
    assert isinstance(column, StoredText)
    if isinstance(node, Compare):
        return column.compare(node.op, node.value)
    assert isinstance(node, In)
    return column.among(values_of(node))


def values_of(node: In | ListHas) -> tuple[Any, ...]:
    """The values of a bound leaf."""
    if not isinstance(node.values, tuple):
        raise FilterError(f"the filter still holds {node.values!r}: bind its parameters first")
    return node.values


def _matching_codes(strings: TextDictionary, pattern: Pattern) -> Bounds:
    """The codes of the strings that match: a pass over those with the pattern's prefix."""
    whole = intervals.interval(0, strings.size)
    span = whole if pattern.ignore_case else strings.prefix(pattern.prefix)
    if not span:
        return []
    passing = match(strings.strings.slice(span[0], span[1] - span[0]), pattern)
    found = intervals.of_mask(passing.to_numpy(zero_copy_only=False))
    return [span[0] + bound for bound in found]


def _strings(column: ScalarColumn, node: Like) -> TextDictionary:
    if not isinstance(column.dictionary, TextDictionary):
        raise FilterTypeError(f"LIKE needs strings, but column {node.column!r} is {column.kind}")
    return column.dictionary
