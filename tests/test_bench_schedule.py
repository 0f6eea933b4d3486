import numpy as np
import pytest

from fanns.bench.running.cuts import Cut, sentences
from fanns.bench.running.schedule import (
    LEAST,
    Point,
    Trial,
    allotment,
    choose,
    cost,
    fit,
    least,
    next_trial,
    parts,
    shuffled,
)


def sweep(*recalls: float) -> list[Trial]:
    """Trials whose time rises with their number."""
    return [Trial(i, recall, 1e-4 * (i + 1)) for i, recall in enumerate(recalls)]


def test_settings_around_each_target_are_chosen_most_wanted_first() -> None:
    trials = sweep(0.5, 0.7, 0.82, 0.88, 0.91, 0.94, 0.96, 0.98, 0.992, 0.999)
    assert choose(trials, 3) == [6, 8, 4]  # reach .95, .99, .90
    assert choose(trials, 5) == [6, 8, 4, 7, 2]  # and one above .95, and .80
    assert choose(trials, None) == list(range(10))


def test_an_engine_that_reaches_nothing_shows_its_best() -> None:
    assert choose(sweep(0.2, 0.5, 0.7), 5)[0] == 2
    assert choose(sweep(1.0), 5) == [0]


def test_settings_that_others_surpass_are_not_measured() -> None:
    trials = [Trial(0, 0.96, 1e-4), Trial(1, 0.90, 2e-4), Trial(2, 0.97, 3e-4)]
    assert 1 not in choose(trials, 5)


def pilot(recalls: list[float], most: int | None = 5) -> tuple[list[int], list[bool]]:
    """The settings that a pilot tries when they have these recalls, and which it needs."""
    trials: list[Trial] = []
    needed = []
    while (step := next_trial(trials, len(recalls), most)) is not None:
        trials.append(Trial(step[0], recalls[step[0]], 1e-4))
        needed.append(step[1])
    return [trial.setting for trial in trials], needed


def test_a_pilot_finds_the_first_setting_that_reaches_each_target() -> None:
    recalls = [0.5, 0.6, 0.7, 0.78, 0.82, 0.86, 0.89, 0.91, 0.93, 0.945, 0.96, 0.97, 0.985, 0.992]
    tried, needed = pilot(recalls)
    assert {10, 13, 7, 4, 9, 12, 6, 3, 11} <= set(tried)  # firsts, those before, one after .95
    assert len(set(tried)) == len(tried) <= 11
    assert needed == sorted(needed, reverse=True)  # what .95 needs comes first
    assert {10, 9} <= {one for one, must in zip(tried, needed, strict=True) if must}


def test_a_pilot_of_what_never_or_always_finds_everything() -> None:
    assert 14 in pilot([0.3] * 15)[0]
    assert 0 in pilot([1.0] * 15)[0]
    assert len(pilot([1.0] * 15)[0]) <= 5
    assert pilot([1.0])[0] == pilot([0.1])[0] == [0]
    for recalls in ([0.9, 0.99, 0.8, 0.97, 0.5], [0.99, 0.1, 0.99, 0.1]):  # not rising: it ends
        assert len(pilot(recalls)[0]) <= len(recalls)


def test_a_full_pilot_tries_all_until_nothing_is_left_to_find() -> None:
    assert pilot([0.9, 0.996, 0.99, 0.997, 1.0], None)[0] == [0, 1, 2, 3]
    assert pilot([0.1, 0.2], None)[0] == [0, 1]


def points(*seconds: float, rank: int = 0) -> list[Point]:
    return [Point(f"engine{i}", "end_to_end", 0, one, rank) for i, one in enumerate(seconds)]


def test_points_that_fit_are_left_alone() -> None:
    plan = fit(points(1e-4, 1e-3), 60.0, seconds=5.0, queries=1000, rounds=5)
    assert (plan.seconds, plan.dropped) == (5.0, [])
    assert fit(points(1.0), None, seconds=5.0, queries=1000, rounds=5).seconds == 5.0


def test_points_shrink_together_but_not_under_the_least() -> None:
    slow = points(0.01, 0.01, 0.001)
    plan = fit(slow, 10.0, seconds=5.0, queries=1000, rounds=5)
    assert 0.0 < plan.seconds < 5.0
    assert plan.dropped == []
    assert cost(plan.points, plan.seconds, 1000, 5) == pytest.approx(10.0, abs=0.1)
    assert cost(slow, 0.0, 1000, 5) >= LEAST * sum(point.seconds for point in slow)


def test_the_slowest_engine_gives_up_settings_until_the_rest_fits() -> None:
    slow = [Point("slow", mode, i, 0.02, i) for i in range(4) for mode in ("a", "b")]
    quick = [Point("quick", "a", i, 1e-4, i) for i in range(4)]
    plan = fit(slow + quick, 12.0, seconds=5.0, queries=1000, rounds=5)
    kept = [point.engine for point in plan.points]
    assert kept.count("quick") == 4
    assert [point.rank for point in plan.points if point.engine == "slow"] == [0, 0]
    assert {point.mode for point in plan.points if point.engine == "slow"} == {"a", "b"}
    hopeless = fit(slow, 0.0, seconds=5.0, queries=1000, rounds=5)
    assert [point.rank for point in hopeless.points] == [0, 0]
    assert hopeless.seconds == pytest.approx(0.0, abs=1e-6)


def test_each_query_is_in_one_round() -> None:
    queries = np.arange(100, 907)
    found = parts(queries, 800, 5)
    assert len(set(np.concatenate(found)) & set(range(100, 907))) == 800
    assert any((np.diff(part) < 0).any() for part in found)  # a prefix is a sample
    assert {len(part) for part in found} == {160}
    assert sum(len(part) > 0 for part in parts(queries, 3, 5)) == 3


def test_rounds_are_never_under_the_least_together() -> None:
    assert 5 * least(1000, 5) == LEAST
    assert 3 * least(1000, 3) >= LEAST
    assert 3 * least(24, 3) == 24


def test_every_round_has_the_same_points_in_another_order() -> None:
    orders = [shuffled("abcdef", "some cell", turn) for turn in range(5)]
    assert len(set(map(tuple, orders))) > 3
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert orders == [shuffled("abcdef", "some cell", turn) for turn in range(5)]


def test_time_that_is_left_is_shared_by_the_cells_that_are_left() -> None:
    early, late = allotment(100.0, 10.0, 4), allotment(100.0, 99.0, 1)
    assert early is not None
    assert 20.0 < early < 22.5
    assert late == 0.0
    assert allotment(None, 10.0, 4) is None


def test_cuts_are_told_in_few_words() -> None:
    cuts = [
        Cut("shortened", "a", None, 0.5),
        Cut("shortened", "b", None, 1.25),
        Cut("dropped", "a", "slow"),
        Cut("untried", "a", "slow"),
        Cut("untried", "b", "slow"),
        Cut("untried", "b", "slower"),
    ]
    found = sentences([list(cut) for cut in cuts], 5.0)
    assert "0.50 to 1.25 s of searching instead of 5 s" in found[0]
    assert found[1].endswith("to keep the time limit: slow (1 cell).")
    assert found[2].endswith("slow (2 cells), slower (1 cell).")
    assert sentences([], 5.0) == []
