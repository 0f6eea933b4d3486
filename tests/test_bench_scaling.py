"""Scaling and memory: simulated sets that are kept, bytes from counters, and tiny runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanns
from fanns.bench.proofs import large, memory, scaling
from fanns.bench.proofs.large import Large
from fanns.bench.proofs.memory import Measured
from fanns.bench.proofs.scaling import Place
from fanns.bench.proofs.touched import touched
from fanns.cli import run
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors
from fanns.explanation import SegmentReport


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("large")


@pytest.fixture(scope="module")
def held(home: Path) -> Large:
    return large.prepare(1_500, 32, (100, 1_000), home)


def test_simulated_sets_are_the_generators_rows(held: Large) -> None:
    expected = vectors(arxiv_like.items(1_500, 32))
    assert np.array_equal(held.vectors(), expected)
    assert isinstance(held.vectors(), np.memmap)
    counts = held.attributes()["group_100"].value_counts()
    assert {one["counts"].as_py() for one in counts} == {100}
    sizes = [one["counts"].as_py() for one in held.attributes()["group_1000"].value_counts()]
    assert sorted(sizes) == [500, 1_000]
    with fanns.open(held.index) as index:
        assert index.count("group_100 = 3") == 100
        assert set(index.schema) == {*large.COLUMNS, "group_100", "group_1000"}


def test_sets_are_kept_until_they_are_asked_for_otherwise(held: Large, home: Path) -> None:
    stamp = held.folder / "large.json"
    before = stamp.stat().st_mtime_ns
    large.prepare(1_500, 32, (100, 1_000), home)
    assert stamp.stat().st_mtime_ns == before
    stamp.write_text("{", encoding="utf-8")
    large.prepare(1_500, 32, (100, 1_000), home)
    assert json.loads(stamp.read_text(encoding="utf-8"))["groups"] == [100, 1_000]


def test_queries_are_not_those_of_the_build() -> None:
    tuned = vectors(arxiv_like.queries(large.TUNE, 8))
    assert not (large.asked(5, 8)[:, None] == tuned[None]).all(axis=2).any()


def told(path: str, work: tuple[int, ...], **parameters: Any) -> SegmentReport:
    return SegmentReport(
        rows=10_000, matches=500, path=path, parameters=parameters, reason="", predicted_us=1.0,
        actual_us=1.0, predicted_codes=1.0, work=work, rejected=(),
    )  # fmt: skip


def test_bytes_follow_from_counters_and_records() -> None:
    int8, full, names, centres = 384 + 12, 4 * 384, 4 * 500, 100 * (384 + 12)
    assert touched(told("scan", (500, 20, 0, 0)), 384, 1) == 500 * int8 + 20 * full + names
    assert touched(told("scan", (0, 500, 0, 0)), 384, 1) == 500 * full + names
    expected = 500 * 64 + 60 * int8 + 20 * full + names + centres
    assert touched(told("scan", (560, 20, 0, 0), bits=60), 384, 1) == expected
    expected = 700 * int8 + 30 * 192 + 20 * full + names + centres
    assert touched(told("graph", (700, 20, 0, 30)), 384, 1) == expected
    rest = 20 * full + names + centres
    assert touched(told("clusters", (300, 20, 0, 30), slack=-1.0), 384, 1) == 300 * int8 + rest
    expected = (300 + 100) * 128 + 30 * int8 + 20 * full + names
    assert touched(told("clusters", (300, 20, 0, 30), slack=2.0), 384, 2) == expected
    with pytest.raises(ValueError, match="no model"):
        touched(told("elsewhere", (1, 1, 1, 1)), 384, 1)


def place(rows: int, scored: float, micros: float) -> Place:
    seconds = {mode: [np.full(20, micros / 1e6)] * 3 for mode in scaling.MODES}
    every = np.full(20, scored)
    return Place(rows, 100, seconds, every, every * 64, np.ones(20), ["scan"])


def test_the_largest_set_is_held_against_the_smallest() -> None:
    found = scaling.judge([place(1_000, 100, 50), place(10_000, 120, 90)], ["how"])
    assert found.passed and len(found.bars) == 4
    found = scaling.judge([place(10_000, 170, 130), place(1_000, 100, 50)], ["how"])
    assert [bar.state for bar in found.bars] == ["MISSED"] * 4
    assert "10,000 against 1,000" in found.bars[0].what and "1.70x" in found.bars[0].found


def test_scaling_is_measured(held: Large, home: Path) -> None:
    more = large.prepare(3_000, 32, (100, 1_000), home)
    places = scaling.measure([held, more], (100,), 8, 2)
    assert [(one.rows, one.size) for one in places] == [(1_500, 100), (3_000, 100)]
    for one in places:
        assert one.paths and one.recalls.mean() >= 0.9
        assert (one.scored > 0).all() and (one.read > 0).all()
        assert all((one.typical(mode) > 0).all() for mode in scaling.MODES)


def test_scaling_is_a_command(
    held: Large, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--rows", "1500", "--dimensions", "32", "--passing", "100", "--passing", "1000"]
    asked += ["--queries", "4", "--rounds", "1", "--dir", str(home), "-o", str(tmp_path)]
    assert run(["bench", "scaling", *asked]) == 0
    assert "bytes read" in capsys.readouterr().out
    assert (tmp_path / "scaling.csv").is_file()


def test_memory_is_measured_in_a_process_of_its_own(held: Large) -> None:
    found = memory.measure(held, 100, 12, 0.9)
    assert list(found.stages) == ["import fanns", "opened", "searching, at most", "afterwards"]
    assert found.recalls.shape == (12,) and found.recalls.mean() >= 0.8
    first, most = found.stages["import fanns"], found.stages["searching, at most"]
    for one in (first, most):
        assert one["rss"] and one["uss"] and one["rss"] >= one["uss"] > 10**6
    if most["mapped"] is not None:  # known on Linux
        assert first["mapped"] == 0 and most["mapped"] > 0
        assert most["private"] is not None and most["uss"] is not None
        assert most["private"] <= most["uss"]


def test_memory_and_recall_have_bars() -> None:
    first: dict[str, int | None] = {"uss": 50, "rss": 90, "private": 50, "mapped": 0}
    most: dict[str, int | None] = {"uss": 300, "rss": 400, "private": 180, "mapped": 150}
    stages = {"import fanns": first, "searching, at most": most}
    made = Measured(stages, np.full(40, 0.95))
    found = memory.judge(made, 0.9, 130, ["how"])
    assert found.passed and found.rows[1]["private"] == 130
    assert not memory.judge(made, 0.9, 129, ["how"]).passed
    assert not memory.judge(made, 0.96, 130, ["how"]).passed
    unknown: dict[str, int | None] = {"private": None, "mapped": None}
    other = {name: one | unknown for name, one in stages.items()}
    assert memory.judge(Measured(other, made.recalls), 0.9, 250, ["how"]).passed
    assert not memory.judge(Measured(other, made.recalls), 0.9, 249, ["how"]).passed


def test_memory_is_a_command(
    held: Large, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanns.bench.cli_proofs.PASSING", (100, 1_000))
    reading: dict[str, int | None] = {"uss": 9, "rss": 9, "private": 9, "mapped": 0}
    stages = {"import fanns": reading, "searching, at most": reading | {"private": 2 * 10**6}}
    monkeypatch.setattr(memory, "measure", lambda *_: Measured(stages, np.ones(4)))
    asked = ["--rows", "1500", "--dimensions", "32", "--queries", "4", "--dir", str(home)]
    assert run(["bench", "memory", *asked, "--limit", "1", "--check"]) == 4
    assert "MISSED" in capsys.readouterr().out
    assert run(["bench", "memory", *asked, "--limit", "2", "--check"]) == 0
