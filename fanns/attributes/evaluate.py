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
from fanns.attributes.cache import Hashed, SelectionCache
from fanns.attributes.intervals import Bounds
from fanns.attributes.leaves import CODES_OF, text_leaf, values_of
from fanns.attributes.lists import ListColumn
from fanns.attributes.opaque import TrueAndPresent, evaluate_expression, evaluate_predicate
from fanns.attributes.scalar import ScalarColumn
from fanns.attributes.stored import StoredText
from fanns.errors import FilterError, FilterTypeError
from fanns.expressions import (
    And,
    Compiled,
    Constant,
    Evaluated,
    Ids,
    IsNull,
    Length,
    ListHas,
    Mask,
    Node,
    Not,
    Opaque,
    Or,
)
from fanns.selection import Selection

Column = ScalarColumn | ListColumn | StoredText

LOGIC = (And, Or)  # as a constant: `And | Or` would make a type each time


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
        if isinstance(node, Not):
            return self.select(node.arg, not negated)
        if isinstance(node, LOGIC):
            if isinstance(node, And) is negated:
                return self._any(node.args, negated)
            return self._all(node.args, negated)
        codes = self.codes(node, negated)
        if codes is not None:
            return codes.column.postings.select(codes.bounds)
        if isinstance(node, Constant):
            holds = node.value is not None and node.value is not negated
            return Selection.all(self.context.n) if holds else Selection.none(self.context.n)
        true, present = self._leaf(node)
        return present - true if negated else true

    def codes(self, node: Node, negated: bool) -> Codes | None:
        """A leaf over a scalar column, or over the length of lists, as a set of codes.

        None for other nodes, and for patterns that only a pass over the strings can answer.
        """
        while type(node) is Not:
            node, negated = node.arg, not negated
        find = CODES_OF.get(type(node))
        if find is None:
            return None
        column = self.column_of(node)
        if not isinstance(column, ScalarColumn):
            return None
        bounds = find(column, node)
        if negated and bounds is not None:
            first = -1 if isinstance(node, IsNull) else 0
            bounds = intervals.complement(bounds, first, column.dictionary.size)
        return None if bounds is None else Codes(column, bounds)

    def _all(self, args: Iterable[Node], negated: bool) -> Selection:
        """The rows for which every argument is true (or, negated, false)."""
        merged, selections = self.parts(args, negated, intervals.intersect)
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
            if isinstance(part, Codes) and result.count <= result.n >> 4:
                result = part.column.filtered(result, part.bounds)
            else:
                result = result & _materialised(part)
        return result

    def _any(self, args: Iterable[Node], negated: bool) -> Selection:
        """The rows for which some argument is true (or, negated, false)."""
        merged, selections = self.parts(args, negated, intervals.unite)
        result = Selection.none(self.context.n)
        for codes in merged:
            result = result | _materialised(codes)
        for node in selections:
            result = result | self.select(node, negated)
        return result

    def parts(
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
            return column.has(node.op, values_of(node)), column.present
        if type(node) not in CODES_OF:
            raise FilterError(f"a filter of type {type(node).__name__} cannot be evaluated")
        column = self.column_of(node)
        key = Hashed(node)
        true = self.columns.cache.get(key)
        if true is None:
            true = text_leaf(column, node)
            self.columns.cache.put(key, true)
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

    def column_of(self, node: Node) -> Column:
        """The column that a leaf speaks of, or the lengths of its lists."""
        term = getattr(node, "term", None)
        if term is None:
            return self._column(node.column)  # type: ignore[attr-defined]
        column = self._column(term.name)
        if type(term) is Length:
            if isinstance(column, ListColumn):
                return column.lengths
            raise FilterTypeError(f"len({term.name}) needs a list, but the column is {column.kind}")
        if isinstance(column, ListColumn):
            raise FilterTypeError(
                f"column {term.name!r} is {column.kind}: use list_contains, or len"
            )
        return column

    def _column(self, name: str) -> Column:
        return self.columns.column(name, self.context)

    def _read(self, name: str) -> pa.Array:
        return self.columns.read(name, self.context)


def _materialised(part: Codes | Selection) -> Selection:
    if isinstance(part, Selection):
        return part
    return part.column.postings.select(part.bounds)


def _present(column: Column) -> Selection:
    """The rows that are not null."""
    if isinstance(column, ScalarColumn):
        return column.postings.select(intervals.interval(0, column.dictionary.size))
    return column.present
