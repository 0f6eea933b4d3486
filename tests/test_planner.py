"""The planner's decisions, on both sides of each threshold."""

from dataclasses import replace

import pytest

from fanns.calibration import DEFAULT, TARGETS, Calibration, Costs, Curve
from fanns.planner import LIKELY, asks_for_lift, choose

ROWS = 1_000_000


def calibration(walk_codes: float = 1_000.0, beam: float = 50.0) -> Calibration:
    """Walks that always compare the same codes, whatever the selectivity."""
    row = (tuple([beam] * len(TARGETS)),)
    codes = (tuple([walk_codes] * len(TARGETS)),)
    curves = (
        Curve(0, False, 1_000, 10, (1.0, 0.2), row * 2, codes * 2),
        Curve(1, False, 1_000, 10, (0.5, 0.02), row * 2, codes * 2),
    )
    costs = Costs(1_000, 10, 100)
    return Calibration("test", 10, costs, tuple([2.0] * len(TARGETS)), curves)


def test_few_rows_are_compared_in_full_precision() -> None:
    plan = choose(calibration(), ROWS, LIKELY * 10, 10, 0.95)
    assert (plan.path, plan.parameters.rerank) == ("scan", 0)
    assert choose(calibration(), ROWS, LIKELY * 10 + 1, 10, 0.95).parameters.rerank > 0


def test_exact_is_never_a_walk() -> None:
    plan = choose(calibration(), ROWS, ROWS, 10, 0.95, exact=True)
    assert plan.path == "scan" and plan.parameters.prove
    assert not choose(calibration(), ROWS, LIKELY * 10 + 1, 10, 0.95).parameters.prove


def test_the_cheaper_path_wins_on_both_sides_of_the_crossover() -> None:
    # Walk: 1,000 codes at 10 ns; scan: as many codes as pass. They meet near 1,000 of 40,000.
    rows = 40_000
    assert choose(calibration(), rows, 700, 10, 0.95).path == "scan"
    plan = choose(calibration(), rows, 1_200, 10, 0.95)
    assert plan.path == "graph" and plan.parameters.mode == 1
    assert any(path == "scan" for path, _, _ in plan.rejected)


def test_all_rows_are_walked_one_hop() -> None:
    plan = choose(calibration(), ROWS, ROWS, 10, 0.95)
    assert plan.path == "graph" and plan.parameters.mode == 0


def test_below_the_last_measured_selectivity_the_scan_is_taken() -> None:
    below = int(ROWS * 0.0199)
    assert choose(calibration(), ROWS, below, 10, 0.95).path == "scan"
    assert choose(calibration(), ROWS, int(ROWS * 0.0201), 10, 0.95).path == "graph"


def test_a_target_that_no_walk_reached_is_scanned() -> None:
    curve = Curve(0, False, 1_000, 10, (1.0,), ((50, 50, 0, 0, 0, 0),), ((900, 900, 0, 0, 0, 0),))
    made = replace(calibration(), curves=(curve,))
    assert choose(made, ROWS, ROWS, 10, 0.9).path == "graph"
    plan = choose(made, ROWS, ROWS, 10, 0.95)
    assert plan.path == "scan"
    assert any("not seen" in why for _, _, why in plan.rejected)


def test_a_target_above_all_measured_ones_is_scanned() -> None:
    assert choose(calibration(), ROWS, ROWS, 10, 0.9995).path == "scan"


def test_the_walk_may_spend_what_the_scan_would_cost() -> None:
    made = calibration()
    plan = choose(made, ROWS, ROWS // 2, 10, 0.95)
    scan = next(cost for path, cost, _ in plan.rejected if path == "scan")
    assert scan is not None
    assert plan.parameters.walk_limit == pytest.approx(scan / 11, rel=0.01)


def test_longer_answers_get_longer_beams() -> None:
    short = choose(calibration(), ROWS, ROWS, 10, 0.95).parameters
    long = choose(calibration(), ROWS, ROWS, 100, 0.95).parameters
    assert long.ef >= 5 * short.ef and long.rerank > 100


def test_only_leaves_the_choice_to_the_caller() -> None:
    assert choose(calibration(), ROWS, ROWS, 10, 0.95, only="scan").path == "scan"
    assert choose(calibration(1e6), ROWS, ROWS // 2, 10, 0.95, only="graph").path == "graph"


def test_curves_are_interpolated_between_measured_points() -> None:
    curve = Curve(
        1, False, 1_000, 10, (0.5, 0.05), ((10,) * 6, (40,) * 6), ((100,) * 6, (400,) * 6)
    )
    middle = curve.at(0.5 / 10**0.5, 0.95)
    assert middle == pytest.approx((20, 200))
    assert curve.at(0.04, 0.95) is None


def test_a_calibration_survives_json() -> None:
    assert Calibration.from_json(DEFAULT.to_json()) == DEFAULT


def test_queries_that_the_filter_avoids_have_curves_of_their_own() -> None:
    made = calibration()
    assert choose(made, ROWS, ROWS // 4, 10, 0.95, far=True).path == "scan"
    far = replace(made.curves[1], far=True)
    both = replace(made, curves=(*made.curves, far))
    assert choose(both, ROWS, ROWS // 4, 10, 0.95, far=True).path == "graph"


def test_lift_is_asked_for_only_where_it_can_matter() -> None:
    made = calibration()
    assert asks_for_lift(made, ROWS, ROWS // 10, False, None)
    assert not asks_for_lift(made, ROWS, ROWS, False, None)
    assert not asks_for_lift(made, ROWS, ROWS // 10, True, None)
    assert not asks_for_lift(made, ROWS, ROWS // 100, False, None)
    assert not asks_for_lift(made, 20_000, 2_000, False, None)
    assert asks_for_lift(made, 20_000, 2_000, False, "graph")
