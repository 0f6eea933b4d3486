"""Growth: the fit, what a set is asked, and a tiny run."""

from pathlib import Path

import numpy as np
import pytest

from fanns.bench.proofs import growth, large
from fanns.bench.proofs.asking import Taken
from fanns.bench.proofs.growth import Place
from fanns.cli import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("growth")


def place(rows: int, power: float, recall: float = 1.0) -> Place:
    rng = np.random.default_rng(1)
    seconds = 1e-6 * rows**power * rng.uniform(0.9, 1.1, 40)
    return Place(rows, "no filter", rows, Taken(np.full(40, recall), {"scan": 40}, [seconds] * 3))


def test_the_exponent_is_that_of_a_power_law() -> None:
    places = [place(rows, 0.3) for rows in (1_000, 10_000, 100_000)]
    fit = growth.exponent(places)
    assert fit == pytest.approx((0.3, 0.3, 0.3))  # all queries grow alike
    places[2].taken.seconds[1] = places[2].taken.seconds[1] * 50  # one bad round of three
    assert growth.exponent(places).value == pytest.approx(0.3)
    noisy = [place(1_000, 0.3), place(10_000, 0.3)]
    noisy[1].taken.seconds = [one[::-1] for one in noisy[1].taken.seconds]
    fit = growth.exponent(noisy)
    assert fit.low < fit.value < fit.high


def test_recall_has_a_bar_and_one_set_no_exponent() -> None:
    found = growth.judge([place(10_000, 0.3), place(1_000, 0.3)], ["how"])
    assert found.passed and [row["rows"] for row in found.rows] == [10_000, 1_000]
    heading, fits = found.sheets[0]
    assert heading == "Time against rows" and fits.rows[0][-1].startswith("0.30 (")
    assert fits.heads[1:3] == ["queries/s of 1,000 rows", "queries/s of 10,000 rows"]
    poor = growth.judge([place(1_000, 0.3, 0.92)], ["how"])
    assert not poor.passed and poor.sheets[0][1].rows[0][-1] == "one set: none"


def test_growth_is_measured(home: Path) -> None:
    sets = [
        large.prepare(rows, 16, growth.groups(rows), home, ranged=[growth.COLUMN])
        for rows in (600, 2_500)
    ]
    assert [one.folder.name for one in sets] == ["600x16-submitted_date", "2500x16-submitted_date"]
    places = growth.measure(sets, 12, 2)
    kinds = ["no filter", "group of 1 %", "group of 10 %", "interval of 1 %", "interval of 10 %"]
    assert [(one.rows, one.kind) for one in places] == [(n, k) for n in (600, 2_500) for k in kinds]
    shares = {"no filter": 1.0, **{kind: 0.01 if " 1 %" in kind else 0.1 for kind in kinds[1:]}}
    for one in places:
        assert one.matches == pytest.approx(shares[one.kind] * one.rows, rel=0.25)
        assert len(one.taken.seconds) == 2 and sum(one.taken.paths.values()) == 12
        assert one.taken.recalls.mean() >= 0.85


def test_growth_is_a_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--rows", "600", "--rows", "2500", "--dimensions", "16", "--queries", "4"]
    asked += ["--rounds", "1", "--dir", str(home), "--range-index", "-q"]
    assert run(["bench", "growth", *asked, "-o", str(tmp_path)]) == 0
    assert "exponent" in capsys.readouterr().out
    assert (tmp_path / "growth.csv").is_file()


def test_sets_get_the_groups_that_they_lack_and_keep_theirs(home: Path) -> None:
    first = large.prepare(600, 8, (6, 60), home)
    stamp = first.folder / "large.json"
    before = stamp.stat().st_mtime_ns
    large.prepare(600, 8, (60,), home)
    assert stamp.stat().st_mtime_ns == before
    more = large.prepare(600, 8, (100,), home)
    assert {"group_6", "group_60", "group_100"} <= set(more.attributes().column_names)
    altered = stamp.read_text(encoding="utf-8").replace('"code": "', '"code": "other ')
    stamp.write_text(altered, encoding="utf-8")
    large.prepare(600, 8, (6,), home, keep=True)
    assert stamp.read_text(encoding="utf-8") == altered
    large.prepare(600, 8, (6,), home)
    assert stamp.read_text(encoding="utf-8") != altered
