"""Every figure against its definition, written out user by user, and against scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from fanns.datasets.recsys_ctr_metrics import auc, gauc, logloss
from fanns.datasets.recsys_interactions import Interactions, from_pairs
from fanns.datasets.recsys_metrics import Measured, evaluate, index_recall, inner_products, judge
from fanns.datasets.recsys_splits import ratio
from fanns.datasets.recsys_topk import NOBODY, best
from fanns.errors import InputError
from tests.recsys_data import random_interactions


def by_hand(
    scores: Any, test: Interactions, seen: Interactions, k: int, allowed: Any
) -> dict[str, float]:
    """The definitions, one user after the other."""
    sums: dict[str, list[float]] = {}
    for user in range(test.n_users):
        wanted = {int(i) for i in test.items_of(user) if allowed[i]}
        if not wanted:
            continue
        left = [i for i in range(test.n_items) if allowed[i] and i not in set(seen.items_of(user))]
        ranked = sorted(left, key=lambda i: (-scores[user, i], i))[:k]
        hits = [i in wanted for i in ranked]
        gains = [1 / np.log2(rank + 2) for rank in range(k)]
        first = hits.index(True) if any(hits) else None
        for name, value in {
            "recall": sum(hits) / len(wanted),
            "ndcg": sum(g for g, h in zip(gains, hits, strict=False) if h)
            / sum(gains[: min(k, len(wanted))]),
            "hit": float(any(hits)),
            "precision": sum(hits) / k,
            "mrr": 0.0 if first is None else 1 / (first + 1),
        }.items():
            sums.setdefault(f"{name}@{k}", []).append(value)
    return {name: float(np.mean(values)) for name, values in sums.items()}


@given_any(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_figures_are_as_defined(seed: int, ties: bool, filtered: bool) -> None:
    split = ratio(random_interactions(12, 25, 0.3, seed), (0.6, 0.0, 0.4), seed=seed)
    train, test = split.train.take("fit"), split.test.take("measure")
    random = np.random.default_rng(seed)
    scores = random.standard_normal((12, 25)).astype(np.float32)
    if ties:
        scores = np.round(scores)
    allowed = random.random(25) < 0.6 if filtered else np.ones(25, np.bool_)
    if not allowed[test.indices].any():
        return
    found = evaluate(
        lambda rows: scores[rows], test, seen=train, ks=(3, 10), block=5,
        allowed=allowed if filtered else None,
    )  # fmt: skip
    for k in (3, 10):
        for name, value in by_hand(scores, test, train, k, allowed).items():
            assert found[name] == pytest.approx(value, abs=1e-12), name
    everybody = np.count_nonzero(test.user_counts)
    assert found.users + found.skipped == everybody
    assert found.selectivity == allowed.mean()


def test_no_filter_and_one_that_passes_all_are_the_same() -> None:
    split = ratio(random_interactions(30, 40, 0.3, 1), seed=2)
    random = np.random.default_rng(3)
    vectors = random.standard_normal((30, 8)), random.standard_normal((40, 8))
    test, seen = split.test.take("measure"), split.train.seen()

    def measured(allowed: Any) -> Measured:
        return evaluate(inner_products(*vectors), test, seen=seen, allowed=allowed)

    assert measured(None).values == measured(np.ones(40, np.bool_)).values
    few = measured(np.arange(40) == int(test.indices[0]))
    assert few.skipped > 0 and few.users > 0 and few["recall@10"] == 1.0
    assert few.selectivity == 1 / 40


def test_nobody_and_nothing() -> None:
    test = from_pairs(np.array([1]), np.array([0]), user_ids=None)
    ranked = np.full((1, 10), NOBODY)
    assert judge(lambda rows: ranked, test, ks=(10,))["recall@10"] == 0.0
    none = test.select(np.zeros(1, np.bool_))
    with pytest.raises(InputError, match="nothing to measure"):
        judge(lambda rows: ranked, none)
    filtered = judge(lambda rows: ranked, test, ks=(10,), allowed=np.zeros(1, np.bool_))
    assert filtered.users == 0 and filtered.skipped == 1
    with pytest.raises(InputError, match="ks are"):
        judge(lambda rows: ranked, test, ks=(0,))


def test_best_gives_fewer_where_there_are_fewer() -> None:
    seen = from_pairs(np.array([0, 0, 1]), np.array([0, 2, 3]))
    scores = np.array([[9, 1, 8, 1], [1, 1, 1, 9]], np.float32)
    items, values = best(scores, np.arange(2), 3, seen=seen)
    assert items.tolist() == [[1, 3, NOBODY], [0, 1, 2]]
    assert values[0].tolist() == [1, 1, -np.inf]
    scores[1, 2] = np.nan
    with pytest.raises(InputError, match="user row 1 are not all numbers"):
        best(scores, np.arange(2), 3, seen=seen)


def test_index_recall_is_of_the_exact_answer() -> None:
    exact = np.array([[1, 2, 3], [4, NOBODY, NOBODY]])
    found = np.array([[3, 9, 1], [4, NOBODY, NOBODY]])
    assert index_recall(found, exact) == 3 / 4
    assert index_recall(exact[:0], exact[:0]) == 1.0
    with pytest.raises(InputError, match="found has 1 rows"):
        index_recall(found[:1], exact)


@settings(max_examples=15)
@given_any(st.integers(0, 10_000))
def test_auc_and_logloss_are_scikit_learns(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    labels = np.append(random.integers(0, 2, 60), [0, 1])
    scores = np.round(random.random(62), 1)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    expected = metrics.log_loss(labels, np.clip(scores, 1e-7, 1 - 1e-7))
    assert logloss(labels, scores) == pytest.approx(expected)
    groups = random.integers(0, 6, 62)
    both = [g for g in range(6) if len(set(labels[groups == g])) == 2]
    areas = [metrics.roc_auc_score(labels[groups == g], scores[groups == g]) for g in both]
    weights = [np.count_nonzero(groups == g) for g in both]
    found = gauc(labels, scores, groups)
    assert found.value == pytest.approx(np.average(areas, weights=weights))
    assert found.groups == len(both) and found.groups + found.skipped == len(set(groups))


def test_odd_labels_and_scores() -> None:
    with pytest.raises(InputError, match="all alike"):
        auc(np.ones(3), np.arange(3))
    with pytest.raises(InputError, match="0 or 1"):
        auc(np.array([0, 2]), np.arange(2))
    with pytest.raises(InputError, match="score 1 is not a number"):
        auc(np.array([0, 1]), np.array([0, np.nan]))
    with pytest.raises(InputError, match="between 0 and 1"):
        logloss(np.array([0, 1]), np.array([0.5, 3.0]))
    assert gauc(np.ones(2), np.arange(2), np.zeros(2)) == (0.0, 0, 1)
    pairs = gauc(np.array([1, 0, 1, 0]), np.array([2.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert pairs.value == 0.5, "with a pair of each, GAUC is the accuracy of pairs"
