"""The `col()` spelling of filters, and the leaves that carry data or code: ids, mask, predicate.

(col("year") >= 2020) & col("categories").has("cs.LG") & ~col("doi").is_null()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import numpy as np

from fanns.deferred import affix, conjunction, disjunction, negation
from fanns.errors import FilterError
from fanns.expressions import (
    Column,
    Compare,
    CompareOp,
    Compiled,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    ListOp,
    Node,
    Parameter,
    Term,
)
from fanns.opaque import check_literal, ids_leaf, mask_leaf


class FilterExpression:
    """A filter that combines with `&`, `|` and `~`, also with filters in other spellings.

    Attributes:
        node: the unbound tree.
    """

    __slots__ = ("node",)
    __array_ufunc__ = None  # so that `mask & expression` reaches __rand__
    __hash__ = None  # type: ignore[assignment]  # == makes expressions, so they cannot be keys

    def __init__(self, node: Node) -> None:
        self.node = node

    def __and__(self, other: Any) -> FilterExpression:
        return FilterExpression(conjunction(self.node, _node(other)))

    def __rand__(self, other: Any) -> FilterExpression:
        return FilterExpression(conjunction(_node(other), self.node))

    def __or__(self, other: Any) -> FilterExpression:
        return FilterExpression(disjunction(self.node, _node(other)))

    def __ror__(self, other: Any) -> FilterExpression:
        return FilterExpression(disjunction(_node(other), self.node))

    def __invert__(self) -> FilterExpression:
        return FilterExpression(negation(self.node))

    def __eq__(self, other: object) -> NoReturn:
        raise FilterError("filters are not compared with ==: combine them with &, | and ~")

    def __ne__(self, other: object) -> NoReturn:
        raise FilterError("filters are not compared with !=: combine them with &, | and ~")

    def __bool__(self) -> NoReturn:
        raise FilterError(
            "a filter has no truth value of its own: write & for and, | for or, ~ for not, "
            "parentheses around each comparison, and .between(low, high) for low <= x <= high"
        )

    def __repr__(self) -> str:
        from fanns.sql_text import to_sql

        return f"<filter: {to_sql(self.node)}>"


class TermExpression:
    """A value that can be compared: a column, or the length of a list column."""

    __slots__ = ("_term",)
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]  # == makes a filter, so columns cannot be keys

    def __init__(self, term: Term) -> None:
        self._term = term

    def _compare(self, op: CompareOp, value: Any) -> FilterExpression:
        if value is None:
            raise FilterError(
                f"a comparison of {self!r} with None is never true: use .is_null() or "
                ".is_not_null()"
            )
        return FilterExpression(Compare(self._term, op, check_literal(value, repr(self))))

    def __eq__(self, value: object) -> FilterExpression:  # type: ignore[override]
        return self._compare("=", value)

    def __ne__(self, value: object) -> FilterExpression:  # type: ignore[override]
        return ~self._compare("=", value)

    def __lt__(self, value: Any) -> FilterExpression:
        return self._compare("<", value)

    def __le__(self, value: Any) -> FilterExpression:
        return self._compare("<=", value)

    def __gt__(self, value: Any) -> FilterExpression:
        return self._compare(">", value)

    def __ge__(self, value: Any) -> FilterExpression:
        return self._compare(">=", value)

    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__

    def between(self, low: Any, high: Any) -> FilterExpression:
        """Both ends included."""
        low_end, high_end = self._compare(">=", low), self._compare("<=", high)
        return FilterExpression(conjunction(low_end.node, high_end.node))

    def is_in(self, values: Iterable[Any] | Parameter) -> FilterExpression:
        """Equal to one of the values: an iterable, or a `param` that stands for the whole list."""
        return FilterExpression(In(self._term, _values(values, repr(self))))

    def not_in(self, values: Iterable[Any] | Parameter) -> FilterExpression:
        """Equal to none of the values; null rows do not pass (under `nulls="sql"`)."""
        return ~self.is_in(values)

    def is_null(self) -> FilterExpression:
        """The value is missing."""
        return FilterExpression(IsNull(self._term.name))

    def is_not_null(self) -> FilterExpression:
        """The value is there."""
        return ~self.is_null()

    def __bool__(self) -> NoReturn:
        raise FilterError(
            f"{self!r} has no truth value of its own: compare it, and combine filters with "
            "&, | and ~ instead of and, or and not"
        )

    def __repr__(self) -> str:
        name = repr(self._term.name)
        return f"col({name})" + (".length()" if isinstance(self._term, Length) else "")


class ColumnExpression(TermExpression):
    """A column of the index; a boolean column is also a filter by itself."""

    __slots__ = ()

    @property
    def _name(self) -> str:
        return self._term.name

    @property
    def node(self) -> Node:
        """A boolean column as a filter: `col("flag") & ~col("other")`."""
        return Compare(self._term, "=", True)

    def __and__(self, other: Any) -> FilterExpression:
        return FilterExpression(self.node).__and__(other)

    def __rand__(self, other: Any) -> FilterExpression:
        return FilterExpression(self.node).__rand__(other)

    def __or__(self, other: Any) -> FilterExpression:
        return FilterExpression(self.node).__or__(other)

    def __ror__(self, other: Any) -> FilterExpression:
        return FilterExpression(self.node).__ror__(other)

    def __invert__(self) -> FilterExpression:
        return ~FilterExpression(self.node)

    def has(self, value: Any) -> FilterExpression:
        """The list holds the value."""
        return FilterExpression(ListHas(self._name, "any", (check_literal(value, repr(self)),)))

    def has_any(self, values: Iterable[Any] | Parameter) -> FilterExpression:
        """The list holds at least one of the values."""
        return self._has("any", values)

    def has_all(self, values: Iterable[Any] | Parameter) -> FilterExpression:
        """The list holds every one of the values."""
        return self._has("all", values)

    def _has(self, op: ListOp, values: Iterable[Any] | Parameter) -> FilterExpression:
        return FilterExpression(ListHas(self._name, op, _values(values, repr(self))))

    def length(self) -> TermExpression:
        """The number of elements of a list column, nulls among them included."""
        return TermExpression(Length(self._name))

    def like(self, pattern: str | Parameter, escape: str | None = None) -> FilterExpression:
        """SQL LIKE: `%` is any run of characters, `_` any one; `escape` makes them literal."""
        return self._like(pattern, escape, True)

    def ilike(self, pattern: str | Parameter, escape: str | None = None) -> FilterExpression:
        """LIKE that does not mind upper and lower case."""
        return self._like(pattern, escape, False)

    def _like(self, pattern: Any, escape: str | None, case_sensitive: bool) -> FilterExpression:
        if not isinstance(pattern, str | Parameter):
            raise FilterError(f"LIKE pattern of {self!r} is {pattern!r}, expected a string")
        if escape is not None and (not isinstance(escape, str) or len(escape) != 1):
            raise FilterError(f"escape is {escape!r}, expected one character")
        return FilterExpression(Like(self._name, pattern, escape, case_sensitive))

    def starts_with(self, prefix: str | Parameter) -> FilterExpression:
        """The string begins with the prefix, taken literally."""
        return self._affix(prefix, "", "%")

    def ends_with(self, suffix: str | Parameter) -> FilterExpression:
        """The string ends with the suffix, taken literally."""
        return self._affix(suffix, "%", "")

    def contains(self, text: str | Parameter) -> FilterExpression:
        """The string holds the text, taken literally (for lists see `has`)."""
        return self._affix(text, "%", "%")

    def _affix(self, text: Any, before: str, after: str) -> FilterExpression:
        if not isinstance(text, str | Parameter):
            raise FilterError(f"{self!r} is matched with {text!r}, expected a string")
        return FilterExpression(affix(self._name, text, before, after))


class Predicate(FilterExpression):
    """A filter written as a Python function of one row's values; still callable as such."""

    __slots__ = ("_function", "columns")

    def __init__(self, function: Callable[..., Any], columns: tuple[str, ...]) -> None:
        from numba import njit

        super().__init__(Compiled(njit(nogil=True)(function), columns))
        self._function = function
        self.columns = columns

    def __call__(self, *values: Any) -> Any:
        return self._function(*values)


def col(name: str) -> ColumnExpression:
    """The column of this name, to be compared: `col("year") >= 2020`."""
    if not isinstance(name, str):
        raise FilterError(f"col({name!r}): a column is named by a string")
    return ColumnExpression(Column(name))


def param(name: str) -> Parameter:
    """A value given later by `params={name: value}`, as `:name` in SQL."""
    if not isinstance(name, str) or not name.isidentifier():
        raise FilterError(f"param({name!r}): expected a name of letters, digits and _")
    return Parameter(name)


def ids(values: Any) -> FilterExpression:
    """The rows with these ids; ids that the index does not hold match nothing.

    Args:
        values: int64 array, list of ints or strings, or a pyroaring BitMap or BitMap64.

    Raises:
        InputError: the values are neither integers nor strings.
    """
    return FilterExpression(ids_leaf(values))


def mask(values: Any) -> FilterExpression:
    """The rows for which the mask is true.

    Args:
        values: bool[rows], aligned with `index.ids()`.

    Raises:
        InputError: the values are not booleans, or not one-dimensional.
    """
    return FilterExpression(mask_leaf(values))


def predicate(*columns: str) -> Callable[[Callable[..., Any]], Predicate]:
    """Make a filter of a function of these columns' values, compiled by numba on first use.

    Dates arrive as days and timestamps as their unit, since 1970 UTC. Rows with a null in one of
    the columns are null.

        @fanns.predicate("price", "weight")
        def cheap(price, weight):
            return price / weight < 3
    """
    if not columns or not all(isinstance(name, str) for name in columns):
        raise FilterError('predicate needs the names of its columns: @predicate("price", "weight")')
    return functools.partial(Predicate, columns=columns)


def _values(values: Any, what: str) -> tuple[Any, ...] | Parameter:
    if isinstance(values, Parameter):
        return values
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise FilterError(f"{what} needs a list of values, got {values!r}")
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise FilterError(f"{what} needs a list of values, got an array {values.shape}")
        values = values if values.dtype.kind in "mM" else values.tolist()
    return tuple(None if value is None else check_literal(value, what) for value in values)


def _node(other: Any) -> Node:
    from fanns.filters import parse_filter

    return parse_filter(other)
