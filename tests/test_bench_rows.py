"""Filters to row numbers: against DuckDB, against plain masks, and in each form."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fanns.bench.engines.engine import UnsupportedError
from fanns.bench.engines.rows import Filter, Postings
from fanns.expressions import Node
from fanns.filters import to_sql
from tests.filter_oracle import SCHEMA, TABLE, Judge, trees

POSTINGS = Postings(TABLE)
N = 20_000


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    found = Judge()
    yield found
    found.connection.close()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tree=trees())
def test_any_filter_passes_the_rows_that_duckdb_passes(judge: Judge, tree: Node) -> None:
    try:
        found = Filter(POSTINGS, tree).find({})
    except UnsupportedError as error:
        assume("IsTrue" not in str(error))
        raise
    expected = judge.passing(str(to_sql(tree, SCHEMA)))
    assert sorted(found.rows().tolist()) == expected
    assert np.flatnonzero(found.mask()).tolist() == expected
    assert np.flatnonzero(found.test(np.arange(TABLE.num_rows))).tolist() == expected
    bits = np.unpackbits(found.bits(), count=TABLE.num_rows, bitorder="little")
    assert np.flatnonzero(bits).tolist() == expected
    assert found.most >= len(expected)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Columns of few and of many values, some null, and lists of up to four of 50 elements."""
    random = np.random.default_rng(11)

    def missing(values: list[Any], share: float) -> list[Any]:
        return [
            None if gone else v for v, gone in zip(values, random.random(N) < share, strict=True)
        ]

    lists = [random.integers(0, 50, size).tolist() for size in random.integers(0, 5, N)]
    names = [f"c{c}" for c in np.minimum(random.zipf(1.5, N), 200)]
    days = random.integers(15_000, 18_000, N)
    return pa.table(
        {
            "name": pa.array(missing(names, 0.1)),
            "day": pa.array(days, pa.int32()).cast(pa.date32()),
            "x": pa.array(missing(random.random(N).tolist(), 0.05)),
            "tags": pa.array(missing(lists, 0.1)),
        }
    )


@pytest.fixture(scope="module")
def postings(table: pa.Table) -> Postings:
    return Postings(table)


def python_rows(table: pa.Table, passes: Any) -> list[int]:
    return [i for i, row in enumerate(table.to_pylist()) if passes(**row)]


LARGE: list[tuple[str, dict[str, Any], Any]] = [
    ("name = :a", {"a": "c7"}, lambda name, **_: name == "c7"),
    ("name != :a", {"a": "c1"}, lambda name, **_: name not in (None, "c1")),
    ("name IN :a", {"a": ["c3", "c9", "zz"]}, lambda name, **_: name in ("c3", "c9")),
    ("name NOT IN :a", {"a": ["c1", None]}, lambda **_: False),
    ("name LIKE 'c1%'", {}, lambda name, **_: bool(name) and name.startswith("c1")),
    (
        "day >= :a AND day < :b",
        {"a": date(2015, 1, 1), "b": date(2015, 3, 1)},
        lambda day, **_: date(2015, 1, 1) <= day < date(2015, 3, 1),
    ),
    (
        "NOT x BETWEEN :a AND :b",
        {"a": 0.2, "b": 0.9},
        lambda x, **_: bool(x) and not 0.2 <= x <= 0.9,
    ),
    ("x < :a AND name = 'c1'", {"a": 0.5}, lambda x, name, **_: name == "c1" and (x or 1) < 0.5),
    (
        "x < :a AND name = 'c2' AND list_contains(tags, :t)",
        {"a": 0.3, "t": 5},
        lambda x, name, tags, **_: (x or 1) < 0.3 and name == "c2" and 5 in (tags or ()),
    ),
    (
        "x < 0.001 AND list_contains(tags, :t)",
        {"t": 5},
        lambda x, tags, **_: x is not None and x < 0.001 and 5 in (tags or ()),
    ),
    (
        "x < :a OR name = 'c4' OR name = 'c2'",
        {"a": 0.01},
        lambda x, name, **_: (x is not None and x < 0.01) or name in ("c2", "c4"),
    ),
    (
        "x < :a OR list_contains(tags, 1)",
        {"a": 0.6},
        lambda x, tags, **_: (x is not None and x < 0.6) or 1 in (tags or ()),
    ),
    (
        "list_has_any(tags, :t)",
        {"t": [1, 2, 99]},
        lambda tags, **_: bool({1, 2} & set(tags or ())),
    ),
    ("list_has_all(tags, :t)", {"t": [1, 2]}, lambda tags, **_: {1, 2} <= set(tags or ())),
    (
        "NOT list_contains(tags, :t)",
        {"t": 3},
        lambda tags, **_: tags is not None and 3 not in tags,
    ),
    (
        "(name = 'c1' OR x < 0.1) AND (day < :a OR list_has_any(tags, :t))",
        {"a": date(2013, 1, 1), "t": [4, 5]},
        lambda name, x, day, tags: (
            (name == "c1" or (x is not None and x < 0.1))
            and (day < date(2013, 1, 1) or bool({4, 5} & set(tags or ())))
        ),
    ),
]


@pytest.mark.parametrize(("where", "params", "passes"), LARGE, ids=[case[0] for case in LARGE])
def test_small_and_large_parts_of_many_rows(
    table: pa.Table, postings: Postings, where: str, params: dict[str, Any], passes: Any
) -> None:
    made = postings.compile(where)
    assert made is not None
    found = made.find(params)
    expected = python_rows(table, passes)
    assert sorted(found.rows().tolist()) == expected
    assert np.flatnonzero(found.mask()).tolist() == expected
    some = np.random.default_rng(1).permutation(N)[:500]
    assert sorted(some[found.test(some)].tolist()) == sorted(set(expected) & set(some.tolist()))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_parameters_count_like_constants(data: st.DataObject) -> None:
    words = st.sampled_from(["c1", "c'2", None])
    column = data.draw(st.lists(words, min_size=1, max_size=20))
    value = data.draw(words)
    postings = Postings(pa.table({"c": pa.array(column, pa.string())}))
    for op in ("=", "!=", "<", ">=", "IN"):
        made = postings.compile(f"c {op} :v")
        text = "NULL" if value is None else "'" + value.replace("'", "''") + "'"
        fixed = postings.compile(f"c {op} ({text})" if op == "IN" else f"c {op} {text}")
        assert made is not None and fixed is not None
        bound = made.find({"v": [value] if op == "IN" else value}).rows()
        assert sorted(bound.tolist()) == sorted(fixed.find({}).rows().tolist())


def test_no_filter_and_no_rows() -> None:
    assert POSTINGS.compile(None) is None
    empty = Postings(TABLE.slice(0, 0))
    for where in ("tiny = 3", "list_contains(tags, 'a')", "tiny = 1 OR NOT name = 'a'"):
        made = empty.compile(where)
        assert made is not None
        assert made.find({}).rows().tolist() == []


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no column 'none'"):
        POSTINGS.compile("none = 1")
    with pytest.raises(UnsupportedError, match="is no list"):
        POSTINGS.compile("list_contains(name, 'a')")
    with pytest.raises(UnsupportedError, match="cannot be compared"):
        POSTINGS.compile("tags = 'a'")
    made = POSTINGS.compile("name = :a AND tiny < :b")
    assert made is not None
    with pytest.raises(UnsupportedError, match="parameters"):
        made.find({"a": "x"})
    with pytest.raises(UnsupportedError, match="parameters"):
        made.find({"a": "x", "b": "y"})
