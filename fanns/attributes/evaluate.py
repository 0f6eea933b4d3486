"""From a bound filter tree to the selection of the rows for which it is true.

Negation is carried down to the leaves (De Morgan holds in three-valued logic), where "not" asks
for the rows at which the leaf is false; null rows are in neither set. Leaves over one scalar column
become sets of codes, so that conjunctions of comparisons merge into one interval before any row is
touched. A conjunction starts from its smallest part: the size of each is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.attributes import intervals
from fanns.attributes.cache import SelectionCache
from fanns.attributes.dictionary import TextDictionary, among, compare
from fanns.attributes.intervals import Bounds
from fanns.attributes.like import Pattern, match, parse_pattern
from fanns.attributes.lists import ListColumn
from fanns.attributes.opaque import TrueAndPresent, evaluate_expression, evaluate_predicate
from fanns.attributes.scalar import ScalarColumn
from fanns.attributes.stored import StoredText
from fanns.errors import FilterError, FilterTypeError
from fanns.expressions import (
    And,
    Compare,
    Compiled,
    Constant,
    Evaluated,
    Ids,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Mask,
    Node,
    Not,
    Opaque,
    Or,
    Term,
)
from fanns.expressions import (
    Column as ColumnTerm,
)
from fanns.selection import Selection

Column = ScalarColumn | ListColumn | StoredText


class RowContext(Protocol):
    """How the filters that speak of rows, and the stored columns, map to one segment."""

    @property
    def n(self) -> int:
        """The number of rows of the segment."""

    def rows_of_mask(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask in insertion order as one in row order, bool[n]; validates its length."""

    def rows_of_ids(self, values: NDArray[np.int64] | tuple[str, ...]) -> NDArray[np.int32]:
        """The rows with these ids, sorted; ids that other segments hold, or none, are left out."""

    def stored(self, column: str) -> pa.ChunkedArray:
        """A column that is stored only, in row order."""


class Columns(Protocol):
    """What evaluation asks of the attribute index."""

    names: tuple[str, ...]
    cache: SelectionCache

    def column(self, name: str, context: RowContext) -> Column: ...
    def read(self, name: str, context: RowContext) -> pa.Array: ...
    def remember(self, node: Opaque) -> TrueAndPresent | None: ...
    def keep(self, node: Opaque, result: TrueAndPresent) -> None: ...


class Codes(NamedTuple):
    """Part of a filter over one scalar column: the rows with a code within the bounds."""

    column: ScalarColumn
    bounds: Bounds


class Evaluation:
    """One filter over one segment."""

    def __init__(self, columns: Columns, context: RowContext) -> None:
        self.columns = columns
        self.context = context

    def select(self, node: Node, negated: bool = False) -> Selection:
        """The rows for which the node is true; with `negated`, those for which it is false."""
        codes = self.codes(node, negated)
        if codes is not None:
            return codes.column.postings.select(codes.bounds)
        if isinstance(node, Not):
            return self.select(node.arg, not negated)
        if isinstance(node, And | Or):
            if isinstance(node, And) is negated:
                return self._any(node.args, negated)
            return self._all(node.args, negated)
        if isinstance(node, Constant):
            holds = node.value is not None and node.value is not negated
            return Selection.all(self.context.n) if holds else Selection.none(self.context.n)
        true, present = self._leaf(node)
        return present - true if negated else true

    def codes(self, node: Node, negated: bool) -> Codes | None:
        """A leaf over a scalar column, or over the length of lists, as a set of codes."""
        while isinstance(node, Not):
            node, negated = node.arg, not negated
        if isinstance(node, Compare):
            column = self._term(node.term)
            if not isinstance(column, ScalarColumn):
                return None
            bounds = compare(column.dictionary, node.op, node.value)
        elif isinstance(node, In):
            column = self._term(node.term)
            if not isinstance(column, ScalarColumn):
                return None
            bounds = among(column.dictionary, _values(node.values))
        elif isinstance(node, IsNull):
            column = self._column(node.column)
            if not isinstance(column, ScalarColumn):
                return None
            null = [-1, 0]
            return Codes(column, intervals.interval(0, column.dictionary.size) if negated else null)
        elif isinstance(node, Like):
            column = self._column(node.column)
            if not isinstance(column, ScalarColumn):
                return None
            found = _like_bounds(column, node)
            if found is None:
                return None
            bounds = found
        else:
            return None
        if negated:
            bounds = intervals.complement(bounds, 0, column.dictionary.size)
        return Codes(column, bounds)

    def _all(self, args: Iterable[Node], negated: bool) -> Selection:
        """The rows for which every argument is true (or, negated, false)."""
        merged, selections = self._parts(args, negated, intervals.intersect)
        parts: list[tuple[int, Codes | Selection]] = [
            (codes.column.postings.count(codes.bounds), codes) for codes in merged
        ]
        if any(count == 0 for count, _ in parts):
            return Selection.none(self.context.n)
        for node in selections:
            selection = self.select(node, negated)
            if selection.count == 0:
                return selection
            parts.append((selection.count, selection))
        parts.sort(key=lambda part: part[0])
        result = _materialised(parts[0][1])
        for count, part in parts[1:]:
            if result.count == 0 or count == self.context.n:
                break  # the rest, larger still, hold every row
            if isinstance(part, Codes) and result.count <= result.n >> 6:
                result = part.column.filtered(result, part.bounds)
            else:
                result = result & _materialised(part)
        return result

    def _any(self, args: Iterable[Node], negated: bool) -> Selection:
        """The rows for which some argument is true (or, negated, false)."""
        merged, selections = self._parts(args, negated, intervals.unite)
        result = Selection.none(self.context.n)
        for codes in merged:
            result = result | _materialised(codes)
        for node in selections:
            result = result | self.select(node, negated)
        return result

    def _parts(
        self, args: Iterable[Node], negated: bool, merge: Callable[[Bounds, Bounds], Bounds]
    ) -> tuple[list[Codes], list[Node]]:
        """The arguments over scalar columns, one set of codes a column, and the other arguments."""
        merged: dict[int, Codes] = {}
        others = []
        for node in args:
            codes = self.codes(node, negated)
            if codes is None:
                others.append(node)
                continue
            before = merged.get(id(codes.column))
            if before is not None:
                codes = Codes(codes.column, merge(before.bounds, codes.bounds))
            merged[id(codes.column)] = codes
        return list(merged.values()), others

    def _leaf(self, node: Node) -> TrueAndPresent:
        """The rows for which another leaf is true, and those for which it is not null."""
        if isinstance(node, Opaque):
            return self._opaque(node)
        if isinstance(node, IsNull):
            column = self._column(node.column)
            present = _present(column)
            return present.invert(), Selection.all(self.context.n)
        if isinstance(node, ListHas):
            column = self._column(node.column)
            if not isinstance(column, ListColumn):
                raise FilterTypeError(f"column {node.column!r} is {column.kind}, not a list")
            return column.has(node.op, _values(node.values)), column.present
        column = self._term(_term_of(node))
        true = self.columns.cache.get(node)
        if true is None:
            true = _text_leaf(column, node)
            self.columns.cache.put(node, true)
        return true, _present(column)

    def _opaque(self, node: Opaque) -> TrueAndPresent:
        everything = Selection.all(self.context.n)
        if isinstance(node, Mask):  # what it says of a row changes when rows are deleted
            return Selection.from_mask(self.context.rows_of_mask(node.values)), everything
        result = self.columns.remember(node)
        if result is None:
            if isinstance(node, Ids):
                rows = self.context.rows_of_ids(node.values)
                result = Selection.from_rows(rows, self.context.n), everything
            elif isinstance(node, Evaluated):
                result = evaluate_expression(node, self.context.n, self.columns.names, self._read)
            elif isinstance(node, Compiled):
                result = evaluate_predicate(node, self.context.n, self._column)
            else:
                raise FilterError(f"a filter of type {type(node).__name__} cannot be evaluated")
            self.columns.keep(node, result)
        return result

    def _column(self, name: str) -> Column:
        return self.columns.column(name, self.context)

    def _read(self, name: str) -> pa.Array:
        return self.columns.read(name, self.context)

    def _term(self, term: Term) -> Column:
        column = self._column(term.name)
        if isinstance(term, Length):
            if isinstance(column, ListColumn):
                return column.lengths
            raise FilterTypeError(f"len({term.name}) needs a list, but the column is {column.kind}")
        if isinstance(column, ListColumn):
            raise FilterTypeError(
                f"column {term.name!r} is {column.kind}: use list_contains, or len"
            )
        return column


def _materialised(part: Codes | Selection) -> Selection:
    if isinstance(part, Selection):
        return part
    return part.column.postings.select(part.bounds)


def _present(column: Column) -> Selection:
    """The rows that are not null."""
    if isinstance(column, ScalarColumn):
        return column.postings.select(intervals.interval(0, column.dictionary.size))
    return column.present


def _values(values: object) -> tuple[object, ...]:
    if not isinstance(values, tuple):
        raise FilterError(f"the filter still holds {values!r}: bind its parameters first")
    return values


def _term_of(node: Node) -> Term:
    if isinstance(node, Compare | In):
        return node.term
    if isinstance(node, Like):
        return ColumnTerm(node.column)
    raise FilterError(f"a filter of type {type(node).__name__} cannot be evaluated")


def _like_bounds(column: ScalarColumn, node: Like) -> Bounds | None:
    """The codes of a LIKE that is a plain string or a prefix; None for other patterns."""
    pattern = parse_pattern(node.pattern, node.escape, node.case_sensitive)
    strings = _strings(column, node)
    if pattern.ignore_case:
        return None
    if pattern.rest is None:
        return among(strings, (pattern.prefix,))
    return strings.prefix(pattern.prefix) if pattern.rest == ".*" else None


def _text_leaf(column: Column, node: Node) -> Selection:
    """A general LIKE over a dictionary, or any leaf over a stored string column."""
    if isinstance(node, Like):
        pattern = parse_pattern(node.pattern, node.escape, node.case_sensitive)
        if isinstance(column, StoredText):
            return column.like(pattern)
        assert isinstance(column, ScalarColumn)
        return column.postings.select(_matching_codes(_strings(column, node), pattern))
    assert isinstance(column, StoredText)
    if isinstance(node, Compare):
        return column.compare(node.op, node.value)
    assert isinstance(node, In)
    return column.among(_values(node.values))


def _matching_codes(strings: TextDictionary, pattern: Pattern) -> Bounds:
    """The codes of the strings that match: a pass over those with the pattern's prefix."""
    whole = pattern.ignore_case or not pattern.prefix
    span = [0, strings.size] if whole else strings.prefix(pattern.prefix)
    if not span:
        return []
    passing = match(strings.strings.slice(span[0], span[1] - span[0]), pattern)
    found = intervals.of_mask(passing.to_numpy(zero_copy_only=False))
    return [span[0] + bound for bound in found]


def _strings(column: ScalarColumn, node: Like) -> TextDictionary:
    if not isinstance(column.dictionary, TextDictionary):
        raise FilterTypeError(f"LIKE needs strings, but column {node.column!r} is {column.kind}")
    return column.dictionary
