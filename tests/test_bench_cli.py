import time
from pathlib import Path

import click
import pytest

from fanns.bench import machine
from fanns.bench.cli import bench
from fanns.cli import FAILED, USAGE, run
from tests.bench_fakes import make_workload


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workload(tmp_path_factory.mktemp("bench") / "tiny")


def test_every_command_has_help() -> None:
    context = click.Context(bench)
    names = bench.list_commands(context)
    known = "run engines make import export report compare gate kernels grid scaling memory "
    known += "oracles growth gpu live compression"
    assert set(known.split()) == set(names)
    for name in names:
        command = bench.get_command(context, name)
        assert command is not None
        assert command.help
        options = [param for param in command.params if isinstance(param, click.Option)]
        assert all(option.help for option in options), name


def test_the_plan_is_printed(workload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engines = "tests.bench_fakes:Right,tests.bench_fakes:Missing"
    asked = ["bench", "run", "--workload", str(workload), "--engines", engines, "--dry-run"]
    assert run([*asked, "--cell", "col*", "--time-limit", "7"]) == 0
    told = capsys.readouterr().out
    assert "300 rows of 8 dimensions" in told
    assert "time limit 7 minutes" in told
    assert "absent: the package missing is not installed" in told
    assert "colour = :c" in told
    assert "\n all " not in told


def test_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "engines"]) == 0
    told = capsys.readouterr().out
    for name in ("fanns", "exact", "faiss-hnsw", "pgvector", "slice"):
        assert f"\n{name} " in told


def test_what_cannot_be_asked_is_told(workload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked, code, message in (
        (["--quick", "--full"], USAGE, "--quick has its own workload"),
        (["--workload", str(workload)], USAGE, "give -o"),
        (["--engines", "unknown", "--dry-run"], FAILED, "no engine 'unknown'"),
        (["--engines", ",", "--dry-run"], FAILED, "no engines to run"),
        (["--workload", "nothing", "--engines", "exact", "--dry-run"], FAILED, "no workload is"),
    ):
        assert run(["bench", "run", *asked]) == code
        assert message in capsys.readouterr().err


def test_a_run_writes_a_report_and_prints_what_came_of_it(
    workload: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "describe", lambda: {"cpu": "any"})
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path / "kept"))
    engines = "tests.bench_fakes:Right,tests.bench_fakes:IgnoresFilter"
    asked = ["--workload", str(workload), "--engines", engines, "-k", "5", "--rounds", "3"]
    assert run(["bench", "run", *asked, "-o", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert "WRONG ANSWERS ignores-filter" in captured.out
    assert "right" in next(line for line in captured.out.splitlines() if line.startswith("colour"))
    assert "report.html" in captured.err
    for name in ("report.html", "report.md", "points.parquet", "run.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0


@pytest.mark.slow
def test_the_quick_run_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path / "kept"))
    began = time.monotonic()
    assert run(["bench", "run", "--quick", "-q", "-o", str(tmp_path / "run")]) == 0
    assert time.monotonic() - began < 180.0
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
