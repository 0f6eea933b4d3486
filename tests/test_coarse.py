"""Coarse to fine: found by first coordinates, compared by whole vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanns
from fanns import CoarseToFine, Index
from fanns.errors import InputError
from fanns.transforms import PCA, Transforms

N, D = 1500, 20


def rows(n: int = N, seed: int = 0) -> np.ndarray:
    scale = np.linspace(1.5, 0.3, D)
    return (np.random.default_rng(seed).standard_normal((n, D)) * scale).astype(np.float32)


X, Q = rows(), rows(40, seed=1)
CHAIN = Transforms.of(PCA.fit(X, D))
DATA: dict[str, Any] = {"embedding": X, "group": np.arange(N) % 7}


@pytest.fixture(scope="module")
def made() -> CoarseToFine:
    return CoarseToFine.build(DATA, 6, Q, transforms=CHAIN)


def nearest(x: np.ndarray, q: np.ndarray, k: int, passing: np.ndarray) -> tuple[list[int], Any]:
    """Ids and distances of the nearest passing rows by whole vectors, in double precision."""
    held = CHAIN.rows(x).astype(float)
    distances = np.linalg.norm(held - CHAIN.queries(q[None])[0], axis=1)
    order = passing[np.lexsort((passing, distances[passing]))[:k]]
    return order.tolist(), distances[order]


@pytest.mark.parametrize(
    ("where", "passing"), [(None, slice(None)), ("group = 3", slice(3, None, 7))]
)
def test_exact_answers_are_those_of_whole_vectors(
    made: CoarseToFine, where: str | None, passing: slice
) -> None:
    for q in Q[:8]:
        hits = made.search(q, 9, where, exact=True)
        ids, distances = nearest(X, q, 9, np.arange(N)[passing])
        assert hits.status == "exact"
        assert hits.ids.tolist() == ids
        assert np.allclose(hits.distances, distances, rtol=1e-12)


@pytest.mark.parametrize("target", [0.8, 0.95])
def test_other_answers_reach_the_recall(made: CoarseToFine, target: float) -> None:
    queries = rows(60, seed=2)
    for where, passing in (
        (None, np.arange(N)),
        ("group < 3", np.flatnonzero(np.arange(N) % 7 < 3)),
    ):
        found = made.search(queries, 10, where, recall=target)
        assert all(len(hits) == 10 for hits in found)
        recalls = [
            len(set(hits.ids.tolist()) & set(nearest(X, q, 10, passing)[0])) / 10
            for hits, q in zip(found, queries, strict=True)
        ]
        assert np.mean(recalls) >= target


def test_few_matches_all_come_back(made: CoarseToFine) -> None:
    for wanted in (3, 50):
        hits = made.search(Q[0], wanted, fanns.ids([5, 9, 700]))
        assert hits.ids.tolist() == nearest(X, Q[0], 3, np.array([5, 9, 700]))[0]
    assert len(made.search(Q[0], 5, "group = 99")) == 0
    assert made.search(Q[0], 5, "group = 99", exact=True).status == "exact"


def test_changes_and_reopening(tmp_path: Path) -> None:
    CoarseToFine.build(DATA, 6, Q, transforms=CHAIN, path=tmp_path / "i.fanns", store=[])
    more = np.vstack([X, X[:40]])  # copies of rows are tied with them
    with fanns.open(tmp_path / "i.fanns", "w") as index:
        opened = CoarseToFine(index, Q)
        opened.add({"embedding": X[:40], "group": np.zeros(40, np.int64)})
        index.delete(ids=[0, 7])
        live = np.setdiff1d(np.arange(N + 40), [0, 7])
        for q in (Q[0], X[3], X[7]):
            assert opened.search(q, 6, exact=True).ids.tolist() == nearest(more, q, 6, live)[0]


def test_what_cannot_be_used() -> None:
    plain = Index.build(DATA, metric="l2")
    with pytest.raises(InputError, match="no index that CoarseToFine"):
        CoarseToFine(plain, Q)
    with pytest.raises(InputError, match="3 queries tell too little"):
        CoarseToFine.build(DATA, 6, Q[:3])
    with pytest.raises(InputError, match="width is 21"):
        CoarseToFine.build(DATA, 21, Q)
