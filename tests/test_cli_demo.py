import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanns import cli_demo
from fanns.cli import run
from fanns.datasets import arxiv_like

KINDS = "none|equality|IN|date range|list, any of|list, all of|AND, OR, NOT|IS NULL|LIKE"


def test_demo_shows_every_kind_and_its_next_steps_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--rows", "3000", "--dimensions", "32"]) == 0
    out = capfd.readouterr().out
    assert "SIMULATED" in out
    table, _, rest = out.partition("Means over")
    lines = re.findall(
        rf"^({KINDS}) +([\d,]+) +([a-z0-9, ]+?)  +([\d.]+) +([\d.]+) ms", table, re.MULTILINE
    )
    assert [line[0] for line in lines] == KINDS.split("|")
    for _, matches, status, recall, _ in lines:
        assert 0 < int(matches.replace(",", "")) <= 3000
        assert "incomplete" not in status
        assert float(recall) == 1.0 if status == "exact" else float(recall) > 0.9
    assert "EXPLAIN" in rest and "plan" in rest
    steps = re.findall(r"^  (fanns .*)$", out.partition("Try next:")[2], re.MULTILINE)
    assert len(steps) == 6
    for step in steps:
        assert run(shlex.split(step)[1:]) == 0, step
        assert len(capfd.readouterr().out) > 0 or " build " in step
    # A second demo replaces the first.
    assert run(["demo", "--rows", "1000", "--dimensions", "16", "--quiet"]) == 0


def test_demo_leaves_other_folders_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert run(["demo", "--dir", str(tmp_path)]) == 1
    assert "holds other files" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_masks_are_what_the_filters_say() -> None:
    """The exact answers rest on masks by pyarrow; here they are checked row by row."""
    import datetime as dt

    items = arxiv_like.items(2000, 8, seed=2)
    day = dt.date(2020, 1, 1)
    expected: dict[str, Callable[[dict[str, Any]], bool]] = {
        "none": lambda r: True,
        "equality": lambda r: r["primary_category"] == "cs.LG",
        "IN": lambda r: r["primary_category"] in ("hep-th", "hep-ph", "gr-qc"),
        "date range": lambda r: r["submitted_date"] >= day,
        "list, any of": lambda r: bool({"stat.ML", "cs.CV"} & set(r["categories"])),
        "list, all of": lambda r: {"cs.LG", "stat.ML"} <= set(r["categories"]),
        "AND, OR, NOT": lambda r: (
            (r["primary_category"] == "quant-ph" or r["versions"] > 3)
            and not r["submitted_date"] < day
        ),
        "IS NULL": lambda r: r["comments"] is None,
        "LIKE": lambda r: r["title"].startswith("Towards"),
    }
    rows = items.drop_columns(["embedding"]).to_pylist()
    for case in cli_demo._cases():
        mask = np.asarray(cli_demo._column(case.mask(items)))
        assert mask.tolist() == [expected[case.kind](row) for row in rows], case.kind
        assert mask.any(), case.kind
