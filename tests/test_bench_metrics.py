from math import log, sqrt

import numpy as np
import pytest

from fanns.bench.running.metrics import (
    Round,
    latencies,
    rate_interval,
    recall_interval,
    student,
    summarise,
)


def test_recall_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth, hits, trials = 0.93, 0, 1000
    for _ in range(trials):  # rows of an answer succeed together: 10 rows, chance drawn per query
        chance = random.beta(truth * 4, (1 - truth) * 4, 200)
        found = recall_interval(random.binomial(10, chance) / 10)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / trials <= 0.98


def test_recall_at_its_ends() -> None:
    perfect = recall_interval(np.ones(200))
    assert perfect.value == perfect.high == 1.0
    assert perfect.low == pytest.approx(1 - 3.841459 / (200 + 3.841459))
    assert recall_interval(np.zeros(200)).low == 0.0
    assert recall_interval(np.empty(0)) == (1.0, 0.0, 1.0)
    one = recall_interval(np.array([0.5]))
    assert one.low < 0.5 < one.high


def test_rate_interval_follows_the_rounds_or_the_queries_whichever_is_wider() -> None:
    micros = np.full(300, 100.0)
    drifting = [Round(100, seconds, 1.0) for seconds in (0.010, 0.012, 0.009)]
    found = rate_interval(drifting, micros)
    logs = np.log([one.seconds / 100 for one in drifting])
    half = student(2) * logs.std(ddof=1) / sqrt(3)
    assert found.value == pytest.approx(300 / 0.031)
    assert log(found.high / found.value) == pytest.approx(half)
    assert log(found.value / found.low) == pytest.approx(half)

    uneven = np.tile([50.0, 150.0], 150)
    steady = rate_interval([Round(100, 0.01, 1.0)] * 3, uneven)
    width = 1.959964 * uneven.std(ddof=1) / 100 / sqrt(300)
    assert log(steady.high / steady.value) == pytest.approx(width)
    few = rate_interval([Round(100, 0.01, 1.0), Round(100, 0.03, 1.0)], uneven)
    assert log(few.high / few.value) == pytest.approx(width)


def test_student_is_the_usual_table() -> None:
    assert student(4) == pytest.approx(2.776, abs=1e-3)


def test_rate_without_queries() -> None:
    assert rate_interval([], np.empty(0)) == (0.0, 0.0, 0.0)
    assert set(latencies(np.empty(0)).values()) == {None}


def test_summary_tells_short_wrong_and_invalid_answers_apart() -> None:
    found = summarise(
        micros=np.array([100.0, 200.0, 300.0, 400.0]),
        recall=np.array([1.0, 0.5, 0.0, 1.0]),
        returned=np.array([10, 10, 5, 0]),
        wanted=np.array([10, 10, 10, 0]),
        violations=np.array([0, 5, 0, 0]),
        invalid=np.array([0, 0, 5, 0]),
        rounds=[Round(4, 1e-3, 0.5)],
    )
    assert found["recall"] == pytest.approx(0.5)  # the query without matches does not count
    assert found["short"] == 0.25
    assert found["violations"] == pytest.approx(5 / 25)
    assert found["invalid"] == pytest.approx(5 / 25)
    assert (found["queries"], found["rounds"]) == (4, 1)
    assert (found["mean_us"], found["p50_us"]) == (250.0, 250.0)
    assert found["qps"] == pytest.approx(4000.0)
