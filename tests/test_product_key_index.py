"""`ProductKeyIndex`: rows by the cells of two codebooks, against exact distances."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanns
from fanns.errors import InputError
from fanns.kernels.distance import METRICS
from tests.test_scan import nearest, oracle

N, D = 3_000, 24
NAMES = sorted(METRICS)


def points(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((30, D))
    return (centres[rng.integers(0, 30, n)] + 0.5 * rng.standard_normal((n, D))).astype(np.float32)


@pytest.fixture(scope="module")
def made() -> dict[str, fanns.ProductKeyIndex]:
    return {
        name: fanns.ProductKeyIndex.build(points(N, 1), name, halves=(10, 10)) for name in NAMES
    }


@given(data=st.data())
def test_looking_at_all_rows_gives_the_exact_answer(made: Any, data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(NAMES))
    k = data.draw(st.integers(1, 40))
    chosen = np.random.default_rng(data.draw(st.integers(0, 99))).random(N)
    share = data.draw(st.sampled_from([0.0, 0.001, 0.1, 1.0]))
    mask = chosen < share
    rows, queries = points(N, 1), points(3, 2)
    given_mask = data.draw(st.sampled_from([mask, np.flatnonzero(mask)[::-1]]))
    hits = made[metric].search(queries, k, given_mask, enough=N, rerank=N)
    assert len(hits) == 3 and set(hits.statuses) == {"exact"}
    for query, hit in zip(queries, hits, strict=True):
        expected = nearest(oracle(rows, query, METRICS[metric]), np.arange(N), mask, k)
        np.testing.assert_array_equal(hit.ids, expected)


@pytest.mark.parametrize("metric", NAMES)
def test_a_part_of_the_rows_holds_nearly_all(made: Any, metric: str) -> None:
    rows, queries = points(N, 1), points(60, 3)
    mask = np.random.default_rng(0).random(N) < 0.3
    found = 0
    hits = made[metric].search(queries, 10, mask, enough=400, threads=2)
    for query, hit in zip(queries, hits, strict=True):
        assert len(hit.ids) == 10 and mask[hit.ids].all()
        assert (np.diff(hit.distances) >= 0).all()
        found += np.isin(
            hit.ids, nearest(oracle(rows, query, METRICS[metric]), np.arange(N), mask, 10)
        ).sum()
    assert found >= 0.9 * 600
    assert hits.work[:, 0].mean() < 0.6 * mask.sum()  # far fewer codes than pass
    again = made[metric].search(queries, 10, mask, enough=400)
    np.testing.assert_array_equal(again.ids, hits.ids)


def test_one_query_and_none(made: Any) -> None:
    one = made["l2"].search(points(N, 1)[7], 3)
    assert len(one) == 1 and one.ids[0] == 7 and one.distances[0] == 0
    assert len(made["l2"].search(np.empty((0, D), np.float32), 3)) == 0
    nothing = made["l2"].search(points(2, 5), 3, np.zeros(N, bool))
    assert nothing.ids.size == 0 and nothing.statuses == ["exact"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k: expected"),
        ({"k": True}, "k: expected"),
        ({"enough": 0}, "enough: expected"),
        ({"rerank": 1.5}, "rerank: expected"),
        ({"mask": np.ones(N - 1, bool)}, "booleans"),
        ({"mask": [0.5]}, "row numbers"),
        ({"mask": [N]}, "within"),
        ({"mask": [-1]}, "within"),
        ({"queries": np.full(D, np.nan, np.float32)}, "NaN"),
        ({"queries": np.zeros(D - 1, np.float32)}, "dimensions"),
    ],
)
def test_refuses_what_it_cannot_use(made: Any, arguments: dict[str, Any], message: str) -> None:
    asked = {"queries": points(1, 2), "k": 3} | arguments
    with pytest.raises(InputError, match=message):
        made["cosine"].search(**asked)


def test_refuses_what_it_cannot_build() -> None:
    with pytest.raises(InputError, match="metric"):
        fanns.ProductKeyIndex.build(points(9, 1), "hamming")
    with pytest.raises(InputError, match="halves"):
        fanns.ProductKeyIndex.build(points(9, 1), halves=(10, 3))
    with pytest.raises(InputError, match="NaN"):
        fanns.ProductKeyIndex.build(np.full((3, 4), np.nan, np.float32))
