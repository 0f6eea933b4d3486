from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fanns.bench.running.results import POINTS, SAMPLES, Run, RunError

CELL = {
    "cell": "eq 1 %",
    "family": "equality",
    "where": "a = :a",
    "target": 0.01,
    "correlation": "none",
    "selectivity": 0.011,
    "affinity": 0.0,
    "measure": 8,
    "tune": 2,
}
SAMPLE = {
    "engine": "a",
    "cell": "eq 1 %",
    "mode": "end_to_end",
    "setting": "{}",
    "round": 0,
    "query": 0,
    "micros": 10.0,
    "recall": 1.0,
    "returned": 10,
    "wanted": 10,
    "violations": 0,
    "invalid": 0,
    "distances": None,
    "status": None,
    "seconds": 4e-5,
    "parse_us": 3.0,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    header = {
        "config": {"k": 10, "threads": 1},
        "engines": {"a": {"kind": "engine"}, "b": {"kind": "exact"}},
    }
    return Run.create(tmp_path / "run", header, [CELL, CELL | {"cell": "other"}])


def samples(*changes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([SAMPLE | change for change in changes], SAMPLES)


def test_a_run_is_read_as_it_was_written(run: Run) -> None:
    run.set_builds([{"engine": "a", "state": "ok", "wall_s": 1.5}])
    rows = samples(*({"round": i // 4, "query": i} for i in range(8)))
    run.add_cell("eq 1 %", rows, [{"engine": "b", "cell": "eq 1 %", "state": "crashed"}])
    run.note("shortened")
    run.note("shortened")
    run.finish("2026-01-01T00:00:00")
    again = Run.load(run.folder)
    assert again.header == run.header
    assert again.header["notes"] == ["shortened"]
    assert again.samples().equals(rows)
    assert again.builds().to_pylist()[0]["wall_s"] == 1.5
    assert again.problems().to_pylist()[0]["state"] == "crashed"
    assert again.finished_cells() == {"eq 1 %"}
    assert again.cells()["cell"].to_pylist() == ["eq 1 %", "other"]
    point = again.points().to_pylist()[0]
    assert list(point) == POINTS.names
    assert point["qps"] == pytest.approx(8 / 8e-5)
    assert (point["family"], point["k"], point["rounds"], point["exact"]) == (
        "equality",
        10,
        2,
        None,
    )


def test_points_and_rounds_keep_their_order_and_parts(run: Run) -> None:
    rows = samples(
        {"engine": "b", "status": "exact", "distances": 5},
        {"engine": "a", "setting": '{"ef": 10}', "recall": 0.5},
        {"engine": "a", "setting": '{"ef": 20}', "recall": 0.75},
        {"engine": "b", "status": "approximate", "distances": 7, "query": 1},
        {"engine": "a", "setting": '{"ef": 10}', "round": 1, "wanted": 0, "recall": 1.0},
    )
    run.add_cell("other", rows, [])
    points = run.points().to_pylist()
    assert [(p["engine"], p["setting"]) for p in points] == [
        ("b", "{}"),
        ("a", '{"ef": 10}'),
        ("a", '{"ef": 20}'),
    ]
    assert (points[0]["exact"], points[0]["distances"], points[0]["kind"]) == (0.5, 6.0, "exact")
    assert points[1]["recall"] == 0.5  # the query without a match does not count
    assert run.rounds().num_rows == 4
    assert run.rounds().to_pylist()[0]["queries"] == 2


def test_a_repeated_cell_replaces_its_problems(run: Run) -> None:
    problem = {"engine": "a", "cell": "other", "state": "timeout"}
    run.add_cell("other", samples(), [problem])
    run.add_cell("eq 1 %", samples(), [problem | {"cell": "eq 1 %"}])
    run.add_cell("other", samples(), [])
    assert run.problems()["cell"].to_pylist() == ["eq 1 %"]
    assert run.points().num_rows == 0
    assert run.finished_cells() == {"eq 1 %", "other"}


def test_folders_that_are_no_runs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        Run.load(tmp_path)
    with pytest.raises(RunError, match="holds a run already"):
        Run.create(run.folder, {}, [])
    with pytest.raises(RunError, match="not a cell of the run"):
        run.add_cell("unknown", samples(), [])
    with pytest.raises(ValueError, match="unknown columns"):
        run.set_builds([{"motor": "a"}])
    (run.folder / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="format 1"):
        Run.load(run.folder)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        Run.load(run.folder)
