"""What the proofs share, and the proof of single kernels on tiny inputs."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanns.bench.proofs import kernels
from fanns.bench.proofs.findings import Bar, Finding, at_least, at_most, markdown, ratio, write
from fanns.bench.proofs.kernel_int8 import CONTIGUOUS, last_cache, rows_beyond_caches
from fanns.bench.proofs.kernel_keys import pairs
from fanns.bench.proofs.kernel_peers import options, sub_quantizers
from fanns.bench.proofs.kernel_rates import Pace, Timed, compare
from fanns.bench.proofs.turns import take_turns
from fanns.bench.reporting.ratios import Interval, paired
from fanns.bench.reporting.sheets import Sheet
from fanns.cli import run


def test_every_round_times_every_call() -> None:
    made: list[str] = []
    taken = take_turns({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, 4, 0.0)
    assert {name: len(times) for name, times in taken.items()} == {"a": 4, "b": 4}
    assert all(time >= 0 for times in taken.values() for time in times)
    # Untimed once, timed once, in each of four rounds.
    assert made.count("a") == made.count("b") == 8


def test_paired_rounds_give_an_interval_around_their_mean() -> None:
    found = paired([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert found == Interval(2.0, 2.0, 2.0, 3)
    found = paired([1.0, 4.0], [1.0, 1.0])
    assert found.low is not None and found.high is not None
    assert math.isclose(found.ratio, 2.0) and found.low < 1 < 2 < found.high
    assert paired([3.0], [1.5]) == Interval(2.0, None, None, 1)


def test_rates_are_compared_with_the_fastest_peer() -> None:
    timed = {
        "ours": Timed(lambda: sum(range(10)), 3.0),
        "peer": Timed(lambda: sum(range(10)), 1.0),
        "slow": Timed(lambda: sum(range(20_000)), 1.0),
    }
    records, ratios = compare("sums", timed, ["peer", "slow"], "sums", Pace(3, 0.01))
    assert {one["against"] for one in records} == {"peer"}
    assert ratios["peer"].ratio == 1.0 and ratios["slow"].ratio < 0.5 < ratios["ours"].ratio
    assert all(one["per_second"] > 0 and one["unit"] == "sums" for one in records)


def test_bars_are_met_or_missed_or_not_measured() -> None:
    found = Interval(0.8, 0.7, 0.9, 5)
    assert at_least("share", found, 0.7).state == "met"
    assert at_least("share", found, 0.9).state == "MISSED"
    assert at_most("share", found, 0.8).state == "met"
    assert at_most("share", found, 0.7).state == "MISSED"
    assert ratio(found) == "0.80x (0.70 … 0.90)"
    assert ratio(Interval(2.5, None, None, 1)) == "2.5x"
    assert Bar("x", "y", "no peer", None).state == "not measured"


def finding(*bars: Bar) -> Finding:
    sheet = Sheet(["a", "b"], [["x | y", "1"]])
    return Finding("some", "Some", ["how"], [("Table", sheet)], bars, [{"a": 1}, {"b": 2.5}])


def test_findings_are_written_as_markdown_and_csv(tmp_path: Path) -> None:
    found = finding(at_least("speed", Interval(3.0, 2.0, 4.0, 5), 2.0))
    assert found.passed and not finding(Bar("x", "y", "z", None)).passed
    assert "| x \\| y | 1 |" in markdown(found)
    assert "| speed | at least 2x | 3.0x (2.0 … 4.0) | met |" in markdown(found)
    page, data = write(found, tmp_path / "new")
    assert page.read_text(encoding="utf-8") == markdown(found)
    with data.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "", "b": "2.5"}]


def test_peers_have_settings_in_the_one_file() -> None:
    build, settings = options("faiss-pq")
    assert build["dims_per_code"] == 4 and settings == [{}]
    assert {one["qb"] for one in options("faiss-rabitq")[1]} == {4, 8}
    assert sub_quantizers(384, 4) == 96 and sub_quantizers(30, 4) == 6 and sub_quantizers(3, 4) == 1


def test_the_int8_scan_is_measured_on_more_than_the_caches_hold() -> None:
    assert last_cache() > 0
    assert 0 < rows_beyond_caches(384) <= 2 * last_cache() // 384 + 1


def test_all_pairs_are_scanned() -> None:
    first, second = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((4, 1), np.float32)
    second *= np.arange(1, 5, dtype=np.float32)[:, None]
    made = pairs(first, second)
    assert made.shape == (12, 3) and made[2 * 4 + 3].tolist() == [4, 5, 4]


@pytest.fixture(scope="module")
def measured() -> Finding:
    pytest.importorskip("faiss")
    return kernels.run(kernels.Sizes(2_000, 64, 5_000, 20), Pace(2, 0.05))


def test_kernels_are_measured(measured: Finding) -> None:
    assert measured.name == "kernels" and len(measured.bars) == 7
    names = [row["kernel"] for row in measured.rows]
    assert f"int8 scan, {CONTIGUOUS}" in names and "reading by numba" in names
    assert any(name.startswith("faiss IndexRaBitQFastScan") for name in names)
    assert any(name.startswith("faiss IndexPQFastScan") for name in names)
    contiguous: dict[str, Any] = measured.rows[0]
    assert contiguous["amount"] == 2_500 * (64 + 12)
    assert all(row["per_second"] > 0 and row["low"] <= row["high"] for row in measured.rows)


def test_the_command_prints_what_it_found_and_fails_only_when_asked_to(
    measured: Finding,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for passed in (True, False):
        bar = Bar("some kernel", "at least 2x", "1x", passed)
        told = Finding("kernels", "Kernels", ["told"], measured.sheets, [bar], measured.rows)
        monkeypatch.setattr(kernels, "run", lambda *_, found=told: found)
        assert run(["bench", "kernels", "--rows", "100", "-o", str(tmp_path)]) == 0
        printed = capsys.readouterr()
        assert "some kernel" in printed.out and "one-bit scan" in printed.out
        assert (tmp_path / "kernels.md").is_file() and (tmp_path / "kernels.csv").is_file()
        assert ("1 of 1 bars are not met" in printed.err) is not passed
        assert run(["bench", "kernels", "--check"]) == (0 if passed else 4)
        capsys.readouterr()
