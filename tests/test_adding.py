"""Rows that come in small batches: upserts replace, segments at the end grow together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanns
from fanns import adding, writing
from fanns.errors import InputError, StorageError
from tests.living_helpers import Model, assert_same, key_of, random_row, table_of

QUERY = np.full(6, 0.5, np.float32)


@pytest.mark.parametrize("strings", [False, True])
def test_upserts_replace_and_add(strings: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(rng, key_of(i, strings)) for i in range(60)]
    index = fanns.Index.build(table_of(rows, strings), metric="l2", calibration="default")
    model = Model(rows)
    index.save(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as written:
        for numbers in (range(50, 70), [3, 4, 100], range(60), [3]):
            batch = [random_row(rng, key_of(i, strings)) for i in numbers]
            known = sum(row["id"] in model.rows for row in batch)
            for some in (index, written):
                assert some.upsert(table_of(batch, strings)) == known
            model.add(batch)
            assert_same(index, model, QUERY)
            assert_same(written, model, QUERY)
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def test_a_batch_is_refused_as_a_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(10)]
    index = fanns.Index.build(table_of(rows), metric="l2", calibration="default")
    index.save(tmp_path / "x")
    twice = [random_row(rng, i) for i in (20, 21, 20)]
    with fanns.open(tmp_path / "x", mode="w") as written:
        for some in (index, written):
            for call in (some.add, some.upsert):
                with pytest.raises(InputError, match="duplicate id 20 in rows 0 and 2"):
                    call(table_of(twice))
                call(table_of([]))
            with pytest.raises(InputError, match=r"id 9 is in the index already \(1 such"):
                some.add(table_of([random_row(rng, 9), random_row(rng, 30)]))
            assert_same(some, Model(rows), QUERY)
    with fanns.open(tmp_path / "x") as read, pytest.raises(StorageError, match="for reading"):
        read.upsert(table_of(rows))
    generated = fanns.Index.build({"embedding": np.eye(4, dtype=np.float32)})
    with pytest.raises(InputError, match="ids are generated"):
        generated.upsert({"embedding": np.eye(4, dtype=np.float32)})


def test_single_rows_grow_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(100)]
    fanns.Index.build(table_of(rows[:40]), metric="l2", calibration="default", path=tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as index:
        for row in rows[40:]:
            index.add(table_of([row]))
        assert_same(index, Model(rows), QUERY)
        segments: Any = index.info()["segments"]
        sizes = [part["rows"] for part in segments]
        assert sizes == sorted(sizes, reverse=True) and len(sizes) <= 7
        assert len(list((tmp_path / "x").glob("segment-*"))) == len(sizes)


def test_sizes_fall_by_a_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "FEW", 4)
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(300)]
    fanns.Index.build(table_of(rows[:3]), metric="l2", calibration="default", path=tmp_path / "x")
    most = 0
    with fanns.open(tmp_path / "x", mode="w", merge="manual") as index:
        for row in rows[3:]:
            index.add(table_of([row]))
            most = max(most, len(index._snapshot.segments))
        assert_same(index, Model(rows), QUERY)
    assert 3 <= most <= 1 + math.log(300 / 4, 4) + 1
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, Model(rows), QUERY)


def test_what_was_measured_is_not_built_anew() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3_300, 128)).astype(np.float32)

    def part(start: int, stop: int) -> dict[str, Any]:
        return {"id": np.arange(start, stop), "embedding": vectors[start:stop]}

    index = fanns.Index.build(part(0, 1_500), queries=vectors[-16:])
    (base,) = index._snapshot.segments
    index.add(part(1_500, 2_500))
    index.add(part(2_500, 3_000))
    kept, plain = index._snapshot.segments
    assert kept is base and base.has_bits and (kept.n, plain.n) == (1_500, 1_500)
    assert not plain.has_bits and len(plain.clusters.offsets) == 2
    index.tune(vectors[-32:])
    tuned = index._snapshot.segments[1]
    index.add(part(3_000, 3_300))
    assert tuned.calibration.source == "tuned" and tuned in index._snapshot.segments
    for where in (None, np.arange(3_300) % 3 == 0):
        assert index.check(vectors[::40], where).recall >= 0.93
    index.compact(full=True)
    (merged,) = index._snapshot.segments
    assert merged.has_bits and len(merged.clusters.offsets) > 2


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_new_rows_are_what_their_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(writing, "HELD_BYTES", held)
    rng = np.random.default_rng(0)
    rows = [random_row(rng, i) for i in range(240)]
    fanns.Index.build(table_of(rows[:150]), metric="l2", store=["note"], path=tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w", merge="manual") as index:
        index.add(table_of(rows[150:180]))
        index.add(table_of(rows[180:]))
        files = writing.files_of(index._snapshot.segments[-1])
        assert bool(files._open) is bool(held)
        parts = {name: np.array(files.array(name)) for name in files.names()}
        stored = files.table("stored")
        index.delete(ids=[7, 200])
        index.update(set={"year": 4}, ids=[201, 202])
        with fanns.open(tmp_path / "x", check=True) as read:
            found = writing.files_of(read._snapshot.segments[-1])
            same = [name for name in parts if not name.startswith(("attributes/year", "live"))]
            assert len(same) > 12
            for name in same:
                assert np.array_equal(found.array(name), parts[name])
                assert found.array(name).dtype == parts[name].dtype
            assert found.table("stored").equals(stored)
            model = Model(rows)
            model.delete_keys([7, 200])
            for key in (201, 202):
                model.rows[key] = {**model.rows[key], "year": 4}
            for some in (index, read):
                assert_same(some, model, QUERY)
        assert index.compact(erase=True).removed == 2
        assert_same(index, model, QUERY)
        assert index.verify() == []


def test_float16_stand_ins_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 12)).astype(np.float32) * 5
    table: dict[str, Any] = {"id": np.arange(300), "embedding": vectors}
    index = fanns.Index.build(
        {name: part[:100] for name, part in table.items()},
        keep_originals=False,
        calibration="default",
    )
    whole = fanns.Index.build(table, keep_originals=False, calibration="default")
    for start in range(100, 300, 40):
        index.add({name: part[start : start + 40] for name, part in table.items()})
    for query in vectors[:5]:
        ours, theirs = (some.search(query, 10, exact=True) for some in (index, whole))
        assert np.array_equal(ours.ids, theirs.ids)
        assert np.array_equal(ours.distances, theirs.distances)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "upsert", "delete", "where"]),
        st.lists(st.integers(0, 25), min_size=1, max_size=8, unique=True),
        st.integers(0, 4),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(operations=OPERATIONS, strings=st.booleans(), seed=st.integers(0, 9))
def test_any_sequence_equals_a_dict(
    operations: list[tuple[str, list[int], int]], strings: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = [random_row(rng, key_of(i, strings)) for i in range(8)]
    index = fanns.Index.build(table_of(rows, strings), metric="l2", calibration="default")
    model = Model(rows)
    for name, numbers, year in operations:
        keys = [key_of(i, strings) for i in numbers]
        batch = [random_row(rng, key) for key in keys]
        known = [key for key in keys if key in model.rows]
        if name == "add" and known:
            with pytest.raises(InputError, match="is in the index already"):
                index.add(table_of(batch, strings))
        elif name == "add":
            index.add(table_of(batch, strings))
            model.add(batch)
        elif name == "upsert":
            assert index.upsert(table_of(batch, strings)) == len(known)
            model.add(batch)
        elif name == "delete":
            assert index.delete(ids=keys) == model.delete_keys(keys)
        else:
            count = index.delete(where="year = :y", params={"y": year})
            known = [key for key, row in model.rows.items() if row["year"] == year]
            assert count == model.delete_keys(known)
    assert_same(index, model, QUERY)
