import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from fanns.bench import machine
from fanns.bench.running import runner
from fanns.bench.running.config import RunConfig
from fanns.bench.running.host import Host, Lost
from fanns.bench.running.messages import Order
from fanns.bench.running.results import Run, RunError
from fanns.bench.running.worker import serve
from fanns.errors import InputError
from tests.bench_fakes import make_workload

SOME = np.arange(3)
ORDER = Order({"share": 1.0}, "end_to_end", 5, SOME, SOME, 1.0, 3)


def fakes(*names: str) -> tuple[str, ...]:
    return tuple(f"tests.bench_fakes:{name}" for name in names)


@pytest.fixture(scope="module", autouse=True)
def machine_known() -> Iterator[None]:
    """Looking at the machine takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "describe", lambda: {"cpu": "any"})
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    make_workload(folder / "workload")
    return folder


@pytest.fixture(scope="module")
def config(base: Path) -> RunConfig:
    return RunConfig(
        workload=base / "workload",
        indexes=base / "indexes",
        k=5,
        rounds=3,
        build_threads=1,
        engine_timeout=60.0,
    )


@pytest.fixture(scope="module")
def mixed(base: Path, config: RunConfig) -> Run:
    """One run of a right engine and of many that are wrong, failing or not there."""
    names = ("Right", "IgnoresFilter", "MinusOne", "DropsRows", "Missing", "Exits", "Segfaults")
    return runner.run(replace(config, engines=fakes(*names)), base / "mixed")


def point(run: Run, engine: str, cell: str, mode: str = "end_to_end") -> dict[str, Any]:
    """The engine's point of the best recall."""
    found = [
        row
        for row in run.points().to_pylist()
        if (row["engine"], row["cell"], row["mode"]) == (engine, cell, mode)
    ]
    best: dict[str, Any] = max(found, key=lambda row: row["recall"])
    return best


def test_a_right_engine_is_found_right_in_both_modes(mixed: Run) -> None:
    for mode in ("end_to_end", "prepared"):
        best = point(mixed, "right", "colour", mode)
        assert (best["recall"], best["short"], best["violations"], best["invalid"]) == (1, 0, 0, 0)
        assert best["queries"] == 24
        assert best["rounds"] == 3
        assert best["distances"] == 300
        assert best["exact"] == 1.0
        assert 0 < best["qps_low"] <= best["qps"] <= best["qps_high"]
        assert best["p50_us"] <= best["p99_us"]
    modes = {row["mode"] for row in mixed.points().to_pylist() if row["cell"] == "all"}
    assert modes == {"end_to_end"}  # without a filter there is none to prepare


def test_an_engine_that_ignores_the_filter_is_caught(mixed: Run) -> None:
    assert point(mixed, "ignores-filter", "all")["violations"] == 0
    wrong = point(mixed, "ignores-filter", "colour")
    assert wrong["violations"] > 0.5
    assert wrong["recall"] < 0.5


def test_an_engine_that_returns_minus_one_is_caught(mixed: Run) -> None:
    wrong = point(mixed, "minus-one", "all")
    assert wrong["invalid"] == pytest.approx(0.4)
    assert wrong["short"] == 1.0
    assert wrong["recall"] <= 0.6


def test_an_engine_that_drops_rows_is_caught(mixed: Run) -> None:
    wrong = point(mixed, "drops-rows", "all")
    assert (wrong["short"], wrong["invalid"], wrong["violations"]) == (1.0, 0, 0)
    assert wrong["recall"] == pytest.approx(0.4)


def test_absent_engines_are_listed_with_the_reason(mixed: Run) -> None:
    row = next(row for row in mixed.builds().to_pylist() if row["engine"] == "missing")
    assert (row["state"], row["reason"]) == ("absent", "the package missing is not installed")


def test_crashes_are_told_and_end_nothing(mixed: Run) -> None:
    (told,) = mixed.problems().to_pylist()
    assert (told["engine"], told["cell"], told["state"]) == ("exits", "colour", "crashed")
    assert "exit code 3" in told["reason"]
    assert point(mixed, "exits", "all")["recall"] == 1.0
    row = next(row for row in mixed.builds().to_pylist() if row["engine"] == "segfaults")
    assert row["state"] == "failed"
    assert "SIGSEGV" in row["reason"]
    assert mixed.header["complete"]


def test_builds_are_measured(mixed: Run) -> None:
    row = next(row for row in mixed.builds().to_pylist() if row["engine"] == "right")
    assert row["state"] == "ok"
    assert row["disk_bytes"] == len("1 threads, 6 queries to learn from")
    assert row["wall_s"] > 0
    assert row["open_s"] > 0
    assert row["resident_bytes"] > 0
    assert row["threads"] == 1
    assert not row["cached"]
    assert json.loads(row["version"]) == {"right": "1"}


def test_rounds_hold_every_query_once(mixed: Run) -> None:
    best = point(mixed, "right", "all")
    rows = [
        row
        for row in mixed.samples().to_pylist()
        if row["engine"] == "right" and row["cell"] == "all" and row["setting"] == best["setting"]
    ]
    assert len({row["query"] for row in rows}) == len(rows) == 24
    assert {row["round"] for row in rows} == {0, 1, 2}
    assert {row["wanted"] for row in rows} == {5}


def test_a_run_is_resumed_where_it_was_cut_short(base: Path, config: RunConfig) -> None:
    config = replace(config, engines=fakes("Simple"))
    folder = base / "resumed"
    first = runner.run(config, folder)
    kept = first.samples().filter([name == "all" for name in first.samples()["cell"].to_pylist()])
    next((folder / "samples").glob("*-colour.parquet")).unlink()
    first.header["finished"] = None
    first.save()
    said: list[str] = []
    again = runner.run(config, folder, lambda what, done, total: said.append(what))
    assert again.finished_cells() == {"all", "colour"}
    assert again.samples().slice(0, len(kept)).equals(kept)
    assert not any(what.startswith("all") for what in said)
    assert not any(what.startswith("building") for what in said)
    assert not again.builds().to_pylist()[0]["cached"]  # it was built for this run

    said.clear()
    runner.run(config, folder, lambda what, done, total: said.append(what))
    assert said == []  # nothing left to do

    with pytest.raises(RunError, match="another configuration"):
        runner.run(replace(config, k=6), folder)
    with pytest.raises(RunError, match="engines"):
        runner.run(replace(config, engines=fakes("Other")), folder)

    (folder / "run.json").unlink()
    shutil.rmtree(folder / "samples")
    assert runner.run(replace(config, cells=("all",)), folder).builds()["cached"][0].as_py()


def test_hangs_end_at_the_timeout(base: Path, config: RunConfig) -> None:
    names = fakes("Hangs", "HangsBuilding")
    found = runner.run(
        replace(config, engines=names, engine_timeout=2.0, cells=("all",)), base / "limits"
    )
    states = {row["engine"]: row["state"] for row in found.builds().to_pylist()}
    assert states == {"hangs": "ok", "hangs-building": "timeout"}
    (problem,) = found.problems().to_pylist()
    assert (problem["engine"], problem["cell"], problem["state"]) == ("hangs", "all", "timeout")
    assert found.points().num_rows == 0


def test_what_an_engine_cannot_do_or_raises_is_a_reply(base: Path) -> None:
    for name, verb, arguments, reply in (
        ("Unable", "start", {"cell": "colour"}, ("unsupported", "no equality of colours")),
        ("Raises", "measure", {"order": ORDER}, ("error", "RuntimeError: does not work")),
    ):
        ours, theirs = Pipe()
        thread = Thread(target=serve, args=(theirs,))
        thread.start()
        setup = {
            "engine": f"tests.bench_fakes:{name}",
            "options": {},
            "threads": 1,
            "workload": base / "workload",
            "share": base / "workload" / ".mapped",
        }
        (base / name).mkdir()
        (base / name / "built").touch()
        start = {"cell": "all"}
        for asked in (("setup", setup), ("open", {"folder": base / name, "cores": None})):
            ours.send(asked)
            assert ours.recv()[0] == "done"
        ours.send(("start", start))
        assert ours.recv()[0] == "done"
        ours.send((verb, arguments))
        assert ours.recv() == reply
        ours.close()
        thread.join()


def test_memory_is_limited(base: Path) -> None:
    host = Host(base / "greedy.log", memory=600_000_000)
    host.ask(
        "setup",
        60.0,
        engine="tests.bench_fakes:Greedy",
        options={},
        threads=1,
        workload=base / "workload",
        share=base / "workload" / ".mapped",
    )
    with pytest.raises(Lost, match="of 600 MB allowed") as caught:
        host.ask("build", 60.0, folder=base, threads=1)
    assert caught.value.state == "memory"


def test_several_threads_and_a_time_limit(base: Path, config: RunConfig) -> None:
    several = replace(config, engines=fakes("Simple"), threads=2, time_limit=0.001)
    left_out = runner.run(several, base / "several")
    assert not left_out.header["complete"]
    assert "left out these cells: all, colour" in left_out.header["notes"][0]
    found = runner.run(replace(several, time_limit=None), base / "several")
    best = point(found, "right", "colour")
    assert (best["recall"], best["queries"], best["threads"]) == (1.0, 24, 2)
    rounds = found.rounds().to_pylist()
    assert len(rounds) == 6
    assert all(row["seconds"] > 0 for row in rounds)


def test_what_is_asked_must_be_there(base: Path, config: RunConfig) -> None:
    with pytest.raises(InputError, match="no cell matches blue"):
        runner.prepare(replace(config, engines=fakes("Simple"), cells=("blue",)))
    with pytest.raises(InputError, match="no engine 'unknown'"):
        runner.prepare(replace(config, engines=("unknown",)))
    with pytest.raises(InputError, match="named twice"):
        runner.prepare(replace(config, engines=fakes("Right", "Simple")))
