"""A build within a limit of memory stays below it; killed at any moment, it goes on."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fanns
from fanns.errors import UnfinishedIndexError
from tests.storage_helpers import child, run_child
from tests.streamed_helpers import BUILD, rows, write

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
OPTIONS = {"vector": "v", "calibration": "default"}


def built(source: Path | list[Path], target: Path, limit: str, **options: Any) -> dict[str, int]:
    """What a process tells that built an index; its memory is that of nothing else."""
    given = json.dumps({**OPTIONS, **options})
    told: dict[str, int] = json.loads(
        run_child(BUILD, source, target, limit, given, seconds=1_800).splitlines()[-1]
    )
    return told


@LINUX
def test_stays_below_the_limit(tmp_path: Path) -> None:
    n, d, limit = 40_000, 192, 310_000_000
    source = write(tmp_path / "x.parquet", rows(n, d), group=20_000)
    told = built(source, tmp_path / "index", str(limit), bits=0, reduce="off")
    assert told["peak"] < limit
    assert told["segments"] > 1
    with fanns.open(tmp_path / "index") as index:
        assert len(index) == n


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"keep_originals": False}, {"bits": 4, "reduce": "off"}])
def test_larger_ones_stay_below_the_limit(tmp_path: Path, options: dict[str, Any]) -> None:
    n, d, limit = 100_000, 256, 500_000_000
    source = write(tmp_path / "x.parquet", rows(n, d), group=50_000)
    told = built(source, tmp_path / "index", "500MB", calibration="measure", **options)
    assert 0.7 * limit < told["peak"] < limit
    with fanns.open(tmp_path / "index") as index:
        assert len(index) == n and index.verify() == []


def kill_and_go_on(tmp_path: Path, n: int, kills: int, seed: int) -> None:
    """Kill a build of four segments at random moments until it is done; then look at all of it."""
    table = rows(n, 16)
    source = write(tmp_path / "x.parquet", table)
    target, place = tmp_path / "index", tmp_path / ".index.unfinished"
    rng = random.Random(seed)
    kept: dict[str, tuple[int, int]] = {}
    command = LIMITED.format(most=n // 4 + 1) + BUILD
    options = json.dumps({**OPTIONS, "bits": 0, "metric": "l2"})
    for _ in range(kills):
        process = child(command, source, target, "4GB", options)
        assert process.stdout is not None
        # Somewhere in the first segment that is not done, as it is written, or in the next one.
        wanted = rng.choice(["read", "cluster", "attributes", "write"])
        for line in process.stdout:
            if line.startswith("segment ") and line.strip().endswith(wanted):
                break
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if target.exists():
            break
        with pytest.raises(UnfinishedIndexError, match="same build again"):
            fanns.open(target)
        found = {}
        for file in sorted(place.glob("segment-*/*")):
            found[file.parent.name] = (file.stat().st_ino, file.stat().st_mtime_ns)
        gone = set(kept) - set(found)
        assert not gone, f"segments that were done are gone: {gone}"
        if len(found) > 1:  # the last one may have been under way
            kept = {name: found[name] for name in sorted(found)[:-1]}
            assert all(found[name] == told for name, told in kept.items())
    if not target.exists():
        run_child(command, source, target, "4GB", options)
    with fanns.open(target, check=True) as index:
        assert list(index.ids()) == table["id"].to_pylist()
        assert len(index._snapshot.segments) == 4
        assert not place.exists()
    for name, told in kept.items():
        files = [file.stat() for file in sorted((target / name).iterdir())]
        assert told in [(file.st_ino, file.st_mtime_ns) for file in files], "a segment was rebuilt"


LIMITED = """
    from fanns.probing import Probe
    Probe.segment_rows = lambda *_: {most}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_and_gone_on(tmp_path: Path) -> None:
    kill_and_go_on(tmp_path, 20_000, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_killed_often_and_gone_on(tmp_path: Path, seed: int) -> None:
    kill_and_go_on(tmp_path, 24_000, kills=12, seed=seed)
