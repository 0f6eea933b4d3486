"""Compressed tables searched on a simulated GPU: the CPU's answers, whatever kind of store."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.stores import MixedDimension
from tests.store_helpers import make

searching = pytest.importorskip("fanns.device.searching")
lanes = pytest.importorskip("fanns.device.lanes")

N, D = 90, 12
WHERES = [None, "colour = 1", "year BETWEEN 20 AND 60 AND colour <> 2", "year < 0", "year = 17"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, and a device that seems to be sooner than the CPU."""
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr(searching.DeviceSearch, "_sooner", lambda *args: None)
    costs = searching.DeviceCosts(*([1.0] * len(searching.DeviceCosts._fields)))
    monkeypatch.setattr(searching.DeviceSearch, "_measure", lambda *args: costs)


def columns(n: int) -> pa.Table:
    rows = np.arange(n)
    return pa.table({"colour": rows * 7 % 3, "year": rows})


def compare(index: fanns.Index, queries: np.ndarray, k: int = 6) -> None:
    """Every filter by itself, one for a batch, and one for each query."""
    owned = [WHERES[number % len(WHERES)] for number in range(len(queries))]
    asked: list[Any] = [*WHERES, owned]
    wanted = [index.search(queries, k, where, exact=True) for where in asked]
    index.to("cuda")
    try:
        for where, expected in zip(asked, wanted, strict=True):
            for found, best in zip(index.search(queries, k, where), expected, strict=True):
                assert "scan on cuda:0" in found.explain().segments[0].path
                assert found.status == "exact" and found.matches == best.matches
                assert list(found.ids) == list(best.ids)
                np.testing.assert_array_equal(found.distances, best.distances)
    finally:
        index.to("cpu")


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("concat", "ip"),
        ("mixed", "l2"),
        ("stored-summed", "cosine"),
        ("lma", "ip"),
        ("masked", "l2"),
    ],
)
def test_the_answers_are_the_cpus(kind: str, metric: str) -> None:
    rng = np.random.default_rng(2)
    index = fanns.Index.build(columns(N), vectors=make(kind, N, rng, D)[0], metric=metric)
    compare(index, rng.standard_normal((6, D)).astype(np.float32))


def test_what_it_costs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    made = lanes.Workspace
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 22, stream, 32, 2))
    monkeypatch.setattr(searching, "MANY", 2)
    monkeypatch.setattr("fanns.device.costs.REPEATED", 1)
    rng = np.random.default_rng(2)
    index = fanns.Index.build(columns(9), vectors=make("concat", 9, rng, 4)[0], metric="ip")
    index.to("cuda")
    found = index.search(rng.standard_normal((9, 4)).astype(np.float32), 3)
    told = found[0].explain().segments[0]
    assert told.path == "scan on cuda:0" and told.predicted_us > 0


def test_stand_ins_strange_ids_deletes_and_rows_beside_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    table = columns(N).append_column("id", pa.array(rng.permutation(N) + 100))
    halves = rng.standard_normal((N // 2, D)), rng.standard_normal((N - N // 2, 4))
    blocks = [(halves[0], None), (halves[1], rng.standard_normal((4, D)))]
    store = MixedDimension([(a.astype("f4"), b) for a, b in blocks])
    queries = rng.standard_normal((6, D)).astype(np.float32)
    given: Any = {"vectors": store, "metric": "l2", "graph": True, "id": "id"}
    fanns.Index.build(table, **given, path=tmp_path / "i", threads=1).close()
    with fanns.open(tmp_path / "i", mode="w", merge="manual") as index:
        compare(index, queries)
        index.delete(where="year IN (3, 17, 50)")
        compare(index, queries)
        more = rng.standard_normal((20, D)).astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(more.ravel()), D)
        own = columns(20).append_column("id", pa.array(np.arange(20)))
        index.add(own.append_column("vector", column))
        before = index.search(queries, 30, "colour = 1", exact=True)
        index.to("cuda")
        for found, best in zip(
            index.search(queries, 30, "colour = 1", exact=True), before, strict=True
        ):
            assert list(found.ids) == list(best.ids)
