"""The col() spelling: equal to SQL's trees, combined with every other spelling, hard to misuse."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

import fanns
from fanns import col, ids, mask, param, predicate
from fanns.errors import FilterError, FilterTypeError, InputError
from fanns.expressions import And, Column, Compare, Compiled, Constant, Ids, Mask, Not, Or
from fanns.filters import bind, compile_filter, default_nulls, parse_filter, to_sql
from fanns.schema import ColumnType

P = param("p")
SAME = [
    (col("a") == 1, "a = 1"),
    (col("a") != 1, "a <> 1"),
    (col("a") < 1, "a < 1"),
    (col("a") <= 1, "a <= 1"),
    (col("a") > 1, "a > 1"),
    (col("a") > 1, "a > 1"),
    (col("a") >= P, "a >= :p"),
    (col("a").eq(1), "a = 1"),
    (col("a").ne(1), "a <> 1"),
    (col("a").lt(1), "a < 1"),
    (col("a").le(1), "a <= 1"),
    (col("a").gt(1), "a > 1"),
    (col("a").ge(1), "a >= 1"),
    (col("a").between(1, P), "a BETWEEN 1 AND :p"),
    (col("a").is_in([1, 2]), "a IN (1, 2)"),
    (col("a").is_in(np.array([1, 2])), "a IN (1, 2)"),
    (col("a").is_in(x for x in (1, None)), "a IN (1, NULL)"),
    (col("a").is_in(P), "a IN :p"),
    (col("a").not_in([1]), "a NOT IN (1)"),
    (col("a").is_null(), "a IS NULL"),
    (col("a").is_not_null(), "a IS NOT NULL"),
    (col("a").like("x%"), "a LIKE 'x%'"),
    (col("a").like("x!%", escape="!"), "a LIKE 'x!%' ESCAPE '!'"),
    (col("a").ilike(P), "a ILIKE :p"),
    (col("a").starts_with("x_"), "starts_with(a, 'x_')"),
    (col("a").starts_with(P), "starts_with(a, :p)"),
    (col("a").ends_with("x"), "ends_with(a, 'x')"),
    (col("a").contains("x"), "contains(a, 'x')"),
    (col("a").has("x"), "list_contains(a, 'x')"),
    (col("a").has(P), "list_contains(a, :p)"),
    (col("a").has_any(["x", "y"]), "list_has_any(a, ['x', 'y'])"),
    (col("a").has_all({"x"}), "list_has_all(a, ['x'])"),
    (col("a").has_all(P), "a @> :p"),
    (col("a").length() > 1, "len(a) > 1"),
    (col("a").length().is_in([1, 2]), "len(a) IN (1, 2)"),
    (col("a") & ~col("b"), "a AND NOT b"),
    (~(col("a") | col("b")), "NOT (a OR b)"),
    (~~(col("a") == 1), "a = 1"),
    ((col("a") == 1) & (col("b") == 2) & (col("a") == 3), "a = 1 AND b = 2 AND a = 3"),
    ((col("a") == 1) & ((col("b") == 2) | col("c")), "a = 1 AND (b = 2 OR c)"),
    ((col("a") == 1) & "b = 2 OR c", "a = 1 AND (b = 2 OR c)"),
    ("b = 2" | (col("a") == 1), "b = 2 OR a = 1"),
    ({"b": 2} & (col("a") == 1), "b = 2 AND a = 1"),
    (col("a") & "b = 2", "a AND b = 2"),
    (col("a") == dt.date(2020, 1, 1), "a = DATE '2020-01-01'"),
    (col("Weird name") == "it's", "\"Weird name\" = 'it''s'"),
    (col("d") >= dt.datetime(2020, 1, 1, 12), "d >= TIMESTAMP '2020-01-01 12:00:00'"),
]


@pytest.mark.parametrize(("expression", "text"), SAME, ids=[text for _, text in SAME])
def test_both_spellings_give_equal_trees(expression: Any, text: str) -> None:
    assert parse_filter(expression) == parse_filter(text)
    assert parse_filter(to_sql(expression.node)) == expression.node


def test_repr_reads_as_sql() -> None:
    assert repr((col("a") == 1) & ~col("b")) == "<filter: a = 1 AND NOT b>"
    assert repr(col("a")) == "col('a')"
    assert repr(col("a").length()) == "col('a').length()"


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: bool(col("a") == 1),
        lambda: (col("a") > 1) and (col("b") > 1),
        lambda: not (col("a") > 1),
        lambda: 1 < col("a") < 3,
        lambda: bool(col("a")),
        lambda: col("a") in [1, 2],
    ],
)
def test_truth_value_is_refused_with_the_remedy(misuse: Any) -> None:
    with pytest.raises(FilterError, match=r"truth value of its own.*&"):
        misuse()


def test_expressions_cannot_be_keys() -> None:
    for thing in (col("a"), col("a") == 1, col("a").length(), ids([1])):
        with pytest.raises(TypeError, match="unhashable"):
            hash(thing)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: col("a") == None, r"col\('a'\) with None is never true: use .is_null"),  # noqa: E711
        (lambda: col("a") == col("b"), "two columns cannot be compared"),
        (lambda: col("a") == [1, 2], "compared with a list: use .is_in"),
        (lambda: np.array([1, 2]) == col("a"), "compared with a ndarray: use .is_in"),
        (lambda: col("a") == {}, "compared with a dict"),
        (lambda: col("a").is_in("abc"), "needs a list of values, got 'abc'"),
        (lambda: col("a").is_in(5), "needs a list of values, got 5"),  # type: ignore[arg-type]
        (lambda: col("a").is_in(np.zeros((2, 2))), "needs a list of values"),
        (lambda: col("a").has(["x"]), ".has_any"),
        (lambda: col("a").like(5), "LIKE pattern of .* is 5"),  # type: ignore[arg-type]
        (lambda: col("a").like("a", escape="ab"), "escape is 'ab'"),
        (lambda: col("a").starts_with(5), "matched with 5, expected a string"),  # type: ignore[arg-type]
        (lambda: (col("a") == 1) == (col("b") == 1), "combine them with &"),
        (lambda: (col("a") == 1) != (col("b") == 1), "combine them with &"),
        (lambda: (col("a") == 1) & 5, "a int is not a filter"),
        (lambda: (col("a") == 1) & object(), "a object is not a filter"),
        (lambda: col(5), "named by a string"),  # type: ignore[arg-type]
        (lambda: param("a b"), "expected a name"),
        (lambda: predicate(), "names of its columns"),
        (lambda: parse_filter(col("a").length()), r"col\('a'\).length\(\) without a comparison"),
        (lambda: parse_filter(["a = 1", {"b": 2}]), "list of str|a list of"),
    ],
)
def test_misuse_is_named(misuse: Any, message: str) -> None:
    with pytest.raises((FilterError, InputError), match=message):
        misuse()


def test_masks_and_ids_combine_with_columns() -> None:
    allowed = np.array([True, False, True])
    tree = parse_filter(ids([3, 1, 3]) & (col("year") > 2015))
    assert isinstance(tree, And) and isinstance(tree.args[0], Ids)
    assert tree.args[0].values.tolist() == [1, 3]
    for combined in (allowed & (col("a") > 1), mask(allowed) & (col("a") > 1), allowed & col("a")):
        tree = parse_filter(combined)
        assert isinstance(tree, And) and isinstance(tree.args[0], Mask)
        assert tree.args[0].values.tolist() == [True, False, True]
    tree = parse_filter(~mask(allowed) | (col("a") > 1))
    assert isinstance(tree, Or) and isinstance(tree.args[0], Not)


def test_opaque_leaves_keep_their_identity_through_binding() -> None:
    schema = {"a": ColumnType("int")}
    tree = parse_filter(~mask([True, False]) & (col("a") > 1))
    first, second = bind(tree, schema), bind(tree, schema)
    assert first == second and hash(first) == hash(second)
    assert bind(parse_filter(~mask([True, False]) & (col("a") > 1)), schema) != first


def test_predicate_is_a_filter_and_still_a_function() -> None:
    @fanns.predicate("price", "weight")
    def cheap(price: float, weight: float) -> bool:
        return price / weight < 3

    assert cheap(4.0, 2.0) and not cheap(8.0, 2.0)
    tree = parse_filter(cheap & (col("year") > 2015))
    assert isinstance(tree, And) and isinstance(tree.args[0], Compiled)
    assert tree.args[0].columns == ("price", "weight")
    assert tree.args[0].function(4.0, 2.0) is True
    assert repr(cheap) == "<filter: <predicate cheap(price, weight)>>"
    with pytest.raises(FilterTypeError, match="'price' is string: predicates work on"):
        compile_filter(tree, {"price": ColumnType("string"), "year": ColumnType("int")})
    numbers = {name: ColumnType("float") for name in ("price", "weight", "year")}
    assert bind(tree, numbers).args[1] is tree.args[0]  # type: ignore[attr-defined]


def test_simple_filters() -> None:
    everything: list[Any] = [None, "", {}, True]
    for where in everything:
        assert parse_filter(where) == Constant(True)
    node = Compare(Column("a"), "=", 1)
    assert parse_filter(node) is node
    assert parse_filter(col("flag")) == parse_filter("flag")


def test_default_rule_for_nulls() -> None:
    assert default_nulls({"a": 1}) == "python"
    assert default_nulls("a = 1") == default_nulls(col("a") == 1) == default_nulls(None) == "sql"


def test_long_chains_stay_flat() -> None:
    tree = col("a") == 0
    for value in range(1, 2_000):
        tree = tree | (col("a") == value)
    found = bind(tree.node, {"a": ColumnType("int")})
    assert found == bind(col("a").is_in(range(2_000)).node, {"a": ColumnType("int")})
