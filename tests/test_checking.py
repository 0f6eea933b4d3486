import numpy as np
import pytest

from fanns.checking import interval, recall_of


def test_recall_admits_ties_and_counts_the_missing() -> None:
    truth = np.array([0.1, 0.2, 0.2])
    assert recall_of(np.array([0.1, 0.2, 0.2]), truth) == 1.0
    assert recall_of(np.array([0.2, 0.2, 0.2]), truth) == 1.0
    assert recall_of(np.array([0.1, 0.2]), truth) == pytest.approx(2 / 3)
    assert np.isnan(recall_of(np.zeros(0), np.zeros(0)))


def test_the_interval_holds_the_mean_and_never_claims_certainty() -> None:
    rng = np.random.default_rng(0)
    sample = rng.binomial(10, 0.9, 200) / 10
    low, high = interval(sample, 10)
    assert low < sample.mean() < high and high - low < 0.06
    low, high = interval(np.ones(50), 10)
    assert high == 1.0 and 0.9 < low < 1.0
    assert interval(np.zeros(0), 10) == (0.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        low, high = interval(rng.binomial(10, 0.93, 100) / 10, 10)
        inside += low <= 0.93 <= high
    assert inside >= 0.92 * 300
