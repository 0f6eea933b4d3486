"""The graph that a device makes: the links of the same steps on the CPU, every row reached."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import fanns
from fanns import segment_building
from fanns.codes import Int8Codes
from fanns.device import graph_building
from fanns.device import loops as device_loops
from fanns.device.graph_building import DeviceGraph, Level, groups_of, rows_of_level
from fanns.errors import DeviceError
from fanns.kernels import graph_link_cuda
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace, cuda_host
from fanns.paths.graph import GraphPath
from fanns.vectors import DenseVectors
from tests import graph_reference
from tests.graph_helpers import clustered
from tests.test_graph_build import check_structure


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few candidates and small tables, which the simulator gets through."""
    for name, value in (("FRESH_PLACES", 16), ("ROOM", 32), ("MOST_KEPT", 12), ("TABLE", 128)):
        monkeypatch.setattr(graph_link_cuda, name, value)
    monkeypatch.setattr(graph_link_cuda, "MOST_MET", 96)
    for module in (graph_building, graph_reference):
        monkeypatch.setattr(module, "MOST_KEPT", 12)
    monkeypatch.setattr(graph_building, "CLUSTERS", 2)
    monkeypatch.setattr(graph_building, "NEAR", Level(1, 7))
    monkeypatch.setattr(graph_building, "FAR", (Level(2, 2), Level(3, 2)))
    monkeypatch.setattr(graph_building, "GROUP", 9)
    monkeypatch.setattr(graph_building, "ROUNDS", 1)
    monkeypatch.setattr(graph_building, "Workspace", partial(Workspace, threads=32))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def built(vectors: Array, offsets: Array, metric: int, links_of: Any, **options: Any) -> GraphPath:
    store = DenseVectors.from_array(vectors, metric)
    ties = np.arange(store.n, dtype=np.int64)
    given: Any = (store, Int8Codes.build(store), ties, offsets, np.empty(0))
    return GraphPath.build(*given, places=8, degree=5, beam=10, links_of=links_of, **options)


def on_device(vectors: Array, offsets: Array, metric: int) -> GraphPath:
    device = DeviceGraph(cuda_host, 1 << 30)
    return built(vectors, offsets, metric, device.build_links)


def check_same(vectors: Array, offsets: Array, metric: int = L2) -> GraphPath:
    made = on_device(vectors, offsets, metric)
    expected = built(vectors, offsets, metric, graph_reference.reference_links)
    np.testing.assert_array_equal(made.entries, expected.entries)
    np.testing.assert_array_equal(made.links, expected.links)
    check_structure(made, len(vectors))
    return made


@pytest.mark.parametrize("metric", [COSINE, IP, L2])
def test_links_are_those_of_the_same_steps(small: None, metric: int) -> None:
    vectors, offsets = clustered(16, 6, 4)
    check_same(vectors, offsets, metric)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_rows(small: None, n: int) -> None:
    check_same(*clustered(n, 1, 3))


def test_copies_are_hung_on(small: None) -> None:
    vectors, _ = clustered(6, 4, 3)
    offsets = np.array([0, 12, 13, 24], np.int64)
    check_same(np.repeat(vectors, 4, axis=0), offsets)
    check_same(np.ones((12, 3), np.float32), np.array([0, 6, 12], np.int64))


def test_rows_of_levels_and_groups() -> None:
    bounds = np.array([0, 5, 6, 13, 20], np.int64)
    skipped = np.zeros(20, np.uint8)
    skipped[15] = 1
    assert rows_of_level(bounds, np.array([3, 0]), 1, skipped).tolist() == [
        *(13, 14, 16, 17, 18, 19),
        *range(5),
    ]
    assert rows_of_level(bounds, np.array([3, 0, 1]), 3, skipped).tolist() == [18, 0, 3]
    assert rows_of_level(bounds, np.array([1]), 4, skipped).tolist() == []
    assert list(groups_of(bounds, 7)) == [(0, 2), (2, 3), (3, 4)]
    assert list(groups_of(bounds, 1)) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert list(groups_of(bounds, 99)) == [(0, 4)]


def test_too_little_memory_and_no_rows_are_told(small: None) -> None:
    vectors, offsets = clustered(30, 4, 2)
    with pytest.raises(DeviceError, match=r"graph of 30 rows does not fit.*needs .*links"):
        built(vectors, offsets, L2, DeviceGraph(cuda_host, 1000).build_links)
    empty = np.empty((0, 4), np.float32)
    path = built(empty, np.zeros(1, np.int64), L2, DeviceGraph(cuda_host, 1000).build_links)
    assert path.links.shape == (0, 8)


def test_an_index_with_a_graph(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """All but the links is as the CPU builds it, and walks find the same rows."""
    for name, value in (("FRESH_PLACES", 64), ("ROOM", 128), ("MOST_KEPT", 64)):
        monkeypatch.setattr(graph_link_cuda, name, value)
    monkeypatch.setattr(graph_link_cuda, "TABLE", 4096)
    monkeypatch.setattr(graph_link_cuda, "MOST_MET", 3072)
    monkeypatch.setattr(graph_building, "MOST_KEPT", 64)
    monkeypatch.setattr(graph_building, "NEAR", Level(1, 48))
    monkeypatch.setattr(device_loops, "Workspace", partial(Workspace, threads=32))
    monkeypatch.setattr(segment_building, "MIN_ROWS", 1)
    vectors, _ = clustered(7, 4, 2)
    options: dict[str, Any] = {"calibration": "default", "bits": 0, "metric": "l2"}
    heard: list[tuple[str, int, int]] = []
    made = fanns.Index.build(
        {"embedding": vectors}, device="cuda", progress=lambda *told: heard.append(told), **options
    )
    plain = fanns.Index.build({"embedding": vectors}, **options)
    arrays, expected = (one._snapshot.segments[0].arrays for one in (made, plain))
    assert set(arrays) == set(expected) and "graph/links" in arrays
    for name in arrays:
        if name != "graph/links":
            np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)
    assert heard[-1][0] == "graph on cuda:0" and heard[-1][1] == heard[-1][2] == 14
    for query in vectors:
        found = made.search(query, 3, plan="graph")
        assert found.ids.tolist() == plain.search(query, 3, exact=True).ids.tolist()
