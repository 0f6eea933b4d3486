"""Each kind of filter over each kind of column: built, loaded, and stored without an index."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fanns.attributes import AttributeIndex
from fanns.errors import FilterError, FilterTypeError, UnknownColumnError
from fanns.expressions import (
    And,
    Column,
    Compare,
    Compiled,
    Evaluated,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Node,
    Not,
    Parameter,
)
from tests.attribute_data import EVERY, EXPECTED, SCHEMA, TABLE, compare, reloaded, rows, same


@pytest.fixture(scope="module", params=["built", "loaded", "stored"])
def index(request: pytest.FixtureRequest) -> AttributeIndex:
    built = AttributeIndex.build(TABLE, SCHEMA)
    if request.param == "built":
        return built
    if request.param == "loaded":
        return reloaded(built, SCHEMA)
    return AttributeIndex.load({}, SCHEMA, 6, TABLE.column)


@pytest.mark.parametrize(("tree", "true", "false"), EXPECTED, ids=lambda x: str(x)[:60])
def test_each_kind_of_node(
    index: AttributeIndex, tree: Node, true: set[int], false: set[int]
) -> None:
    assert rows(index, tree) == true
    assert rows(index, Not(tree)) == false
    assert rows(index, Not(Not(tree))) == true


def test_pyarrow_and_polars_expressions(index: AttributeIndex) -> None:
    polars = pytest.importorskip("polars")
    for node in (
        Evaluated((pc.field("small") > 0) & (pc.field("name") != "a"), "pyarrow"),
        Evaluated((polars.col("small") > 0) & (polars.col("name") != "a"), "polars"),
    ):
        assert rows(index, node) == {1, 4}
        assert rows(index, Not(node)) == {0, 3, 5}
        assert rows(index, And((node, compare("flag", "=", True)))) == set()
    assert rows(index, Evaluated(polars.lit(True), "polars")) == EVERY
    assert rows(index, Evaluated(pc.scalar(True), "pyarrow")) == EVERY
    assert rows(index, Evaluated(polars.any_horizontal(polars.selectors.boolean()), "polars")) == {
        0,
        3,
        5,
    }


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda pl: Evaluated(pc.field("nope") > 1, "pyarrow"), UnknownColumnError, "nope"),
        (lambda pl: Evaluated(pl.col("nope") > 1, "polars"), UnknownColumnError, "nope"),
        (lambda pl: Evaluated(pc.field("small"), "pyarrow"), FilterTypeError, "gives int8"),
        (lambda pl: Evaluated(pl.col("small") + 1, "polars"), FilterTypeError, "not a boolean"),
        (lambda pl: Evaluated(pl.col("small", "big") > 1, "polars"), FilterTypeError, "2 columns"),
        (lambda pl: Evaluated(pc.field("name") > 1, "pyarrow"), FilterTypeError, "evaluated"),
        (lambda pl: Evaluated(pl.col("tags") > 1, "polars"), FilterTypeError, "evaluated"),
        (lambda pl: Evaluated(pl.col("small").head(3) > 1, "polars"), FilterError, "3 values"),
    ],
)
def test_expressions_that_are_no_filter(make: Any, error: type[Exception], message: str) -> None:
    polars = pytest.importorskip("polars")
    index = AttributeIndex.build(TABLE, SCHEMA)
    with pytest.raises(error, match=message):
        rows(index, make(polars))


def test_compiled_predicates(index: AttributeIndex) -> None:
    def heavy(small: int, flag: bool, day: int) -> bool:
        return small > 0 and (flag or day == 0)

    node = Compiled(heavy, ("small", "flag", "day"))
    assert rows(index, node) == {4, 5}
    assert rows(index, Not(node)) == {0, 1, 3}
    huge = Compiled(numba.njit(lambda x: x > 2**63), ("huge",))
    assert rows(index, huge) == {1}
    times = Compiled(lambda t, d: t == 5 and d == d, ("time", "double"))
    assert rows(index, times) == {4, 5}


@pytest.mark.parametrize("name", ["name", "tags"])
def test_compiled_predicates_take_numbers_alone(index: AttributeIndex, name: str) -> None:
    with pytest.raises(FilterTypeError, match=f"column '{name}' is"):
        rows(index, Compiled(lambda x: True, (name,)))


def test_a_predicate_that_numba_refuses(index: AttributeIndex) -> None:
    def wild(small: int) -> bool:
        return bool(open(str(small)))

    with pytest.raises(FilterTypeError, match=r"numba cannot compile wild\(small\)"):
        rows(index, Compiled(wild, ("small",)))


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (Compare(Column("tags"), "=", "x"), FilterTypeError, "list_contains"),
        (Compare(Length("name"), "=", 1), FilterTypeError, "needs a list"),
        (ListHas("name", "any", ("x",)), FilterTypeError, "not a list"),
        (Like("small", "a%"), FilterTypeError, "LIKE needs strings"),
        (Like("tags", "a%"), FilterTypeError, "LIKE needs strings"),
        (Like("name", "a!", "!"), FilterError, "ends with its escape"),
        (Like("name", "%\ud800", "!"), FilterError, "not valid Unicode"),
        (IsNull("nope"), UnknownColumnError, "nope"),
        (In(Column("small"), Parameter("p")), FilterError, "bind its parameters"),
    ],
    ids=str,
)
def test_trees_that_binding_would_refuse(tree: Node, error: type[Exception], message: str) -> None:
    index = AttributeIndex.load(AttributeIndex.build(TABLE, SCHEMA).arrays(), SCHEMA, 6)
    with pytest.raises(error, match=message):
        rows(index, tree)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_take_of_each_column(index: AttributeIndex, name: str) -> None:
    order = np.array([5, 3, 3, 2, 0, 1, 4], np.int32)
    taken = index.take(name, order)
    assert taken.type == SCHEMA[name].to_arrow() or SCHEMA[name].kind == "string"
    expected = TABLE[name].cast(SCHEMA[name].to_arrow()).take(pa.array(order))
    assert same(taken.to_pylist(), expected.to_pylist())
    assert index.take(name, order[:0]).to_pylist() == []
