import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("psutil")
pytest.importorskip("cpuinfo")

from fanns.bench import machine


def test_the_whole_description() -> None:
    import numpy as np

    found = machine.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["fanns"]
    assert 1 <= found["cpu"]["usable_cores"] <= found["cpu"]["logical_cores"] == os.cpu_count()
    assert found["memory"]["total_bytes"] > found["memory"]["available_bytes"] > 0
    assert found["python"]["version"].startswith("3.")
    assert found["system"]["kernel"].split()[0] in ("Linux", "Darwin", "Windows")
    assert len(found["load"]["averages_1_5_15_minutes"]) == 3


def test_no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/home/ada/cache")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = json.dumps(machine.describe())
    assert "/home" not in text and str(Path(machine.__file__).parent) not in text
    assert '"OMP_NUM_THREADS": "1"' in text


def test_flags_that_matter() -> None:
    known = ["avx512_vnni", "avx2", "fma", "popcnt", "asimddp", "amx_int8", "sse4_2", "f16c"]
    assert all(machine.FLAGS.fullmatch(flag) for flag in known)
    assert not any(machine.FLAGS.fullmatch(flag) for flag in ["fpu", "vme", "sse4a", "syscall"])


def test_caches(tmp_path: Path) -> None:
    for number, (level, kind, size, shared) in enumerate(
        [("1", "Data", "48K", "0"), ("3", "Unified", "105M", "0-3,8"), ("4", "", "odd", "0")]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in zip(
            ("level", "type", "size", "shared_cpu_list"), (level, kind, size, shared), strict=True
        ):
            (folder / name).write_text(text + "\n")
    assert machine.caches(tmp_path) == [
        {"level": 1, "type": "Data", "bytes": 48 << 10, "shared_by": 1},
        {"level": 3, "type": "Unified", "bytes": 105 << 20, "shared_by": 5},
    ]
    assert machine.caches(tmp_path / "none") == []


def test_limits_of_both_versions_of_control_groups(tmp_path: Path) -> None:
    proc, root = tmp_path / "cgroup", tmp_path / "fs"
    inner = root / "pod" / "one"
    inner.mkdir(parents=True)
    proc.write_text("0::/pod/one\n")
    assert machine.limits(proc, root)["cores"] is None
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    (root / "pod" / "cpu.max").write_text("150000 100000\n")
    (root / "memory.max").write_text(f"{8 << 30}\n")
    found = machine.limits(proc, root)
    assert (found["cores"], found["memory_bytes"]) == (1.5, 8 << 30)

    old = tmp_path / "old"
    for name, files in {
        "cpu": {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"},
        "memory": {"memory.limit_in_bytes": str(2**63 - 4096)},
        "cpuset": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    }.items():
        (old / name / "job").mkdir(parents=True)
        for file, text in files.items():
            (old / name / "job" / file).write_text(text)
    proc.write_text("3:memory:/job\n2:cpu:/job\n1:cpuset:/job\n")
    found = machine.limits(proc, old)
    assert (found["cores"], found["memory_bytes"]) == (0.5, None)


def test_source(tmp_path: Path) -> None:
    assert machine.source(tmp_path) is None

    def git(*words: str) -> None:
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *names, *words], check=True)

    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "one")
    clean = machine.source(tmp_path)
    assert clean is not None and len(clean["commit"]) == 40 and not clean["dirty"]
    (tmp_path / "b").write_text("not tracked")
    assert machine.source(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert machine.source(tmp_path) == {**clean, "dirty": True}
