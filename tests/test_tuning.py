"""Tuning: calibration on the user's queries and filters, what it changes, where it stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fanns
from fanns.errors import InputError
from fanns.kernels.jit import Array


def table(n: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, 48))
    labels = rng.integers(0, 60, n)
    vectors = (centres[labels] + 0.7 * rng.standard_normal((n, 48))).astype(np.float32)
    return {"embedding": vectors, "topic": labels.astype(np.int64) // 6}


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    return table(6_000, 1)


def test_tuning_reaches_the_target_on_its_queries(data: dict[str, Array], tmp_path: Path) -> None:
    path = tmp_path / "it.fanns"
    fanns.Index.build(data, path=path, calibration="default")
    queries = data["embedding"][:80] * np.float32(1.3)
    params = {"t": fanns.each(data["topic"][:80].tolist())}
    with fanns.open(path, mode="w") as index:
        report = index.tune(queries, "topic = :t", params, k=10, recall=0.9)
        assert report.after.queries == 80 and report.after.recall >= 0.88
        assert "before" in repr(report)
        assert index._snapshot.segments[0].calibration.source == "tuned"
        explained = index.explain(queries[0], 10, "topic = 1")
    with fanns.open(path) as index:
        assert index.verify() == []
        assert index._snapshot.segments[0].calibration.source == "tuned"
        again = index.explain(queries[0], 10, "topic = 1")
        assert again.segments[0].path == explained.segments[0].path


def test_one_filter_for_all_and_none_at_all(data: dict[str, Array]) -> None:
    index = fanns.Index.build(data, calibration="default")
    for where in (None, "topic < 3"):
        report = index.tune(data["embedding"][:30], where)
        assert report.after.recall >= 0.93
    assert index._snapshot.segments[0].calibration.source == "tuned"


def test_a_reader_tunes_itself_only(data: dict[str, Array], tmp_path: Path) -> None:
    path = tmp_path / "it.fanns"
    fanns.Index.build(data, path=path, calibration="default")
    with fanns.open(path) as index:
        index.tune(data["embedding"][:20])
        assert index._snapshot.segments[0].calibration.source == "tuned"
    with fanns.open(path) as index:
        assert index._snapshot.segments[0].calibration.source == "default"


def test_too_few_queries_are_refused(data: dict[str, Array]) -> None:
    index = fanns.Index.build(data, calibration="default")
    with pytest.raises(InputError, match="at least 16"):
        index.tune(data["embedding"][:3])
    with pytest.raises(InputError, match="48"):
        index.tune(np.zeros((20, 7), np.float32))


def test_small_indexes_have_nothing_to_tune() -> None:
    small = table(300, 2)
    index = fanns.Index.build(small)
    report = index.tune(small["embedding"][:20])
    assert report.after.recall == 1.0
