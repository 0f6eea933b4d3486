"""A plain dict that does what an index is asked to do, and comparisons of the two."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

import fanns

DIMENSIONS = 6
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("embedding", pa.list_(pa.float32(), DIMENSIONS)),
        ("year", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("day", pa.date32()),
        ("note", pa.string()),
    ]
)
COLUMNS = ("year", "tags", "day", "note")
Row = dict[str, Any]
Passes = Callable[[Row], bool]

FILTERS: list[tuple[str, dict[str, Any], Passes]] = [
    ("year = 3", {}, lambda row: row["year"] == 3),
    ("year = :y", {"y": 2}, lambda row: row["year"] == 2),
    ("year < 3", {}, lambda row: row["year"] is not None and row["year"] < 3),
    ("NOT year < 3", {}, lambda row: row["year"] is not None and row["year"] >= 3),
    ("year IS NULL", {}, lambda row: row["year"] is None),
    ("list_contains(tags, 'a')", {}, lambda row: "a" in (row["tags"] or [])),
    (
        "list_contains(tags, :t) AND year >= :y",
        {"t": "b", "y": 1},
        lambda row: "b" in (row["tags"] or []) and row["year"] is not None and row["year"] >= 1,
    ),
    ("len(tags) = 0", {}, lambda row: row["tags"] == []),
    ("day >= '2020-01-02'", {}, lambda row: row["day"] is not None and row["day"].day >= 2),
    ("note LIKE 'x%'", {}, lambda row: (row["note"] or "").startswith("x")),
    ("TRUE", {}, lambda row: True),
]


def key_of(number: int, strings: bool) -> Any:
    """The id of a row, of either kind; strings sort by other than their numbers."""
    return f"k{number * 7919 % 1000}-{number}" if strings else number


def random_row(rng: np.random.Generator, key: Any) -> Row:
    """A row with values that repeat, and nulls."""
    tags = [None, [], ["a"], ["b"], ["a", "b"], ["b", "b", "c"]]
    day = datetime.date(2020, 1, 1 + int(rng.integers(3)))
    return {
        "id": key,
        "embedding": rng.integers(-3, 4, DIMENSIONS).astype(np.float32) + np.float32(0.25),
        "year": None if rng.random() < 0.2 else int(rng.integers(5)),
        "tags": tags[int(rng.integers(len(tags)))],
        "day": None if rng.random() < 0.2 else day,
        "note": [None, "x1", "x2", "y" * 3][int(rng.integers(4))],
    }


def table_of(rows: Iterable[Row], strings: bool = False) -> pa.Table:
    """Rows as the table that an index takes."""
    rows = list(rows)
    schema = SCHEMA.set(0, pa.field("id", pa.string())) if strings else SCHEMA
    return pa.table({name: [row[name] for row in rows] for name in schema.names}, schema=schema)


class Model:
    """Rows by id, in the order given."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: dict[Any, Row] = {row["id"]: row for row in rows}

    def add(self, rows: Iterable[Row]) -> None:
        """New rows; those that replace others go to the end."""
        for row in rows:
            self.rows.pop(row["id"], None)
            self.rows[row["id"]] = row

    def delete(self, passes: Passes) -> int:
        """Take out rows."""
        gone = [key for key, row in self.rows.items() if passes(row)]
        for key in gone:
            del self.rows[key]
        return len(gone)

    def delete_keys(self, keys: Iterable[Any]) -> int:
        """Take out the rows with these ids."""
        gone = set(keys)
        return self.delete(lambda row: row["id"] in gone)

    def update(self, passes: Passes, values: Row) -> int:
        """Give passing rows new values."""
        changed = [row for row in self.rows.values() if passes(row)]
        for row in changed:
            self.rows[row["id"]] = {**row, **values}
        return len(changed)

    def nearest(self, query: np.ndarray, k: int, passes: Passes) -> list[Any]:
        """The ids of the k nearest passing rows by L2, ties by id."""

        def order(row: Row) -> Any:
            key = row["id"].encode() if isinstance(row["id"], str) else row["id"]
            return float(((row["embedding"].astype(float) - query) ** 2).sum()), key

        passing = sorted((row for row in self.rows.values() if passes(row)), key=order)
        return [row["id"] for row in passing[:k]]


def assert_same(index: fanns.Index, model: Model, query: np.ndarray) -> None:
    """Every way of asking the index agrees with the model."""
    rows = model.rows
    assert len(index) == len(rows) == index.count()
    assert list(index.ids()) == list(rows)
    got = index.get(list(rows), vector=True).to_pylist()
    for row, expected in zip(got, rows.values(), strict=True):
        assert np.array_equal(row.pop("embedding"), expected["embedding"])
        assert {name: row[name] for name in expected if name in row} == {
            name: value for name, value in expected.items() if name != "embedding"
        }
    for where, params, passes in FILTERS:
        matching = [row for row in rows.values() if passes(row)]
        assert index.count(where, params) == len(matching), where
        found = index.rows(where, params, columns=["year"])
        assert found["id"].to_pylist() == [row["id"] for row in matching], where
        expected_ids = model.nearest(query, 5, passes)
        for exact in (True, False):
            hits = index.search(query, 5, where, params, exact=exact, recall=0.99)
            assert (len(hits), hits.matches) == (len(expected_ids), len(matching)), where
            assert all(passes(rows[key]) for key in hits.ids), where
        hits = index.search(query, 5, where, params, exact=True)
        assert (list(hits.ids), hits.status) == (expected_ids, "exact"), where
    _assert_grouped(index, model, query)


def _assert_grouped(index: fanns.Index, model: Model, query: np.ndarray) -> None:
    """Facets, groups, pages, masks, ids and batches."""
    rows = model.rows
    counts = Counter(row["year"] for row in rows.values())
    told = index.facets("year").to_pylist()
    assert {part["value"]: part["count"] for part in told} == counts
    tags = Counter(tag for row in rows.values() for tag in set(row["tags"] or []))
    told = [part for part in index.facets("tags").to_pylist() if part["value"] is not None]
    assert {part["value"]: part["count"] for part in told} == tags
    groups = index.search(query, 10, group_by="year", exact=True)
    assert len(groups) == min(10, len(counts))
    pages = [key for page in index.pages(query, 3) for key in page.ids]
    assert sorted(pages) == sorted(rows)
    mask = np.arange(len(rows)) % 2 == 0
    assert list(index.rows(mask)["id"].to_pylist()) == list(rows)[::2]
    some = list(rows)[:3]
    assert list(index.rows(fanns.ids(some))["id"].to_pylist()) == some
    batch = index.search(
        np.stack([query] * 3), 4, "year = :y", {"y": fanns.each([0, 1, 2])}, recall=0.99
    )
    for year, hits in enumerate(batch):
        assert hits.matches == counts.get(year, 0)
        assert all(rows[key]["year"] == year for key in hits.ids)
