"""True answers of a build's sample queries, found on the device, against the scan path's."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import fanns
from fanns.calibration import measure, sample_queries
from fanns.device import lanes, truth
from fanns.device.truth import SCRATCH, truth_on
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace, cuda_host
from fanns.paths import Budget
from fanns.paths.scan import ScanParameters
from fanns.selection import Selection


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks which the simulator runs soonest, and room for a few queries at a time."""
    made = partial(Workspace, threads=32, blocks=2)
    monkeypatch.setattr(lanes, "Workspace", lambda nbytes, stream: made(1 << 16, stream))


def segment_of(n: int, dtype: Any = np.float32, metric: str = "l2") -> Any:
    vectors = np.random.default_rng(n).normal(size=(n, 7)) * 20
    vectors[: n // 8] = vectors[0]  # ties
    index = fanns.Index.build(
        {"embedding": vectors.astype(dtype)}, vector="embedding", metric=metric
    )
    return index._snapshot.segments[0]


@pytest.mark.parametrize(
    ("metric", "dtype"), [("cosine", np.float32), ("l2", np.int8), ("ip", np.float16)]
)
def test_answers_are_those_of_the_scan(metric: str, dtype: Any) -> None:
    segment = segment_of(90, dtype, metric)
    nearest = truth_on(cuda_host, 1 << 30, segment)
    assert nearest is not None
    queries = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    mask = np.random.default_rng(2).random(90) < 0.5
    none = np.zeros(90, bool)
    for selection in (Selection.all(90), Selection.from_mask(mask), Selection.from_mask(none)):
        k = min(6, selection.count)
        found = nearest(queries, selection, k)
        expected = segment.scan.search(queries, selection, k, ScanParameters(4 * k), Budget())
        for name in ("rows", "distances", "found"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_what_does_not_fit_is_left_to_the_processor() -> None:
    assert truth_on(cuda_host, SCRATCH, segment_of(20)) is None


def test_calibration_goes_by_the_answers_it_is_given() -> None:
    segment = segment_of(400)
    asked: list[tuple[int, int]] = []

    def nearest(queries: Array, selection: Selection, k: int) -> Any:
        asked.append((selection.count, k))
        return segment.scan.search(queries, selection, k, ScanParameters(4 * k), Budget())

    queries = sample_queries(segment.vectors.exact, 0, 20)
    plain, given = (measure(segment, queries, "rows", 0, nearest=how) for how in (None, nearest))
    assert (400, 100) in asked and len(asked) >= 2
    assert given.clusters is not None and plain.clusters is not None
    assert given.depths == plain.depths and given.clusters.near == plain.clusters.near


def test_builds_on_a_device_find_them_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def told(cuda: Any, budget: int, segment: Any) -> Any:
        made.append(truth.truth_on(cuda, budget, segment))
        return None  # the simulator would take minutes for all queries

    monkeypatch.setattr("fanns.device.building.truth_on", told)
    monkeypatch.setattr("fanns.building.MEASURED_ROWS", 10)
    monkeypatch.setattr("fanns.building.sample_queries", partial(sample_queries, count=8))
    fanns.Index.build({"embedding": np.eye(12, 3, dtype=np.float32) + 1}, device="cuda")
    assert len(made) == 1 and made[0] is not None
