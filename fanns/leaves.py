"""One leaf of a filter beside its column: checks of types, values in the storage domain.

Each function returns bound nodes: comparisons that the storage cannot meet exactly are rewritten
so that they stay exact under three-valued logic, `none` (false for every non-null row) and `every`
(true for every non-null row) included.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fanns.deferred import ESCAPE
from fanns.errors import FilterTypeError, UnknownColumnError
from fanns.expressions import (
    Column,
    Compare,
    Constant,
    In,
    Length,
    Like,
    ListHas,
    Node,
    Not,
    Or,
    Term,
)
from fanns.schema import ColumnType, Schema
from fanns.values import is_null, point

LENGTH = ColumnType("int", bits=32)


def column_type(schema: Schema, name: str) -> ColumnType:
    """The type of a column; UnknownColumnError with the nearest names when there is none."""
    found = schema.get(name)
    if found is None:
        near = difflib.get_close_matches(name, schema, 3)
        near += [known for known in schema if known.lower() == name.lower() and known not in near]
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "there are"
        names = ", ".join(list(schema)[:20]) + (", ..." if len(schema) > 20 else "")
        raise UnknownColumnError(f"no column {name!r}: {hint} (columns: {names})")
    return found


def term_type(schema: Schema, term: Term) -> ColumnType:
    """The scalar type of a term; FilterTypeError for a list compared as a whole."""
    column = column_type(schema, term.name)
    if isinstance(term, Length):
        if not column.is_list:
            raise FilterTypeError(f"column {term.name!r} is {column}: len() needs a list column")
        return LENGTH
    if column.is_list:
        raise FilterTypeError(
            f"column {term.name!r} is {column} and cannot be compared as a whole: use "
            "list_contains, list_has_any, list_has_all or len"
        )
    return column


def none(term: Term) -> Node:
    """False for every non-null row."""
    return In(term, ())


def every(term: Term) -> Node:
    """True for every non-null row."""
    return Not(In(term, ()))


def compare(term: Term, column: ColumnType, op: str, value: Any) -> Node:
    """Order or equality of a term and a literal."""
    if type(value) is int and column.kind == "int":  # the hot path
        low, high = column.int_range()
        if low <= value <= high:
            return Compare(term, op, value)  # type: ignore[arg-type]
    elif type(value) is str and column.kind == "string" and value.isascii():
        return Compare(term, op, value)  # type: ignore[arg-type]
    found = point(term.name, column, value)
    if found is None:
        return Constant(None)
    if column.kind == "bool":
        return _compare_bool(term, op, found.value)
    if column.kind == "float" and found.value != found.value:
        return _compare_nan(term, op)
    return _compare_point(term, column, op, found.value, found.exact)


def _compare_point(term: Term, column: ColumnType, op: str, low: Any, exact: bool) -> Node:
    """Against a literal that lies at `low` (exact) or between `low` and the next value."""
    if column.kind in ("int", "date", "timestamp"):
        least, most = column.int_range()
        if not least <= low <= most:
            above = low > most
            return every(term) if op in (("<", "<=") if above else (">", ">=")) else none(term)
    if not exact:
        if op == "=":
            return none(term)
        op = {"<": "<=", ">=": ">"}.get(op, op)
    return Compare(term, op, low)  # type: ignore[arg-type]


def _compare_bool(term: Term, op: str, value: bool) -> Node:
    """False sorts before true; the only leaf left is `term = TRUE`."""
    true = Compare(term, "=", True)
    if op == "=":
        return true if value else Not(true)
    if value:
        return {"<": Not(true), "<=": every(term), ">": none(term), ">=": true}[op]
    return {"<": none(term), "<=": Not(true), ">": true, ">=": every(term)}[op]


def _compare_nan(term: Term, op: str) -> Node:
    """NaN equals itself and is above infinity, so that it needs no literal of its own."""
    if op in ("=", ">="):
        return Compare(term, ">", math.inf)
    return {"<": Compare(term, "<=", math.inf), "<=": every(term), ">": none(term)}[op]


def is_in(term: Term, column: ColumnType, values: Sequence[Any]) -> Node:
    """The term is one of the literals; a null among them makes every miss null."""
    kept, has_null, has_nan = _members(term.name, column, values)
    found: Node = In(term, kept)
    if column.kind == "bool":
        found = (none(term), _compare_bool(term, "=", True in kept), every(term))[len(kept)]
    elif len(kept) == 1:
        found = Compare(term, "=", kept[0])
    extra: list[Node] = [Compare(term, ">", math.inf)] if has_nan else []
    if has_null:
        extra.append(Constant(None))
    return Or((found, *extra)) if extra else found


def _members(
    name: str, column: ColumnType, values: Sequence[Any]
) -> tuple[tuple[Any, ...], bool, bool]:
    """The literals that the storage can hold, sorted; whether there was a null, or a NaN."""
    least, most = column.int_range()
    bounded = column.kind in ("int", "date", "timestamp")
    kinds = set(map(type, values))
    if kinds == {int} and column.kind == "int":  # long lists of ids and codes
        return tuple(sorted({value for value in values if least <= value <= most})), False, False
    kept: set[Any] = set()
    has_null = has_nan = False
    for value in values:
        found = point(name, column, value)
        if found is None:
            has_null = True
        elif found.value != found.value:
            has_nan = True
        elif found.exact and (not bounded or least <= found.value <= most):
            kept.add(found.value)
    return tuple(sorted(kept)), has_null, has_nan


def list_has(schema: Schema, name: str, op: str, values: Sequence[Any]) -> Node:
    """The list holds any, or all, of the literals; nulls among them count for nothing.

    That is DuckDB's rule: list_has_any([1, NULL], [NULL]) is false, list_has_all([1], [NULL]) true.
    """
    column = column_type(schema, name)
    if not column.is_list:
        hint = "use = or IN" + (" or LIKE" if column.kind == "string" else "")
        raise FilterTypeError(f"column {name!r} is {column}, not a list: {hint}")
    if len(values) == 1 and column.kind == "string":  # the hot path
        value = values[0]
        if type(value) is str and value.isascii():
            return ListHas(name, "any", (value,))
    given = [value for value in values if not is_null(value)]
    kept, _, has_nan = _members(name, column, given)
    if has_nan:
        kept = (*kept, math.nan)
    if op == "any" or len(kept) == 1 == len(given):
        return ListHas(name, "any", kept)
    if any(not _can_hold(name, column, value) for value in given):
        return ListHas(name, "any", ())
    if len(kept) == 1:
        return ListHas(name, "any", kept)
    return ListHas(name, "all", kept) if kept else Not(ListHas(name, "any", ()))


def _can_hold(name: str, column: ColumnType, value: Any) -> bool:
    found = point(name, column, value)
    if found is None or not found.exact:
        return False
    if column.kind not in ("int", "date", "timestamp"):
        return True
    least, most = column.int_range()
    return bool(least <= found.value <= most)


def like(schema: Schema, node: Like, pattern: Any) -> Node:
    """A pattern in its shortest spelling: escaped by a backslash only where it must be."""
    name = node.column
    column = column_type(schema, name)
    if column.is_list or column.kind != "string":
        hint = "use list_contains" if column.is_list else "compare it with =, < or >"
        raise FilterTypeError(f"column {name!r} is {column}: LIKE needs a string column; {hint}")
    found = point(name, column, pattern)
    if found is None:
        return Constant(None)
    pieces = pattern_pieces(found.value, node.escape)
    if pieces == ["%"]:
        return every(Column(name))
    literal = "".join(piece if len(piece) == 1 else piece[1:] for piece in pieces)
    wild = any(piece in ("%", "_") for piece in pieces)
    if node.case_sensitive and not wild:
        return Compare(Column(name), "=", literal)
    if not node.case_sensitive:
        pieces = [lowered(piece) for piece in pieces]
    if any(piece in (ESCAPE + "%", ESCAPE + "_") for piece in pieces):
        return Like(name, "".join(pieces), ESCAPE, node.case_sensitive)
    unescaped = "".join(ESCAPE if piece == ESCAPE * 2 else piece for piece in pieces)
    return Like(name, unescaped, None, node.case_sensitive)


def lowered(text: str) -> str:
    """Lower case character by character, as Arrow lowers the strings of a column."""
    result: str = text.lower() if text.isascii() else pc.utf8_lower(pa.scalar(text)).as_py()
    return result


def pattern_pieces(pattern: str, escape: str | None) -> list[str]:
    """The pattern as `%`, `_`, plain characters, and `%`, `_`, backslash escaped by a backslash.

    In a run of wildcards `_` comes first and one `%` last. FilterTypeError when the escape
    character ends the pattern.
    """
    pieces: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            following = next(characters, None)
            if following is None:
                raise FilterTypeError(
                    f"LIKE pattern {pattern!r} ends with its escape character {escape!r}: "
                    "double it to match the character itself"
                )
            pieces.append(ESCAPE + following if following in ("%", "_", ESCAPE) else following)
        elif character == "_" and pieces[-1:] == ["%"]:
            pieces[-1:] = ["_", "%"]
        elif character == ESCAPE:
            pieces.append(ESCAPE * 2)
        elif character != "%" or pieces[-1:] != ["%"]:
            pieces.append(character)
    return pieces
