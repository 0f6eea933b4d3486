"""Filters in the engines' languages: text, objects, and trees that DuckDB itself judges."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.bench.engines.dialects import DataFusion, Dialect
from fanns.bench.engines.dialects_bound import DuckDB, PostgreSQL
from fanns.bench.engines.dialects_embedded import Qdrant, Zvec, moment, stored
from fanns.bench.engines.engine import UnsupportedError
from fanns.deferred import conjunction, disjunction, negation
from fanns.expressions import Column, Compare, In, IsNull, Length, ListHas, Node, Parameter
from fanns.filters import bind
from fanns.schema import ColumnType
from tests.filter_oracle import LISTS, LITERALS, OPS, SCALARS, SCHEMA, TABLE, passing

SCHEMA_OF_ITEMS = pa.schema(
    {
        "name": pa.string(),
        "tags": pa.list_(pa.string()),
        "day": pa.date32(),
        "moment": pa.timestamp("ms"),
        "x": pa.float64(),
        "single": pa.float32(),
        "flag": pa.bool_(),
        "count": pa.int32(),
        "Odd %Name": pa.int64(),
    }
)


def made(kind: type[Dialect[Any]], where: str, **params: Any) -> Any:
    compiled = kind(SCHEMA_OF_ITEMS).compile(where)
    assert compiled is not None
    return compiled(params)


@pytest.mark.parametrize(
    ("where", "params", "datafusion", "zvec"),
    [
        ("name = :a", {"a": "it's"}, "name = 'it''s'", "name = 'it\\'s'"),
        ("name = :a", {"a": "b\\s"}, "name = 'b\\s'", "name = 'b\\\\s'"),
        ("NOT name = :a", {"a": "x"}, "name <> 'x'", "name != 'x'"),
        ("name IN :a", {"a": ["x", "y"]}, "name IN ('x', 'y')", "name IN ('x', 'y')"),
        ("name IN :a", {"a": []}, "FALSE", "name IS NULL AND name IS NOT NULL"),
        ("name NOT IN :a", {"a": []}, "name IS NOT NULL", "name IS NOT NULL"),
        (
            "list_contains(tags, :a)",
            {"a": "t"},
            "array_has(tags, 't')",
            "tags CONTAIN_ANY ('t')",
        ),
        (
            "NOT list_has_all(tags, :a)",
            {"a": ["t", "u"]},
            "NOT array_has_all(tags, ['t', 'u'])",
            "tags NOT CONTAIN_ALL ('t', 'u')",
        ),
        ("list_has_all(tags, :a)", {"a": []}, "tags IS NOT NULL", "tags IS NOT NULL"),
        ("day >= :a", {"a": date(1970, 1, 3)}, "day >= date '1970-01-03'", "day >= 2"),
        (
            "moment < :a",
            {"a": datetime(1970, 1, 1, 0, 0, 1)},
            "moment < timestamp '1970-01-01 00:00:01'",
            "moment < 1000",
        ),
        ("x < :a", {"a": 1e-7}, "x < 1e-07", "x < 0.0000001"),
        ("flag", {}, "flag = true", "flag = true"),
        ("len(tags) > 2", {}, "array_length(tags) > 2", "array_length(tags) > 2"),
        (
            "NOT (count < :a AND name IS NULL)",
            {"a": 3},
            "(count >= 3) OR (name IS NOT NULL)",
            "(count >= 3) OR (name IS NOT NULL)",
        ),
        ("name LIKE 'a%'", {}, "name LIKE 'a%'", "name LIKE 'a%'"),
    ],
)
def test_inline_text(where: str, params: dict[str, Any], datafusion: str, zvec: str) -> None:
    assert made(DataFusion, where, **params) == datafusion
    assert made(Zvec, where, **params) == zvec


@pytest.mark.parametrize(
    ("where", "duckdb", "postgresql"),
    [
        ("name = :a", '"name" = $a', '"name" = %(a)s::text'),
        ("single < :a", '"single" < $a::FLOAT', '"single" < %(a)s::real'),
        ("count IN :a", '("count" IN $a::INTEGER[])', '"count" = ANY(%(a)s::integer[])'),
        (
            "name NOT IN :a",
            'NOT ("name" IN $a::VARCHAR[])',
            '"name" <> ALL(%(a)s::text[]) AND "name" IS NOT NULL',
        ),
        (
            "list_has_any(tags, :a)",
            'list_has_any("tags", $a::VARCHAR[])',
            '"tags" && %(a)s::text[]',
        ),
        (
            "NOT list_has_all(tags, :a)",
            'NOT list_has_all("tags", $a::VARCHAR[])',
            'NOT ("tags" @> %(a)s::text[])',
        ),
        ('"Odd %Name" = :a', '"Odd %Name" = $a', '"Odd %%Name" = %(a)s'),
    ],
)
def test_bound_text(where: str, duckdb: str, postgresql: str) -> None:
    assert made(DuckDB, where) == duckdb
    assert made(PostgreSQL, where) == postgresql


@pytest.mark.parametrize("kind", [DataFusion, Zvec, DuckDB, PostgreSQL])
def test_every_row_passes_without_a_filter(kind: type[Dialect[Any]]) -> None:
    assert kind(SCHEMA_OF_ITEMS).compile(None) is None


@pytest.mark.parametrize(
    ("kind", "where", "params"),
    [
        (DataFusion, "colour = 1", {}),
        (DataFusion, "name = :a", {"a": None}),
        (DataFusion, "(flag) IS TRUE", {}),
        (DataFusion, "name LIKE :a", {"a": "x%"}),
        (Zvec, "name LIKE '_x'", {}),
        (Zvec, "x < :a", {"a": float("nan")}),
        (Zvec, "moment = :a", {"a": datetime(2020, 1, 1, 0, 0, 0, 5)}),
        (Zvec, '"Odd %Name" = 1', {}),
        (DuckDB, "list_has_any(name, :a)", {}),
        (PostgreSQL, "starts_with(name, :a)", {}),
    ],
)
def test_what_cannot_be_said_is_refused(
    kind: type[Dialect[Any]], where: str, params: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError):
        made(kind, where, **params)


@pytest.mark.parametrize("where", ["name LIKE 'a%'", "name < 'b'", "len(tags) > 1"])
def test_what_qdrant_cannot_say_is_refused(where: str) -> None:
    pytest.importorskip("qdrant_edge")
    with pytest.raises(UnsupportedError):
        made(Qdrant, where)


def test_qdrant_objects() -> None:
    qdrant = pytest.importorskip("qdrant_edge")
    found = made(Qdrant, "NOT (flag = :a OR day >= :b)", a=True, b=date(2020, 1, 2))
    assert isinstance(found, qdrant.Filter)
    first, second = found.must
    assert first.must_not[0].match.value == 1 and first.must_not[1].key == "flag"
    assert second.must_not[0].key == "day"
    empty = made(Qdrant, "day IN :a", a=[])
    assert empty.match.value == []  # an empty `should` would let every row pass


def test_dates_without_a_type_of_their_own() -> None:
    milliseconds = ColumnType("timestamp", unit="ms")
    assert stored(date(1969, 12, 31), ColumnType("date")) == -1
    assert stored(datetime(1969, 12, 31, 23, 59, 59), milliseconds) == -1000
    assert stored("text", ColumnType("string")) == "text"
    assert moment(date(2020, 2, 1)) == "2020-02-01T00:00:00Z"


def said(name: str, literals: list[Any]) -> list[Any]:
    """Literals that Python binds as the column's own type."""
    kind = SCHEMA[name].kind
    types = {"int": int, "float": float, "date": date, "timestamp": datetime}
    wanted = types.get(kind, object)
    limit = 2 ** (SCHEMA[name].bits - 1)
    return [
        literal
        for literal in literals
        if type(literal) is wanted or wanted is object
        if kind != "int" or -limit <= literal < limit
    ]


@st.composite
def leaves(draw: st.DrawFn) -> Node:
    shape = draw(st.sampled_from(["compare", "in", "null", "list", "length"]))
    if shape == "compare":
        name = draw(st.sampled_from(SCALARS))
        value = draw(st.sampled_from(said(name, LITERALS[name])))
        return Compare(Column(name), draw(st.sampled_from(OPS)), value)
    if shape == "in":
        name = draw(st.sampled_from(SCALARS))
        values = draw(st.lists(st.sampled_from(said(name, LITERALS[name])), max_size=3))
        return In(Column(name), tuple(values))
    if shape == "null":
        return IsNull(draw(st.sampled_from([*SCALARS, *LISTS])))
    name = draw(st.sampled_from(LISTS))
    if shape == "length":
        return Compare(Length(name), draw(st.sampled_from(OPS)), draw(st.integers(0, 3)))
    values = draw(st.lists(st.sampled_from(LITERALS[name]), max_size=3))
    return ListHas(name, draw(st.sampled_from(["any", "all"])), tuple(values))


TREES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda args: conjunction(*args)),
        st.lists(inner, min_size=2, max_size=3).map(lambda args: disjunction(*args)),
        inner.map(negation),
    ),
    max_leaves=6,
)


def parametrised(node: Node, params: dict[str, Any]) -> Node:
    """The tree with a parameter for every value and list of values."""

    def parameter(value: Any) -> Parameter:
        name = f"p{len(params)}"
        params[name] = list(value) if isinstance(value, tuple) else value
        return Parameter(name)

    if isinstance(node, Compare):
        return Compare(node.term, node.op, parameter(node.value))
    if isinstance(node, In):
        return In(node.term, parameter(node.values))
    if isinstance(node, ListHas):
        return ListHas(node.column, node.op, parameter(node.values))
    if isinstance(node, IsNull):
        return node
    if hasattr(node, "arg"):
        return type(node)(parametrised(node.arg, params))  # type: ignore[call-arg]
    return type(node)(tuple(parametrised(arg, params) for arg in node.args))  # type: ignore


@pytest.fixture(scope="module")
def connection() -> Any:
    duckdb = pytest.importorskip("duckdb")
    opened = duckdb.connect()
    opened.register("given", TABLE.append_column("row_number", pa.array(range(len(TABLE)))))
    opened.execute("CREATE TABLE rows AS SELECT * FROM given")
    return opened


@settings(deadline=None, max_examples=120)
@given(tree=TREES)
def test_duckdb_judges_trees_as_we_do(connection: Any, tree: Node) -> None:
    expected = passing(bind(tree, SCHEMA))
    params: dict[str, Any] = {}
    dialect = DuckDB(TABLE.schema)
    constant = dialect.read(tree, True)({})
    bound = dialect.read(parametrised(tree, params), True)({})
    for text, values in ((constant, {}), (bound, params)):
        statement = f"SELECT row_number FROM rows WHERE {text} ORDER BY 1"
        assert [row for (row,) in connection.execute(statement, values).fetchall()] == expected


@settings(deadline=None, max_examples=120)
@given(tree=TREES)
def test_negations_pushed_down_say_the_same(connection: Any, tree: Node) -> None:
    """The text of a tree and of its negation never share a row, and leave out only nulls."""
    dialect = DuckDB(TABLE.schema)
    true, false = (dialect.read(tree, truth)({}) for truth in (True, False))
    statement = f"SELECT ({true}) IS TRUE, ({false}) IS TRUE, ({true}) IS NULL FROM rows"
    for is_true, is_false, is_null in connection.execute(statement).fetchall():
        assert is_true + is_false + is_null == 1
