"""The grid of the planner's choices: its selections, its judgement, and a tiny run."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fanns.bench.proofs import grid_judged
from fanns.bench.proofs.grid import Axes, Cell, Measured, measure
from fanns.bench.proofs.grid import Path as Way
from fanns.bench.proofs.grid_masks import LEANS, recall, select, similarities
from fanns.bench.proofs.rows import Rows, index_over, rows_of
from fanns.bench.running.metrics import Estimate
from fanns.cli import run
from fanns.datasets import exact
from fanns.errors import InputError


def some_rows(metric: str, rows: int = 3_000, queries: int = 12) -> Rows:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, 16))
    made = centres[rng.integers(0, 20, rows + queries)] + rng.standard_normal((rows + queries, 16))
    if metric == "cosine":
        made /= np.linalg.norm(made, axis=1)[:, None]
    vectors = made.astype(np.float32)
    return Rows(vectors[:rows], vectors[:0], vectors[rows:], metric, "drawn")


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_selections_have_their_size_and_lean_as_asked(metric: str) -> None:
    rows = some_rows(metric)
    similar = similarities(rows)
    for share in (0.01, 0.2, 1.0):
        leans = {}
        for correlation in LEANS:
            found = select(rows, similar, share, correlation, 7)
            leans[correlation] = found.affinity
            for number, passing in enumerate(found.rows):
                assert len(np.unique(passing)) == round(share * 3_000)
                distances = np.sort(
                    exact.distances(rows.vectors[passing], rows.queries[number], metric)
                )
                assert np.array_equal(found.distances[number], distances[:7])
        if share < 1:
            assert leans["negative"] < -0.3 < leans["none"] < 0.3 < leans["positive"]


def test_few_rows_have_few_answers() -> None:
    rows = some_rows("l2", rows=100)
    found = select(rows, similarities(rows), 0.03, "none", 5)
    assert np.isfinite(found.distances).sum(axis=1).tolist() == [3] * 12
    again = select(rows, similarities(rows), 0.03, "none", 5)
    assert all(np.array_equal(a, b) for a, b in zip(found.rows, again.rows, strict=True))


def test_recall_admits_ties() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 1], [5, 5]], np.float32)
    rows = Rows(vectors, vectors[:0], np.zeros((1, 2), np.float32), "l2", "by hand")
    assert recall(rows, 0, np.array([0, 2]), 1.0, 2) == 1.0
    assert recall(rows, 0, np.array([0, 3]), 1.0, 2) == 0.5
    assert recall(rows, 0, np.array([], np.int64), 1.0, 2) == 0.0


def way(predicted: float, micros: float, found: float = 0.96, high: float = 0.98) -> Way:
    seconds = np.full((5, 30), micros / 1e6) * np.linspace(0.9, 1.1, 30)
    return Way(predicted, seconds, Estimate(found, found - 0.02, high))


def cell(chosen: Way, **paths: Way) -> Measured:
    return Measured(Cell(0.1, "none", 10, 0.95), paths, chosen, {"scan": 30}, 0.0)


def test_paths_within_a_tenth_count_as_equal() -> None:
    right = cell(way(90, 100), scan=way(90, 100), graph=way(120, 80))
    assert grid_judged.fastest(right) == "graph" and grid_judged.expected(right) == "scan"
    assert not grid_judged.agrees(right)
    near = cell(way(90, 100), scan=way(90, 100), graph=way(120, 92))
    assert grid_judged.agrees(near)
    assert grid_judged.regret(right).ratio == pytest.approx(1.25)


def test_a_path_that_misses_the_target_is_never_the_fastest() -> None:
    found = cell(way(90, 100), scan=way(90, 100), graph=way(120, 10, 0.5, 0.6))
    assert grid_judged.fastest(found) == "scan" and grid_judged.agrees(found)
    none = cell(way(90, 100), scan=way(90, 100, 0.5, 0.6), graph=way(120, 10, 0.5, 0.6))
    assert grid_judged.fastest(none) == "graph"


def test_an_interrupted_round_counts_for_little() -> None:
    ours = way(90, 100)
    ours.seconds[2] *= 50
    assert ours.mean == pytest.approx(100e-6)


def test_bars_are_judged_by_the_ends_of_intervals() -> None:
    good = cell(way(90, 100), scan=way(90, 100), graph=way(120, 80))
    slow = cell(way(90, 300), scan=way(90, 300), graph=way(120, 100))
    poor = cell(way(90, 100, 0.8, 0.85), scan=way(90, 100))
    states = [bar.state for bar in grid_judged.judge([good], ["how"]).bars]
    assert states == ["MISSED", "met", "met"]
    found = grid_judged.judge([good, slow, poor], ["how"])
    assert [bar.state for bar in found.bars] == ["MISSED", "MISSED", "MISSED"]
    assert "1 cells above" in found.bars[1].found and "1 cells below" in found.bars[2].found
    assert "0 of 2" in found.bars[0].found
    assert grid_judged.judge([poor], ["how"]).bars[0].state == "not measured"


def test_every_path_that_the_planner_weighs_is_measured() -> None:
    rows = some_rows("cosine", rows=5_000)
    with index_over(rows, None) as index:
        axes = Axes((0.01, 0.5, 1.0), (1, 10), (0.9,))
        found = list(measure(index, rows, axes, 2))
    assert [one.cell for one in found] == axes.cells() and len(found) == 14
    for one in found:
        assert sum(one.planned.values()) == 12 and set(one.planned) <= set(one.paths)
        assert all(path.seconds.shape == (2, 12) for path in [one.chosen, *one.paths.values()])
        assert one.chosen.predicted_us > 0 and one.chosen.recall.high >= 0.88
    assert {"scan", "graph"} <= {name for one in found for name in one.paths}
    assert set(found[0].paths) >= {"scan"}
    told = grid_judged.judge(found, ["how"])
    assert len(told.rows) == 14 and len(told.bars) == 3


def test_an_index_is_kept_until_its_rows_change(tmp_path: Path) -> None:
    rows = some_rows("l2", rows=300)
    with index_over(rows, tmp_path) as index:
        assert len(index) == 300
    made = (tmp_path / "rows.json").stat().st_mtime_ns
    with index_over(rows, tmp_path):
        assert (tmp_path / "rows.json").stat().st_mtime_ns == made
    with index_over(some_rows("l2", rows=200), tmp_path) as index:
        assert len(index) == 200


def test_the_command_writes_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--workload", "synthetic-1000x8", "--queries", "5", "--rounds", "2", "-k", "3"]
    asked += ["--selectivity", "0.1", "--recall", "0.9", "-q", "-o", str(tmp_path)]
    assert run(["bench", "grid", *asked]) == 0
    printed = capsys.readouterr().out
    assert "0.1 negative k=3 0.9" in printed and "chosen plan against" in printed
    with (tmp_path / "grid.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert [row["correlation"] for row in records] == ["none", "positive", "negative"]
    assert "| to be shown |" in (tmp_path / "grid.md").read_text(encoding="utf-8")


def test_unknown_workloads_are_refused() -> None:
    with pytest.raises(InputError, match="no workload is called 'nothing'"):
        rows_of("nothing")
