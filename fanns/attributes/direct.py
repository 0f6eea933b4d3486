"""The short way from parameter values to a small selection, without a tree in between.

Binding a tree, putting it in canonical form and evaluating it costs several times what a small
selection then costs to search. Where a filter is a conjunction of comparisons and list memberships
over indexed columns, and its values are of the columns' own types, their codes are looked up at
once: the smallest part gives its rows, and the others are tested on those. Whatever else comes
(another filter, another type of value, null, no small part) is left to the general way, which
also has the errors to raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from fanns.attributes import intervals
from fanns.attributes.dictionary import compare
from fanns.attributes.index import AttributeIndex
from fanns.attributes.intervals import Bounds
from fanns.attributes.lists import ListColumn
from fanns.attributes.scalar import ScalarColumn
from fanns.expressions import And, Column, Compare, ListHas, Node, Parameter
from fanns.schema import ColumnType
from fanns.selection import Selection

EPOCH = date(1970, 1, 1).toordinal()
Values = Mapping[str, Any]
Find = Callable[[Values], Bounds | None]


class Direct:
    """A conjunction over one segment: for each column what to look up, or for a list's elements."""

    __slots__ = ("_n", "_parts")

    def __init__(self, n: int, parts: list[tuple[ScalarColumn | ListColumn, list[Find]]]) -> None:
        self._n = n
        self._parts = parts

    def select(self, values: Values) -> Selection | None:
        """The passing rows, or None where the general way must be taken."""
        found = []
        for column, finds in self._parts:
            bounds = finds[0](values)
            if bounds is None:
                return None
            for find in finds[1:]:
                more = find(values)
                if more is None:
                    return None
                bounds = intervals.intersect(bounds, more)
            found.append((column.postings.count(bounds) if bounds else 0, column, bounds))
        if len(found) > 1:
            found.sort(key=_first)
        count, column, bounds = found[0]
        if count == 0:
            return Selection.none(self._n)
        if count > self._n >> 4 and (len(found) > 1 or bounds[1] != bounds[0] + 1):
            return None  # the general way works on bitmaps, and remembers what it made
        selection = column.postings.select(bounds)
        for _, column, bounds in found[1:]:
            if isinstance(column, ScalarColumn):
                selection = column.filtered(selection, bounds)
            else:
                selection = selection & column.postings.select(bounds)
        return selection


def _first(part: tuple[int, Any, Any]) -> int:
    return part[0]


def direct(tree: Node, attributes: AttributeIndex) -> Direct | None:
    """The short way of an unbound tree over a segment's columns; None where there is none."""
    leaves = tree.args if isinstance(tree, And) else (tree,)
    parts: dict[str, tuple[ScalarColumn | ListColumn, list[Find]]] = {}
    lists = []
    for leaf in leaves:
        name = _name(leaf)
        if name is None or name not in attributes.indexed:
            return None
        column = attributes.column(name, None)
        kind = attributes.schema[name]
        if isinstance(leaf, Compare) and isinstance(column, ScalarColumn):
            find = _comparison(leaf, column, kind)
            if find is not None:
                parts.setdefault(name, (column, []))[1].append(find)
                continue
        elif isinstance(leaf, ListHas) and isinstance(column, ListColumn):
            find = _membership(leaf, column, kind.item)
            if find is not None:
                lists.append((column, [find]))
                continue
        return None
    return Direct(attributes.n, [*parts.values(), *lists])


def _name(leaf: Node) -> str | None:
    """The column of a comparison of a column, or of a list membership."""
    if isinstance(leaf, Compare) and isinstance(leaf.term, Column):
        return leaf.term.name
    return leaf.column if isinstance(leaf, ListHas) else None


def _comparison(leaf: Compare, column: ScalarColumn, kind: ColumnType) -> Find | None:
    convert, op, dictionary = _converter(kind), leaf.op, column.dictionary
    if convert is None or not isinstance(leaf.value, Parameter):
        return None
    name = leaf.value.name

    def find(values: Values) -> Bounds | None:
        value = convert(values[name])
        return None if value is None else compare(dictionary, op, value)

    return find


def _membership(leaf: ListHas, column: ListColumn, kind: ColumnType) -> Find | None:
    convert, dictionary = _converter(kind), column.dictionary
    if convert is None or not isinstance(leaf.values, tuple) or len(leaf.values) != 1:
        return None
    if not isinstance(leaf.values[0], Parameter):
        return None
    name = leaf.values[0].name

    def find(values: Values) -> Bounds | None:
        value = convert(values[name])
        return None if value is None else compare(dictionary, "=", value)

    return find


def _converter(kind: ColumnType) -> Callable[[Any], Any] | None:
    """From a value of the column's own type to its storage domain; None for any other value."""
    if kind.kind == "string":
        return lambda value: value if type(value) is str and value.isascii() else None
    if kind.kind == "date":
        return lambda value: value.toordinal() - EPOCH if type(value) is date else None
    if kind.kind == "int":
        low, high = kind.int_range()
        return lambda value: value if type(value) is int and low <= value <= high else None
    return None
