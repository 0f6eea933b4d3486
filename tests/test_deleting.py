"""Deleted rows are in no answer, whatever is asked and however; ids may come again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanns
from fanns.errors import FilterError, InputError, StorageError, UnknownIdError
from tests.living_helpers import FILTERS, Model, Row, assert_same, key_of, random_row, table_of


def made(n: int, strings: bool = False, seed: int = 0) -> tuple[list[Row], fanns.Index, Model]:
    rng = np.random.default_rng(seed)
    rows = [random_row(rng, key_of(i, strings)) for i in range(n)]
    index = fanns.Index.build(
        table_of(rows, strings), metric="l2", store=["note"], calibration="default"
    )
    return rows, index, Model(rows)


QUERY = np.full(6, 0.5, np.float32)


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("place", [0, 5, 7])
def test_deletes_by_filter_and_ids(strings: bool, place: int) -> None:
    rows, index, model = made(120, strings)
    where, params, passes = FILTERS[place]
    assert index.delete(where=where, params=params) == model.delete(passes) > 0
    assert_same(index, model, QUERY)
    gone = {row["id"] for row in rows[3:30:4]}
    known = model.delete(lambda row: row["id"] in gone)
    unknown = key_of(5_000, strings)
    assert index.delete(ids=[*gone, unknown]) == known
    assert index.delete(ids=[*gone, unknown]) == 0
    assert_same(index, model, QUERY)
    with pytest.raises(UnknownIdError, match="no row with id"):
        index.get([rows[3]["id"]])


def test_deletes_by_every_kind_of_filter() -> None:
    rows, index, model = made(60)
    assert index.delete(ids=rows[0]["id"]) == 1
    model.delete(lambda row: row["id"] == 0)
    assert index.delete(where=fanns.ids([1, 2])) == 2
    model.delete(lambda row: row["id"] in (1, 2))
    mask = np.arange(57) < 4  # of the live rows: those with the ids 3 to 6
    assert index.delete(where=mask) == 4
    model.delete(lambda row: row["id"] in range(3, 7))
    assert index.delete(where={"year": {"$eq": 3}}) == model.delete(lambda row: row["year"] == 3)
    ready = index.prepare(fanns.col("year") == fanns.param("y"))
    assert index.delete(where=ready, params={"y": 1}) == model.delete(lambda row: row["year"] == 1)
    python = index.delete(where="year != 2", nulls="python")
    assert python == model.delete(lambda row: row["year"] != 2)
    assert_same(index, model, QUERY)


def test_deletes_everything_and_begins_again(tmp_path: Path) -> None:
    rows, index, _ = made(50)
    index.save(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as written:
        for some in (index, written):
            assert some.delete(where="TRUE") == 50
            assert (len(some), list(some.ids())) == (0, [])
            assert_same(some, Model([]), QUERY)
            some.add(table_of(rows[10:20]))
            assert_same(some, Model(rows[10:20]), QUERY)


def test_ids_of_deleted_rows_come_again(tmp_path: Path) -> None:
    rows, index, model = made(80, strings=True)
    rng = np.random.default_rng(1)
    index.save(tmp_path / "x")
    again = [random_row(rng, row["id"]) for row in rows[5:9]]
    with fanns.open(tmp_path / "x", mode="w") as written:
        for some in (index, written):
            with pytest.raises(InputError, match="is in the index already"):
                some.add(table_of(again, strings=True))
            assert some.delete(ids=[row["id"] for row in again]) == 4
            some.add(table_of(again, strings=True))
    model.add(again)
    assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def test_generated_ids_are_not_given_twice() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20, 4)).astype(np.float32)
    index = fanns.Index.build({"embedding": vectors}, calibration="default")
    assert index.delete(ids=[3, 18, 19]) == 3
    index.add({"embedding": vectors[:2]})
    assert index.ids()[-3:].tolist() == [17, 20, 21]


def test_earlier_answers_and_filters_stay_right() -> None:
    rows, index, _ = made(40)
    hits = index.search(QUERY, 5, "year = 3")
    mask = index.prepare(np.arange(40) < 20)
    ready = index.prepare("year = 3")
    assert ready.count() == hits.matches
    pages = index.pages(QUERY, 4)
    first = list(next(pages).ids)
    index.delete(where="year = 3")
    assert hits.to_arrow(columns=["year"])["year"].to_pylist() == [3] * len(hits)
    assert index.count(ready) == 0
    rest = [key for page in pages for key in page.ids]
    assert sorted(first + rest) == sorted(row["id"] for row in rows)
    with pytest.raises(InputError, match="mask has 40 entries"):
        index.count(mask)


def test_misuse_is_named(tmp_path: Path) -> None:
    _, index, _ = made(20)
    with pytest.raises(InputError, match="takes ids= or where=, got neither"):
        index.delete()
    with pytest.raises(InputError, match="takes ids= or where=, got both"):
        index.delete(ids=[1], where="year = 3")
    with pytest.raises(FilterError, match="yaer"):
        index.delete(where="yaer = 3")
    with pytest.raises(FilterError, match="the filter has strings"):
        index.delete(ids=["1"])
    with pytest.raises(InputError, match="params= belongs to where="):
        index.delete(ids=[1], params={"y": 3})
    wrong: Any = {"a": 1}
    with pytest.raises(InputError, match="ids are an array"):
        index.delete(ids=wrong)
    assert index.delete(ids=[]) == 0
    index.save(tmp_path / "x")
    with fanns.open(tmp_path / "x") as read, pytest.raises(StorageError, match='mode="w"'):
        read.delete(ids=[1])
    assert len(index) == 20


def test_on_disk_and_by_readers(tmp_path: Path) -> None:
    rows, index, model = made(300)
    before = Model(rows)
    path = tmp_path / "x"
    index.save(path)
    reader = fanns.open(path)
    with fanns.open(path, mode="w") as written:
        for where, params, passes in FILTERS[:3]:
            assert written.delete(where=where, params=params) == model.delete(passes)
        assert_same(written, model, QUERY)
        assert_same(reader, before, QUERY)
        assert reader.refresh() and not reader.refresh()
        assert_same(reader, model, QUERY)
        assert reader.info()["segments"][0]["deleted"] == 300 - len(model.rows)
        assert written.refresh() is False
        assert len(list(path.glob("segment-*/live-*"))) == 1  # the older ones are gone
        written.save(tmp_path / "copy")
    reader.close()
    for place in (path, tmp_path / "copy"):
        with fanns.open(place, check=True) as read:
            assert_same(read, model, QUERY)
            assert read.info()["columns"]["year"]["nulls"] == sum(
                row["year"] is None for row in model.rows.values()
            )


def test_larger_segments_with_a_graph() -> None:
    rng = np.random.default_rng(0)
    n = 6_000
    vectors = rng.standard_normal((n, 24)).astype(np.float32)
    year = rng.integers(0, 10, n)
    index = fanns.Index.build(
        {"id": np.arange(n), "embedding": vectors, "year": year}, metric="l2", seed=1
    )
    queries = rng.standard_normal((20, 24)).astype(np.float32)
    assert index.delete(where="year IN (2, 3)") == int(np.isin(year, (2, 3)).sum())
    for where, mask in (
        (None, ~np.isin(year, (2, 3))),
        ("year < 5", (year < 5) & ~np.isin(year, (2, 3))),
        ("year = 2", np.zeros(n, bool)),
    ):
        live = np.flatnonzero(mask)
        distances = ((queries[:, None, :] - vectors[live][None]) ** 2).sum(2)
        for plan in (None, "scan", "clusters", "graph"):
            found = index.search(queries, 10, where, plan=plan)
            for hits in found:
                assert hits.matches == len(live) and len(hits) == min(10, len(live))
                assert np.isin(hits.ids, live).all()
        exact = index.search(queries, 10, where, exact=True)
        for hits, line in zip(exact, distances, strict=True):
            assert set(hits.ids) == set(live[np.argsort(line)[:10]])
    assert index.check(queries, "year < 5").recall > 0.9


def test_short_ways_see_no_deleted_rows() -> None:
    """Look-ups that give slices of posting lists, single and many at a time, prepared or not."""
    rows, index, model = made(400, seed=3)
    asked = [("year = :y", "y", 2), ("list_contains(tags, :t)", "t", "a")]
    queries = np.stack([QUERY + i for i in range(6)]).astype(np.float32)
    index.search(QUERY, 3, "year = :y", {"y": 2})  # the filter is known from before
    gone = {row["id"] for row in rows[::3]}
    index.delete(ids=sorted(gone))
    model.delete(lambda row: row["id"] in gone)
    for where, name, value in asked:
        ready = index.prepare(where)
        params = {name: value}
        truth = index.rows(where, params)["id"].to_pylist()
        assert truth and not gone & set(truth)
        singles = [index.search(query, 500, where, params) for query in queries]
        each = index.search(queries, 500, where, {name: fanns.each([value] * 6)})
        prepared = index.search(queries, 500, [ready.bind(**params)] * 6)
        listed = index.search(queries, 500, [fanns.ids(range(400))] * 6)
        for hits in (*singles, *each, *prepared):
            assert sorted(hits.ids) == truth and hits.matches == len(truth)
        assert {hits.matches for hits in listed} == {400 - len(gone)}
    by_ids = index.search(QUERY, 500, fanns.ids(range(400)))
    assert sorted(by_ids.ids) == sorted(model.rows) and by_ids.matches == len(model.rows)
