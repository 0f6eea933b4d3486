"""Mongo-style dicts as filters: `{"year": {"$gte": 2020}, "categories": {"$contains": "cs.LG"}}`.

The keys of a dict are joined by "and". `{"a": 1}` is `{"a": {"$eq": 1}}`; a comparison with None
asks for a missing value, and by default (`nulls="python"`) `$ne` and `$nin` keep missing values.

    $and $or $nor        lists of dicts
    $not                 a dict, or the operators of one column
    $eq $ne $gt $gte $lt $lte
    $in $nin             lists of values
    $exists              whether the value is there: true or false
    $contains            a list column holds the value
    $containsAny $containsAll   a list column holds some, or all, of the values
    $size                the number of elements of a list column, a value or operators
    $like $ilike $startswith $endswith   string patterns
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fanns.deferred import (
    MAX_DEPTH,
    IsTrue,
    ParameterIsNull,
    affix,
    conjunction,
    disjunction,
    negation,
)
from fanns.errors import FilterSyntaxError
from fanns.expressions import (
    Column,
    Compare,
    Constant,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Node,
    Parameter,
    Term,
)
from fanns.opaque import check_literal

ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
LOGICAL = ("$and", "$or", "$nor", "$not")


def parse_mongo(where: Mapping[Any, Any], depth: int = 0) -> Node:
    """The tree of a dict; an empty one lets every row pass.

    Raises FilterSyntaxError naming the key or value that is not of the language.
    """
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested more than {MAX_DEPTH} levels deep")
    parts = [_entry(key, value, depth) for key, value in where.items()]
    return conjunction(*parts) if parts else Constant(True)


def _entry(key: Any, value: Any, depth: int) -> Node:
    if not isinstance(key, str):
        raise FilterSyntaxError(f"key {key!r} is not a column name or an operator")
    if key == "$not":
        return negation(_inner(key, value, depth))
    if key in ("$and", "$or", "$nor"):
        return _many(key, value, depth)
    if key.startswith("$"):
        raise FilterSyntaxError(f"{_unknown(key, LOGICAL)}; other operators stand below a column")
    if isinstance(value, Mapping):
        return _operators(Column(key), value, depth)
    return _equal(Column(key), value)


def _many(key: str, value: Any, depth: int) -> Node:
    if not isinstance(value, list | tuple) or not value:
        raise FilterSyntaxError(f"{key} needs a list of at least one filter, got {_show(value)}")
    parts = [_inner(key, part, depth) for part in value]
    if key == "$and":
        return conjunction(*parts)
    return disjunction(*parts) if key == "$or" else negation(disjunction(*parts))


def _inner(key: str, value: Any, depth: int) -> Node:
    if isinstance(value, Mapping):
        return parse_mongo(value, depth + 1)
    if isinstance(value, Node):
        return value
    node = getattr(value, "node", None)  # a col() expression
    if not isinstance(node, Node):
        raise FilterSyntaxError(f"{key} needs filters (dicts), got {_show(value)}")
    return node


def _operators(term: Term, operators: Mapping[Any, Any], depth: int) -> Node:
    if not operators:
        raise FilterSyntaxError(f"column {term.name!r} has no operator: write {{'$eq': value}}")
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested more than {MAX_DEPTH} levels deep")
    return conjunction(*(_operator(term, key, value, depth) for key, value in operators.items()))


def _operator(term: Term, key: Any, value: Any, depth: int) -> Node:
    if key in ORDER:
        return Compare(term, ORDER[key], _literal(term, key, value))  # type: ignore[arg-type]
    if key == "$not":
        if not isinstance(value, Mapping):
            raise FilterSyntaxError(f"{_at(term, key)} needs operators, got {_show(value)}")
        return negation(_operators(term, value, depth + 1))
    if key in _COMMON:
        return _COMMON[key](term, value)
    if isinstance(term, Column):
        if key == "$size":
            length = Length(term.name)
            if isinstance(value, Mapping):
                return _operators(length, value, depth + 1)
            return Compare(length, "=", _literal(term, key, value))
        if key in _OF_COLUMNS:
            return _OF_COLUMNS[key](term.name, value)
    known = (*_COMMON, *ORDER, "$not", "$size", *_OF_COLUMNS)
    raise FilterSyntaxError(f"column {term.name!r}: {_unknown(key, known)}")


def _equal(term: Term, value: Any) -> Node:
    """Mongo's equality: None equals a missing value."""
    if value is None:
        return IsNull(term.name)
    equal = Compare(term, "=", _literal(term, "$eq", value))
    if isinstance(value, Parameter):
        missing = conjunction(ParameterIsNull(value), IsNull(term.name))
        return disjunction(IsTrue(equal), missing)
    return equal


def _is_in(term: Term, value: Any) -> Node:
    values = _list(term, "$in", value)
    if isinstance(values, Parameter) or None not in values:
        return In(term, values)
    present = tuple(value for value in values if value is not None)
    return disjunction(IsTrue(In(term, present)), IsNull(term.name))


def _exists(term: Term, value: Any) -> Node:
    if not isinstance(value, bool):
        raise FilterSyntaxError(f"{_at(term, '$exists')} is true or false, got {_show(value)}")
    return negation(IsNull(term.name)) if value else IsNull(term.name)


_COMMON: dict[str, Callable[[Term, Any], Node]] = {
    "$eq": _equal,
    "$ne": lambda term, value: negation(_equal(term, value)),
    "$in": _is_in,
    "$nin": lambda term, value: negation(_is_in(term, value)),
    "$exists": _exists,
}


def _contains(name: str, value: Any) -> Node:
    return ListHas(name, "any", (_literal(Column(name), "$contains", value),))


def _pattern(key: str, make: Callable[[str, Any], Node]) -> Callable[[str, Any], Node]:
    def build(name: str, value: Any) -> Node:
        if not isinstance(value, str | Parameter):
            raise FilterSyntaxError(f"{_at(Column(name), key)} needs a string, got {_show(value)}")
        return make(name, value)

    return build


_OF_COLUMNS: dict[str, Callable[[str, Any], Node]] = {
    "$contains": _contains,
    "$containsAny": lambda name, value: ListHas(
        name, "any", _list(Column(name), "$containsAny", value)
    ),
    "$containsAll": lambda name, value: ListHas(
        name, "all", _list(Column(name), "$containsAll", value)
    ),
    "$like": _pattern("$like", lambda name, value: Like(name, value)),
    "$ilike": _pattern("$ilike", lambda name, value: Like(name, value, None, False)),
    "$startswith": _pattern("$startswith", lambda name, value: affix(name, value, "", "%")),
    "$endswith": _pattern("$endswith", lambda name, value: affix(name, value, "%", "")),
}


def _literal(term: Term, key: str, value: Any) -> Any:
    if value is None or isinstance(value, Mapping):
        raise FilterSyntaxError(f"{_at(term, key)} needs a value, got {_show(value)}")
    if isinstance(value, list | tuple | set | np.ndarray):
        hint = "$in, $containsAny or $containsAll"
        raise FilterSyntaxError(f"{_at(term, key)} needs one value, got {_show(value)}: use {hint}")
    return check_literal(value, f"column {term.name!r}")


def _list(term: Term, key: str, value: Any) -> tuple[Any, ...] | Parameter:
    if isinstance(value, Parameter):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = list(value) if value.dtype.kind in "mM" else value.tolist()
    if not isinstance(value, list | tuple | set | frozenset):
        raise FilterSyntaxError(f"{_at(term, key)} needs a list of values, got {_show(value)}")
    return tuple(None if item is None else _literal(term, key, item) for item in value)


def _at(term: Term, key: str) -> str:
    return f"column {term.name!r}: {key}"


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _unknown(key: Any, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(key), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"unknown operator {key!r}: {hint}"
