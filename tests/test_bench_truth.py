"""Exact answers: against the data sets' own oracle, which shares nothing between queries."""

import numpy as np
import pyarrow as pa
import pytest

from fanns.bench.workloads import truth
from fanns.bench.workloads.masks import passing
from fanns.datasets import exact


@pytest.mark.parametrize("metric", exact.METRICS)
def test_answers_are_those_of_the_oracle(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((1_500, 24)).astype(np.float32)
    vectors[700:720] = vectors[5]  # ties
    queries = np.repeat(rng.standard_normal((7, 24)).astype(np.float32), 3, axis=0)
    queries[3] = vectors[5]
    table = pa.table({"x": pa.array(np.arange(1_500))})
    limits = [-1, 0, 3, 20, 40, 400, 1_499] * 3
    wheres = ["x <= :m", "x >= :m", None] * 7
    params = [{"m": m} if where else {} for m, where in zip(limits, wheres, strict=True)]
    monkeypatch.setattr(truth, "_BLOCK_BYTES", 4 * 8 * 1_500)  # several blocks of queries

    found = truth.solve(vectors, table, queries, wheres, params, metric, depth=20)

    masks = [passing(table, w, p) for w, p in zip(wheres, params, strict=True)]
    expected = exact.nearest(vectors, queries, 20, metric=metric, mask=masks)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.matches.tolist() == [int(mask.sum()) for mask in masks]
    inside = truth.neighbourhood(1_500)
    for query, mask in enumerate(masks):
        near = np.argsort(exact.distances(vectors, queries[query], metric), kind="stable")[:inside]
        assert found.near[query] == pytest.approx(mask[near].mean(), abs=2 / inside)  # ties


def test_nearest_rows_are_the_neighbourhood() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((300, 8)).astype(np.float32)
    queries = rng.standard_normal((5, 8)).astype(np.float32)
    found = truth.nearest_rows(vectors, queries, "l2", 30)
    for query, rows in zip(queries, found, strict=True):
        near = np.argsort(exact.distances(vectors, query, "l2"))[:30]
        assert set(rows) == set(near)
    assert truth.nearest_rows(vectors, queries, "l2", 300).shape == (5, 300)


def test_neighbourhood_is_a_hundredth_but_never_too_few() -> None:
    assert [truth.neighbourhood(rows) for rows in (40, 1_000, 100_000)] == [40, 100, 1_000]
