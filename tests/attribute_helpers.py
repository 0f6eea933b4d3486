"""Random columns, random bound trees over them, and the same trees as SQL for DuckDB."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from fanns.expressions import (
    And,
    Column,
    Compare,
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
from fanns.schema import ColumnType, Schema

STRINGS = [
    "",
    "a",
    "A",
    "ab",
    "abc",
    "a%b",
    "a_b",
    "Ab",
    "b",
    "é",
    "É",
    "ß",
    "Ω",
    "ω",
    "a\nb",
    "😀x",
]
PATTERNS = [
    "%",
    "a%",
    "%b",
    "_",
    "a_b",
    "%a%b%",
    "",
    "ab",
    "a$%b",
    "é%",
    "__",
    "%$_%",
    "A%",
    "Ω",
    "😀_",
]
FLOATS = [0.0, -0.0, 1.5, -1.5, 0.1, 1e300, math.inf, -math.inf, math.nan, 3.0]


def _int_kinds() -> list[ColumnType]:
    return [ColumnType("int", bits=b, signed=s) for b in (8, 16, 32, 64) for s in (True, False)]


KINDS = [
    ColumnType("bool"),
    *_int_kinds(),
    ColumnType("float", bits=32),
    ColumnType("float", bits=64),
    ColumnType("string"),
    ColumnType("date"),
    *(ColumnType("timestamp", unit=unit) for unit in ("s", "ms", "us", "ns")),
    ColumnType("timestamp", unit="us", tz="UTC"),
]


def pool(kind: ColumnType) -> list[Any]:
    """Values of a column's domain, as binding gives them: extremes, neighbours, awkward ones."""
    if kind.kind == "bool":
        return [False, True]
    if kind.kind == "string":
        return STRINGS
    if kind.kind == "float":
        return [float(np.float32(v)) if kind.bits == 32 and abs(v) < 1e38 else v for v in FLOATS]
    if kind.kind == "date":
        return [0, 1, -1, 17_000, 17_001, -40_000, 60_000]
    if kind.kind == "timestamp":
        return [0, 1, -1, 1_500_000_000, 1_500_000_001, 86_400, -86_400]
    low, high = kind.int_range()
    return [low, low + 1, high - 1, high, 1, 2, 3, high // 2]


def storable(kind: ColumnType) -> list[Any]:
    """The values of the pool that a column itself can hold."""
    return [v for v in pool(kind) if not (kind.bits == 32 and kind.kind == "float" and v == 1e300)]


@dataclass
class Case:
    """A table, its schema, and a DuckDB connection that holds it as table `t`."""

    table: pa.Table
    schema: Schema
    connection: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)

    def __post_init__(self) -> None:
        bare = {name: _without_zone(self.table[name]) for name in self.table.column_names}
        table = pa.table({"row": pa.array(range(self.table.num_rows), pa.int64()), **bare})
        self.connection.register("arrow", table)
        # A table of DuckDB's own: filters on a registered one would be evaluated by Arrow.
        self.connection.execute("CREATE TABLE t AS SELECT * FROM arrow")

    def passing(self, tree: Node) -> list[int]:
        """The rows that DuckDB's WHERE lets pass."""
        where = sql_of(tree, self.schema)
        rows = self.connection.execute(f"SELECT row FROM t WHERE {where} ORDER BY row").fetchall()
        return [row for (row,) in rows]


def _without_zone(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """DuckDB would need time zone data; instants compare the same without."""
    kind = ColumnType.from_arrow(column.type)
    if kind.tz is None:
        return column
    bare = pa.timestamp(kind.unit)
    return column.cast(pa.list_(bare) if kind.is_list else bare)


def random_values(rng: np.random.Generator, kind: ColumnType, n: int, nulls: float) -> list[Any]:
    """n values of a column, None where null; lists may be empty and hold nulls and repeats."""
    values = storable(kind.item)
    few = [values[i] for i in rng.integers(0, len(values), rng.integers(1, len(values) + 1))]

    def scalar() -> Any:
        return None if rng.random() < nulls else few[rng.integers(len(few))]

    if not kind.is_list:
        return [scalar() for _ in range(n)]
    return [
        None if rng.random() < nulls else [scalar() for _ in range(rng.integers(0, 4))]
        for _ in range(n)
    ]


def arrow_column(values: list[Any], kind: ColumnType, form: str) -> pa.ChunkedArray:
    """The values as Arrow, in one of the encodings a user may come with."""
    plain = kind.to_arrow()
    if form == "sliced":
        padded = pa.array([None, *values, None], plain)
        return pa.chunked_array([padded.slice(1, len(values))], plain)
    array = pa.array(values, plain)
    if form == "chunked":
        cut = len(values) // 3
        return pa.chunked_array([array.slice(0, cut), array.slice(cut, 0), array.slice(cut)], plain)
    if form == "dictionary" and not kind.is_list and kind.kind != "bool":
        return pa.chunked_array([array.dictionary_encode()])
    if form == "large" and kind.is_list:
        return pa.chunked_array([array.cast(pa.large_list(plain.value_type))])
    if form == "large" and kind.kind == "string":
        return pa.chunked_array([array.cast(pa.large_string())])
    return pa.chunked_array([array], plain)


FORMS = ["plain", "sliced", "chunked", "dictionary", "large"]


@st.composite
def cases(draw: st.DrawFn, max_rows: int = 150) -> Case:
    """A random table of two to four columns."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(0, max_rows))
    columns, schema = {}, {}
    for i, item in enumerate(kinds):
        is_list = draw(st.booleans())
        kind = ColumnType(item.kind, is_list, item.bits, item.signed, item.unit, item.tz)
        values = random_values(rng, kind, n, draw(st.sampled_from([0.0, 0.2, 1.0])))
        columns[f"c{i}"] = arrow_column(values, kind, draw(st.sampled_from(FORMS)))
        schema[f"c{i}"] = kind
    return Case(pa.table(columns), schema)


@st.composite
def trees(draw: st.DrawFn, schema: Schema, depth: int = 3) -> Node:
    """A random well-typed tree with negations at any place."""
    if depth and draw(st.booleans()):
        kind = draw(st.sampled_from(["and", "or", "not"]))
        if kind == "not":
            return Not(draw(trees(schema, depth - 1)))
        args = tuple(draw(st.lists(trees(schema, depth - 1), min_size=2, max_size=3)))
        return And(args) if kind == "and" else Or(args)
    return draw(leaves(schema))


@st.composite
def leaves(draw: st.DrawFn, schema: Schema) -> Node:
    """A random leaf over a random column."""
    if draw(st.integers(0, 30)) == 0:
        return Constant(draw(st.sampled_from([True, False, None])))
    name = draw(st.sampled_from(sorted(schema)))
    kind = schema[name]
    if draw(st.integers(0, 5)) == 0:
        return IsNull(name)
    several = st.lists(st.sampled_from(pool(kind.item)), max_size=3)
    if kind.is_list and draw(st.booleans()):
        return ListHas(name, draw(st.sampled_from(["any", "all"])), tuple(draw(several)))
    if kind.kind == "string" and not kind.is_list and draw(st.booleans()):
        escape = draw(st.sampled_from([None, "$"]))
        return Like(name, draw(st.sampled_from(PATTERNS)), escape, draw(st.booleans()))
    term = Length(name) if kind.is_list else Column(name)
    values = st.integers(0, 4) if kind.is_list else st.sampled_from(pool(kind))
    if draw(st.booleans()):
        return In(term, tuple(draw(st.lists(values, max_size=3))))
    return Compare(term, draw(st.sampled_from(["=", "<", "<=", ">", ">="])), draw(values))


def sql_of(node: Node, schema: Schema) -> str:
    """The WHERE text of a bound tree in DuckDB's SQL."""
    if isinstance(node, And | Or):
        joint = " AND " if isinstance(node, And) else " OR "
        return "(" + joint.join(sql_of(arg, schema) for arg in node.args) + ")"
    if isinstance(node, Not):
        return f"(NOT {sql_of(node.arg, schema)})"
    if isinstance(node, Constant):
        return {True: "TRUE", False: "FALSE", None: "CAST(NULL AS BOOLEAN)"}[node.value]
    if isinstance(node, IsNull):
        return f"({node.column} IS NULL)"
    if isinstance(node, Like):
        word = "LIKE" if node.case_sensitive else "ILIKE"
        escape = f" ESCAPE '{node.escape}'" if node.escape else ""
        return f"({node.column} {word} {_text(node.pattern)}{escape})"
    if isinstance(node, ListHas):
        assert isinstance(node.values, tuple)
        kind = schema[node.column].item
        items = ", ".join(literal(value, kind) for value in node.values)
        return f"list_has_{node.op}({node.column}, CAST([{items}] AS {_sql_type(kind)}[]))"
    assert isinstance(node, Compare | In)
    is_length = isinstance(node.term, Length)
    name = f"len({node.term.name})" if is_length else node.term.name
    kind = ColumnType("int") if is_length else schema[node.term.name]
    if isinstance(node, Compare):
        return f"({name} {node.op} {literal(node.value, kind)})"
    assert isinstance(node.values, tuple)
    if not node.values:  # false for every row that is not null
        return f"(CASE WHEN {name} IS NULL THEN NULL ELSE FALSE END)"
    return f"({name} IN ({', '.join(literal(value, kind) for value in node.values)}))"


def literal(value: Any, kind: ColumnType) -> str:
    """A value of a column's domain as SQL."""
    if kind.kind == "string":
        return _text(value)
    if kind.kind == "date":
        return f"(DATE '1970-01-01' + CAST({value} AS INTEGER))"
    if kind.kind == "timestamp":
        if kind.unit == "ns":
            return f"make_timestamp_ns({value})"
        micros = value * {"s": 10**6, "ms": 10**3, "us": 1}[kind.unit or "us"]
        return f"CAST(make_timestamp({micros}) AS {_sql_type(kind)})"
    if kind.kind == "float":  # compared in double precision, whatever the column's is
        return f"CAST('{value!r}' AS DOUBLE)"
    return f"CAST('{value}' AS {_sql_type(kind)})"


def _sql_type(kind: ColumnType) -> str:
    if kind.kind == "int":
        names = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
        return ("" if kind.signed else "U") + names[kind.bits]
    units = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}
    simple = {"bool": "BOOLEAN", "float": "DOUBLE", "string": "VARCHAR", "date": "DATE"}
    return units[kind.unit] if kind.unit else simple[kind.kind]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
