"""The paper's three query sets: what their rules promise, and DuckDB on which rows pass."""

import json
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from fanns.bench.workloads import synthetic
from fanns.datasets import arxiv_answers, arxiv_like, exact
from fanns.datasets.arxiv_filters import R_LEAST, R_MOST, QuerySet, missing_sets, paper_sets
from fanns.datasets.dataset import vectors
from fanns.datasets.passing import Between, Contains, Equal
from fanns.errors import InputError

ROWS, QUERIES = 4_000, 400


@pytest.fixture(scope="module")
def attributes() -> pa.Table:
    return synthetic.attributes(arxiv_like.items(ROWS, 8))


def shares(one: QuerySet) -> Any:
    """float64[m]: the share of rows that pass each filter."""
    if one.passing is None:
        return np.ones(len(one.params))
    block = one.passing.block(slice(0, one.passing.queries), slice(0, one.passing.rows))
    return block.mean(axis=1)


def check_shares(attributes: pa.Table, sets: list[QuerySet], queries: int) -> dict[str, float]:
    """The selectivities are those of the paper's sampling rules; the mean of each set."""
    found = {one.name: shares(one) for one in sets}
    mean = {name: float(own.mean()) for name, own in found.items()}
    counts = np.asarray(attributes["number_of_sub_categories"])
    share = np.bincount(counts) / len(counts)
    spread = np.sqrt(((share**3).sum() - (share**2).sum() ** 2) / queries)
    assert abs(mean["em"] - (share**2).sum()) < 4 * spread
    assert_uniform(found["r"])
    lists = attributes["main_categories"].to_pylist()
    chance: dict[str, float] = {}  # of a label: a row of the data, then one of its values
    holding: dict[str, int] = {}
    for own in lists:
        for label in own:
            chance[label] = chance.get(label, 0.0) + 1 / len(own) / len(lists)
            holding[label] = holding.get(label, 0) + 1
    wanted = sum(p * holding[label] / len(lists) for label, p in chance.items())
    squares = sum(p * (holding[label] / len(lists)) ** 2 for label, p in chance.items())
    assert abs(mean["emis"] - wanted) < 4 * np.sqrt((squares - wanted**2) / queries)
    return mean


def assert_uniform(found: Any) -> None:
    """Kolmogorov and Smirnov's distance from U(0.09, 0.80), below its one-in-a-thousand value.

    A range takes all rows of its first and last date, and so is a little wider than was drawn.
    """
    ordered = np.sort(found)
    wanted = np.clip((ordered - R_LEAST) / (R_MOST - R_LEAST), 0.0, 1.0)
    steps = np.arange(1, len(found) + 1) / len(found)
    assert np.abs(steps - wanted).max() < 1.95 / np.sqrt(len(found))
    assert ordered[0] > R_LEAST - 0.001 and ordered[-1] < R_MOST + 0.03


def test_selectivities_are_those_of_the_rules(attributes: pa.Table) -> None:
    sets = paper_sets(attributes, QUERIES, seed=4)
    assert [one.name for one in sets] == ["none", "em", "r", "emis"]
    check_shares(attributes, sets, QUERIES)
    other = paper_sets(attributes, QUERIES, seed=4)
    assert [one.params for one in sets] == [one.params for one in other]
    assert sets[1].params != paper_sets(attributes, QUERIES, seed=5)[1].params


def test_selectivities_on_the_real_sample(arxiv_table: pa.Table) -> None:
    """100,000 records: EM near the published 0.384 of as many rows, R near 0.43."""
    attributes = synthetic.attributes(arxiv_table)
    mean = check_shares(attributes, paper_sets(attributes, 2_000, seed=1), 2_000)
    assert 0.30 < mean["em"] < 0.42 and 0.42 < mean["r"] < 0.48 and 0.15 < mean["emis"] < 0.32


@pytest.mark.parametrize("days", [False, True])
def test_duckdb_finds_the_same_rows(attributes: pa.Table, days: bool) -> None:
    """The text with its parameters, as they are written, means what `passing` tells."""
    if days:
        at = attributes.column_names.index("update_date")
        numbers = attributes["update_date"].cast(pa.int32())
        attributes = attributes.set_column(at, "update_date", numbers)
    items = attributes.append_column("row", pa.array(range(ROWS)))
    base = duckdb.connect()
    base.register("items", items)
    for one in paper_sets(attributes, 30)[1:]:
        assert one.passing is not None and one.where is not None
        block = one.passing.block(slice(0, 30), slice(0, ROWS))
        for query, params in enumerate(one.params):
            text = one.where
            for name in params:
                text = text.replace(f":{name}", f"${name}")
            told = json.loads(json.dumps(params, default=date.isoformat))
            rows = base.execute(f"SELECT row FROM items WHERE {text} ORDER BY row", told).fetchall()
            assert [row for (row,) in rows] == np.flatnonzero(block[query]).tolist()


def test_nulls_and_empty_lists_pass_nothing_and_are_not_drawn() -> None:
    lists = pa.chunked_array(
        [pa.array([["a"], None, [], ["a", "b"]]), pa.array([["c", "a"], ["b"]])]
    )
    table = pa.table(
        {
            "number_of_sub_categories": pa.array([1, None, 3, None, 1, 2], pa.int64()),
            "update_date": pa.array([5, None, 7, 9, None, 6], pa.int32()).cast(pa.date32()),
            "main_categories": lists,
        }
    )
    none, em, r, emis = paper_sets(table, 50)
    assert {x["label"] for x in em.params} == {1, 2, 3}
    assert {x["label"] for x in emis.params} == {"a", "b", "c"}
    assert all(isinstance(x["range_start"], date) for x in r.params)
    assert none.passing is None
    whole = slice(0, 2), slice(0, 6)
    equal = Equal(table["number_of_sub_categories"], [1, 4]).block(*whole)
    assert equal.tolist() == [[True, False, False, False, True, False], [False] * 6]
    between = Between(table["update_date"], [-9, 6], [9, 7]).block(*whole)
    assert between.tolist() == [
        [True, False, True, True, False, True],
        [False, False, True, False, False, True],
    ]
    contains = Contains(lists, ["a", "z"]).block(*whole)
    assert contains.tolist() == [[True, False, False, True, True, False], [False] * 6]
    assert Contains(lists, ["b", "b"]).block(slice(1, 2), slice(3, 6)).tolist() == [
        [True, False, True]
    ]


def test_sets_without_their_column_are_left_out_and_named(attributes: pa.Table) -> None:
    fewer = attributes.drop_columns(["update_date"])
    at = fewer.column_names.index("main_categories")
    empty = pa.nulls(ROWS, pa.list_(pa.string()))
    fewer = fewer.set_column(at, "main_categories", empty)
    assert [one.name for one in paper_sets(fewer, 5)] == ["none", "em"]
    assert missing_sets(fewer) == {
        "r": "there is no column update_date",
        "emis": "main_categories has no value in any row",
    }
    assert missing_sets(attributes) == {}
    with pytest.raises(InputError, match="integers or dates, got string"):
        Between(attributes["primary_category"], [1], [2])


def test_the_tables_of_queries_and_truth(attributes: pa.Table) -> None:
    items = arxiv_like.items(ROWS, 8)
    queries = arxiv_like.queries(20, 8)
    asked = queries.select(["text", "primary_category"])
    found, truth = arxiv_answers.answer(
        vectors(items), attributes, items["id"], asked, vectors(queries), k=10
    )
    assert found["set"].to_pylist() == [n for n in ("none", "em", "r", "emis") for _ in range(20)]
    assert found["text"].to_pylist() == asked["text"].to_pylist() * 4
    assert "primary_category" in found.column_names
    np.testing.assert_array_equal(vectors(found), np.tile(vectors(queries), (4, 1)))
    sets = paper_sets(attributes, 20)
    first = 0
    for number, one in enumerate(sets):
        part = found.slice(20 * number, 20)
        mask = np.ones((20, ROWS), bool)
        if one.passing is not None:
            mask = one.passing.block(slice(0, 20), slice(0, ROWS))
        assert part["matches"].to_pylist() == mask.sum(axis=1).tolist()
        ids = np.array(items["id"].to_pylist())
        wanted = exact.nearest(vectors(items), vectors(queries), 10, mask=list(mask), ids=ids)
        own = truth.slice(first, len(wanted.rows))
        assert own["id"].to_pylist() == wanted.ids.tolist()
        assert own["distance"].to_pylist() == wanted.distances.tolist()
        assert set(own["query"].to_pylist()) == set(range(20 * number, 20 * number + 20))
        first += len(wanted.rows)
    assert first == truth.num_rows
    ranges = [json.loads(x) for x in found["params"].to_pylist()[40:60]]
    assert all(date.fromisoformat(x["range_start"]) for x in ranges)
    with pytest.raises(InputError, match="19 queries with 20 vectors"):
        arxiv_answers.answer(
            vectors(items), attributes, items["id"], asked.slice(1), vectors(queries)
        )
