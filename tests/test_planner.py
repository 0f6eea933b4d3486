"""The planner's decisions, on both sides of each threshold."""

import math
from dataclasses import replace

import pytest

from fanns.calibration.block_model import BlockModel
from fanns.calibration.model import (
    DEFAULT,
    RATES,
    Calibration,
    ClusterModel,
    ClusterTimes,
    Costs,
    Curve,
)
from fanns.calibration.needs import TARGETS, Needs
from fanns.paths.clusters import DENSE_SHARE, NO_ESTIMATES
from fanns.paths.column_path import Covering
from fanns.planner import FOLLOWED, LIKELY, SURELY, asks_for_lift, choose

ROWS = 1_000_000


def calibration(walk_codes: float = 1_000.0, gap: float = 0.05) -> Calibration:
    """Walks that always compare the same codes, whatever the selectivity."""
    row = (tuple([gap] * len(TARGETS)),)
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


def test_a_dear_call_is_no_reason_for_full_precision() -> None:
    """What a call costs before its first row is paid by both scans of a list."""
    made = replace(calibration(), scan=Costs(90_000, 90, 350))
    for count, codes in ((40, False), (41, True), (200, True), (2_000, True)):
        plan = choose(made, ROWS, count, 10, 0.95, only="scan")
        assert (plan.parameters.rerank > 0) == codes
        assert plan.predicted_ns < 90_000 + count * 90


def test_exact_is_never_a_walk() -> None:
    plan = choose(calibration(), ROWS, ROWS, 10, 0.95, exact=True)
    assert plan.path == "scan" and plan.parameters.prove
    assert not choose(calibration(), ROWS, LIKELY * 10 + 1, 10, 0.95).parameters.prove


def test_the_cheaper_path_wins_on_both_sides_of_the_crossover() -> None:
    # Walk: 1,000 codes at 10 ns; scan: as many codes as pass. They meet near 1,000 of 40,000;
    # the scan, which proves its answers and goes a short way, may cost a little more.
    rows = 40_000
    assert choose(calibration(), rows, 700, 10, 0.95).path == "scan"
    plan = choose(calibration(), rows, 5_000, 10, 0.95)
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
    walk = choose(made, ROWS, ROWS // 10, 10, 0.95)
    assert walk.path == "graph" and asks_for_lift(walk, ROWS, ROWS // 10)
    assert not asks_for_lift(choose(made, ROWS, ROWS, 10, 0.95), ROWS, ROWS)
    assert not asks_for_lift(choose(made, ROWS, ROWS // 100, 10, 0.95), ROWS, ROWS // 100)


def with_clusters(rows: float, visit_ns: float = 10.0, exact_share: float = 1.0) -> Calibration:
    """Clusters of which the same number of rows is always enough, for any k up to 10."""
    table = (((rows,) * len(TARGETS),) * 2,) * 2
    needs = Needs((0.01, 1.0), (1, 10), table)
    slacks = (1.0,) * (len(TARGETS) - 1) + (-1.0,)
    model = ClusterModel(
        1_000, slacks, needs, needs, ClusterTimes(1_000, visit_ns, 2, 2, 0), exact_share
    )
    return replace(calibration(), clusters=model)


def test_clusters_are_taken_where_they_cost_least() -> None:
    plan = choose(with_clusters(500), ROWS, ROWS // 10, 10, 0.95)
    assert plan.path == "clusters" and plan.predicted_codes == 500
    assert plan.parameters.near == (500.0,) * RATES and plan.parameters.far == 500.0
    # Where few rows pass, as many clusters must be opened as there are rows to find.
    assert choose(with_clusters(500, 1e3), ROWS, ROWS // 1_000, 10, 0.95).path == "scan"
    # All of 400 rows are fewer than would be enough.
    assert choose(with_clusters(500), ROWS, 400, 10, 0.95).path == "scan"


def test_clusters_are_not_taken_for_what_their_estimates_miss() -> None:
    assert choose(with_clusters(500), ROWS, ROWS // 10, 10, 0.999).path == "graph"
    plan = choose(with_clusters(500), ROWS, ROWS // 10, 10, 0.999, only="clusters")
    assert plan.path == "scan"


def test_longer_answers_need_more_rows() -> None:
    short, long = (choose(with_clusters(500), ROWS, ROWS // 10, k, 0.95) for k in (10, 50))
    assert long.parameters.near[0] == 5 * short.parameters.near[0]


def test_needs_are_interpolated_by_share_and_k() -> None:
    rows = (((100.0,) * 6, (400.0,) * 6), ((1_600.0,) * 6, (6_400.0,) * 6))
    needs = Needs((0.01, 1.0), (1, 100), rows)
    assert needs.at(0.1, 10, 0.95) == pytest.approx(800)
    assert needs.at(0.001, 1, 0.95) == 100 and needs.at(1.0, 100, 0.95) == pytest.approx(6_400)
    assert needs.at(1.0, 200, 0.95) == pytest.approx(12_800)
    assert needs.at(1.0, 10, 0.9999) == math.inf


def test_an_exact_answer_comes_from_clusters_where_bounds_rule_most_out() -> None:
    plan = choose(with_clusters(500, exact_share=0.1), ROWS, ROWS // 10, 10, 0.95, exact=True)
    assert plan.path == "clusters" and plan.parameters.slack == NO_ESTIMATES
    assert plan.fallback is not None and plan.fallback.parameters.prove
    assert choose(with_clusters(500), ROWS, ROWS // 10, 10, 0.95, exact=True).path == "scan"


def test_what_takes_over_from_a_walk_is_the_cheapest_other_path() -> None:
    for visit_ns, expected in ((1e6, "scan"), (10.0, "clusters")):
        made = with_clusters(500, visit_ns)
        plan = choose(made, ROWS, ROWS // 10, 10, 0.95, only="graph")
        assert plan.path == "graph" and plan.fallback is not None
        assert plan.fallback.path == expected


def test_a_query_that_a_filter_avoids_gets_no_fewer_rows_than_others() -> None:
    made = with_clusters(500).clusters
    assert made is not None
    none = Needs((0.01,), (1,), (((1.0,) * len(TARGETS),),))
    parameters = replace(made, far=none).parameters(0.01, 10, 0.95, 20)
    assert parameters is not None and parameters.far == 500


def test_clusters_survive_json() -> None:
    made = with_clusters(500)
    assert Calibration.from_json(made.to_json()) == made


def with_bits(made: Calibration, code_ns: float) -> Calibration:
    """The same with codes of few bits, of which short lists are enough."""
    return replace(made, bits=Costs(1_000, code_ns, 10), bit_depths=(2.0,) * len(TARGETS))


def test_a_scan_is_preferred_to_clusters_that_cost_nearly_as_much() -> None:
    count = 20_000
    made = with_clusters(5_000)
    alone = choose(made, ROWS, count, 10, 0.95, has_graph=False)
    assert alone.path == "clusters" and not alone.parameters.abandon
    for factor, label in ((0.98, "scan of bits"), (1.02, "clusters")):
        wanted = SURELY * alone.predicted_ns * factor
        bits = with_bits(made, (wanted - 1_000 - 300) / count)
        assert choose(bits, ROWS, count, 10, 0.95, has_graph=False).label == label


def test_avoided_queries_are_left_to_the_scan_where_most_rows_would_be_seen() -> None:
    for enough, abandon in ((9_000, False), (11_000, True)):
        made = with_bits(with_clusters(enough), 3.0)
        plan = choose(made, ROWS, 20_000, 10, 0.95, has_graph=False)
        assert plan.path == "clusters" and plan.parameters.abandon == abandon
        assert plan.fallback is not None and plan.fallback.label == "scan of bits"
    forced = choose(with_clusters(11_000), ROWS, 20_000, 10, 0.95, only="clusters")
    assert not forced.parameters.abandon


def test_a_filter_of_many_rows_is_expected_to_follow_the_query() -> None:
    made = with_clusters(5_000)
    below, above = (
        choose(made, ROWS, int(share * ROWS), 10, 0.95, only="clusters").predicted_ns
        for share in (DENSE_SHARE - 0.01, DENSE_SHARE)
    )
    times = made.clusters.times if made.clusters else None
    assert times is not None
    visits = 5_000 * 1_000 / (DENSE_SHARE * ROWS) * times.visit_ns
    dense = times.fixed_ns + visits + 5_000 / DENSE_SHARE * times.dense_ns
    assert above == pytest.approx(FOLLOWED * dense) and below < dense


BLOCKS = "range blocks of year"


def with_blocks(block_ns: float = 400.0) -> Calibration:
    """4,000 rows are enough of 10,000, and few queries meet a scan that is as cheap."""
    needs = Needs((0.001, 0.1), (1, 10, 100), (((4_000.0,) * len(TARGETS),) * 3,) * 2)
    model = BlockModel(needs, 1_000.0, 10.0, block_ns)
    made = with_clusters(5_000)
    assert made.clusters is not None
    clusters = replace(made.clusters, times=ClusterTimes(500_000, 10, 10, 10, 10))
    scan = Costs(1_000, 100, 100)
    return replace(made, scan=scan, clusters=clusters, blocks=((BLOCKS, model),))


def test_blocks_of_a_column_are_a_scan_of_clusters_of_its_rows() -> None:
    covering = Covering(BLOCKS, 10_000, 1, 160)
    plan = choose(with_blocks(), ROWS, 10_000, 10, 0.95, coverings=[covering], only="clusters")
    assert (plan.path, plan.column, plan.label) == ("clusters", BLOCKS, BLOCKS)
    assert plan.parameters.near[0] == 4_000 and plan.predicted_codes == 4_000
    assert plan.predicted_ns == pytest.approx(1_000 + 160 * (10 + 0.4 * 400))
    assert plan.fallback is not None and plan.fallback.path == "scan"
    dear = choose(with_blocks(1e9), ROWS, 10_000, 10, 0.95, coverings=[covering])
    assert dear.column is None
    assert any(label == BLOCKS and why == "costs more" for label, _, why in dear.rejected)


def test_the_rest_of_a_filter_makes_a_scan_of_blocks_look_at_more_of_them() -> None:
    covering = Covering(BLOCKS, 10_000, 1, 160)
    made = with_blocks()
    assert made.clusters is not None
    falling = tuple((((one,) * len(TARGETS),) * 3) for one in (500.0, 4_000.0))
    needs = Needs((0.001, 0.01), (1, 10, 100), falling)
    model = replace(made.clusters, near=needs, far=needs.scaled([2.0] * len(TARGETS)))
    made = replace(made, clusters=model)
    every = choose(made, ROWS, 10_000, 10, 0.95, coverings=[covering], only="clusters")
    tenth = choose(made, ROWS, 1_000, 10, 0.95, coverings=[covering], only="clusters")
    assert tenth.column == every.column == BLOCKS
    # Between 500, where the rest follows the query, and twice as many where it avoids it.
    assert tenth.predicted_codes == pytest.approx(750) and tenth.parameters.far == pytest.approx(
        1_000
    )
    assert tenth.predicted_ns > every.predicted_ns
    near = every.parameters.near
    assert list(near) == sorted(near, reverse=True) and near[-1] >= 10


def test_blocks_that_hold_all_that_passes_are_preferred_to_what_depends_on_the_query() -> None:
    made = with_blocks()
    assert made.clusters is not None
    covering = Covering(BLOCKS, 10_000, 1, 160)
    blocks = choose(made, ROWS, 10_000, 10, 0.95, coverings=[covering], only="clusters")
    for share, column in ((0.55, BLOCKS), (0.4, None)):
        times = ClusterTimes(share * blocks.predicted_ns, 0, 0, 0, 0)
        other = replace(made, clusters=replace(made.clusters, times=times))
        plan = choose(other, ROWS, 10_000, 10, 0.95, coverings=[covering], has_graph=False)
        assert (plan.path, plan.column) == ("clusters", column)
    dear = replace(made, clusters=replace(made.clusters, times=ClusterTimes(1, 0, 0, 0, 0)))
    rest = choose(dear, ROWS, 6_000, 10, 0.95, coverings=[covering], has_graph=False)
    assert rest.column is None


def test_blocks_that_were_not_measured_have_shipped_constants() -> None:
    covering = Covering("label blocks of kind", 10_000, 1, 160)
    plan = choose(with_blocks(), ROWS, 10_000, 10, 0.95, coverings=[covering], only="clusters")
    assert plan.column == "label blocks of kind" and plan.parameters.near[0] == 6_000
    high = choose(with_blocks(), ROWS, 10_000, 10, 0.9999, coverings=[covering])
    assert high.column is None
