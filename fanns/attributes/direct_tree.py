"""From a filter's tree, its parameters still open, to the short way over a segment's columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fanns.attributes import intervals, lookup
from fanns.attributes.direct import AnyOf, Direct, Find, FindAll, FindMany, Values, Way
from fanns.attributes.index import AttributeIndex
from fanns.attributes.intervals import Bounds
from fanns.attributes.lists import ListColumn
from fanns.attributes.scalar import ScalarColumn
from fanns.expressions import And, Column, Compare, In, ListHas, Node, Not, Or, Parameter
from fanns.schema import ColumnType

Found = TypeVar("Found")


def direct(tree: Node, attributes: AttributeIndex, nulls: str = "sql") -> Way | None:
    """The short way of an unbound tree over a segment's columns; None where there is none.

    nulls: "sql", or "python" for leaves that are false on nulls, so that their negation is true.
    """
    if isinstance(tree, Or):
        ways = [direct(part, attributes, nulls) for part in tree.args]
        known = [way for way in ways if way is not None]
        return AnyOf(known) if len(known) == len(ways) else None
    leaves = tree.args if isinstance(tree, And) else (tree,)
    scalars: dict[str, tuple[ScalarColumn, list[Find]]] = {}
    lists: list[tuple[ListColumn, FindAll, Find | None]] = []
    many: list[FindMany | None] = []
    for given in leaves:
        leaf, negated = (given.arg, True) if isinstance(given, Not) else (given, False)
        name = _name(leaf)
        if name is None or name not in attributes.indexed:
            return None
        column = attributes.column(name, None)
        kind = attributes.schema[name]
        if isinstance(column, ScalarColumn) and isinstance(leaf, Compare | In):
            find = _comparison(leaf, column, kind)
            if find is None:
                return None
            if negated:
                find = _outside(find, 0 if nulls == "sql" else -1, column.dictionary.size)
            scalars.setdefault(name, (column, []))[1].append(find)
            many.append(None if negated else _many(leaf, column, kind))
        elif isinstance(column, ListColumn) and isinstance(leaf, ListHas) and not negated:
            find_all = _listed(leaf, column, kind.item)
            if find_all is None:
                return None
            lists.append((column, find_all, _element(leaf, column, kind.item)))
            many.append(_many(leaf, column, kind.item))
        else:
            return None
    return Direct(attributes.n, list(scalars.values()), lists, many)


def _outside(find: Find, first: int, size: int) -> Find:
    """The codes of first..size-1 that a look-up does not find; -1 stands for null."""

    def outside(values: Values) -> Bounds | None:
        bounds = find(values)
        return None if bounds is None else intervals.complement(bounds, first, size)

    return outside


def _name(leaf: Node) -> str | None:
    """The column of a comparison or membership of a column, or of a list look-up."""
    if isinstance(leaf, Compare | In) and isinstance(leaf.term, Column):
        return leaf.term.name
    return leaf.column if isinstance(leaf, ListHas) else None


def _comparison(leaf: Compare | In, column: ScalarColumn, kind: ColumnType) -> Find | None:
    if isinstance(leaf, Compare):
        return _given(leaf.value, lookup.comparison(column.dictionary, kind, leaf.op))
    return _given(leaf.values, lookup.membership(column.dictionary, kind))


def _listed(leaf: ListHas, column: ListColumn, kind: ColumnType) -> FindAll | None:
    look = lookup.codes_of(column.dictionary, kind)
    if look is None:
        return None

    def any_of(values: Any) -> list[Bounds] | None:
        codes = look(values)
        return None if codes is None else [intervals.of_codes(sorted(codes - {-1}))]

    def all_of(values: Any) -> list[Bounds] | None:
        codes = look(values)
        if codes is None:
            return None
        return [[]] if -1 in codes else [[found, found + 1] for found in codes]

    return _given(leaf.values, any_of if leaf.op == "any" else all_of)


def _element(leaf: ListHas, column: ListColumn, kind: ColumnType) -> Find | None:
    """The look-up of a leaf with one element."""
    if not isinstance(leaf.values, tuple) or len(leaf.values) != 1:
        return None
    return _given(leaf.values[0], lookup.comparison(column.dictionary, kind, "="))


def _many(
    leaf: Compare | In | ListHas, column: ScalarColumn | ListColumn, kind: ColumnType
) -> FindMany | None:
    """The look-up of a leaf with one value, for many values at a time."""
    if isinstance(leaf, Compare):
        op, value = leaf.op, leaf.value
    elif isinstance(leaf.values, tuple) and len(leaf.values) == 1:
        op, value = "=", leaf.values[0]
    else:
        return None
    look = lookup.comparisons(column.dictionary, kind, op)
    if look is None:
        return None
    if isinstance(value, Parameter):
        name = value.name
        return lambda columns: look(columns[name])
    fixed = look([value])
    return None if fixed is None else lambda columns: fixed


def _given(
    value: Any, look: Callable[[Any], Found | None] | None
) -> Callable[[Values], Found | None] | None:
    """A look-up of what a leaf compares with: a parameter, some of them, or what its text says."""
    if look is None:
        return None
    if isinstance(value, Parameter):
        name = value.name
        return lambda values: look(values[name])
    if isinstance(value, tuple) and any(isinstance(part, Parameter) for part in value):
        parts = [part.name if isinstance(part, Parameter) else None for part in value]
        if len(value) == 1:
            only = value[0].name
            return lambda values: look((values[only],))
        return lambda values: look(
            [
                part if name is None else values[name]
                for name, part in zip(parts, value, strict=True)
            ]
        )
    fixed = look(value)
    return None if fixed is None else lambda values: fixed
