"""Parts of an unbound tree that wait for parameters, and the smart constructors of its logic.

None of these survives binding: a bound tree holds only the nodes of `fanns.expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fanns.errors import FilterError
from fanns.expressions import And, Compare, In, Like, ListHas, Node, Not, Or, Parameter

MAX_DEPTH = 100
ESCAPE = "\\"


@dataclass(frozen=True, slots=True)
class Cast:
    """The value of a parameter as a date or a timestamp: `CAST(:p AS DATE)`."""

    parameter: Parameter
    kind: Literal["date", "timestamp"]


@dataclass(frozen=True, slots=True)
class Affixed:
    """A LIKE pattern that takes a parameter's value literally: `starts_with(c, :p)`.

    `before` and `after` are "" or "%"; wildcards in the value are escaped with a backslash.
    """

    parameter: Parameter
    before: str
    after: str


Deferred = Parameter | Cast | Affixed


@dataclass(frozen=True, slots=True)
class IsTrue(Node):
    """True where the argument is true, else false, never null: `(x) IS TRUE`."""

    arg: Node


@dataclass(frozen=True, slots=True)
class ParameterIsNull(Node):
    """Whether a parameter's value is null: `:p IS NULL`."""

    parameter: Parameter


def conjunction(*args: Node) -> Node:
    """All of the arguments, with inner conjunctions flattened into one."""
    flat = tuple(x for arg in args for x in (arg.args if isinstance(arg, And) else (arg,)))
    return flat[0] if len(flat) == 1 else And(flat)


def disjunction(*args: Node) -> Node:
    """Any of the arguments, with inner disjunctions flattened into one."""
    flat = tuple(x for arg in args for x in (arg.args if isinstance(arg, Or) else (arg,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def negation(arg: Node) -> Node:
    """The opposite of the argument; a double negation cancels."""
    return arg.arg if isinstance(arg, Not) else Not(arg)


def escaped(text: str) -> str:
    """The text as a LIKE pattern under ESCAPE backslash that matches exactly it."""
    for sign in (ESCAPE, "%", "_"):
        text = text.replace(sign, ESCAPE + sign)
    return text


def affix(column: str, value: Any, before: str, after: str) -> Like:
    """A LIKE that matches a literal text (or parameter) with anything before or after it."""
    if isinstance(value, Parameter):
        return Like(column, Affixed(value, before, after), ESCAPE)
    if not any(sign in value for sign in "%_"):
        return Like(column, before + value + after)
    return Like(column, before + escaped(value) + after, ESCAPE)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node."""
    if isinstance(node, And | Or):
        return node.args
    if isinstance(node, Not | IsTrue):
        return (node.arg,)
    return ()


def walk(tree: Node) -> Iterator[Node]:
    """Every node of the tree, without recursion; FilterError beyond MAX_DEPTH levels."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        yield from level
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise FilterError(
        f"the filter is nested more than {MAX_DEPTH} levels deep: "
        "flatten it, or write long alternatives as IN with a list"
    )


def parameters(tree: Node) -> frozenset[str]:
    """The names of all parameters of an unbound tree."""
    return frozenset(found.name for node in walk(tree) for found in _parameters_of(node))


def _parameters_of(node: Node) -> Iterator[Parameter]:
    if isinstance(node, ParameterIsNull):
        yield node.parameter
    elif isinstance(node, Compare):
        yield from _parameter_in(node.value)
    elif isinstance(node, Like):
        yield from _parameter_in(node.pattern)
    elif isinstance(node, In | ListHas):
        if isinstance(node.values, Parameter):
            yield node.values
        else:
            for value in node.values:
                yield from _parameter_in(value)


def _parameter_in(value: Any) -> Iterator[Parameter]:
    if isinstance(value, Parameter):
        yield value
    elif isinstance(value, Cast | Affixed):
        yield value.parameter
