"""Masks, ids, Roaring bitmaps and foreign expressions: recognised, copied, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyroaring
import pytest

from fanns.columns import col, ids, mask
from fanns.errors import InputError, UnknownColumnError
from fanns.expressions import And, Evaluated, Ids, Mask, Or
from fanns.filters import bind, compile_filter, parse_filter, to_sql
from fanns.schema import ColumnType

SCHEMA = {"a": ColumnType("int"), "b": ColumnType("int")}


@pytest.mark.parametrize(
    "values",
    [
        np.array([True, False, True]),
        [True, False, True],
        [np.True_, np.False_, np.True_],
        pa.array([True, False, True]),
        pa.chunked_array([[True], [False, True]]),
        pd.Series([True, False, True]),
        pl.Series([True, False, True]),
    ],
)
def test_masks_of_any_type(values: Any) -> None:
    for leaf in (parse_filter(values), mask(values).node):
        assert isinstance(leaf, Mask)
        assert leaf.values.dtype == np.bool_ and leaf.values.tolist() == [True, False, True]
        assert not leaf.values.flags.writeable


@pytest.mark.parametrize(
    "values",
    [
        np.array([5, 3, 5]),
        np.array([3, 5], np.uint64),
        [5, 3],
        [np.int32(3), 5],
        pa.array([3, 5]),
        pd.Series([5, 3]),
        pl.Series([5, 3]),
        pyroaring.BitMap([3, 5]),
        pyroaring.BitMap64([3, 5]),
        pyroaring.FrozenBitMap([3, 5]),
    ],
)
def test_ids_of_any_type(values: Any) -> None:
    for leaf in (parse_filter(values), ids(values).node):
        assert isinstance(leaf, Ids)
        assert leaf.values.dtype == np.int64 and leaf.values.tolist() == [3, 5]
        assert not leaf.values.flags.writeable


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "b"],
        np.array(["b", "a"]),
        np.array(["b", "a"], object),
        pa.array(["a", "b"]),
        pl.Series(["a", "b"]),
        pd.Series(["a", "b"]),
    ],
)
def test_string_ids_of_any_type(values: Any) -> None:
    leaf = parse_filter(values)
    assert isinstance(leaf, Ids) and leaf.values == ("a", "b")


def test_ids_of_sets_and_ranges_and_nothing() -> None:
    assert ids({2, 1}).node.values.tolist() == [1, 2]  # type: ignore[attr-defined]
    assert ids(range(3)).node.values.tolist() == [0, 1, 2]  # type: ignore[attr-defined]
    assert ids([]).node.values.tolist() == []  # type: ignore[attr-defined]


def test_a_later_change_does_not_reach_the_filter() -> None:
    values = np.array([True, False])
    leaf = parse_filter(values)
    values[:] = False
    assert leaf.values.tolist() == [True, False]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mask([1, 0]), "a mask holds booleans, got int64"),
        (lambda: mask("yes"), "a mask holds booleans, got str"),
        (lambda: mask(np.zeros((2, 2), bool)), r"one-dimensional, got an array of shape \(2, 2\)"),
        (lambda: mask(pa.array([True, None])), "must not hold nulls, got 1"),
        (lambda: mask(pl.Series([True, None])), "must not hold nulls, got 1"),
        (lambda: ids([1.5]), "ids are an array or list of int64 or strings"),
        (lambda: ids(np.array([1.5])), "ids have dtype float64"),
        (lambda: ids([1, "a"]), "a list of int, str is neither"),
        (lambda: ids([1, True]), "a list of bool, int is neither"),
        (lambda: ids(np.array([1, "a"], object)), r"ids hold 1 \(int\)"),
        (lambda: ids(np.array(["a", None], object)), "ids hold None"),
        (lambda: ids([2**63]), "id 9223372036854775808 is beyond int64"),
        (lambda: ids(np.array([2**63], np.uint64)), "is beyond int64"),
        (lambda: ids(pyroaring.BitMap64([2**63])), "is beyond int64"),
        (lambda: ids(5), "got int"),
        (lambda: ids("abc"), "got str"),
    ],
)
def test_unusable_masks_and_ids_are_named(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_foreign_expressions_are_evaluated_by_their_own_engine() -> None:
    arrow = parse_filter(pc.field("a") > 1)
    frame = parse_filter(pl.col("a") > 1)
    assert isinstance(arrow, Evaluated) and arrow.engine == "pyarrow"
    assert isinstance(frame, Evaluated) and frame.engine == "polars"
    combined = parse_filter((col("b") == 1) & (pc.field("a") > 1))
    assert isinstance(combined, And) and isinstance(combined.args[1], Evaluated)
    assert to_sql(arrow) == "<pyarrow: (a > 1)>"
    with pytest.raises(UnknownColumnError, match="no column 'q'"):
        compile_filter(parse_filter(pl.col("q") > 1), SCHEMA)


@pytest.mark.parametrize("expression", [pc.field("a") > 1, pl.col("a") > 1])
def test_denied_foreign_expressions_keep_nulls_under_the_python_rule(expression: Any) -> None:
    tree = ~((col("b") == 1) & expression)
    first, second = (bind(tree.node, SCHEMA, nulls="python") for _ in range(2))
    assert isinstance(first, Or) and len(first.args) == 4
    assert first == second, "the test for null is the same leaf each time"
