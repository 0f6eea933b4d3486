"""Filters, files and inputs from strangers, by the thousand: no crash, no hang, no wrong answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz_run import run_apart

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resource")

FAST = {"filters": 250, "files": 80, "inputs": 300}
MANY = {"filters": 8_500, "files": 4_500, "inputs": 7_500}


@pytest.mark.parametrize("area", FAST)
def test_some_cases(tmp_path: Path, area: str) -> None:
    told = run_apart(area, 0, FAST[area], tmp_path)
    assert told["refused"] > FAST[area] / 10 and len(told) > 3, told


@pytest.mark.slow
@pytest.mark.parametrize("area", MANY)
def test_many_cases(tmp_path: Path, area: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over 20,000 in all, other ones than the fast cases."""
    assert sum(MANY.values()) > 20_000
    told = run_apart(area, 1_000_000, MANY[area], tmp_path)
    with capsys.disabled():
        print(f"\n{area}: {MANY[area]:,} cases, {dict(told)}")
    assert told["refused"] > MANY[area] / 10 and len(told) > 3, told


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    """The process that ends, by a signal as well, is seen, and its seed."""
    with pytest.raises(AssertionError, match=r"broken: seed 7 ended the process \(-11\)"):
        run_apart("broken", 5, 9, tmp_path)
