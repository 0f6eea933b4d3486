"""Merges beside the calls that change an index: nothing of either is lost, and they end when told.

Segments here are of tens of rows: `SMALLEST` is patched, so that they are ripe.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fanns
from fanns import adding, background, compaction, merging
from fanns.errors import InputError, StorageError
from fanns.segment import Segment
from fanns.storage import Directory
from tests.living_helpers import Model, assert_same, key_of, random_row, table_of
from tests.living_operations import QUERY, draw, follow, perform, start
from tests.storage_helpers import leftovers, run_child

ROWS = 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of twenty rows stay segments of their own, and four of them are ripe."""
    monkeypatch.setattr(merging, "SMALLEST", ROWS)
    monkeypatch.setattr(adding, "TAIL_ROWS", ROWS)


def settled(index: fanns.Index, seconds: float = 60) -> dict[str, Any]:
    """What is told of merges when none is under way any more."""
    end = time.monotonic() + seconds
    while index.info()["merging"]["running"]:
        assert time.monotonic() < end, "the merges do not end"
        time.sleep(0.005)
    told: dict[str, Any] = index.info()["merging"]
    return told


class Gate:
    """Holds each merge, when it has built what it merges, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        written = merging.written

        def waiting(*arguments: Any) -> Segment:
            made = written(*arguments)
            self.reached.set()
            assert self.open.wait(60)
            return made

        monkeypatch.setattr(background, "written", waiting)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open.set()


def batches(path: Path, count: int, strings: bool = False) -> tuple[fanns.Index, Model]:
    """An index of 60 rows and so many batches of twenty, open for writing."""
    rng = np.random.default_rng(0)
    rows = [random_row(rng, key_of(i, strings)) for i in range(60 + count * ROWS)]
    fanns.Index.build(
        table_of(rows[:60], strings), metric="l2", store=["note"], calibration="default", path=path
    ).close()
    index = fanns.open(path, mode="w")
    for begin in range(60, len(rows), ROWS):
        index.add(table_of(rows[begin : begin + ROWS], strings))
    return index, Model(rows)


def sizes(index: fanns.Index) -> list[int]:
    return [part["rows"] for part in index.info()["segments"]]


def test_sizes_that_are_ripe() -> None:
    class Part:
        native = False

        def __init__(self, rows: int, dead: int = 0) -> None:
            self.rows, self.n = rows, rows + dead

    def found(*parts: int | tuple[int, int]) -> list[int] | None:
        made = [Part(*part) if isinstance(part, tuple) else Part(part) for part in parts]
        return next(merging.ripe(made), None)  # type: ignore[arg-type]

    assert found() is found(5) is found(5, 5, 5, 5, 5) is None  # `add` takes these up
    assert found(1_000) is found(1_000, 20, 20, 20) is None
    assert found(1_000, 20, 20, 20, 20) == [1, 2, 3, 4]
    assert found(1_000, 20, 20, 20, 20, 3) == [1, 2, 3, 4]
    assert found(1_000, 3, 8, 9, 20) == [1, 2, 3, 4]
    assert found(1_000, 80, 80, 80, 20, 20) == [1, 2, 3, 4, 5]
    assert found(1_000, 80, 80, 20, 20) == [1, 2, 3, 4]
    assert found(100, 20, 20, 20, 19, 19) == [1, 2, 3, 4, 5]
    assert found(100, 40, 20, 2, 2) is found(100, 61, 20, 9, 9) is None
    assert found(1_000, 400, 80, 20) is None
    assert found(20, 20, 900, 20, 20) is None
    assert found((100, 40), 20) == [0]
    assert found((100, 30), 20) is None


@pytest.mark.parametrize("strings", [False, True])
def test_neighbours_grow_together(tmp_path: Path, strings: bool) -> None:
    index, model = batches(tmp_path / "x", 9, strings)
    told = settled(index)
    assert told["merges"] >= 1 and told["problem"] is None
    assert len(sizes(index)) <= 4 and sum(sizes(index)) == 240
    assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)
    index.close()
    names = {entry.name for entry in (tmp_path / "x").glob("segment-*")}
    with fanns.open(tmp_path / "x", mode="w", merge="manual", check=True) as index:
        assert_same(index, model, QUERY)
        assert {entry.name for entry in (tmp_path / "x").glob("segment-*")} == names


def test_what_is_left_is_merged_after_opening(tmp_path: Path) -> None:
    index, model = batches(tmp_path / "x", 0)
    index.close()
    rng = np.random.default_rng(1)
    with fanns.open(tmp_path / "x", mode="w", merge="manual") as index:
        for begin in range(100, 200, ROWS):
            rows = [random_row(rng, i) for i in range(begin, begin + ROWS)]
            index.add(table_of(rows))
            model.add(rows)
        assert sizes(index) == [60, 20, 20, 20, 20, 20]
        assert index.info()["merging"] is None
    with fanns.open(tmp_path / "x", mode="w") as index:
        assert settled(index)["merges"] == 1
        assert sizes(index) == [60, 100] or sizes(index) == [160]
        assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x") as index:
        assert index.info()["merging"] is None
    with pytest.raises(InputError, match="'background' or 'manual'"):
        fanns.open(tmp_path / "x", mode="w", merge="sometimes")


def test_deleted_rows_go_in_the_background(tmp_path: Path) -> None:
    index, model = batches(tmp_path / "x", 0)
    with index:
        assert index.delete(where="year < 3") == model.delete(
            lambda row: row["year"] is not None and row["year"] < 3
        )
        assert settled(index)["merges"] == 1
        (part,) = index.info()["segments"]
        assert part["deleted"] == 0
        assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", check=True) as index:
        assert_same(index, model, QUERY)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "delete": lambda some: some.delete(where="year = 3"),
    "update": lambda some: some.update(set={"year": 2}, where="year = 1"),
    "texts": lambda some: some.update(set={"note": "x77"}, where="year = 1"),
    "lists": lambda some: some.update(set={"tags": ["new", "b"]}, ids=[61, 70, 100]),
    "twice": lambda some: (
        some.update(set={"year": 2, "note": None}, where="year = 1"),
        some.delete(ids=[60, 61, 62]),
        some.update(set={"year": 4}, where="year = 2"),
    ),
    "add": lambda some: some.add(
        table_of([random_row(np.random.default_rng(5), i) for i in range(500, 530)])
    ),
    "upsert": lambda some: some.upsert(
        table_of([random_row(np.random.default_rng(5), i) for i in range(50, 90)])
    ),
    "add a column": lambda some: some.add_column("extra", 3),
    "drop a column": lambda some: some.drop_column("day"),
    "index a column": lambda some: some.index_column("note"),
    "everything": lambda some: some.delete(where="TRUE"),
    "compact": lambda some: some.compact(full=True, erase=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_while_a_merge_runs(tmp_path: Path, name: str, gate: Gate) -> None:
    """The state afterwards is that of the same changes in memory, where nothing is merged."""
    index, model = batches(tmp_path / "x", 4)
    plain = fanns.Index.build(
        table_of(model.rows.values()), metric="l2", store=["note"], calibration="default"
    )
    with index:
        assert gate.reached.wait(60)
        if name == "compact":  # waits for the merge that it ends
            threading.Timer(0.2, gate.open.set).start()
        CHANGES[name](index)
        CHANGES[name](plain)
        assert index.get(index.ids(), vector=True).equals(plain.get(plain.ids(), vector=True))
        gate.open.set()
        settled(index)
        check_equal(index, plain)
        if name in ("delete", "update", "texts", "lists", "twice", "add"):
            assert index.info()["merging"]["merges"] >= 1
        index.update(set={"year": 1}, where="year = 3")
        plain.update(set={"year": 1}, where="year = 3")
        check_equal(index, plain)
    with fanns.open(tmp_path / "x", check=True) as read:
        check_equal(read, plain)
        assert read.verify() == []


def check_equal(index: fanns.Index, plain: fanns.Index) -> None:
    assert index.get(index.ids(), vector=True).equals(plain.get(plain.ids(), vector=True))
    for where in ("year = 4", "list_contains(tags, 'b')", "note LIKE 'x%'", "year IS NULL"):
        assert index.rows(where).equals(plain.rows(where)), where
        found = [some.search(QUERY, 7, where, exact=True) for some in (index, plain)]
        assert list(found[0].ids) == list(found[1].ids), where
        assert found[0].matches == found[1].matches


@settings(max_examples=6, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(seed=st.integers(0, 2**31))
def test_random_changes(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.mktemp("random") / "x"
    model = start(path, 100)
    rng = random.Random(seed)
    with fanns.open(path, mode="w") as index:
        for _ in range(12):
            operation = draw(rng, index, big=45)
            perform(index, operation)
            model = follow(model, operation)
            if rng.random() < 0.3:
                time.sleep(0.02)
        settled(index)
        assert_same(index, model, QUERY)
    with fanns.open(path, check=True) as read:
        assert_same(read, model, QUERY)


def test_what_was_erased_is_not_brought_back(tmp_path: Path, gate: Gate) -> None:
    index, _ = batches(tmp_path / "x", 4)
    with index:
        assert gate.reached.wait(60)
        vector = index.get([70], vector=True)["embedding"][0].values.to_numpy().tobytes()
        assert holding(tmp_path / "x", vector)
        index.delete(ids=[70])
        threading.Timer(0.2, gate.open.set).start()
        index.compact(erase=True)
        assert not holding(tmp_path / "x", vector)
        settled(index)
        assert not holding(tmp_path / "x", vector)


def holding(path: Path, content: bytes) -> list[str]:
    """The files of an index that hold these bytes."""
    return [f.name for f in path.rglob("*") if f.is_file() and content in f.read_bytes()]


def test_closing_ends_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the build, which may take minutes: at its next chunk."""
    begun = threading.Event()
    merge = compaction.merge

    def slow(*arguments: Any) -> Any:
        from fanns.threads import run_chunks

        begun.set()
        run_chunks(lambda start, stop: time.sleep(0.01), 10_000, 1)
        return merge(*arguments)

    monkeypatch.setattr(merging, "merge", slow)
    index, model = batches(tmp_path / "x", 4)
    assert begun.wait(60)
    before = time.monotonic()
    index.close()
    assert time.monotonic() - before < 5
    assert not [one for one in threading.enumerate() if one.name == "fanns-merge"]
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def test_a_forgotten_index_ends_its_merge(tmp_path: Path, gate: Gate) -> None:
    index, model = batches(tmp_path / "x", 4)
    assert gate.reached.wait(60)
    threading.Timer(0.2, gate.open.set).start()
    del index
    gc.collect()
    with fanns.open(tmp_path / "x", mode="w", wait=10, merge="manual") as index:
        assert_same(index, model, QUERY)
        assert len(list((tmp_path / "x").glob("segment-*"))) == len(sizes(index))


def test_a_failed_merge_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = threading.Event()  # the merge fails after the last batch, which would be told else

    def fail(*_: Any) -> Any:
        assert added.wait(60)
        raise StorageError("no space left")

    rng = np.random.default_rng(2)
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "write", fail)
        index, model = batches(tmp_path / "x", 3)
        rows = [random_row(rng, i) for i in range(300, 320)]
        index.add(table_of(rows))
        added.set()
        model.add(rows)
        while index.info()["merging"]["running"]:
            time.sleep(0.005)
        more = [random_row(rng, i) for i in range(320, 325)]
        with pytest.raises(StorageError, match=r"in the background failed: no space left"):
            index.add(table_of(more))
        assert_same(index, model, QUERY)
        index.add(table_of(more))
        model.add(more)
    assert index.info()["merging"]["problem"] == "no space left"
    assert index.compact().segments_after < 5
    assert index.info()["merging"]["problem"] is None
    index.close()
    added.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "write", fail)
        index, model = batches(tmp_path / "y", 4)
        added.set()
        while index.info()["merging"]["running"]:
            time.sleep(0.005)
        with pytest.raises(StorageError, match="no space left"):
            index.close()
        with pytest.raises(ZeroDivisionError), fanns.open(tmp_path / "y", mode="w") as index:
            while index.info()["merging"]["running"]:
                time.sleep(0.005)
            raise ZeroDivisionError  # says more
    with fanns.open(tmp_path / "y", mode="w", check=True) as index:
        settled(index)
        assert_same(index, model, QUERY)
    assert leftovers(tmp_path) == []


def test_a_calibration_found_meanwhile_is_kept(tmp_path: Path, gate: Gate) -> None:
    index, _ = batches(tmp_path / "x", 3)
    with index:
        assert gate.reached.wait(60)
        for segment in index._snapshot.segments:
            segment.calibrate(replace(segment.calibration, source="tuned"))
            index._keep_calibration(segment)
        gate.open.set()
        assert settled(index)["merges"] == 1
        assert set(index.info()["calibration"]) == {"tuned"}
    with fanns.open(tmp_path / "x", check=True) as read:
        assert set(read.info()["calibration"]) == {"tuned"}


ENDING = """
    import sys, time
    import numpy as np
    import fanns
    from fanns import adding, merging
    from tests.living_helpers import random_row, table_of
    rng = np.random.default_rng(0)
    index = fanns.open(sys.argv[1], mode="w")
    def slow(*arguments):
        from fanns.threads import run_chunks
        run_chunks(lambda start, stop: time.sleep(0.01), 100_000, 1)
    merging.merge = slow
    merging.SMALLEST = adding.TAIL_ROWS = 20
    for i in range(4):
        index.add(table_of([random_row(rng, 1000 + 600 * i + j) for j in range(600)]))
    assert index.info()["merging"]["running"]
    print("end")  # without closing
"""


def test_python_ends_in_the_midst_of_a_merge(tmp_path: Path) -> None:
    index, _ = batches(tmp_path / "x", 0)
    index.close()
    assert run_child(ENDING, tmp_path / "x") == "end\n"
    with fanns.open(tmp_path / "x", mode="w", check=True) as index:
        assert len(index) == 60 + 2_400


FORKING = """
    import os, sys
    import fanns
    from fanns import merging
    from tests.living_helpers import random_row
    merging.SMALLEST = 20
    index = fanns.open(sys.argv[1], mode="w")
    pid = os.fork()
    if pid == 0:
        print(len(index), flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    index.close()
"""


def test_a_forked_child_does_not_merge(tmp_path: Path) -> None:
    index, _ = batches(tmp_path / "x", 4)
    settled(index)
    index.close()
    assert run_child(FORKING, tmp_path / "x") == "140\n"
