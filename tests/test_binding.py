"""Binding: types, storage values, null rules, canonical form; judged by DuckDB row for row."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.filter_oracle as oracle
from fanns.columns import col
from fanns.deferred import IsTrue, conjunction, disjunction, negation
from fanns.errors import FilterError, FilterTypeError, ParameterError, UnknownColumnError
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
    Parameter,
)
from fanns.filters import bind, compile_filter, parse_filter, to_sql
from fanns.schema import ColumnType

SCHEMA = {
    "year": ColumnType("int", bits=32),
    "tiny": ColumnType("int", bits=8),
    "big": ColumnType("int", signed=False),
    "price": ColumnType("float", bits=32),
    "weight": ColumnType("float"),
    "name": ColumnType("string"),
    "tags": ColumnType("string", is_list=True),
    "sizes": ColumnType("float", is_list=True, bits=32),
    "codes": ColumnType("int", is_list=True, bits=8),
    "flag": ColumnType("bool"),
    "day": ColumnType("date"),
    "moment": ColumnType("timestamp", unit="us"),
    "second": ColumnType("timestamp", unit="s"),
    "instant": ColumnType("timestamp", unit="ns", tz="Europe/Paris"),
}


def bound(where: Any, nulls: Any = "sql", /, **params: Any) -> Node:
    return bind(parse_filter(where), SCHEMA, params, nulls)


@pytest.fixture(scope="module")
def judge() -> oracle.Judge:
    return oracle.Judge()


@settings(max_examples=150)
@given(tree=oracle.trees())
def test_bound_tree_passes_the_rows_of_duckdb(judge: oracle.Judge, tree: Node) -> None:
    text = to_sql(tree)
    found = bind(tree, oracle.SCHEMA)
    assert oracle.passing(found) == judge.passing(text), (text, to_sql(found))
    assert_canonical(found)


@given(tree=oracle.trees())
def test_denied_tree_passes_the_rows_of_duckdb(judge: oracle.Judge, tree: Node) -> None:
    text = f"NOT ({to_sql(tree)})"
    assert oracle.passing(bind(negation(tree), oracle.SCHEMA)) == judge.passing(text), text


@given(tree=oracle.trees())
def test_two_valued_rule(tree: Node) -> None:
    """Under nulls="python" every leaf that is null counts as false."""

    def truth(node: Node, row: dict[str, Any]) -> bool:
        if isinstance(node, And):
            return all(truth(arg, row) for arg in node.args)
        if isinstance(node, Or):
            return any(truth(arg, row) for arg in node.args)
        if isinstance(node, Not):
            return not truth(node.arg, row)
        if isinstance(node, IsTrue):
            return truth(node.arg, row)
        return oracle.truth(bind(node, oracle.SCHEMA), row) is True

    expected = [at for at, row in enumerate(oracle.ROWS) if truth(tree, row)]
    found = bind(tree, oracle.SCHEMA, nulls="python")
    assert oracle.passing(found) == expected, to_sql(tree)
    assert_canonical(found)


@given(left=oracle.trees(), right=oracle.trees(), third=oracle.trees())
def test_equal_filters_give_equal_trees(left: Node, right: Node, third: Node) -> None:
    """Order, repetition, grouping, double negation and De Morgan leave no trace."""
    forms = [
        conjunction(left, right, third),
        conjunction(third, right, left, right),
        negation(disjunction(negation(right), negation(left), negation(third))),
        And((And((left, third)), right)),
    ]
    found = [bind(form, oracle.SCHEMA) for form in forms]
    assert all(tree == found[0] for tree in found)
    assert len({hash(tree) for tree in found}) == 1


@given(tree=oracle.trees())
def test_binding_is_idempotent(tree: Node) -> None:
    found = bind(tree, oracle.SCHEMA)
    as_text = parse_filter(to_sql(found, oracle.SCHEMA))
    assert bind(as_text, oracle.SCHEMA) == found


@given(tree=oracle.trees(), nulls=st.sampled_from(["sql", "python"]))
def test_parameters_give_the_tree_of_literals(tree: Node, nulls: Any) -> None:
    """A template bound to values is the tree that has the values as literals, again and again."""
    params: dict[str, Any] = {}
    template = compile_filter(parameterised(tree, params), oracle.SCHEMA, nulls)
    expected = bind(tree, oracle.SCHEMA, nulls=nulls)
    assert template.parameters == set(params)
    assert template.bind(params) == expected
    assert template.bind(params) == expected


def parameterised(node: Node, params: dict[str, Any]) -> Node:
    """The tree with a parameter instead of every literal or list of literals."""

    def fresh(value: Any) -> Parameter:
        params[f"p{len(params)}"] = value
        return Parameter(f"p{len(params) - 1}")

    if isinstance(node, And | Or):
        return type(node)(tuple(parameterised(arg, params) for arg in node.args))
    if isinstance(node, Not | IsTrue):
        return type(node)(parameterised(node.arg, params))
    if isinstance(node, Compare):
        return Compare(node.term, node.op, fresh(node.value))
    if isinstance(node, In):
        return In(node.term, fresh(node.values))
    if isinstance(node, ListHas):
        values: Any = node.values
        return ListHas(node.column, node.op, fresh(list(values)))
    if isinstance(node, Like):
        return Like(node.column, fresh(node.pattern), node.escape, node.case_sensitive)
    return node


def assert_canonical(node: Node, root: bool = True) -> None:
    """NOT only above leaves, no constants below the root, connectives flat and distinct."""
    if isinstance(node, And | Or):
        assert len(node.args) > 1 and len(set(node.args)) == len(node.args)
        for arg in node.args:
            assert type(arg) is not type(node)
            assert_canonical(arg, False)
        return
    if isinstance(node, Not):
        assert isinstance(node.arg, Compare | In | IsNull | Like | ListHas)
        assert not isinstance(node.arg, Compare) or node.arg.op == "="
        node = node.arg
    assert not isinstance(node, Constant) or (root and node.value is not None)
    if isinstance(node, In):
        members: Any = node.values
        assert len(members) != 1 and list(members) == sorted(set(members))
    if isinstance(node, ListHas):
        values: Any = node.values
        assert len(set(values)) == len(values) and (node.op == "any" or values)


YEAR, DAY, MOMENT = Column("year"), Column("day"), Column("moment")
NEVER, ALWAYS = In(YEAR, ()), Not(In(YEAR, ()))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("year = 2.5", NEVER),
        ("year <> 2.5", ALWAYS),
        ("year < 2.5", Compare(YEAR, "<=", 2)),
        ("year <= -2.5", Compare(YEAR, "<=", -3)),
        ("year >= 2.5", Compare(YEAR, ">", 2)),
        ("year = 2.0", Compare(YEAR, "=", 2)),
        ("year < 3000000000", ALWAYS),
        ("year > 3000000000", NEVER),
        ("year >= -3000000000", ALWAYS),
        ("year = 'inf'::double", NEVER),
        ("year < 'nan'::double", ALWAYS),
        ("year = NULL", Constant(False)),
        ("NOT year = NULL", Constant(False)),
        ("year = NULL OR year = 1", Compare(YEAR, "=", 1)),
        ("year NOT IN (1, NULL)", Constant(False)),
        ("year IN (3, 1, 3, 9999999999)", In(YEAR, (1, 3))),
        ("year = 1 OR year IN (2, 1)", In(YEAR, (1, 2))),
        ("year <> 1 AND year <> 2", Not(In(YEAR, (1, 2)))),
        ("NOT year >= 5", Compare(YEAR, "<", 5)),
        ("weight = 'nan'::double", Compare(Column("weight"), ">", math.inf)),
        ("price = 0.1", Compare(Column("price"), "=", float(np.float32(0.1)))),
        ("price < 1e300", Compare(Column("price"), "<=", float(np.finfo(np.float32).max))),
        ("big > -1", Not(In(Column("big"), ()))),
        ("flag = FALSE", Not(Compare(Column("flag"), "=", True))),
        ("flag IN (TRUE, FALSE)", Not(In(Column("flag"), ()))),
        ("flag > FALSE", Compare(Column("flag"), "=", True)),
        ("flag IS NOT TRUE", Or((Not(Compare(Column("flag"), "=", True)), IsNull("flag")))),
        ("day = '2020-02-29'", Compare(DAY, "=", 18321)),
        ("day = TIMESTAMP '2020-02-29 12:00:00'", In(DAY, ())),
        ("day >= TIMESTAMP '2020-02-29 12:00:00'", Compare(DAY, ">", 18321)),
        ("day < '2020-02-29 12:00:00'", Compare(DAY, "<=", 18321)),
        ("moment >= DATE '1970-01-02'", Compare(MOMENT, ">=", 86_400_000_000)),
        ("moment = '1970-01-01T02:00:01.5+02:00'", Compare(MOMENT, "=", 1_500_000)),
        ("moment < TIMESTAMP '1969-12-31 23:59:59.999999'", Compare(MOMENT, "<", -1)),
        ("second < '1970-01-01 00:00:01.5'", Compare(Column("second"), "<=", 1)),
        (
            "instant = TIMESTAMP_NS '1970-01-01 00:00:00.123456789'",
            Compare(Column("instant"), "=", 123_456_789),
        ),
        ("name LIKE 'abc'", Compare(Column("name"), "=", "abc")),
        ("name LIKE '%%'", Not(In(Column("name"), ()))),
        ("name LIKE 'a%%_%' ESCAPE '!'", Like("name", "a_%")),
        ("name LIKE 'a!%b%' ESCAPE '!'", Like("name", "a\\%b%", "\\")),
        ("name ILIKE 'ABC'", Like("name", "abc", None, False)),
        ("list_has_all(tags, ['b', 'a', 'b'])", ListHas("tags", "all", ("a", "b"))),
        ("list_has_all(tags, ['a', NULL])", ListHas("tags", "any", ("a",))),
        ("list_has_all(tags, [])", Not(ListHas("tags", "any", ()))),
        ("NOT list_has_any(tags, [NULL])", Not(ListHas("tags", "any", ()))),
        ("NOT list_contains(tags, NULL)", Constant(False)),
        ("list_has_all(codes, [1, 300])", ListHas("codes", "any", ())),
        ("list_has_any(codes, [1, 300])", ListHas("codes", "any", (1,))),
        ("list_contains(sizes, 0.1)", ListHas("sizes", "any", (float(np.float32(0.1)),))),
        ("len(tags) < 1.5", Compare(Length("tags"), "<=", 1)),
        ("1 = 1", Constant(True)),
        ("year = 1 AND 1 = 2", Constant(False)),
    ],
)
def test_values_reach_the_storage_domain(where: str, expected: Node) -> None:
    assert bound(where) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("year <> 1", Or((Not(Compare(YEAR, "=", 1)), IsNull("year")))),
        ("NOT year < 1", Or((Compare(YEAR, ">=", 1), IsNull("year")))),
        ("year = NULL", Constant(False)),
        ("NOT year = NULL", Constant(True)),
        ("year NOT IN (1, NULL)", Or((Not(Compare(YEAR, "=", 1)), IsNull("year")))),
        ("NOT year IS NULL", Not(IsNull("year"))),
    ],
)
def test_python_rule_keeps_missing_values(where: str, expected: Node) -> None:
    assert bound(where, "python") == expected


@pytest.mark.parametrize(
    "value",
    [
        2020,
        np.int64(2020),
        np.uint8(20),
        np.array(2020),
        Decimal(2020),
        Decimal("2020.0"),
        2020.0,
        np.float32(2020),
    ],
)
def test_whole_numbers_of_any_type(value: Any) -> None:
    found = bound("year = :y", y=value)
    assert found == Compare(YEAR, "=", int(value))
    assert type(found.value) is int


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2020, 2, 29, 12),
        dt.datetime(2020, 2, 29, 13, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        pd.Timestamp("2020-02-29 12:00"),
        np.datetime64("2020-02-29T12", "h"),
        "2020-02-29T12:00:00Z",
    ],
)
def test_moments_of_any_type(value: Any) -> None:
    expected = 1_582_977_600_000_000
    assert bound("moment = :t", t=value) == Compare(MOMENT, "=", expected)
    assert bound("day = :t", t=value) == In(DAY, ())
    assert bound("day < :t", t=value) == Compare(DAY, "<=", 18321)


def test_nanoseconds_are_kept() -> None:
    instant = Compare(Column("instant"), "=", 1)
    assert bound("instant = :t", t=pd.Timestamp(1, unit="ns")) == instant
    assert bound("instant = :t", t=np.datetime64(1, "ns")) == instant
    assert bound("moment < :t", t=np.datetime64(1, "ns")) == Compare(MOMENT, "<=", 0)


@pytest.mark.parametrize("null", [None, pd.NaT, pd.NA, np.datetime64("NaT")])
def test_null_parameters(null: Any) -> None:
    assert bound("year = :y", y=null) == Constant(False)
    assert bound("NOT year = :y", y=null) == Constant(False)
    assert bound("year NOT IN :y", y=[1, null]) == Constant(False)
    assert bound("year IN :y", y=null) == Constant(False)
    assert bound("NOT list_contains(tags, :y)", y=null) == Constant(False)
    assert bound("year IS NOT DISTINCT FROM :y", y=null) == IsNull("year")
    assert bound(":y IS NULL OR year = :y", y=null) == Constant(True)
    assert bound("name LIKE :y OR starts_with(name, :y)", y=null) == Constant(False)


def test_optional_parameter_idiom() -> None:
    assert bound(":y IS NULL OR year >= :y", y=5) == Compare(YEAR, ">=", 5)


def test_literal_prefix_parameters() -> None:
    assert bound("starts_with(name, :p)", p="a%") == Like("name", "a\\%%", "\\")
    assert bound("ends_with(name, :p)", p="a") == Like("name", "%a")
    assert bound("contains(name, :p)", p="") == Not(In(Column("name"), ()))
    with pytest.raises(FilterTypeError, match=r"parameter :p: column 'name' is string.*5 \(int\)"):
        bound("starts_with(name, :p)", p=5)


def test_casts_of_parameters() -> None:
    assert bound("day = CAST(:d AS DATE)", d="2020-02-29 12:00:00") == Compare(DAY, "=", 18321)
    assert bound("moment = :d::TIMESTAMP", d=dt.date(1970, 1, 1)) == Compare(MOMENT, "=", 0)
    assert bound("day = CAST(:d AS DATE)", d=None) == Constant(False)
    with pytest.raises(FilterTypeError, match=r":d is 'soon'.*not a date"):
        bound("day = CAST(:d AS DATE)", d="soon")


@pytest.mark.parametrize(
    ("where", "culprits"),
    [
        ("year = 'a'", ["'year'", "int32", "'a'"]),
        ("year = TRUE", ["'year'", "True"]),
        ("flag = 1", ["'flag'", "bool", "1 (int)"]),
        ("name = 5", ["'name'", "string", "5"]),
        ("name > DATE '2020-01-01'", ["'name'", "string"]),
        ("day = 5", ["'day'", "date", "5"]),
        ("day = 'soon'", ["'day'", "'soon'", "YYYY-MM-DD"]),
        ("moment = '2020-13-01'", ["'moment'", "timestamp[us]", "'2020-13-01'"]),
        ("weight IN (1, 'x')", ["'weight'", "float64", "'x'"]),
        ("tags = 'a'", ["'tags'", "list<string>", "list_contains"]),
        ("tags IN ('a')", ["'tags'", "list<string>"]),
        ("len(year) > 1", ["'year'", "int32", "list"]),
        ("len(tags) > 'a'", ["'tags'", "'a'"]),
        ("list_contains(name, 'a')", ["'name'", "string", "LIKE"]),
        ("list_contains(tags, 1)", ["'tags'", "list<string>", "1 (int)"]),
        ("list_has_all(codes, [1, 'b'])", ["'codes'", "'b'"]),
        ("year LIKE '2%'", ["'year'", "int32", "LIKE"]),
        ("tags LIKE 'a%'", ["'tags'", "list_contains"]),
        ("name LIKE 'a!' ESCAPE '!'", ["'a!'", "escape"]),
    ],
)
def test_unlike_types_name_the_culprit(where: str, culprits: list[str]) -> None:
    with pytest.raises(FilterTypeError) as caught:
        bound(where)
    assert all(culprit in str(caught.value) for culprit in culprits), str(caught.value)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(FilterTypeError, match=r"'name'.*not valid Unicode"):
        bound(col("name") == "\ud800")


def test_times_beyond_the_calendar_are_refused() -> None:
    late = dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-1)))
    assert bound("second < :t", t=late) == Compare(Column("second"), "<=", 253402304399)


def test_unknown_columns_come_with_suggestions() -> None:
    with pytest.raises(UnknownColumnError, match="no column 'yaer': did you mean 'year'"):
        bound("yaer = 1")
    with pytest.raises(UnknownColumnError, match="'YEAR': did you mean 'year'"):
        bound('"YEAR" IS NULL')
    for where in ("q LIKE 'a'", "list_contains(q, 1)", "q IN (1)", "len(q) > 1", "q = :p"):
        with pytest.raises(UnknownColumnError, match="no column 'q'"):
            compile_filter(parse_filter(where), SCHEMA)


def test_missing_and_unused_parameters_are_named() -> None:
    with pytest.raises(ParameterError, match="no value for :a, :b"):
        bound("year = :a OR year = :b")
    with pytest.raises(ParameterError, match=r"'c', which the filter does not use .*:a"):
        bound("year = :a", a=1, c=2)
    with pytest.raises(ParameterError, match="its parameters: none"):
        bound("year = 1", c=2)


def test_wrong_parameter_values_name_the_parameter() -> None:
    with pytest.raises(FilterTypeError, match=r"parameter :a: column 'year' is int32.*'x'"):
        bound("year = :a", a="x")
    with pytest.raises(FilterTypeError, match=r"parameter :a: column 'year'.*'x'"):
        bound("year IN (1, :a)", a="x")
    with pytest.raises(FilterTypeError, match=r"parameter :a: column 'year'.*'x'"):
        bound("year IN :a", a=[1, "x"])
    with pytest.raises(FilterTypeError, match=r"parameter :a: column 'tags'.*1"):
        bound("list_contains(tags, :a)", a=1)
    with pytest.raises(ParameterError, match=r"parameter :a stands for a list and got 5 \(int\)"):
        bound("year IN :a", a=5)
    with pytest.raises(ParameterError, match=r"parameter :a stands for a list and got 'cs.LG'"):
        bound("list_has_any(tags, :a)", a="cs.LG")
    with pytest.raises(FilterTypeError, match=r"parameter :a: .*\[1, 2\] \(list\)"):
        bound("year = :a", a=[1, 2])


@pytest.mark.parametrize(
    "values",
    [
        [2, 1],
        (1, 2),
        {1, 2},
        range(1, 3),
        np.array([1, 2]),
        np.array([1.0, 2.0]),
        pd.Series([1, 2]),
        iter([1, 2]),
    ],
)
def test_list_parameters_of_any_type(values: Any) -> None:
    assert bound("year IN :v", v=values) == In(YEAR, (1, 2))


def test_list_parameters_of_times() -> None:
    days = np.array(["1970-01-02", "1970-01-03"], "datetime64[D]")
    assert bound("day IN :v", v=days) == In(DAY, (1, 2))
    assert bound("day IN :v", v=pd.Series(days)) == In(DAY, (1, 2))


def test_nulls_rule_is_checked() -> None:
    with pytest.raises(FilterError, match="nulls is 'three', expected 'sql' or 'python'"):
        bound("year = 1", "three")


def test_foreign_nodes_are_refused() -> None:
    class Strange(Node):
        pass

    with pytest.raises(FilterError, match="not a node"):
        bind(Strange(), SCHEMA)


def test_deep_trees_are_refused_without_recursion() -> None:
    tree: Node = Compare(YEAR, "=", 1)
    for depth in range(5_000):
        tree = Or((And((tree, IsNull("day"))), IsNull("name"))) if depth % 2 else tree
    with pytest.raises(FilterError, match="nested more than 100 levels"):
        bind(tree, SCHEMA)
