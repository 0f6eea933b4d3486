"""The canonical form of bound trees: equal filters give equal trees, whatever their spelling.

A bound tree is read as the set of rows for which it is true. So negation is pushed down to the
leaves with four readings of a node (where it is true, false, not true, not false), after which
null and false mean the same and no null constant is left. Nodes travel with a sort key.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final, Literal

from fanns.errors import FilterError
from fanns.expressions import (
    And,
    Column,
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
)
from fanns.opaque import null_leaf

Keyed = tuple[tuple[Any, ...], Node]


# The rows of a node that are asked for.
Reading = Literal[0, 1, 2, 3]
TRUE: Final = 0
FALSE: Final = 1
NOT_TRUE: Final = 2
NOT_FALSE: Final = 3
FLIPPED: tuple[Reading, ...] = (FALSE, TRUE, NOT_FALSE, NOT_TRUE)
# Two-valued logic: where a leaf is null, it is not true but false.
TWO_VALUED: tuple[Reading, ...] = (TRUE, NOT_TRUE, NOT_TRUE, TRUE)
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}

EVERYTHING: Keyed = ((0, True), Constant(True))
NOTHING: Keyed = ((0, False), Constant(False))
_MEMBERS, _ORDER, _NULL, _LIKE, _LIST, _OPAQUE, _OR, _AND = range(1, 9)
_first = itemgetter(0)


def read(node: Node, reading: Reading) -> Keyed:
    """The canonical form of the rows for which a bound (not yet canonical) node reads so."""
    kind = type(node)
    if reading == TRUE and (kind is Compare or kind is ListHas):  # the hot path
        return keyed(node)
    if kind is Not:
        return read(node.arg, FLIPPED[reading])  # type: ignore[attr-defined]
    if kind is And or kind is Or:
        parts = [read(arg, reading) for arg in node.args]  # type: ignore[attr-defined]
        return combine(kind is And, reading, parts)
    if kind is Constant:
        return _constant(node.value, reading)  # type: ignore[attr-defined]
    if reading == TRUE:
        return keyed(node)
    if reading == FALSE:
        return opposite(node)
    leaf = keyed(node) if reading == NOT_FALSE else opposite(node)
    return disjoin([leaf, *map(keyed, _nulls(node))])


def combine(conjunctive: bool, reading: Reading, parts: Iterable[Keyed]) -> Keyed:
    """And or Or of arguments that were all read so: by De Morgan a negative reading swaps them."""
    positive = reading in (TRUE, NOT_FALSE)
    return conjoin(parts) if conjunctive == positive else disjoin(parts)


def conjoin(parts: Iterable[Keyed]) -> Keyed:
    """The intersection: flattened, sorted, without repetitions."""
    return _joined(parts, _AND, EVERYTHING, NOTHING)


def disjoin(parts: Iterable[Keyed]) -> Keyed:
    """The union: flattened, sorted, without repetitions."""
    return _joined(parts, _OR, NOTHING, EVERYTHING)


def _joined(parts: Iterable[Keyed], rank: int, neutral: Keyed, absorbing: Keyed) -> Keyed:
    flat: list[Keyed] = []
    for part in parts:
        key = part[0]
        if key[0] == 0:
            if key == absorbing[0]:
                return absorbing
        elif key[0] == rank:
            flat.extend(zip(key[1], part[1].args, strict=True))  # type: ignore[attr-defined]
        else:
            flat.append(part)
    if not flat:
        return neutral
    if len(flat) > 1:
        flat.sort(key=_first)
        flat = _distinct(flat, rank == _AND)
    if len(flat) == 1:
        return flat[0]
    keys, nodes = zip(*flat, strict=True)
    return (rank, keys), And(nodes) if rank == _AND else Or(nodes)


def _distinct(ordered: list[Keyed], negated: bool) -> list[Keyed]:
    """Without repetitions; neighbours `x = 1 OR x IN (2, 3)` (or their denials) become one."""
    kept = [ordered[0]]
    for part in ordered[1:]:
        key, last = part[0], kept[-1][0]
        if key == last:
            continue
        if key[0] == _MEMBERS and key[:4] == last[:4] and key[3] == negated:
            values = tuple(sorted({*last[4], *key[4]}))
            kept[-1] = _members(key[1], key[2], negated, values)
        else:
            kept.append(part)
    return kept


def _constant(value: bool | None, reading: Reading) -> Keyed:
    holds = {
        TRUE: value is True,
        FALSE: value is False,
        NOT_TRUE: value is not True,
        NOT_FALSE: value is not False,
    }[reading]
    return EVERYTHING if holds else NOTHING


def _nulls(leaf: Node) -> list[Node]:
    """The tests for the rows for which a leaf is null."""
    if isinstance(leaf, Compare | In):
        return [IsNull(leaf.term.name)]
    if isinstance(leaf, Like | ListHas):
        return [IsNull(leaf.column)]
    if isinstance(leaf, Compiled):
        return [IsNull(column) for column in leaf.columns]
    if isinstance(leaf, Evaluated):
        return [null_leaf(leaf)]
    assert isinstance(leaf, IsNull | Mask | Ids), leaf
    return []


def keyed(node: Node) -> Keyed:
    """A leaf with its sort key: keys of one rank, column and operator hold like values."""
    kind = type(node)
    if kind is Compare:
        return _keyed_compare(node)  # type: ignore[arg-type]
    if kind is ListHas:
        return (_LIST, node.column, node.op, node.values, False), node  # type: ignore[attr-defined]
    return _key(node, False), node


def _keyed_compare(node: Compare) -> Keyed:
    length = type(node.term) is Length
    if node.op == "=":
        return (_MEMBERS, node.term.name, length, False, (node.value,)), node
    return (_ORDER, node.term.name, length, node.op, node.value), node


def opposite(leaf: Node) -> Keyed:
    """The denial of a leaf: the rows for which it is false."""
    if type(leaf) is Compare and leaf.op != "=":
        return _keyed_compare(Compare(leaf.term, OPPOSITE[leaf.op], leaf.value))  # type: ignore[arg-type]
    return _key(leaf, True), Not(leaf)


def _key(node: Node, negated: bool) -> tuple[Any, ...]:
    if isinstance(node, Compare):
        return (_MEMBERS, node.term.name, type(node.term) is Length, negated, (node.value,))
    if isinstance(node, In):
        return (_MEMBERS, node.term.name, type(node.term) is Length, negated, node.values)
    if isinstance(node, IsNull):
        return (_NULL, node.column, negated)
    if isinstance(node, Like):
        return (_LIKE, node.column, node.case_sensitive, node.pattern, node.escape or "", negated)
    if isinstance(node, ListHas):
        return (_LIST, node.column, node.op, node.values, negated)
    if isinstance(node, Opaque):
        return (_OPAQUE, id(node), negated)
    raise FilterError(f"not a node that filters are made of: {node!r}")


def _members(name: str, length: bool, negated: bool, values: tuple[Any, ...]) -> Keyed:
    term = Length(name) if length else Column(name)
    found: Node = Compare(term, "=", values[0]) if len(values) == 1 else In(term, values)
    return (_MEMBERS, name, length, negated, values), Not(found) if negated else found
