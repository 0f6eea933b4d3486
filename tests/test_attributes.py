"""The attribute index against DuckDB's WHERE and GROUP BY, and against the data it was given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.attributes import AttributeIndex, postings
from fanns.expressions import (
    And,
    Column,
    Compare,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    Not,
    Or,
)
from fanns.schema import ColumnType, schema_of
from fanns.selection import Selection
from tests.attribute_data import Context, compare, reloaded, same
from tests.attribute_helpers import FORMS, KINDS, Case, arrow_column, cases, random_values, trees


@pytest.fixture(autouse=True, scope="module")
def cumulative_bitmaps_for_small_tables() -> Iterator[None]:
    before, postings.MIN_ROWS_FOR_CUTS = postings.MIN_ROWS_FOR_CUTS, 0
    yield
    postings.MIN_ROWS_FOR_CUTS = before


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*KINDS, ColumnType("string", is_list=True)], ids=str)
@pytest.mark.parametrize("n", [0, 1, 7], ids=lambda n: f"{n}rows")
@pytest.mark.parametrize("nulls", [0.0, 1.0], ids=["values", "nulls"])
def test_awkward_columns(kind: ColumnType, form: str, n: int, nulls: float) -> None:
    values = random_values(np.random.default_rng(n), kind, n, nulls)
    table = pa.table({"c": arrow_column(values, kind, form)})
    index = reloaded(AttributeIndex.build(table, {"c": kind}), {"c": kind})
    null = [i for i, value in enumerate(values) if value is None]
    assert index.select(IsNull("c"), Context(n)).rows().tolist() == null
    assert index.select(Not(IsNull("c")), Context(n)).count == n - len(null)
    if not kind.is_list:
        for value in random_values(np.random.default_rng(1), kind, 3, 0.0):
            assert index.select(compare("c", "<=", value), Context(n)).count <= n - len(null)
    everything = np.arange(n)
    assert same(
        index.take("c", everything).to_pylist(), pa.array(values, kind.to_arrow()).to_pylist()
    )
    values_found, counts = index.facets("c", Selection.all(n))
    assert len(values_found) == len(counts)
    assert index.statistics("c")["nulls"] == len(null)


@pytest.mark.parametrize("distinct", [1, 2, 50, 20_000])
def test_large_columns_use_every_form(distinct: int) -> None:
    n = 20_000
    rng = np.random.default_rng(distinct)
    values = rng.integers(0, distinct, n)
    null = rng.random(n) < 0.1
    index = AttributeIndex.build(
        pa.table({"v": pa.array(values, mask=null)}), {"v": ColumnType("int")}
    )
    context = Context(n)
    for low, high in rng.integers(-2, distinct + 2, (40, 2)):
        between = And((compare("v", ">=", int(low)), compare("v", "<", int(high))))
        inside = (values >= low) & (values < high)
        several = tuple(np.unique(rng.integers(0, distinct, 30)).tolist())
        for tree, mask in [
            (between, inside & ~null),
            (Not(between), ~inside & ~null),
            (Or((between, IsNull("v"))), inside | null),
            (In(Column("v"), several), np.isin(values, several) & ~null),
            (Not(In(Column("v"), several)), ~np.isin(values, several) & ~null),
        ]:
            selection = index.select(tree, context)
            assert selection.count == mask.sum()
            assert (selection.mask() == mask).all()


ARXIV = ["primary_category", "categories", "authors", "submitted_date", "updated_date"]
ARXIV += ["comments", "doi"]


def test_arxiv_attributes_fit_their_bytes_and_answer_as_duckdb(arxiv_table: pa.Table) -> None:
    table = arxiv_table.select(ARXIV)
    schema = schema_of(table.schema)
    index = AttributeIndex.build(table, schema)
    assert index.nbytes <= 20e6
    case = Case(table, schema)
    for tree in [
        compare("primary_category", "=", "cs.LG"),
        Not(compare("primary_category", "=", "cs.LG")),
        Like("primary_category", "cs.%"),
        And((compare("submitted_date", ">=", 15_000), compare("submitted_date", "<", 16_000))),
        And((ListHas("categories", "any", ("cs.LG",)), compare("submitted_date", ">", 16_500))),
        ListHas("categories", "all", ("cs.LG", "stat.ML")),
        Or((IsNull("doi"), compare("updated_date", ">", 17_000))),
        Not(Or((IsNull("doi"), Compare(Length("authors"), ">", 3)))),
        Like("comments", "%pages, _ figures%"),
        Like("comments", "%ICML%", None, False),
        ListHas("authors", "any", ("Jie Shen",)),
        compare("comments", ">", "5"),
    ]:
        assert index.select(tree, Context(100_000)).rows().tolist() == case.passing(tree)
