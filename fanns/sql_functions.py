"""SQL's LIKE and its functions of strings and lists as leaves; reading them is registered here."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from fanns.deferred import affix, negation
from fanns.errors import FilterSyntaxError
from fanns.expressions import Constant, Like, ListHas, ListOp, Node
from fanns.sql_literals import is_null_value, read_literal, shown
from fanns.sql_terms import column_of, list_of, literal_of, reader, refused, text_of

LIST_FUNCTIONS: dict[str, ListOp] = {
    "list_has_any": "any",
    "array_has_any": "any",
    "list_has_all": "all",
    "array_has_all": "all",
}
AFFIXES = {"prefix": ("", "%"), "suffix": ("%", "")}


@reader(exp.Like, exp.ILike)
def _like(node: exp.Like | exp.ILike) -> Node:
    return _like_escaped(node, None)


@reader(exp.Escape)
def _escape(node: exp.Escape) -> Node:
    escape = read_literal(node.expression)
    if not isinstance(escape, str) or len(escape) > 1:
        raise FilterSyntaxError(f"{shown(node)}: ESCAPE needs one character")
    like = node.this
    if isinstance(like, exp.Not):
        return negation(_like_escaped(like.this, escape or None))
    return _like_escaped(like, escape or None)


def _like_escaped(node: Any, escape: str | None) -> Node:
    if not isinstance(node, exp.Like | exp.ILike):
        raise refused(node)
    name = column_of(node, node.this)
    pattern = text_of(node, node.expression)
    if pattern is None:
        return Constant(None)
    found = Like(name, pattern, escape, not isinstance(node, exp.ILike))
    return negation(found) if node.args.get("negate") else found


@reader(exp.StartsWith)
def _starts_with(node: exp.StartsWith) -> Node:
    return _affix(node, node.this, node.expression, "", "%")


@reader(exp.EndsWith)
def _ends_with(node: exp.EndsWith) -> Node:
    return _affix(node, node.this, node.expression, "%", "")


@reader(exp.Contains)
def _contains(node: exp.Contains) -> Node:
    return _affix(node, node.this, node.expression, "%", "%")


def _affix(node: exp.Expression, column: Any, text: Any, before: str, after: str) -> Node:
    name = column_of(node, column)
    value = text_of(node, text)
    return Constant(None) if value is None else affix(name, value, before, after)


@reader(exp.ArrayContains)
def _list_contains(node: exp.ArrayContains) -> Node:
    return has(column_of(node, node.this), literal_of(node.expression))


@reader(exp.ArrayOverlaps)
def _overlaps(node: exp.ArrayOverlaps) -> Node:
    left, right = node.this, node.expression
    if not isinstance(left.unnest(), exp.Column):  # && is symmetric
        left, right = right, left
    return _has_list(node, left, "any", right)


@reader(exp.ArrayContainsAll)
def _contains_all(node: exp.ArrayContainsAll) -> Node:
    return _has_list(node, node.this, "all", node.expression)


def _contained_by(node: Any) -> Node:
    return _has_list(node, node.expression, "all", node.this)


# Before it had a type of its own, sqlglot read `['a'] <@ c` as `c @> ['a']`.
if hasattr(exp, "ArrayContainedBy"):
    reader(exp.ArrayContainedBy)(_contained_by)


def _has_list(node: exp.Expression, column: Any, op: ListOp, values: Any) -> Node:
    name = column_of(node, column)
    if is_null_value(values):
        return Constant(None)
    return ListHas(name, op, list_of(values, node))


def has(name: str, value: Any) -> Node:
    """`list_contains(name, value)`, which is null for a null."""
    return Constant(None) if value is None else ListHas(name, "any", (value,))


@reader(exp.Anonymous)
def _function(node: exp.Anonymous) -> Node:
    """Functions that sqlglot has no type for."""
    name, args = str(node.this).lower(), node.expressions
    if name in LIST_FUNCTIONS and len(args) == 2:
        return _has_list(node, args[0], LIST_FUNCTIONS[name], args[1])
    if name in AFFIXES and len(args) == 2:
        return _affix(node, args[0], args[1], *AFFIXES[name])
    raise refused(node)
