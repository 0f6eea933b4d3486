"""The attribute index against DuckDB's WHERE and GROUP BY, and against the data it was given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.attributes import AttributeIndex, postings
from fanns.schema import Schema
from fanns.selection import Selection
from tests.attribute_helpers import Case, cases, trees


@dataclass
class Context:
    """A segment whose rows stand in insertion order, with ids 0..n-1."""

    n: int
    table: pa.Table | None = None

    def rows_of_mask(self, values: np.ndarray) -> np.ndarray:
        return values

    def rows_of_ids(self, values: Any) -> np.ndarray:
        return np.unique([v for v in values if 0 <= v < self.n]).astype(np.int32)

    def stored(self, column: str) -> pa.ChunkedArray:
        assert self.table is not None
        return self.table[column]


@pytest.fixture(autouse=True, scope="module")
def cumulative_bitmaps_for_small_tables() -> Iterator[None]:
    before, postings.MIN_ROWS_FOR_CUTS = postings.MIN_ROWS_FOR_CUTS, 0
    yield
    postings.MIN_ROWS_FOR_CUTS = before


def reloaded(index: AttributeIndex, schema: Schema) -> AttributeIndex:
    arrays = {name: array.copy() for name, array in index.arrays().items()}
    return AttributeIndex.load(arrays, schema, index.n)


def same(a: Any, b: Any) -> bool:
    """Equal values, NaN equal to itself, the sign of zero told apart."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return bool(a == b)


@given(st.data(), cases())
def test_selections_are_those_of_duckdb(data: st.DataObject, case: Case) -> None:
    built = AttributeIndex.build(case.table, case.schema)
    stored = AttributeIndex.load({}, case.schema, built.n)
    context = Context(built.n, case.table)
    for tree in data.draw(st.lists(trees(case.schema), min_size=4, max_size=8)):
        expected = case.passing(tree)
        for index in (built, reloaded(built, case.schema), stored):
            selection = index.select(tree, context)
            assert selection.rows().tolist() == expected
            assert selection.count == len(expected)
            assert np.flatnonzero(selection.mask()).tolist() == expected


@given(cases(), st.integers(0, 99))
def test_take_gives_the_values_back(case: Case, seed: int) -> None:
    built = AttributeIndex.build(case.table, case.schema)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, built.n, 20) if built.n else np.zeros(0, np.int64)
    for index in (built, reloaded(built, case.schema)):
        for name, kind in case.schema.items():
            taken = index.take(name, rows)
            assert taken.type == kind.to_arrow()
            taken.validate(full=True)
            given = case.table[name].cast(kind.to_arrow()).to_pylist()
            assert same(taken.to_pylist(), [given[row] for row in rows])


@given(cases(), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_facets_are_those_of_group_by(case: Case, density: float) -> None:
    index = AttributeIndex.build(case.table, case.schema)
    mask = np.random.default_rng(index.n).random(index.n) < density
    selection = Selection.from_mask(mask)
    case.connection.execute(
        "CREATE TABLE chosen AS SELECT unnest(?::BIGINT[]) AS row", [np.flatnonzero(mask).tolist()]
    )
    for name, kind in case.schema.items():
        source = f"SELECT row, {f'unnest({name})' if kind.is_list else name} AS v FROM t"
        counted = case.connection.sql(
            f"SELECT v, count(*) AS n FROM (SELECT DISTINCT * FROM ({source})) "
            "SEMI JOIN chosen USING (row) GROUP BY v ORDER BY v NULLS LAST"
        ).to_arrow_table()
        values, counts = index.facets(name, selection)
        assert values.type == kind.item.to_arrow()
        bare = kind.item.to_arrow() if kind.tz is None else pa.timestamp(kind.unit)
        expected = counted["v"].cast(bare).to_pylist()
        got = values.cast(bare).to_pylist()
        assert [repr(v + 0.0 if isinstance(v, float) else v) for v in got] == [
            repr(v + 0.0 if isinstance(v, float) else v) for v in expected
        ]
        assert counts.tolist() == counted["n"].to_pylist()
