"""Clusters and codes of few bits on the device (simulated): when they are taken, what they find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fanns
from fanns.calibration.clusters import DEFAULT_TIMES
from fanns.calibration.model import ClusterModel
from fanns.calibration.needs import TARGETS, Needs
from tests.test_device import D, N, same, table

lanes = pytest.importorskip("fanns.device.lanes")
planning = pytest.importorskip("fanns.device.planning")
searching = pytest.importorskip("fanns.device.searching")

COSTS = searching.DeviceCosts(0.0, 1.0, 1.0, 1.0, float("inf"), 5.0)
"""Of a device on which a row costs as much as another, and choosing rows as much as five."""


@pytest.fixture(autouse=True)
def always_on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(searching.DeviceSearch, "_sooner", lambda *args: None)
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    yield


def index_of(near: float, far: float) -> fanns.Index:
    """An index whose calibration says how many rows of clusters are enough, at any k and target."""
    index = fanns.Index.build(table(N), metric="l2")
    segment = segment_of(index)
    needs = [
        Needs((0.01, 1.0), (1, 10), (((rows,) * len(TARGETS),) * 2,) * 2) for rows in (near, far)
    ]
    slacks = (-1.0,) * len(TARGETS)
    model = ClusterModel(len(segment.centroids), slacks, needs[0], needs[1], DEFAULT_TIMES)
    segment.calibrate(replace(segment.calibration, clusters=model))
    return index


def segment_of(index: Any) -> Any:
    return index._snapshot.segments[0]


def test_each_query_is_answered_from_the_clusters_near_it() -> None:
    index = index_of(30.0, 30.0)
    years = [1990, 1994, 1991, 1999]
    where: Any = ("year >= :y", {"y": fanns.each(years)})
    queries = np.random.default_rng(4).normal(size=(4, D)).astype(np.float32) * 20
    exact = index.search(queries, 5, *where, exact=True)
    index.to("cuda")._device._costs = COSTS
    batch = index.search(queries, 5, *where)
    paths = [found.explain().segments[0].path.split()[0] for found in batch]
    assert paths == ["clusters", "clusters", "clusters", "scan"]
    same(batch[3], exact[3])
    shared = 0
    for found, one in zip(batch, exact, strict=True):
        assert found.matches == one.matches and len(found) == len(one) == 5
        shared += len({*found.ids} & {*one.ids})
    assert shared >= 17
    work = [found.explain().segments[0].work[0] for found in batch[:3]]
    assert all(30 <= codes < one.matches for codes, one in zip(work, exact, strict=False))


def test_rows_of_clusters_are_estimated_where_that_is_cheaper() -> None:
    index = index_of(80.0, 80.0)
    segment = segment_of(index)
    costs = COSTS._replace(row_ns=0.1, bits_ns=0.5)
    made = planning.near_plan(segment, costs, N, 5, 0.95)
    assert made.bits == 2 and made.label == "clusters" and made.near is not None
    assert made.shortlist == segment.calibration.bit_shortlist(5, 0.95)
    dear = planning.near_plan(segment, costs._replace(bits_ns=0.99), N, 5, 0.95)
    assert not dear.bits and dear.near == made.near
    queries = np.random.default_rng(4).normal(size=(4, D)).astype(np.float32) * 20
    exact = index.search(queries, 5, exact=True)
    index.to("cuda")._device._costs = costs
    batch = index.search(queries, 5)
    for found, one in zip(batch, exact, strict=True):
        told = found.explain().segments[0]
        assert told.path == "clusters on cuda:0" and told.work[1] == made.shortlist
        assert found.status == "approximate" and len({*found.ids} & {*one.ids}) >= 3


def test_queries_that_the_filter_avoids_are_scanned() -> None:
    """So many rows were wanted of them that the scan of all that passes costs no more."""
    index = index_of(20.0, 1e6)
    rows = table(N)["embedding"].combine_chunks().flatten().to_numpy().reshape(N, D)
    query = rows[N // 2].astype(np.float32)
    away = np.linalg.norm(rows - query, axis=1)
    where = fanns.ids(np.arange(N)[::-1][away > np.median(away)])
    exact = index.search(query, 5, where, exact=True)
    index.to("cuda")._device._costs = COSTS
    found = index.search(np.stack([query, query]), 5, where)
    assert found[0].explain().segments[0].path == "clusters on cuda:0"
    for one in found:
        assert list(one.ids) == list(exact.ids)
        assert one.explain().segments[0].work[0] >= exact.matches


def test_tables_serve_all_counts_from_one_on() -> None:
    segment = segment_of(index_of(30.0, 40.0))
    made = planning.choose(segment, COSTS, [None, None], 5, fanns.execution.Options())
    assert [plan.label for plan in made.plans] == ["scan", "clusters"]
    near = made.plans[1].near
    assert near.near == (30.0,) * len(near.near) and near.far == (40.0,) * len(near.far)
    assert 30 < made.least[1] <= N // 2 and made.of(N) is made.plans[1]
    largest = np.diff(segment.centroids.bounds).max()
    assert near.most == min(40 + largest, N)
    dear = planning.choose(
        segment, COSTS._replace(near_ns=1e9), [None], 5, fanns.execution.Options()
    )
    assert [plan.label for plan in dear.plans] == ["scan"]


def test_plans_are_found_once_for_a_calibration() -> None:
    segment = segment_of(index_of(30.0, 40.0))
    given = (segment, COSTS, [None, None], 5, fanns.execution.Options())
    made = planning.choose(*given)
    assert planning.choose(*given) is made
    assert planning.choose(segment, COSTS, [None], 5, fanns.execution.Options()) is not made
    segment.calibrate(replace(segment.calibration, clusters=None))
    assert [plan.label for plan in planning.choose(*given).plans] == ["scan"]


def test_walks_and_clusters_each_serve_their_counts() -> None:
    """From where clusters are cheaper than walks they are taken, down to where the scan is."""
    plan = planning.DevicePlan
    near = planning.NearRows((9.0,), (9.0,), 50)
    walks = [(2**i, plan(9, walk=f"w{i}", query_ns=float(20 - i))) for i in (10, 9)]
    others = [(2**i, plan(9, query_ns=float(i), near=near)) for i in (8, 7)]
    kept = planning._fewer([*walks, *others])
    assert [least for least, _ in kept] == [128, 512, 1024]
    many = [(2**i, plan(9, walk=f"w{i}", query_ns=float(40 - i))) for i in range(30, 9, -1)]
    kept = planning._fewer([*many, *others])
    assert sum(one.walk is not None for _, one in kept) == planning.MOST_WALKS
    assert kept[0][1].near is near and len(kept) == planning.MOST_WALKS + 1


def test_a_plan_that_is_alone_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As costs are measured: nothing else is launched, so nothing is scanned for."""
    index = index_of(30.0, 40.0)
    plan = planning.near_plan(segment_of(index), COSTS, N, 5, 0.95)
    monkeypatch.setattr(searching, "choose", lambda *args: planning.only(plan))
    index.to("cuda")._device._costs = COSTS
    found = index.search(np.ones((2, D), np.float32), 5)[0].explain().segments[0]
    assert found.path == "clusters on cuda:0" and 30 <= found.work[0] < N and found.work[3] > 0


def test_the_cost_of_choosing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MANY", 2)
    monkeypatch.setattr("fanns.device.costs.REPEATED", 1)
    index = index_of(30.0, 40.0).to("cuda")
    index.search(np.ones(D, np.float32))
    assert 0.0 < index._device._costs.near_ns < float("inf")


BITS = searching.DeviceCosts(0.0, 0.1, 1.0, 1.0, float("inf"), bits_ns=0.2)
"""Of a device on which codes of few bits cost a fifth."""


def test_filters_of_their_own_are_scanned_by_codes_of_few_bits() -> None:
    index = fanns.Index.build(table(N), metric="l2")
    where: Any = ("year >= :y", {"y": fanns.each([1990, 1999, 1990])})
    queries = np.random.default_rng(4).normal(size=(3, D)).astype(np.float32) * 20
    exact = index.search(queries, 5, *where, exact=True)
    index.to("cuda")._device._costs = BITS
    batch = index.search(queries, 5, *where)
    paths = [found.explain().segments[0].path for found in batch]
    assert paths == ["scan of bits on cuda:0", "scan on cuda:0", "scan of bits on cuda:0"]
    for found, one in zip(batch, exact, strict=True):
        assert found.matches == one.matches and len(found) == 5
        assert len({*found.ids} & {*one.ids}) >= 4
        assert found.explain().segments[0].work[0] == one.matches
    assert [found.status for found in batch] == ["approximate", "exact", "approximate"]
    shared = index.search(queries, 5, "year >= 1990")
    assert shared[0].explain().segments[0].path == "scan on cuda:0"


def test_codes_of_few_bits_come_after_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    index = fanns.Index.build(table(N), metric="l2")
    monkeypatch.setattr("fanns.device.residency.LEAST_SCRATCH", 1 << 20)
    index.to("cuda")
    (held,) = index._device._segments.values()
    assert held.has_bits
    needed = (1 << 20) + sum(held.needed().values()) + held.originals
    for more, there in ((sum(held.wanted().values()), True), (100, False)):
        index.to("cuda", device_memory=needed + more)
        (own,) = index._device._segments.values()
        assert "originals on the device" in index._device.held and own.has_bits == there
    index._device._costs = BITS  # what costs are known of another snapshot
    found = index.search(np.ones((2, D), np.float32), 5, ["year >= 1990"] * 2)
    assert found[0].explain().segments[0].path == "scan on cuda:0"


def test_the_cost_of_codes_of_few_bits_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MANY", 2)
    monkeypatch.setattr("fanns.device.costs.REPEATED", 1)
    for bits, known in ((1, True), (0, False)):
        index = fanns.Index.build(table(N), metric="l2", bits=bits).to("cuda")
        index.search(np.ones(D, np.float32))
        assert (index._device._costs.bits_ns < float("inf")) == known
