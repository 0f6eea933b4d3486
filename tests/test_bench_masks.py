"""The runner's own judgement of filters, beside DuckDB's and over awkward values."""

from collections.abc import Iterator
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from fanns.bench.workloads.masks import Masks, Table, passing
from fanns.errors import FilterError, FilterTypeError, ParameterError, UnknownColumnError
from fanns.expressions import Node
from fanns.filters import to_sql
from tests.filter_oracle import SCHEMA, TABLE, Judge, trees

ROWS = Table(TABLE)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    found = Judge()
    yield found
    found.connection.close()


@given(trees())
def test_passes_the_rows_of_duckdb(judge: Judge, tree: Node) -> None:
    text = str(to_sql(tree, SCHEMA))
    mask = Masks(ROWS, text)({})
    assert np.flatnonzero(mask).tolist() == judge.passing(text), text


LISTS = pa.table(
    {
        "tags": pa.array([["a", "a"], [], None, [None, "b"], ["a", "b"]], pa.list_(pa.string())),
        "days": pa.array(
            [[date(2020, 1, 1)], None, [], [None], [date(2020, 1, 2)]], pa.list_(pa.date32())
        ),
        "flag": pa.array([True, None, False, True, None]),
        "day": pa.array([date(2020, 1, day) if day else None for day in (1, 2, 0, 3, 4)]),
        "kind": pa.array(["x", None, "y", "x", "z"]).dictionary_encode(),
        "at": pa.array([0, 1_500, None, -1, 2_000], pa.timestamp("ms")),
    }
)


@pytest.mark.parametrize(
    ("where", "params", "expected"),
    [
        (None, {}, [0, 1, 2, 3, 4]),
        ("list_contains(tags, :t)", {"t": "a"}, [0, 4]),
        ("NOT list_contains(tags, :t)", {"t": "a"}, [1, 3]),
        ("list_contains(tags, :t)", {"t": None}, []),
        ("NOT list_contains(tags, :t)", {"t": None}, []),
        ("list_has_any(tags, :t)", {"t": []}, []),
        ("list_has_all(tags, :t)", {"t": []}, [0, 1, 3, 4]),
        ("list_has_all(tags, :t)", {"t": ["b", "a"]}, [4]),
        ("list_has_any(days, :d)", {"d": [date(2020, 1, 2)]}, [4]),
        ("len(tags) = 2", {}, [0, 3, 4]),
        ("kind IN :k", {"k": ["x", None]}, [0, 3]),
        ("kind NOT IN :k", {"k": ["x", None]}, []),
        ("kind NOT IN :k", {"k": ["x"]}, [2, 4]),
        ("kind IN :k", {"k": []}, []),
        ("kind NOT IN :k", {"k": []}, [0, 2, 3, 4]),
        ("kind LIKE :k", {"k": "_"}, [0, 2, 3, 4]),
        ("starts_with(kind, :k)", {"k": "x"}, [0, 3]),
        ("kind >= :k", {"k": "xx"}, [2, 4]),
        ("flag", {}, [0, 3]),
        ("NOT flag", {}, [2]),
        ("flag IS TRUE OR day IS NULL", {}, [0, 2, 3]),
        ("NOT (flag IS TRUE)", {}, [1, 2, 4]),
        ("flag OR day > :d", {"d": date(2020, 1, 3)}, [0, 3, 4]),
        ("day < :d", {"d": datetime(2020, 1, 2, 12)}, [0, 1]),
        ("day = :d", {"d": datetime(2020, 1, 2, 12)}, []),
        ("day <= CAST(:d AS DATE)", {"d": "2020-01-02T12:00:00"}, [0, 1]),
        (":d IS NULL OR day = :d", {"d": None}, [0, 1, 2, 3, 4]),
        ("at > :t", {"t": datetime(1970, 1, 1, 0, 0, 1)}, [1, 4]),
        ("day BETWEEN :a AND :b", {"a": date(2020, 1, 3), "b": date(2020, 1, 2)}, []),
    ],
)
def test_awkward_values(where: str | None, params: dict[str, object], expected: list[int]) -> None:
    assert np.flatnonzero(passing(LISTS, where, params)).tolist() == expected


def test_values_under_a_null_list_are_not_there() -> None:
    offsets, values = pa.array([0, 2, 3], pa.int32()), pa.array(["a", "b", "c"])
    hidden = pa.ListArray.from_arrays(offsets, values, mask=pa.array([True, False]))
    table = pa.table({"tags": hidden})
    assert passing(table, "list_contains(tags, 'a')", {}).tolist() == [False, False]
    assert passing(table, "list_contains(tags, 'c')", {}).tolist() == [False, True]


def test_no_rows_and_many_chunks() -> None:
    assert passing(LISTS.slice(0, 0), "kind = 'x' AND list_contains(tags, 'a')", {}).shape == (0,)
    chunked = pa.concat_tables([LISTS.slice(0, 2), LISTS.slice(2, 3)])
    assert passing(chunked, "kind = 'x' OR list_contains(tags, 'b')", {}).tolist() == [
        *(True, False, False, True, True)
    ]


def test_says_what_cannot_be_judged() -> None:
    with pytest.raises(UnknownColumnError, match=r"'nope'.*tags"):
        passing(LISTS, "nope = 1", {})
    with pytest.raises(ParameterError, match=":k"):
        passing(LISTS, "kind = :k", {})
    with pytest.raises(FilterTypeError, match="string"):
        passing(LISTS, "kind = :k", {"k": 1})
    with pytest.raises(FilterTypeError, match="not a list"):
        passing(LISTS, "list_contains(kind, 'x')", {})
    with pytest.raises(FilterError):
        Masks(LISTS, "kind = ")
