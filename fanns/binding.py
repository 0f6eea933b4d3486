"""From an unbound tree to a bound one: columns checked, values converted, canonical form.

`compile_filter` does everything that needs no parameter values once; `Template.bind` redoes only
the leaves with parameters and the connectives above them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fanns.deferred import Affixed, Cast, IsTrue, ParameterIsNull, parameters
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
    Like,
    ListHas,
    Mask,
    Node,
    Not,
    Or,
    Parameter,
)
from fanns.leaves import column_type, compare, is_in, like, list_has, term_type
from fanns.normal import (
    FLIPPED,
    NOT_FALSE,
    NOT_TRUE,
    TRUE,
    TWO_VALUED,
    Keyed,
    Reading,
    combine,
    read,
)
from fanns.opaque import check_opaque
from fanns.parameters import check_params, resolve, resolve_list
from fanns.schema import Schema
from fanns.values import is_null

Nulls = Literal["sql", "python"]
Params = Mapping[str, Any]
Leaf = Callable[[Params], Node]
Pending = Callable[[Params], Keyed]


class Template:
    """A filter compiled against a schema; `bind` gives it parameter values."""

    __slots__ = ("__weakref__", "_plan", "nulls", "parameters", "tree")

    def __init__(
        self, tree: Node, plan: Keyed | Pending, names: frozenset[str], nulls: str
    ) -> None:
        self.tree = tree
        self.nulls = nulls
        self._plan = plan
        self.parameters = names

    def bind(self, params: Params | None = None) -> Node:
        """The bound tree in canonical form.

        Raises ParameterError when a parameter has no value or a value no parameter, and
        FilterTypeError when a value is unlike its column.
        """
        values = params or {}
        if values.keys() != self.parameters:
            check_params(values, self.parameters)
        plan = self._plan
        return plan[1] if isinstance(plan, tuple) else plan(values)[1]


def compile_filter(tree: Node, schema: Schema, nulls: str = "sql") -> Template:
    """Check a tree against a schema and do all of its binding that needs no parameter values.

    Args:
        tree: an unbound tree, as `parse_filter` gives it.
        schema: the columns that the filter may name.
        nulls: "sql" for three-valued logic, "python" for leaves that are false on nulls.

    Raises:
        UnknownColumnError, FilterTypeError, FilterError: naming the culprit.
    """
    if nulls not in ("sql", "python"):
        raise FilterError(f"nulls is {nulls!r}, expected 'sql' or 'python'")
    names = parameters(tree)  # refuses trees too deep for the recursion below
    try:
        plan = _compile(tree, TRUE, nulls == "python", schema)
    except RecursionError:
        raise FilterError("the filter is nested too deeply: flatten it") from None
    return Template(tree, plan, names, nulls)


def bind(tree: Node, schema: Schema, params: Params | None = None, nulls: str = "sql") -> Node:
    """The bound tree of a filter: `compile_filter(tree, schema, nulls).bind(params)`."""
    return compile_filter(tree, schema, nulls).bind(params)


def _compile(node: Node, reading: Reading, two_valued: bool, schema: Schema) -> Keyed | Pending:
    """The node's canonical form, or how to make it once there are parameter values."""
    if isinstance(node, Not):
        return _compile(node.arg, FLIPPED[reading], two_valued, schema)
    if isinstance(node, IsTrue):
        truth = reading in (TRUE, NOT_FALSE)
        return _compile(node.arg, TRUE if truth else NOT_TRUE, two_valued, schema)
    if isinstance(node, And | Or):
        parts = [_compile(arg, reading, two_valued, schema) for arg in node.args]
        return _connective(isinstance(node, And), reading, parts)
    if two_valued:
        reading = TWO_VALUED[reading]
    leaf = _leaf(node, schema)
    if isinstance(leaf, Node):
        return read(leaf, reading)
    return lambda params: read(leaf(params), reading)


def _connective(
    conjunctive: bool, reading: Reading, parts: list[Keyed | Pending]
) -> Keyed | Pending:
    pending = [part for part in parts if not isinstance(part, tuple)]
    done = [part for part in parts if isinstance(part, tuple)]
    if not pending:
        return combine(conjunctive, reading, done)
    fixed = [combine(conjunctive, reading, done)] if done else []
    return lambda params: combine(conjunctive, reading, fixed + [part(params) for part in pending])


def _leaf(node: Node, schema: Schema) -> Node | Leaf:
    """A bound leaf, or how to bind it once there are parameter values."""
    if isinstance(node, Compare):
        return _compare(node, schema)
    if isinstance(node, In):
        return _in(node, schema)
    if isinstance(node, IsNull):
        column_type(schema, node.column)
        return node
    if isinstance(node, Like):
        return _like(node, schema)
    if isinstance(node, ListHas):
        return _list_has(node, schema)
    if isinstance(node, ParameterIsNull):
        name = node.parameter.name
        return lambda params: Constant(is_null(params[name]))
    if isinstance(node, Mask | Ids | Evaluated | Compiled):
        check_opaque(node, schema)
        return node
    if isinstance(node, Constant):
        return node
    raise FilterError(f"not a node that filters are made of: {node!r}")


def _compare(node: Compare, schema: Schema) -> Node | Leaf:
    term, op, value = node.term, node.op, node.value
    column = term_type(schema, term)
    if not isinstance(value, Parameter | Cast | Affixed):
        return compare(term, column, op, value)

    def leaf(params: Params) -> Node:
        try:
            return compare(term, column, op, resolve(value, params))
        except FilterTypeError as error:
            raise _blame(value, error) from None

    return leaf


def _in(node: In, schema: Schema) -> Node | Leaf:
    term, values = node.term, node.values
    column = term_type(schema, term)
    return _listed(values, lambda given: is_in(term, column, given))


def _list_has(node: ListHas, schema: Schema) -> Node | Leaf:
    name, op, values = node.column, node.op, node.values
    list_has(schema, name, op, ())  # the column is checked even before there are values
    listed = _listed(values, lambda given: list_has(schema, name, op, given))
    if op == "all" or isinstance(values, Parameter) or len(values) != 1 or isinstance(listed, Node):
        return listed
    only = values[0]  # list_contains(c, :x), which is null when :x is

    def contains(params: Params) -> Node:
        value = resolve(only, params)
        if is_null(value):
            return Constant(None)
        try:
            return list_has(schema, name, op, (value,))
        except FilterTypeError as error:
            raise _blame(only, error) from None

    return contains


def _listed(
    values: tuple[Any, ...] | Parameter, make: Callable[[Sequence[Any]], Node]
) -> Node | Leaf:
    """A leaf over a list of values, any of which (or the whole list) may be a parameter."""
    if isinstance(values, Parameter):

        def whole(params: Params) -> Node:
            given = resolve_list(values, params)
            return Constant(None) if given is None else _named(values, make, given)

        return whole
    if not any(isinstance(value, Parameter | Cast) for value in values):
        return make(values)
    first = next(value for value in values if isinstance(value, Parameter | Cast))
    return lambda params: _named(first, make, [resolve(value, params) for value in values])


def _named(value: Any, make: Callable[[Sequence[Any]], Node], given: Sequence[Any]) -> Node:
    try:
        return make(given)
    except FilterTypeError as error:
        raise _blame(value, error) from None


def _like(node: Like, schema: Schema) -> Node | Leaf:
    pattern = node.pattern
    if not isinstance(pattern, Parameter | Cast | Affixed):
        return like(schema, node, pattern)
    like(schema, node, None)  # the column is checked even before there is a value

    def leaf(params: Params) -> Node:
        try:
            return like(schema, node, resolve(pattern, params))
        except FilterTypeError as error:
            raise _blame(pattern, error) from None

    return leaf


def _blame(value: Any, error: FilterTypeError) -> FilterTypeError:
    """The error with the name of the parameter that brought the value."""
    name = value.name if isinstance(value, Parameter) else value.parameter.name
    return FilterTypeError(f"parameter :{name}: {error}")
