"""The parts that SQL predicates are made of, and the register of the nodes that are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlglot import exp

from fanns.errors import FilterSyntaxError
from fanns.expressions import Column, Length, Node, Parameter, Term
from fanns.sql_literals import NOT_A_LITERAL, read_literal, shown

FUNCTIONS = (
    "list_contains, list_has_any, list_has_all, len, starts_with, ends_with, contains, "
    "CAST of a literal"
)
LENGTHS = ("cardinality", "array_length", "len", "length")

Reader = Callable[[Any], Node]
R = TypeVar("R", bound=Reader)
READERS: dict[type[exp.Expression], Reader] = {}


def reader(*kinds: type[exp.Expression]) -> Callable[[R], R]:
    """Register how nodes of these types are read; nodes of other types are refused."""

    def register(function: R) -> R:
        for kind in kinds:
            READERS[kind] = function
        return function

    return register


def refused(node: Any) -> FilterSyntaxError:
    """The error for a node that is not of the language."""
    if isinstance(node, exp.Func):
        return FilterSyntaxError(
            f"{shown(node)}: not a function of the filter language, which has {FUNCTIONS}"
        )
    if isinstance(node, exp.Literal | exp.Placeholder | exp.Cast | exp.Neg):
        return FilterSyntaxError(f"{shown(node)} is a value, expected a condition")
    return FilterSyntaxError(f"{shown(node)} is not part of the filter language")


def term_of(node: Any) -> Term | None:
    """A column or the length of one; None for anything else."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        return Column(name_of(node))
    length = isinstance(node, exp.Length | exp.ArraySize)
    if length or (isinstance(node, exp.Anonymous) and str(node.this).lower() in LENGTHS):
        args = [node.this] if length else node.expressions
        if len(args) != 1 or node.args.get("expression") is not None:
            raise FilterSyntaxError(f"{shown(node)}: len() takes one list column")
        return Length(column_of(node, args[0]))
    return None


def column_of(node: Any, column: Any) -> str:
    """The name of an argument that must be a column."""
    column = column.unnest()
    if not isinstance(column, exp.Column):
        raise FilterSyntaxError(f"{shown(node)}: expected a column instead of {shown(column)}")
    return name_of(column)


def name_of(column: exp.Column) -> str:
    """The name of a column, which has no table before it."""
    if len(column.parts) != 1 or not isinstance(column.this, exp.Identifier):
        raise FilterSyntaxError(
            f"{shown(column)} is not one column name: put names with dots in double quotes"
        )
    return str(column.this.this)


def literal_of(node: Any) -> Any:
    """The value of a literal, or its parameter."""
    value = read_literal(node)
    if value is NOT_A_LITERAL:
        raise FilterSyntaxError(f"{shown(node)} is not a literal or :parameter")
    return value


def text_of(node: exp.Expression, value: Any) -> Any:
    """The value of a string literal, or its parameter; None for NULL."""
    found = literal_of(value)
    if found is not None and not isinstance(found, str | Parameter):
        raise FilterSyntaxError(f"{shown(node)}: the pattern must be a string")
    return found


def list_of(values: Any, node: exp.Expression) -> tuple[Any, ...] | Parameter:
    """The values of a list literal, or the parameter that stands for the whole list."""
    values = values.unnest()
    if isinstance(values, exp.Array):
        return tuple(literal_of(value) for value in values.expressions)
    found = read_literal(values)
    if not isinstance(found, Parameter):
        raise FilterSyntaxError(f"{shown(node)}: expected a list ['a', 'b'] or a :parameter")
    return found
