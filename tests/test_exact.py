from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.datasets import exact


def naive(
    vectors: Any, query: Any, k: int, metric: str, mask: Any, ids: Any
) -> list[tuple[float, Any]]:
    found = []
    for row, vector in enumerate(vectors.astype(float)):
        if mask is not None and not mask[row]:
            continue
        if metric == "l2":
            distance = float(np.linalg.norm(vector - query))
        elif metric == "ip":
            distance = -float(vector @ query)
        else:
            distance = 1 - float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
        found.append((distance, ids[row]))
    return sorted(found)[:k]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 60),
    st.integers(1, 12),
    st.sampled_from(exact.METRICS),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_agrees_with_a_loop(n: int, k: int, metric: str, seed: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 5)).astype(np.float32)
    queries = rng.standard_normal((3, 5)).astype(np.float32)
    ids = rng.permutation(1000)[:n]
    mask = rng.random(n) < 0.5 if filtered else None
    truth = exact.nearest(vectors, queries, k, metric=metric, mask=mask, ids=ids)
    for q, query in enumerate(queries):
        expected = naive(vectors, query.astype(float), k, metric, mask, ids)
        found, distances = truth.of(q)
        assert found.tolist() == [i for _, i in expected]
        np.testing.assert_allclose(distances, [d for d, _ in expected], atol=1e-12)


@pytest.mark.parametrize("metric", exact.METRICS)
def test_chunks_do_not_matter(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((500, 8)), rng.standard_normal((4, 8))
    whole = exact.nearest(vectors, queries, 20, metric=metric)
    monkeypatch.setattr(exact, "_CHUNK_BYTES", 8 * 8 * 7)
    parts = exact.nearest(vectors, queries, 20, metric=metric)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.distances, parts.distances)


@pytest.mark.parametrize("metric", exact.METRICS)
def test_ties_go_to_the_smaller_id(metric: str) -> None:
    vectors = np.repeat(np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 1.0]]), 50, axis=0)
    ids = np.random.default_rng(0).permutation(100)
    truth = exact.nearest(vectors, vectors[:1] * 1.1, 10, metric=metric, ids=ids)
    assert truth.ids.tolist() == sorted(ids[:50].tolist())[:10] or metric == "ip"
    names = np.array(["z", "é", "a", "b"])
    same = exact.nearest(np.ones((4, 3)), np.ones(3), 3, metric=metric, ids=names)
    assert same.ids.tolist() == ["a", "b", "z"]


def test_one_mask_per_query() -> None:
    vectors = np.eye(4, dtype=np.float32)
    masks = [np.array([True, False, False, False]), None, np.zeros(4, bool)]
    truth = exact.nearest(vectors, np.eye(4)[:3], 2, metric="l2", mask=masks)
    assert truth.offsets.tolist() == [0, 1, 3, 3]
    assert truth.ids.tolist() == [0, 1, 0]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="unknown metric 'dot'"):
        exact.nearest(np.eye(3), np.eye(3), 1, metric="dot")
    with pytest.raises(ValueError, match=r"bool\[3\]"):
        exact.nearest(np.eye(3), np.eye(3), 1, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match="expected 3 masks"):
        exact.nearest(np.eye(3), np.eye(3), 1, mask=[None])


def test_recall_admits_ties_and_counts_an_id_once() -> None:
    true = np.array([0.1, 0.2, 0.2])
    assert exact.recall(["a", "b", "x"], np.array([0.1, 0.2, 0.2]), true) == 1.0
    assert exact.recall(["a", "b", "x"], np.array([0.1, 0.2, 0.3]), true) == pytest.approx(2 / 3)
    assert exact.recall(["a", "a", "a"], np.array([0.1, 0.1, 0.1]), true) == pytest.approx(1 / 3)
    assert exact.recall([], np.empty(0), np.empty(0)) == 1.0
    assert exact.recall([], np.empty(0), true) == 0.0
