"""New values, new columns, dropped columns, and indexes made later."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns.errors import FilterError, InputError, StorageError, UnknownColumnError, UnknownIdError
from tests.living_helpers import FILTERS, Model, Row, assert_same, key_of, random_row, table_of

pytestmark = pytest.mark.usefixtures("apart")

QUERY = np.full(6, 0.5, np.float32)
DAY = datetime.date(2020, 1, 2)


def made(n: int, strings: bool = False) -> tuple[list[Row], fanns.Index, Model]:
    """Rows in two segments, some of them deleted."""
    rng = np.random.default_rng(0)
    rows = [random_row(rng, key_of(i, strings)) for i in range(n)]
    half = n * 2 // 3
    index = fanns.Index.build(
        table_of(rows[:half], strings), metric="l2", store=["note"], calibration="default"
    )
    index.add(table_of(rows[half:], strings))
    model = Model(rows)
    gone = [row["id"] for row in rows[::7]]
    assert index.delete(ids=gone) == model.delete_keys(gone)
    assert len(index.info()["segments"]) == 2
    return rows, index, model


@pytest.mark.parametrize("strings", [False, True])
def test_updates_by_filter_and_ids(strings: bool, tmp_path: Path) -> None:
    rows, index, model = made(90, strings)
    index.save(tmp_path / "x")
    keys = [row["id"] for row in rows[1:60:9]]
    sets: list[dict[str, Any]] = [
        {"year": 4, "day": datetime.date(2020, 1, 3)},
        {"year": None},
        {"tags": ["a", "new"], "note": "x of another kind"},
        {"tags": [], "note": None, "day": DAY},
    ]
    reader = fanns.open(tmp_path / "x")
    before = Model(model.rows.values())
    with fanns.open(tmp_path / "x", mode="w") as written:
        for new, place in zip(sets, (0, 6, 5, 10), strict=True):
            where, params, passes = FILTERS[place]
            given = {**new, "day": str(new["day"])} if "day" in new else new  # ISO texts are dates
            for some in (index, written):
                some.update(set=given, where=where, params=params)
            assert model.update(passes, new) > 0
            assert_same(index, model, QUERY)
            for some in (index, written):
                found = some.update(set=new, ids=[*keys, key_of(5_000, strings)])
                assert found == sum(key in model.rows for key in keys)
            model.update(lambda row: row["id"] in keys, new)
            assert_same(index, model, QUERY)
            assert_same(written, model, QUERY)
    assert_same(reader, before, QUERY)
    assert reader.refresh()
    assert_same(reader, model, QUERY)
    reader.close()
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def columns_of(values: list[Any]) -> list[Any]:
    return [values, np.array(values), pa.array(values), pa.chunked_array([values[:2], values[2:]]),
            pd.Series(values), pl.Series(values), tuple(values)]  # fmt: skip


@pytest.mark.parametrize("kind", range(7))
def test_a_value_for_each_row(kind: int) -> None:
    _, index, model = made(60)
    keys = list(model.rows)
    chosen = [keys[40], keys[3], keys[20], keys[45]]
    values = columns_of([9, 8, 7, 6])[kind]
    assert index.update(set={"year": values, "note": ["p", "q", "r", None]}, ids=chosen) == 4
    for key, year, note in zip(chosen, (9, 8, 7, 6), ("p", "q", "r", None), strict=True):
        model.rows[key] |= {"year": year, "note": note}
    rising = list(range(100, 100 + len(keys)))
    assert index.update(set={"year": rising, "tags": [[str(i)] for i in rising]}, where="TRUE")
    for key, year in zip(keys, rising, strict=True):
        model.rows[key] |= {"year": year, "tags": [str(year)]}
    assert_same(index, model, QUERY)


def test_columns_come_and_go(tmp_path: Path) -> None:
    _, index, model = made(60)
    index.save(tmp_path / "x")
    reader = fanns.open(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as written:
        for some in (index, written):
            n = len(some)
            some.add_column("price", np.arange(n) / 4)
            some.add_column("flag", True)
            some.add_column("text", ["long " * 20 + str(i) for i in range(n)])
            some.add_column("words", pa.array([None, ["u"]] * (n // 2) + [[]] * (n % 2)))
            assert some.info()["columns"]["text"]["indexed"] is False
            assert some.count("price < 2.5 AND flag") == 10
            assert some.count("list_contains(words, 'u')") == n // 2
            assert some.get(some.ids()[5], columns=["price", "text"]).to_pylist()[0] == {
                "id": some.ids()[5], "price": 1.25, "text": "long " * 20 + "5"
            }  # fmt: skip
            with pytest.raises(InputError, match="price"):
                some.add(table_of([random_row(np.random.default_rng(0), 1_000)]))
            some.index_column("text")
            some.index_column("note")
            assert some.info()["columns"]["note"]["indexed"] is True
            assert_same(some, model, QUERY)
            ready = some.prepare("price < 1")
            some.drop_column("price")
            with pytest.raises(FilterError, match="prepare it again"):
                some.count(ready)
            with pytest.raises(UnknownColumnError, match="price"):
                some.count("price < 1")
            for name in ("flag", "text", "words"):
                some.drop_column(name)
            assert list(some.schema) == ["year", "tags", "day", "note"]
            some.add(table_of([random_row(np.random.default_rng(0), 1_000)]))
            some.delete(ids=1_000)
            assert_same(some, model, QUERY)
    assert_same(reader, model, QUERY)
    assert reader.refresh()
    assert_same(reader, model, QUERY)
    reader.close()
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)
        assert read.info()["columns"]["note"]["indexed"] is True


def test_the_last_stored_column_may_go(tmp_path: Path) -> None:
    _, index, model = made(60)
    index.save(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as written:
        written.drop_column("note")
        written.save(tmp_path / "y")
    for name in ("x", "y"):
        with fanns.open(tmp_path / name, mode="w", check=True) as again:
            assert again.count("year = 3") == index.count("year = 3")
            again.add_column("note", "x", index=False)
            assert again.count("note LIKE 'x%'") == len(model.rows)
            assert again.get(again.ids()[:1])["note"].to_pylist() == ["x"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"year": "nine"}, "column 'year' is int64: cannot hold values of type string"),
    ({"year": 2.5}, "cannot hold values of type float64"),
    ({"year": True}, "cannot hold values of type bool"),
    ({"year": 2**70}, "column 'year' is int64"),
    ({"day": "soon"}, "column 'day' is date"),
    ({"tags": "a"}, "cannot hold values of type string"),
    ({"tags": [1]}, "cannot hold values of type list<int64>"),
    ({"year": [1, 2]}, "2 values for 51 rows"),
    ({"id": 3}, "is the id and cannot be updated; upsert replaces whole rows"),
    ({"embedding": [1.0]}, "is the vector and cannot be updated"),
    ({}, "set is a dict of columns"),
    ({"year": object()}, "column 'year' is int64"),
    ({"day": 5, "year": 4}, "column 'day' is date"),
]


@pytest.mark.parametrize(("new", "message"), WRONG)
def test_wrong_values_change_nothing(new: dict[str, Any], message: str) -> None:
    _, index, model = made(60)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        index.update(set=new, where="TRUE")
    assert_same(index, model, QUERY)


def test_misuse_is_named(tmp_path: Path) -> None:
    _, index, _ = made(60)
    with pytest.raises(UnknownColumnError, match="no column 'yaer'; the index has year"):
        index.update(set={"yaer": 1}, where="TRUE")
    with pytest.raises(InputError, match="takes ids= or where=, got neither"):
        index.update(set={"year": 1})
    with pytest.raises(InputError, match="takes ids= or where=, got both"):
        index.update(set={"year": 1}, ids=[1], where="TRUE")
    with pytest.raises(UnknownIdError, match="2 of 3 ids are not in the index"):
        index.update(set={"year": [1, 2, 3]}, ids=[1, 1, 999])
    assert index.update(set={"year": 1}, ids=[999]) == 0
    assert index.update(set={"year": 1}, where="year = 99") == 0
    for name in ("year", "id", "embedding"):
        with pytest.raises(InputError, match="is in the index already"):
            index.add_column(name, 1)
    with pytest.raises(InputError, match="3 values for 51 rows"):
        index.add_column("new", [1, 2, 3])
    with pytest.raises(InputError, match="only nulls tell no type"):
        index.add_column("new", None)
    with pytest.raises(InputError, match="'new': columns of type struct"):
        index.add_column("new", [{"a": 1}])
    with pytest.raises(InputError, match="is the id and cannot be dropped"):
        index.drop_column("id")
    with pytest.raises(InputError, match="is indexed already"):
        index.index_column("year")
    with pytest.raises(UnknownColumnError, match="no column 'x'"):
        index.index_column("x")
    index.save(tmp_path / "x")
    with fanns.open(tmp_path / "x") as read:
        for call in (
            lambda: read.update(set={"year": 1}, where="TRUE"),
            lambda: read.add_column("new", 1),
            lambda: read.drop_column("year"),
            lambda: read.index_column("note"),
        ):
            with pytest.raises(StorageError, match="for reading"):
                call()


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "delete", "update", "update ids", "reopen"]),
        st.lists(st.integers(0, 25), min_size=1, max_size=6, unique=True),
        st.integers(0, len(FILTERS) - 1),
        st.integers(0, 4),
    ),
    max_size=10,
)
VALUES: list[dict[str, Any]] = [
    {"year": 3},
    {"year": None, "note": "x3"},
    {"tags": ["b"]},
    {"tags": None},
    {"day": DAY},
]


@settings(max_examples=20)
@given(changes=CHANGES, strings=st.booleans())
def test_any_sequence_equals_a_dict(
    changes: list[tuple[str, list[int], int, int]],
    strings: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("sequence") / "x"
    rows = [random_row(rng, key_of(i, strings)) for i in range(12)]
    table = table_of(rows, strings)
    fanns.Index.build(table, metric="l2", store=["note"], calibration="default", path=path)
    index, model = fanns.open(path, mode="w"), Model(rows)
    for name, numbers, chosen, value in changes:
        new = VALUES[value]
        keys = [key_of(i, strings) for i in numbers]
        where, params, passes = FILTERS[chosen]
        if name == "upsert":
            batch = [random_row(rng, key) for key in keys]
            index.upsert(table_of(batch, strings))
            model.add(batch)
        elif name == "delete":
            assert index.delete(where=where, params=params) == model.delete(passes)
        elif name == "update":
            count = index.update(set=new, where=where, params=params)
            assert count == model.update(passes, new)
        elif name == "update ids":
            known = [key for key in keys if key in model.rows]
            assert index.update(set=new, ids=keys) == len(known)
            for key in known:
                model.rows[key] = {**model.rows[key], **new}
        else:
            index.close()
            index = fanns.open(path, mode="w", check=True)
    assert_same(index, model, QUERY)
    index.close()
