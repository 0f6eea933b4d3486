"""The regression gate and the comparison of two runs, on made-up ones."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("scipy", reason="intervals need scipy, of the extra bench")

from fanns.bench.cli_report import compare as compare_command
from fanns.bench.cli_report import gate as gate_command
from fanns.bench.reporting import comparison, gate
from fanns.bench.running.results import Run
from fanns.errors import InputError
from tests import bench_run_data as made

CELLS = ("none-1-none", "in-0.1-none", "in-0.001-negative", "not-0.001-negative")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two runs of the same, and one in which fanns has become half as fast."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "first": made.write(folder / "first", seed=1, only=CELLS),
        "again": made.write(folder / "again", seed=2, only=CELLS),
        "slower": made.write(folder / "slower", seed=3, speed=0.5, only=CELLS),
    }


@pytest.fixture
def floors(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of one floor."""

    def write(**given: Any) -> Path:
        floor = {
            "cell": "in-0.1-none", "mode": "end_to_end", "peer": "faiss-hnsw", "recall": 0.95,
            "min_ratio": 1.3,
        } | given  # fmt: skip
        lines = [f"{name} = {json.dumps(value)}" for name, value in floor.items()]
        path = tmp_path / "floors.toml"
        text = "# Kept.\n[run]\nworkload = 'quick'\n\n[[floors]]\n" + "\n".join(lines) + "\n"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def judged(path: Path, run: Run, *options: str) -> Result:
    arguments = ["--min-ratio", str(path), "--run", str(run.folder), *options]
    return CliRunner().invoke(gate_command, arguments)


def test_the_gate_that_comes_with_fanns_is_whole() -> None:
    found = gate.load()
    assert found.run["workload"].startswith("synthetic-") and found.floors
    for floor in found.floors:
        assert floor.cell in found.run["cells"] and floor.peer in found.run["engines"]
        assert floor.mode in found.run["modes"] and floor.min_ratio > 0


def test_a_ratio_above_its_floor_passes(runs: dict[str, Run], floors: Callable[..., Path]) -> None:
    result = judged(floors(), runs["first"])
    assert result.exit_code == 0, result.output
    assert "ok" in result.output and "1.30x" in result.output


def test_a_ratio_under_its_floor_beyond_the_noise_fails_with_4(
    runs: dict[str, Run], floors: Callable[..., Path]
) -> None:
    result = judged(floors(), runs["slower"])
    assert result.exit_code == 4, result.output
    assert "TOO SLOW" in result.output


def test_within_the_noise_the_gate_holds(runs: dict[str, Run], floors: Callable[..., Path]) -> None:
    """A floor inside the interval, above the ratio itself, is not missed."""
    [found] = gate.judge(gate.load(floors()).floors, runs["first"])
    assert found.interval is not None and found.interval.high is not None
    between = (found.interval.ratio + found.interval.high) / 2
    assert judged(floors(min_ratio=between), runs["first"]).exit_code == 0
    assert judged(floors(min_ratio=found.interval.high * 1.01), runs["first"]).exit_code == 4


def test_a_recall_that_ours_misses_fails(runs: dict[str, Run], floors: Callable[..., Path]) -> None:
    hopeless = floors(cell="not-0.001-negative", peer="exact", min_ratio=0.01)
    result = judged(hopeless, runs["first"])
    assert result.exit_code == 4 and "ours did not reach" in result.output
    easy = floors(cell="in-0.001-negative", min_ratio=5.0)  # the graph of faiss gets nowhere
    assert judged(easy, runs["first"]).exit_code == 0


def test_a_floor_that_cannot_be_judged_is_an_error(
    runs: dict[str, Run], floors: Callable[..., Path]
) -> None:
    result = judged(floors(peer="zvec"), runs["first"])
    assert result.exit_code == 1
    assert "cannot be judged" in str(result.exception)


def test_update_raises_floors_and_never_lowers_them(
    runs: dict[str, Run], floors: Callable[..., Path]
) -> None:
    path = floors(min_ratio=0.2)
    assert judged(path, runs["first"], "--update").exit_code == 0
    text = path.read_text(encoding="utf-8")
    [floor] = gate.load(path).floors
    assert text.startswith("# Kept.\n[run]") and 1.2 < floor.min_ratio < 1.5
    assert judged(path, runs["first"]).exit_code == 0
    assert judged(path, runs["slower"], "--update").exit_code == 4
    assert gate.load(path).floors == [floor]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run = ", "cannot be read"),
        ("[run]\nk = 10", "names a workload"),
        ("[run]\nworkload = 'quick'", "demands nothing"),
        ("[run]\nworkload = 'quick'\n[[floors]]\ncell = 'x'", "floor 1 has"),
    ],
)
def test_a_file_that_says_too_little_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "floors.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        gate.load(path)


def test_unknown_options_of_the_run_are_refused(floors: Callable[..., Path]) -> None:
    path = floors()
    path.write_text(path.read_text("utf-8").replace("[run]", "[run]\nqueue = 3"), "utf-8")
    with pytest.raises(InputError, match="queue"):
        gate.measure(gate.load(path))


def test_two_runs_of_the_same_agree(runs: dict[str, Run]) -> None:
    found = comparison.compare(runs["first"], runs["again"])
    assert found.warnings == [] and found.only_a == found.only_b == 0
    assert found.overlapping is not None and found.overlapping > 0.8
    assert found.ranking.reversed == 0 and found.ranking.decided > 50
    assert found.ranking.alike > 0.9 * found.ranking.pairs


def test_other_circumstances_are_told(runs: dict[str, Run], tmp_path: Path) -> None:
    other = made.write(tmp_path / "other", only=CELLS[:1])
    other.header["machine"]["cpu"]["model"] = "Imaginary 9001"
    other.header["machine"]["packages"]["numpy"] = "2.4.0"
    other.header["workload"]["fingerprint"] = "fedcba"
    warnings = comparison.compare(runs["first"], other).warnings
    assert len(warnings) == 3
    assert any("9000 and Imaginary 9001" in text for text in warnings)
    assert "numpy differs: 2.3.1 and 2.4.0" in warnings


def test_a_slower_run_is_seen_to_be_slower(runs: dict[str, Run]) -> None:
    found = comparison.compare(runs["first"], runs["slower"])
    ratios = [one.change for one in found.ratios if one.a.interval and one.b.interval]
    assert ratios.count("down") > 0.9 * len(ratios)
    for one in found.points:
        if one.a["engine"] == "fanns":
            assert one.change == "down"
    others = [one.change for one in found.points if one.a["engine"] != "fanns"]
    assert others.count("same") > 0.8 * len(others)


def test_the_command_prints_tables_and_json(runs: dict[str, Run]) -> None:
    folders = [str(runs[name].folder) for name in ("first", "slower")]
    table = CliRunner().invoke(compare_command, [*folders, "--format", "table"])
    assert table.exit_code == 0, table.output
    assert "of the ratios have intervals that overlap" in table.output
    assert "in-0.1-none" in table.output and "down" in table.output
    found = CliRunner().invoke(compare_command, [*folders, "--recall", "0.9"])
    data = json.loads(found.output)
    assert {one["recall"] for one in data["ratios"]} == {0.9}
    assert len(data["points"]) == runs["first"].points().num_rows


def test_runs_with_nothing_in_common_cannot_be_compared(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    other = made.write(tmp_path / "other", only=("equality-0.1-none",))
    with pytest.raises(InputError, match="no point in common"):
        comparison.compare(runs["first"], other)


def test_the_saved_gate_is_toml(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(gate.DEFAULT.read_text(encoding="utf-8"), encoding="utf-8")
    found = gate.load(path)
    gate.save(path, found.floors)
    assert gate.load(path) == found
    assert tomllib.loads(path.read_text(encoding="utf-8"))["run"] == found.run


def test_the_gate_runs_what_its_file_asks_for(
    runs: dict[str, Run],
    floors: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fanns.bench.running import runner

    asked = []

    def run(config: Any, folder: Path, report: object = None) -> Run:
        asked.append((config, folder))
        return runs["first"]

    monkeypatch.setattr(runner, "run", run)
    path = floors()
    text = path.read_text("utf-8").replace("[run]", "[run]\nengines = ['fanns']\nrounds = 3")
    path.write_text(text, "utf-8")
    result = CliRunner().invoke(gate_command, ["--min-ratio", str(path), "-q"])
    assert result.exit_code == 0, result.output
    [(config, folder)] = asked
    assert (config.workload, config.engines, config.rounds) == ("quick", ("fanns",), 3)
    assert not Path(folder).exists()


@pytest.mark.slow
def test_the_gate_that_comes_with_fanns_can_be_judged(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="the gate's peer is faiss")
    judged = gate.measure(gate.load(), tmp_path / "run")
    assert len(judged) == len(gate.load().floors)
    assert all(one.interval is not None or one.missing == gate.PEER_MISSED for one in judged)
