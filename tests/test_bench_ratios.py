"""Ratios of speeds at equal recall: intervals, states that are no numbers, wrong answers."""

import math
from typing import Any

import pyarrow as pa
import pytest

from fanns.bench.reporting import ratios
from fanns.bench.reporting.ratios import Measurements, compare, summarise

CELL, MODE = "cell", "end_to_end"


def point(engine: str, recall: float, qps: float, setting: str = "{}", **other: Any) -> Any:
    return {
        "engine": engine, "kind": "engine", "cell": CELL, "mode": MODE, "setting": setting,
        "recall": recall, "qps": qps, "qps_low": qps * 0.9, "qps_high": qps * 1.1,
        "violations": 0.0, "invalid": 0.0,
    } | other  # fmt: skip


def rounds_of(engine: str, speeds: list[float], setting: str = "{}") -> list[dict[str, Any]]:
    return [
        {
            "engine": engine, "cell": CELL, "mode": MODE, "setting": setting, "round": i,
            "queries": 100, "seconds": 100 / speed, "recall": 0.96,
        }
        for i, speed in enumerate(speeds)
    ]  # fmt: skip


def measured(points: list[Any], rounds: list[dict[str, Any]] | None = None) -> Measurements:
    empty = pa.table({name: [] for name in ("engine", "cell", "mode", "setting", "round")})
    return Measurements(
        pa.Table.from_pylist(points), pa.Table.from_pylist(rounds) if rounds else empty
    )


def only(found: Measurements, recall: float = 0.95) -> ratios.Comparison:
    [one] = compare(found, recalls=[recall])
    return one


def test_the_fastest_point_that_reaches_the_recall_stands_for_an_engine() -> None:
    points = [
        point("fanns", 0.90, 500, "a"),
        point("fanns", 0.95, 300, "b"),
        point("fanns", 0.99, 350, "c"),
        point("slow", 0.97, 100),
        point("quick", 0.96, 140),
        point("quick", 0.91, 900, "hasty"),
    ]
    found = measured(points)
    one = only(found)
    assert one.ours is not None and one.ours["setting"] == "c"
    assert one.peer is not None and one.peer["engine"] == "quick"
    assert one.interval == ratios.Interval(350 / 140, None, None, 0)
    assert one.verdict == "undecided"  # without rounds nothing is certain
    hasty = only(found, 0.9)
    assert hasty.interval is not None and hasty.interval.ratio == pytest.approx(5 / 9)


def test_the_interval_is_that_of_paired_logarithms() -> None:
    """Both engines slow down by half within the run, which a paired interval does not mind."""
    drift = [1.0, 0.9, 0.8, 0.6, 0.5]
    noise = [1.02, 0.98, 1.0, 1.01, 0.99]
    ours = [200 * d * n for d, n in zip(drift, noise, strict=True)]
    found = measured(
        [point("fanns", 0.96, 152), point("peer", 0.96, 76)],
        rounds_of("fanns", ours) + rounds_of("peer", [100 * d for d in drift]),
    )
    one = only(found)
    interval = one.interval
    assert interval is not None and interval.low is not None and interval.high is not None
    logs = [math.log(2 * n) for n in noise]
    mean = sum(logs) / 5
    reach = 2.7764451 * math.sqrt(sum((x - mean) ** 2 for x in logs) / 4 / 5)
    assert interval.ratio == pytest.approx(math.exp(mean))
    assert interval.low == pytest.approx(math.exp(mean - reach))
    assert interval.high == pytest.approx(math.exp(mean + reach))
    assert one.verdict == "faster" and interval.rounds == 5


def test_a_ratio_is_undecided_where_the_interval_holds_one() -> None:
    found = measured(
        [point("fanns", 0.96, 100), point("peer", 0.96, 101)],
        rounds_of("fanns", [100, 90, 110]) + rounds_of("peer", [99, 112, 92]),
    )
    assert only(found).verdict == "undecided"


def test_rounds_that_only_one_engine_has_are_left_out() -> None:
    found = measured(
        [point("fanns", 0.96, 100), point("peer", 0.96, 50)],
        rounds_of("fanns", [100, 100, 100, 1]) + rounds_of("peer", [50, 50, 50]),
    )
    interval = only(found).interval
    assert interval is not None
    assert interval.rounds == 3 and interval.ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("points", "state", "verdict"),
    [
        ([("fanns", 0.9), ("peer", 0.99)], "ours_not_reached", "not reached"),
        ([("fanns", 0.99), ("peer", 0.9)], "peers_not_reached", "only ours"),
        ([("fanns", 0.9), ("peer", 0.9)], "none_reached", "not judged"),
        ([("fanns", 0.99)], "no_peer", "not judged"),
    ],
)
def test_what_was_not_reached_is_no_number(
    points: list[tuple[str, float]], state: str, verdict: str
) -> None:
    one = only(measured([point(engine, recall, 100) for engine, recall in points]))
    assert (one.state, one.verdict) == (state, verdict)
    assert one.interval is None
    row = ratios.table([one]).to_pylist()[0]
    assert row["state"] == state and row["ratio"] is None and row["low"] is None


def test_wrong_answers_win_nothing() -> None:
    points = [
        point("fanns", 0.96, 100),
        point("careless", 0.96, 900, violations=0.01),
        point("padded", 0.96, 800, invalid=0.2),
        point("honest", 0.96, 50),
    ]
    one = only(measured(points))
    assert one.peer is not None and one.peer["engine"] == "honest"
    ours_wrong = measured([point("fanns", 0.96, 100, violations=0.5), point("honest", 0.96, 50)])
    assert only(ours_wrong).state == "ours_not_reached"


def test_oracles_are_no_peers() -> None:
    points = [
        point("fanns", 0.96, 100),
        point("slice", 1.0, 900, kind="oracle"),
        point("exact", 1.0, 50, kind="exact"),
    ]
    one = only(measured(points))
    assert one.peer is not None and one.peer["engine"] == "exact"
    assert one.oracle is not None and one.oracle["engine"] == "slice"


def test_another_engine_can_be_ours() -> None:
    found = measured([point("fanns", 0.96, 100), point("peer", 0.96, 50)])
    [one] = compare(found, "peer", [0.95])
    assert one.peer is not None and one.peer["engine"] == "fanns"
    assert compare(found, "nobody", [0.95]) == []


def test_summaries_count_verdicts_by_family() -> None:
    points = [
        point("fanns", 0.96, 100, cell="a"), point("peer", 0.96, 50, cell="a"),
        point("fanns", 0.96, 100, cell="b"), point("peer", 0.96, 800, cell="b"),
        point("fanns", 0.90, 100, cell="c"), point("peer", 0.96, 800, cell="c"),
    ]  # fmt: skip
    families = {"a": "in", "b": "in", "c": "not"}
    lines = summarise(compare(measured(points), recalls=[0.95]), families)
    found = {one.family: one for one in lines}
    assert found["all"].cells == 3 and found["in"].cells == 2
    assert found["in"].mean == pytest.approx(math.sqrt(2 * 0.125))
    assert (found["in"].lowest, found["in"].highest) == (0.125, 2)
    assert found["not"].counts == {"not reached": 1} and found["not"].mean is None
