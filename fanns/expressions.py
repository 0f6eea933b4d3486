"""The filter as a tree: immutable, hashable nodes without any knowledge of a schema or of data.

Every spelling of a filter (SQL text, `col()`, Mongo-style dicts) ends as these nodes, and two
spellings of one filter give equal trees. Values are Python values or `Parameter`s; binding a tree
to a schema replaces parameters and converts each value to its column's own domain.

Three-valued logic (`nulls="sql"`): a node is true, false or null for a row, and a row passes when
the root is true. Two-valued logic (`nulls="python"`): a comparison with a null is false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

CompareOp = Literal["=", "<", "<=", ">", ">="]
ListOp = Literal["any", "all"]


class Node:
    """Base of all nodes of a filter."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value given later, written `:name` in SQL."""

    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """The value of an attribute column."""

    name: str


@dataclass(frozen=True, slots=True)
class Length:
    """The number of elements of a list column (nulls inside the list count): `len(name)`."""

    name: str


Term = Column | Length


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """True, false or null for every row."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class And(Node):
    """True when every argument is; at least two arguments, none of them an `And`."""

    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """True when some argument is; at least two arguments, none of them an `Or`."""

    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """True where the argument is false; `!=`, NOT IN and NOT LIKE are spelled with it."""

    arg: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """Order or equality of a term and a value; NaN equals itself and is above all numbers."""

    term: Term
    op: CompareOp
    value: Any


@dataclass(frozen=True, slots=True)
class In(Node):
    """The term equals one of the values; with no values it is false for every non-null row.

    `values` is a tuple, or one `Parameter` that stands for the whole list.
    """

    term: Term
    values: tuple[Any, ...] | Parameter


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    """The column is null; never null itself."""

    column: str


@dataclass(frozen=True, slots=True)
class Like(Node):
    """SQL LIKE over a string column: `%` any run, `_` any one character."""

    column: str
    pattern: Any
    escape: str | None = None
    case_sensitive: bool = True


@dataclass(frozen=True, slots=True)
class ListHas(Node):
    """The list column holds any, or all, of the values.

    With no values `any` is false and `all` is true, for every non-null list. Null elements never
    match. `list_contains(c, x)` is `ListHas(c, "any", (x,))`.
    """

    column: str
    op: ListOp
    values: tuple[Any, ...] | Parameter


class Opaque(Node):
    """Base of the leaves that carry data or code of the caller's; equal only to themselves."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True, eq=False)
class Mask(Opaque):
    """A boolean per live row in insertion order (`index.ids()`): bool[rows]."""

    values: Any


@dataclass(frozen=True, slots=True, eq=False)
class Ids(Opaque):
    """The rows with these ids: an int64 array, or a tuple of strings; unknown ids match nothing."""

    values: Any


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated(Opaque):
    """A pyarrow or polars expression, evaluated over the attribute columns to true, false, null."""

    expression: Any
    engine: Literal["pyarrow", "polars"]


@dataclass(frozen=True, slots=True, eq=False)
class Compiled(Opaque):
    """A numba-compiled predicate over scalar columns; null for a row with a null among them."""

    function: Any
    columns: tuple[str, ...]
