"""Searches on the device against the CPU's exact ones; in the simulator where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.errors import DeviceError, InputError

lanes = pytest.importorskip("fanns.device.lanes")
searching = pytest.importorskip("fanns.device.searching")
N, D = 150, 7
FILTERS: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}),
    ("year >= :y", {"y": 1995}),
    ("year BETWEEN 1991 AND 1993 AND tag <> 'a'", {}),
    ("list_contains(topics, 'x') OR year = 1990", {}),
    ("NOT list_has_all(topics, ['x', 'y'])", {}),
    ("tag LIKE '%b%' AND year IS NOT NULL", {}),
    ("year = 1800", {}),
    ("number = 17", {}),
]


def table(n: int, seed: int = 0, first: int = 0, dtype: Any = np.float32) -> pa.Table:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, D)) * 20
    vectors[: n // 10] = vectors[0]  # ties
    flat = pa.array(vectors.astype(dtype).ravel())
    topics = [list(rng.choice(["x", "y", "z"], rng.integers(0, 3))) for _ in range(n)]
    return pa.table(
        {
            "id": np.arange(first, first + n)[::-1].copy(),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, D),
            "year": pa.array(rng.integers(1990, 2000, n), mask=rng.random(n) < 0.1),
            "tag": pa.array(rng.choice(["a", "b", "ab"], n)),
            "topics": pa.array([None if rng.random() < 0.1 else one for one in topics]),
            "number": np.arange(first, first + n),
        }
    )


WALKS = searching.DeviceCosts(0.0, 1.0, 1e9, 1e9, 1e-9)
"""Of a device on which walks cost next to nothing."""


@pytest.fixture(autouse=True)
def always_on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The simulator is slower than any CPU, and small blocks are enough for it."""
    monkeypatch.setattr(searching.DeviceSearch, "_sooner", lambda *args: None)
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr("fanns.segment_building.MIN_ROWS", 300)
    scans = searching.DeviceCosts(0.0, 0.0, 0.0, 0.0, 1.0)
    monkeypatch.setattr(searching.DeviceSearch, "_measure", lambda *args: scans)
    yield


def assert_equal(index: fanns.Index, queries: np.ndarray, k: int = 5) -> None:
    """Every filter by itself, and all of them in one batch, as the CPU answers them."""
    wheres = [where for where, _ in FILTERS]
    cpu = [index.search(queries[0], k, where, given, exact=True) for where, given in FILTERS]
    many = index.search(queries, k, FILTERS[1][0], FILTERS[1][1], exact=True)
    index.to("cuda")
    try:
        for (where, given), expected in zip(FILTERS, cpu, strict=True):
            found = index.search(queries[0], k, where, given, exact=True)
            assert "cuda:0" in found.explain().segments[0].path
            same(found, expected)
            by_codes = index.search(queries[0], k, where, given)
            assert by_codes.matches == expected.matches
            if by_codes.status == "exact":
                same(by_codes, expected)
            else:
                shared = set(by_codes.ids) & set(expected.ids)
                assert len(by_codes) == len(expected) and len(shared) >= len(expected) - 1
        batch = index.search(queries, k, FILTERS[1][0], FILTERS[1][1], exact=True)
        for found, expected in zip(batch, many, strict=True):
            same(found, expected)
        asked = [where for where in wheres if where is None or ":" not in where]
        same_query = np.repeat(queries[:1], len(asked), axis=0)
        together = index.search(same_query, k, asked, exact=True)
        kept = [one for one, where in zip(cpu, wheres, strict=True) if where in asked]
        for found, expected in zip(together, kept, strict=True):
            same(found, expected)
    finally:
        index.to("cpu")


def same(found: Any, expected: Any) -> None:
    assert found.status == "exact"
    assert list(found.ids) == list(expected.ids)
    assert found.matches == expected.matches
    np.testing.assert_allclose(found.distances, expected.distances, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_answers_are_the_cpus(metric: str) -> None:
    index = fanns.Index.build(table(N), metric=metric)
    assert_equal(index, np.random.default_rng(1).normal(size=(3, D)).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_other_types_of_vectors(dtype: Any) -> None:
    index = fanns.Index.build(table(60, dtype=dtype), vector="embedding", metric="l2")
    assert_equal(index, np.random.default_rng(1).normal(size=(2, D)).astype(np.float32), k=61)


@pytest.mark.parametrize("where", [None, "year >= 1992", "year = 1993"])
def test_walks_find_what_exact_searches_do(where: str | None) -> None:
    index = fanns.Index.build(table(320), metric="l2")
    queries = np.random.default_rng(4).normal(size=(4, D)).astype(np.float32) * 20
    expected = index.search(queries, 5, where, exact=True)
    index.to("cuda")._device._costs = WALKS
    batch = index.search(queries, 5, where)
    told = batch[0].explain()
    assert told.segments[0].path == "graph on cuda:0" and told.matches == expected[0].matches
    shared = [len({*found.ids} & {*one.ids}) for found, one in zip(batch, expected, strict=True)]
    assert sum(shared) >= 0.9 * sum(len(one) for one in expected)
    assert all(len(found) == len(one) for found, one in zip(batch, expected, strict=True))
    for found in batch:
        assert where is None or index.count(where) == found.matches


def own_filters(years: list[int]) -> tuple[str, dict[str, Any]]:
    """A filter for each query, of the years from one on: many rows, few, and none."""
    return "year >= :y", {"y": fanns.each(years)}


def test_each_query_is_answered_by_its_own_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(320), metric="l2")
    years = [1990, 1998, 1991, 2001, 1999, 1990]
    queries = np.random.default_rng(4).normal(size=(len(years), D)).astype(np.float32) * 20
    exact = index.search(queries, 5, *own_filters(years), exact=True)
    index.to("cuda")._device._costs = WALKS
    # From half of the rows on walks are cheaper, below they are not looked at.
    monkeypatch.setattr("fanns.device.planning._counts", lambda n: iter([n, n // 2]))
    batch = index.search(queries, 5, *own_filters(years))
    paths = [found.explain().segments[0].path.split()[0] for found in batch]
    assert paths == ["graph", "scan", "graph", "scan", "scan", "graph"]
    shared = 0
    for found, one, path in zip(batch, exact, paths, strict=True):
        assert found.matches == one.matches and len(found) == len(one)
        shared += len({*found.ids} & {*one.ids})
        if path == "scan":
            assert found.status == "exact"
            same(found, one)
        assert found.explain().segments[0].predicted_us > 0 or not found.matches
    assert shared >= 0.9 * sum(len(one) for one in exact)


def test_walks_that_give_up_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(320), metric="l2")
    years = [1992, 1995, 1997]
    queries = np.random.default_rng(4).normal(size=(3, D)).astype(np.float32)
    exact = index.search(queries, 5, *own_filters(years), exact=True)
    index.to("cuda")._device._costs = WALKS
    chosen = searching.choose
    limits = iter([40, 0])  # the second search's walks have no limit

    def ends_at_once(*args: Any) -> Any:
        plans, limit = chosen(*args), next(limits)
        walks = (
            plan._replace(walk=plan.walk._replace(walk_limit=limit)) for plan in plans.plans[1:]
        )
        return plans._replace(plans=(plans.scan, *walks))

    monkeypatch.setattr(searching, "choose", ends_at_once)
    scanned = index.search(queries, 5, *own_filters(years))
    walked = index.search(queries, 5, *own_filters(years))
    for found, other, one in zip(scanned, walked, exact, strict=True):
        assert found.status == "exact" and list(found.ids) == list(one.ids)
        work, alone = (one.explain().segments[0].work for one in (found, other))
        assert work[0] > found.matches and work[0] != alone[0]  # codes of the walk and of the scan


def test_costs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(searching, "MANY", 1)
    monkeypatch.setattr("fanns.device.costs.REPEATED", 1)
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr("fanns.segment_building.MIN_ROWS", 100)
    index = fanns.Index.build(table(N), metric="l2").to("cuda")
    index.search(np.ones(D, np.float32))
    costs = index._device._costs
    assert costs.near_ns == float("inf")  # the clusters of so few rows are not calibrated
    assert all(0.0 < value < float("inf") for value in costs._replace(near_ns=1.0))


def test_segments_changes_and_deletes(tmp_path: Path) -> None:
    index = fanns.Index.build(table(70), id="id", metric="l2", path=tmp_path / "i.fanns")
    index.close()
    index = fanns.open(tmp_path / "i.fanns", mode="w", merge="manual")
    queries = np.random.default_rng(2).normal(size=(2, D)).astype(np.float32)
    index.add(table(40, seed=1, first=500))
    index.delete(ids=[3, 4, 505])
    assert_equal(index, queries)
    index.to("cuda")
    index.update(where="year >= 1995", set={"tag": "b"})
    index.delete(ids=[510])
    found = index.search(queries[0], 30, "tag = 'b'", exact=True)
    expected = index.to("cpu").search(queries[0], 30, "tag = 'b'", exact=True)
    same(found, expected)
    index.close()


def test_an_index_opens_on_the_device(tmp_path: Path) -> None:
    fanns.Index.build(table(60), metric="l2", path=tmp_path / "i.fanns").close()
    query = np.ones(D, np.float32)
    with fanns.open(tmp_path / "i.fanns", device="cuda", device_memory="1GB") as index:
        found = index.search(query, exact=True)
        assert found.explain().segments[0].path == "scan on cuda:0"
        assert index.info()["device"].endswith("of cuda:0; originals on the device")
        same(found, index.to("cpu").search(query, exact=True))
    with pytest.raises(InputError, match="device is"):
        fanns.open(tmp_path / "i.fanns", device="gpu")
    fanns.open(tmp_path / "i.fanns", mode="w").close()  # nothing was left locked


def test_the_device_is_given_back(tmp_path: Path) -> None:
    index = fanns.Index.build(table(40), metric="l2", path=tmp_path / "i.fanns").to("cuda")
    query, first = np.ones(D, np.float32), index._device
    expected = index.search(query, exact=True)
    index.to("cuda", "1GB")  # not beside what is there already
    assert index._device is not first and not first._segments and not first._lanes
    same(index.search(query, exact=True), expected)
    second = index._device
    with pytest.raises(DeviceError, match="needs"):
        index.to("cuda", "1MB")
    assert index.info()["device"] == "cpu" and not second._segments
    same(index.search(query, exact=True), expected)
    third = index.to("cuda")._device
    index.close()
    assert not third._segments and not third._lanes
    index.close()  # nothing is left to give back


def test_transformed_rows_are_searched_there_too() -> None:
    rows = table(N)
    flat = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(N, D)
    shorter = fanns.transforms.PCA.fit(flat, 4)
    index = fanns.Index.build(rows, metric="l2", transforms=[shorter])
    expected = index.search(flat[3], 5, "year > 1993", exact=True)
    found = index.to("cuda").search(flat[3], 5, "year > 1993", exact=True)
    assert found.explain().segments[0].path == "scan on cuda:0"
    same(found, expected)


def test_originals_may_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(N), metric="l2")
    monkeypatch.setattr("fanns.device.residency.LEAST_SCRATCH", 1 << 20)
    index.to("cuda")
    needed = sum(
        size for held in index._device._segments.values() for size in held.needed().values()
    )
    index.to("cuda", device_memory=(1 << 20) + needed + 100)
    assert "host" in index._device.held
    query = np.ones(D, np.float32)
    same(index.search(query, exact=True), index.to("cpu").search(query, exact=True))


def test_what_does_not_fit_says_so_with_the_numbers() -> None:
    index = fanns.Index.build(table(N), metric="l2")
    with pytest.raises(DeviceError, match=r"needs .* MB there \(columns .*device_memory=\)"):
        index.to("cuda", device_memory="1MB")
    assert len(index.search(np.ones(D, np.float32))) == 10


def test_what_the_device_cannot_do_the_cpu_answers_and_says_so() -> None:
    index = fanns.Index.build(table(N), metric="l2").to("cuda")
    for options in ({"timeout": 5.0}, {"max_work": 10_000}, {"plan": "scan"}):
        told = index.search(np.ones(D, np.float32), **options).explain()
        assert any("answered on the CPU, not on cuda:0" in note for note in told.notes)


def test_batches_left_to_the_cpu_have_their_own_filters() -> None:
    index = fanns.Index.build(table(N), metric="l2")
    years = [1990, 1998, 1990, 1800, 1998]
    queries = np.random.default_rng(4).normal(size=(len(years), D)).astype(np.float32)
    asked: dict[str, Any] = {"plan": "scan", "exact": True}
    expected = index.search(queries, 4, *own_filters(years), **asked)
    index.to("cuda")
    for found, one in zip(
        index.search(queries, 4, *own_filters(years), **asked), expected, strict=True
    ):
        same(found, one)
        assert any("answered on the CPU" in note for note in found.explain().notes)
    assert len(index.search(queries[:0], 4, "year > 1990", **asked)) == 0


def test_few_queries_go_where_they_are_predicted_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    index = fanns.Index.build(table(N), metric="l2").to("cuda")
    index._device._costs = searching.DeviceCosts(1e12, 1.0, 1.0, 1.0, 1.0)
    query = np.ones(D, np.float32)
    notes = index.search(query, where="year > 1995").explain().notes
    assert any("predicted to take" in note for note in notes)
    index._device._costs = searching.DeviceCosts(0.0, 0.0, 0.0, 0.0, 1.0)
    assert not index.search(query, where="year > 1995").explain().notes


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_many_exact_queries_by_products(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanns.device.searching.MANY", 4)
    index = fanns.Index.build(table(N), metric=metric)
    queries = np.random.default_rng(2).normal(size=(5, D)).astype(np.float32)
    costs = searching.DeviceCosts(0.0, 1.0, 0.0, 0.0, 1.0, full_ns=1.0, product_ns=0.1)
    for where, path in ((None, "products"), ("year >= 1990", "products"), ("number < 9", "scan")):
        expected = index.to("cpu").search(queries, 5, where, exact=True)
        index.to("cuda")._device._costs = costs
        batch = index.search(queries, 5, where, exact=True)
        for found, one in zip(batch, expected, strict=True):
            same(found, one)
            assert found.explain().segments[0].path == f"{path} on cuda:0"
        own = index.search(
            queries, 5, "number < :n", {"n": fanns.each([0, 9, 1, 90, 149])}, exact=True
        )
        assert own[3].explain().segments[0].path == "scan on cuda:0"
        assert [one.status for one in own] == ["exact"] * 5


def test_near_ties_of_products_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanns.device.searching.MANY", 1)
    rows = table(N)
    flat = np.tile(np.float32(1.0), (N, D))
    equal = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), D)
    index = fanns.Index.build(rows.set_column(1, "embedding", equal), metric="l2")
    expected = index.search(flat[:2], 5, exact=True)
    costs = searching.DeviceCosts(0.0, 1.0, 0.0, 0.0, 1.0, full_ns=1.0, product_ns=0.1)
    index.to("cuda")._device._costs = costs
    for found, one in zip(index.search(flat[:2], 5, exact=True), expected, strict=True):
        same(found, one)
        told = found.explain().segments[0]
        assert (
            told.path == "products on cuda:0" and told.work[1] > 2 * N
        )  # multiplied, then scanned


def test_equal_filters_share_a_bitmap(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = pytest.importorskip("fanns.device.columns")
    index = fanns.Index.build(table(320), metric="l2")
    years = [1990, 1998, 1990, 1800, 1998, 1990, 1996]
    queries = np.random.default_rng(4).normal(size=(len(years), D)).astype(np.float32) * 20
    expected = index.search(queries, 5, *own_filters(years), exact=True)
    made, counted = columns.DeviceColumns.programs, []

    def told(self: Any, filters: Any, live: Any) -> Any:
        counted.append(len(filters))
        return made(self, filters, live)

    monkeypatch.setattr(columns.DeviceColumns, "programs", told)
    index.to("cuda")
    for found, one in zip(
        index.search(queries, 5, *own_filters(years), exact=True), expected, strict=True
    ):
        same(found, one)
    monkeypatch.setattr("fanns.device.segment.DeviceSegment.batch", lambda *args: 3)
    index.to("cpu").to("cuda")
    for found, one in zip(
        index.search(queries, 5, *own_filters(years), exact=True), expected, strict=True
    ):
        same(found, one)
    assert counted == [4, 2, 3, 1]  # of a whole batch, then of threes
    index._device._costs = WALKS
    walked = index.search(queries, 5, *own_filters(years))
    for found, one in zip(walked, expected, strict=True):
        assert found.matches == one.matches and len(found) == len(one)
        assert np.isclose(found.distances, one.distances).sum() >= len(one) - 1


def test_a_thread_selects_its_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(20), metric="l2").to("cuda")
    cuda = index._device._cuda
    calls: list[int] = []
    monkeypatch.setattr(cuda, "select_device", calls.append)

    def search() -> None:
        for _ in range(3):
            index.search(np.ones(D, np.float32), 3)

    search()
    other = threading.Thread(target=search)
    other.start()
    other.join()
    assert calls == [0]  # by the other thread alone: this one has it


def test_what_is_under_way_ends_before_an_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(40), metric="l2").to("cuda")
    queries = np.random.default_rng(3).normal(size=(9, D)).astype(np.float32)
    monkeypatch.setattr("fanns.device.segment.DeviceSegment.batch", lambda *args: 4)
    places, calls = "fanns.device.segment.places_of", []
    made = pytest.importorskip("fanns.device.segment").places_of

    def fails_then(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise MemoryError("no room")
        return made(*args)

    monkeypatch.setattr(places, fails_then)
    with pytest.raises(MemoryError, match="no room"):
        index.search(queries, 3)
    assert all(not lane.workspace.sent for lane in index._device._lanes)
    expected = index.search(queries, 3, exact=True)
    for found, one in zip(expected, index.to("cpu").search(queries, 3, exact=True), strict=True):
        same(found, one)


def test_batches_are_cut_up_when_asked_for(tmp_path: Path) -> None:
    fanns.Index.build(table(70), id="id", metric="l2", path=tmp_path / "i.fanns").close()
    queries = np.random.default_rng(2).normal(size=(3, D)).astype(np.float32)
    with fanns.open(tmp_path / "i.fanns", mode="w", merge="manual") as index:
        for more in (None, table(20, seed=1, first=500)):
            if more is not None:
                index.add(more)
            wheres = ["year >= 1990", "number = 17", "year = 1800"]
            asked: Any = {"where": wheres, "offset": 2, "exact": True}
            expected = index.to("cpu").search(queries, 5, **asked)
            batch = index.to("cuda").search(queries, 5, **asked)
            assert len(batch) == 3 and batch.offsets.tolist() == expected.offsets.tolist()
            assert batch.statuses == expected.statuses
            assert np.array_equal(batch.ids, expected.ids)
            np.testing.assert_allclose(batch.distances, expected.distances, rtol=1e-12)
            assert batch.to_arrow(["year"]).equals(expected.to_arrow(["year"]))
            assert batch[0] is batch[0] and [len(one) for one in batch[:2]] == [5, 0]
            near = index.search(queries, 5, wheres, exact=True, radius=1.0)
            assert [len(one) for one in near] == [0, 0, 0]


def test_batches_larger_than_the_workspace_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(40), metric="l2")
    queries = np.random.default_rng(3).normal(size=(9, D)).astype(np.float32)
    expected = index.search(queries, 3, "year > 1993", exact=True)
    monkeypatch.setattr("fanns.device.segment.DeviceSegment.batch", lambda *args: 4)
    for found, one in zip(
        index.to("cuda").search(queries, 3, "year > 1993"), expected, strict=True
    ):
        same(found, one)


def test_filters_that_need_more_room_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = pytest.importorskip("fanns.device.columns")
    index = fanns.Index.build(table(60), metric="l2")
    queries = np.random.default_rng(3).normal(size=(5, D)).astype(np.float32)
    wheres = [f"number < {20 + 5 * i}" for i in range(5)]
    expected = index.search(queries, 3, wheres, exact=True)
    sizes: list[int] = []

    def told(self: Any, programs: Any) -> int:
        sizes.append(len(programs))
        return 1 << 40 if len(programs) > 2 else 0

    monkeypatch.setattr(columns.DeviceColumns, "scratch_bytes", told)
    together = index.to("cuda").search(queries, 3, wheres, exact=True)
    for found, one in zip(together, expected, strict=True):
        same(found, one)
    assert sizes == [5, 2, 3, 1, 2]  # halves of halves, until they fit
    monkeypatch.setattr(columns.DeviceColumns, "scratch_bytes", lambda *args: 1 << 40)
    found = index.search(queries[1], 3, wheres[1], exact=True)
    same(found, expected[1])  # a single one is evaluated on the host


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", None, 3])
def test_devices_have_names(device: Any) -> None:
    with pytest.raises(InputError, match="device is"):
        fanns.Index.build(table(20)).to(device)


def test_a_machine_without_a_gpu_says_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import numpy as np, fanns, sys\n"
        "rows = {'embedding': np.eye(4, dtype=np.float32)}\n"
        "index = fanns.Index.build(rows, vector='embedding')\n"
        "assert not any(name.startswith('numba.cuda') for name in sys.modules)\n"
        "index.save(sys.argv[1])\n"
        "for call in (lambda: index.to('cuda'), lambda: fanns.open(sys.argv[1], device='cuda')):\n"
        "    try:\n"
        "        call()\n"
        "    except fanns.errors.DeviceError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "CUDA_VISIBLE_DEVICES": ""}
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "i.fanns")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.count("no CUDA device") == 2 and "driver" in told and "fanns[gpu]" in told
