"""A small table with nulls, NaN and infinities, random filters over it, and a plain interpreter.

Used by the tests of the filter language: DuckDB judges the SQL text of a tree, the interpreter the
bound tree, and the two must agree row for row.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from fanns.deferred import IsTrue, conjunction, disjunction, negation
from fanns.expressions import (
    And,
    Column,
    Compare,
    CompareOp,
    Constant,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Node,
    Not,
    Or,
)
from fanns.schema import schema_of

NAN, INF = math.nan, math.inf
DAYS = [date(1969, 12, 31), date(2020, 2, 29), date(2021, 1, 1)]
MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999_999),
    datetime(2020, 2, 29),
    datetime(2020, 2, 29, 12, 30, 0, 500),
]
POOLS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "tiny": (pa.int8(), [-128, -1, 0, 3, 127]),
    "number": (pa.int64(), [-(2**63), -5, 0, 7, 2**53 + 1]),
    "single": (pa.float32(), [-INF, -1.5, 0.0, 2.5, NAN]),
    "double": (pa.float64(), [-0.0, 0.1, 1e300, INF, NAN]),
    "name": (pa.string(), ["", "a", "a%b", "Ab", "a\\b", "abc", "été", "x_y"]),
    "flag": (pa.bool_(), [True, False]),
    "day": (pa.date32(), DAYS),
    "moment": (pa.timestamp("us"), MOMENTS),
    "numbers": (pa.list_(pa.int32()), [[], [1], [1, 2, None], [None], [7, 7]]),
    "tags": (pa.list_(pa.string()), [[], ["a"], ["a", "b"], [None, "b"], ["it's"]]),
}


def make_table(rows: int = 120, seed: int = 7) -> pa.Table:
    """A table over POOLS, a quarter of it null."""
    random = np.random.default_rng(seed)
    columns = {}
    for name, (kind, pool) in POOLS.items():
        picks = random.integers(0, len(pool), rows)
        missing = random.random(rows) < 0.25
        values = [None if gone else pool[at] for at, gone in zip(picks, missing, strict=True)]
        columns[name] = pa.array(values, kind)
    return pa.table(columns)


TABLE = make_table()
SCHEMA = schema_of(TABLE.schema)
_STORAGE = {"day": pa.int32(), "moment": pa.int64()}
ROWS = pa.table(
    {
        name: column.cast(_STORAGE[name]) if name in _STORAGE else column
        for name, column in zip(TABLE.column_names, TABLE.columns, strict=True)
    }
).to_pylist()


class Judge:
    """DuckDB, asked which rows pass a WHERE clause."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        numbered = TABLE.append_column("row_number", pa.array(range(len(TABLE))))
        self.connection.register("arrow_rows", numbered)
        self.connection.execute("CREATE TABLE rows AS SELECT * FROM arrow_rows")

    def passing(self, where: str) -> list[int]:
        found = self.connection.execute(f"SELECT row_number FROM rows WHERE {where} ORDER BY 1")
        return [row for (row,) in found.fetchall()]


def passing(bound: Node) -> list[int]:
    """The rows of TABLE for which a bound tree is true."""
    return [at for at, row in enumerate(ROWS) if truth(bound, row) is True]


def truth(node: Node, row: dict[str, Any]) -> bool | None:
    """SQL's three-valued truth of a bound tree for a row of storage values."""
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Not):
        inner = truth(node.arg, row)
        return None if inner is None else not inner
    if isinstance(node, And | Or):
        found = [truth(arg, row) for arg in node.args]
        decisive = isinstance(node, Or)
        if decisive in found:
            return decisive
        return None if None in found else not decisive
    if isinstance(node, IsNull):
        return row[node.column] is None
    name = node.term.name if isinstance(node, Compare | In) else node.column  # type: ignore[attr-defined]
    value = row[name]
    return None if value is None else _leaf(node, value)


def _leaf(node: Any, value: Any) -> bool:
    if isinstance(node, Compare | In) and isinstance(node.term, Length):
        value = len(value)
    if isinstance(node, In):
        members: Any = node.values
        return any(_order(value) == _order(other) for other in members)
    if isinstance(node, Compare):
        left, right = _order(value), _order(node.value)
        less, equal = left < right, left == right
        held = {
            "=": equal,
            "<": less,
            "<=": less or equal,
            ">": not (less or equal),
            ">=": not less,
        }
        return bool(held[node.op])
    if isinstance(node, Like):
        return _matches(node, value)
    present = [other in [x for x in value if x is not None] for other in node.values]
    return any(present) if node.op == "any" else all(present)


def _order(value: Any) -> Any:
    """NaN equals itself and is above all numbers."""
    if isinstance(value, float):
        return (1, 0.0) if math.isnan(value) else (0, value)
    return (0, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _matches(node: Like, value: str) -> bool:
    pattern, characters = "", iter(node.pattern)
    for character in characters:
        if character == node.escape:
            pattern += re.escape(next(characters))
        else:
            pattern += {"%": ".*", "_": "."}.get(character, re.escape(character))
    flags = re.DOTALL | (0 if node.case_sensitive else re.IGNORECASE)
    return re.fullmatch(pattern, value, flags) is not None


# Literals beside each column: its own values, values between them and values out of range.
LITERALS: dict[str, list[Any]] = {
    "tiny": [-129, -128, -1, 0, 2.5, 3, 127, 128, 300],
    "number": [-(2**63), -5, 0, 6.5, 7, 2**53, 2**53 + 1, 2**63 - 1],
    "single": [-INF, -1.5, 0, 2.5, 3, 2.25, INF, NAN],
    "double": [0, -0.5, 0.1, 3, INF, -INF, NAN],
    "name": ["", "a", "a%b", "Ab", "abc", "zz", "été"],
    "flag": [True, False],
    "day": [*DAYS, date(2020, 3, 1), datetime(2020, 2, 29, 12), datetime(2021, 1, 1), "2020-02-29"],
    "moment": [*MOMENTS, date(2020, 2, 29), datetime(2020, 2, 29, 12, 30), "2020-02-29 12:30:00"],
    "numbers": [1, 2, 7, 9],
    "tags": ["a", "b", "it's", "zz"],
}
SCALARS = [name for name, kind in SCHEMA.items() if not kind.is_list]
LISTS = [name for name, kind in SCHEMA.items() if kind.is_list]
OPS: list[CompareOp] = ["=", "<", "<=", ">", ">="]
PATTERNS = ["%", "a%", "%b", "a_b", "A%", "abc", "", "%%_", "a!%b", "_", "é%", "a\\b", "!!", "%_%"]


@st.composite
def leaves(draw: st.DrawFn) -> Node:
    """A leaf over one of TABLE's columns."""
    shape = draw(st.sampled_from(["compare", "in", "null", "like", "list", "length", "flag"]))
    if shape == "compare":
        name = draw(st.sampled_from(SCALARS))
        op = draw(st.sampled_from(OPS))
        return Compare(Column(name), op, draw(st.sampled_from(LITERALS[name])))
    if shape == "in":
        name = draw(st.sampled_from(SCALARS))
        pool = [x for x in LITERALS[name] if name == "name" or not isinstance(x, str)]
        values = draw(st.lists(st.sampled_from([*pool, None]), max_size=4))
        return In(Column(name), tuple(values))
    if shape == "null":
        return IsNull(draw(st.sampled_from([*SCALARS, *LISTS])))
    if shape == "like":
        pattern = draw(st.sampled_from(PATTERNS))
        return Like("name", pattern, draw(st.sampled_from([None, "!"])), draw(st.booleans()))
    if shape == "list":
        name = draw(st.sampled_from(LISTS))
        values = draw(st.lists(st.sampled_from([*LITERALS[name], None]), max_size=3))
        return ListHas(name, draw(st.sampled_from(["any", "all"])), tuple(values))
    if shape == "length":
        length = Length(draw(st.sampled_from(LISTS)))
        op = draw(st.sampled_from(OPS))
        return Compare(length, op, draw(st.sampled_from([-1, 0, 1, 1.5, 2, 3])))
    return draw(st.sampled_from([Compare(Column("flag"), "=", True), Constant(None)]))


def trees() -> st.SearchStrategy[Node]:
    """Trees of AND, OR, NOT and IS TRUE over leaves."""
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda args: conjunction(*args)),
            st.lists(inner, min_size=2, max_size=3).map(lambda args: disjunction(*args)),
            inner.map(negation),
            inner.map(IsTrue),
        ),
        max_leaves=8,
    )


def has_nan(node: Node) -> bool:
    """Whether a literal of the tree is NaN, which keeps equal trees from comparing equal."""
    return "nan" in repr(node)
