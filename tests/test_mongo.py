"""Mongo-style dicts: their trees, Mongo's rule for missing values, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fanns.columns import col, param
from fanns.errors import FilterError, FilterSyntaxError
from fanns.expressions import Constant, Node
from fanns.filters import bind, parse_filter
from fanns.schema import ColumnType
from tests import filter_oracle as oracle

SCHEMA = {
    "a": ColumnType("int"),
    "b": ColumnType("int"),
    "name": ColumnType("string"),
    "tags": ColumnType("string", is_list=True),
}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({"a": 1}, "a = 1"),
        ({"a": {"$eq": 1}}, "a = 1"),
        ({"a": {"$ne": 1}}, "a <> 1"),
        ({"a": {"$gt": 1}}, "a > 1"),
        ({"a": {"$gte": 1, "$lt": 5}}, "a >= 1 AND a < 5"),
        ({"a": {"$lte": 1}}, "a <= 1"),
        ({"a": {"$in": [1, 2]}}, "a IN (1, 2)"),
        ({"a": {"$in": np.array([1, 2])}}, "a IN (1, 2)"),
        ({"a": {"$nin": (1, 2)}}, "a NOT IN (1, 2)"),
        ({"a": {"$in": param("p")}}, "a IN :p"),
        ({"a": None}, "a IS NULL"),
        ({"a": {"$ne": None}}, "a IS NOT NULL"),
        ({"a": {"$exists": True}}, "a IS NOT NULL"),
        ({"a": {"$exists": False}}, "a IS NULL"),
        ({"a": {"$not": {"$gt": 1}}}, "NOT a > 1"),
        ({"a": 1, "b": 2}, "a = 1 AND b = 2"),
        ({"$and": [{"a": 1}, {"b": 2}]}, "a = 1 AND b = 2"),
        ({"$or": [{"a": 1}, {"b": 2}], "name": "x"}, "(a = 1 OR b = 2) AND name = 'x'"),
        ({"$nor": [{"a": 1}, {"b": 2}]}, "NOT (a = 1 OR b = 2)"),
        ({"$not": {"a": 1}}, "a <> 1"),
        ({"$and": [{"a": 1}, col("b") == 2]}, "a = 1 AND b = 2"),
        ({"tags": {"$contains": "x"}}, "list_contains(tags, 'x')"),
        ({"tags": {"$containsAny": ["x", "y"]}}, "list_has_any(tags, ['x', 'y'])"),
        ({"tags": {"$containsAll": ["x", "y"]}}, "list_has_all(tags, ['x', 'y'])"),
        ({"tags": {"$size": 2}}, "len(tags) = 2"),
        ({"tags": {"$size": {"$gte": 2}}}, "len(tags) >= 2"),
        ({"name": {"$like": "x%"}}, "name LIKE 'x%'"),
        ({"name": {"$ilike": "x%"}}, "name ILIKE 'x%'"),
        ({"name": {"$startswith": "x_"}}, "starts_with(name, 'x_')"),
        ({"name": {"$endswith": param("p")}}, "ends_with(name, :p)"),
    ],
)
def test_dicts_give_the_trees_of_sql(where: Any, text: str) -> None:
    assert parse_filter(where) == parse_filter(text)


def test_json_text_is_a_dict_away() -> None:
    assert parse_filter(json.loads('{"a": {"$in": [1, null]}}')) == parse_filter(
        "(a IN (1)) IS TRUE OR a IS NULL"
    )


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"number": {"$ne": 7}}, lambda row: row["number"] != 7),
        ({"number": {"$nin": [7, 0]}}, lambda row: row["number"] not in (7, 0)),
        ({"number": {"$in": [7, None]}}, lambda row: row["number"] in (7, None)),
        ({"number": {"$nin": [7, None]}}, lambda row: row["number"] not in (7, None)),
        ({"number": None}, lambda row: row["number"] is None),
        ({"$not": {"number": {"$gt": 0}}}, lambda row: not (row["number"] or 0) > 0),
        ({"tags": {"$not": {"$contains": "a"}}}, lambda row: "a" not in (row["tags"] or ())),
    ],
)
def test_missing_values_differ_from_all_values(where: Any, wanted: Any) -> None:
    found = bind(parse_filter(where), oracle.SCHEMA, nulls="python")
    assert oracle.passing(found) == [at for at, row in enumerate(oracle.ROWS) if wanted(row)]


@pytest.mark.parametrize("value", [7, None])
def test_equality_with_a_parameter(value: int | None) -> None:
    for op, keep in (("$eq", True), ("$ne", False)):
        tree = parse_filter({"number": {op: param("p")}})
        found = bind(tree, oracle.SCHEMA, {"p": value}, "python")
        expected = [at for at, row in enumerate(oracle.ROWS) if (row["number"] == value) is keep]
        assert oracle.passing(found) == expected


def test_empty_lists() -> None:
    def passing(where: Any) -> Node:
        return bind(parse_filter(where), SCHEMA, nulls="python")

    assert passing({}) == Constant(True)
    assert passing({"a": {"$in": []}}) == parse_filter("a IN ()")


@pytest.mark.parametrize(
    ("where", "culprit"),
    [
        ({"$and": []}, "$and needs a list of at least one filter, got []"),
        ({"$or": {"a": 1}}, "$or needs a list"),
        ({"$or": [5]}, "$or needs filters (dicts), got 5"),
        ({"$not": 5}, "$not needs filters (dicts), got 5"),
        ({"$where": "1"}, "unknown operator '$where'"),
        ({"$eq": 1}, "other operators stand below a column"),
        ({"a": {"$regex": "x"}}, "column 'a': unknown operator '$regex'"),
        ({"a": {"$gtt": 1}}, "did you mean $gt?"),
        ({"a": {"b": 1}}, "column 'a': unknown operator 'b'"),
        ({"a": {}}, "column 'a' has no operator"),
        ({"a": {"$gt": None}}, "column 'a': $gt needs a value, got None"),
        ({"a": {"$gt": {"x": 1}}}, "$gt needs a value"),
        ({"a": [1, 2]}, "$eq needs one value, got [1, 2]: use $in"),
        ({"a": {"$in": 5}}, "$in needs a list of values, got 5"),
        ({"a": {"$in": "abc"}}, "$in needs a list of values, got 'abc'"),
        ({"a": {"$in": [[1]]}}, "$in needs one value, got [1]"),
        ({"a": {"$exists": 1}}, "$exists is true or false, got 1"),
        ({"a": {"$not": 1}}, "$not needs operators, got 1"),
        ({"a": {"$contains": ["x"]}}, "$contains needs one value"),
        ({"a": {"$like": 5}}, "$like needs a string, got 5"),
        ({"a": {"$size": {"$contains": 1}}}, "unknown operator '$contains'"),
        ({5: 1}, "key 5 is not a column name"),
    ],
)
def test_refusals_name_the_culprit(where: Any, culprit: str) -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        parse_filter(where)
    assert culprit in str(caught.value)


def test_deep_dicts_are_refused_not_a_crash() -> None:
    where: dict[str, Any] = {"a": 1}
    column: dict[str, Any] = {"$gt": 1}
    for _ in range(300):
        where, column = {"$not": where}, {"$not": column}
    for deep in (where, {"a": column}):
        with pytest.raises(FilterError, match="nested more than 100 levels"):
            parse_filter(deep)
