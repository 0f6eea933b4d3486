"""Everything that is accepted as a filter, as one tree; binding it to a schema.

Spellings: SQL text (`fanns.sql`), `col()` (`fanns.columns`), Mongo-style dicts (`fanns.mongo`),
and leaves with data or code of the caller's (`fanns.opaque`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanns.binding import Nulls, Template, bind, compile_filter
from fanns.columns import (
    ColumnExpression,
    FilterExpression,
    Predicate,
    TermExpression,
    col,
    ids,
    mask,
    param,
    predicate,
)
from fanns.deferred import conjunction, disjunction, negation, parameters, walk
from fanns.errors import FilterError
from fanns.expressions import Constant, Node
from fanns.opaque import recognise
from fanns.parameters import Each, each, split_params
from fanns.sql_text import to_sql

__all__ = [
    "ColumnExpression",
    "Each",
    "FilterExpression",
    "Nulls",
    "Predicate",
    "Template",
    "TermExpression",
    "bind",
    "col",
    "compile_filter",
    "conjunction",
    "default_nulls",
    "disjunction",
    "each",
    "ids",
    "mask",
    "negation",
    "param",
    "parameters",
    "parse_filter",
    "predicate",
    "split_params",
    "to_sql",
    "walk",
]

ACCEPTED = (
    "SQL text, col() expressions, a dict, a boolean mask, an array of ids, a Roaring bitmap, "
    "or a pyarrow or polars expression"
)


def parse_filter(where: Any) -> Node:
    """The unbound tree of a filter in any spelling; None, "" and {} let every row pass.

    Raises:
        FilterSyntaxError: text or a dict that is not of the language.
        FilterError: something that is not a filter.
        InputError: a mask or ids that cannot be used.
    """
    if where is None:
        return Constant(True)
    if isinstance(where, str):
        if not where.strip():
            return Constant(True)
        from fanns.sql import parse_sql

        return parse_sql(where)
    if isinstance(where, FilterExpression | ColumnExpression):
        return where.node
    if isinstance(where, Node):
        return where
    if isinstance(where, Mapping):
        from fanns.mongo import parse_mongo

        return parse_mongo(where)
    if isinstance(where, bool):
        return Constant(where)
    found = recognise(where)
    if found is None:
        raise FilterError(f"{_shown(where)} is not a filter: expected {ACCEPTED}")
    return found


def default_nulls(where: Any) -> Nulls:
    """The rule for nulls that a spelling implies: two-valued for dicts, else three-valued."""
    return "python" if isinstance(where, Mapping) else "sql"


def _shown(value: Any) -> str:
    if isinstance(value, TermExpression):
        return f"{value!r} without a comparison"
    if isinstance(value, list | tuple):
        return "a list of filters (one per query of a batch)" if value else "an empty list"
    return f"a {type(value).__name__}"
