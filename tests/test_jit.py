"""The kernel cache: fresh after any change, shared between processes, harmless when unwritable."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fanns.kernels import jit, topk

CALLER = """
from jit import kernel, cache_folder
from callee import value

@kernel
def doubled(x):
    return 2 * value(x)

@kernel(fastmath=True)
def halved(x):
    return x / 2.0

if __name__ == "__main__":
    print(doubled(1), halved(3.0), sum(doubled.stats.cache_hits.values()), cache_folder())
"""
CALLEE = """
from jit import kernel

@kernel
def value(x):
    return x + {number}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the decorator and two kernels in two files, one calling the other."""
    folder = tmp_path / "package"
    folder.mkdir()
    shutil.copy(str(jit.__file__), folder / "jit.py")
    (folder / "caller.py").write_text(CALLER)
    (folder / "callee.py").write_text(CALLEE.format(number=10))
    return folder


def run(package: Path, cache: Path, **environment: str) -> tuple[str, str, str, Path, str]:
    """Run the caller in a new process: the two results, cache hits, folder, standard error."""
    done = subprocess.run(
        [sys.executable, "caller.py"],
        cwd=package,
        env={**os.environ, "FANNS_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    doubled, halved, hits, folder = done.stdout.split()
    return doubled, halved, hits, Path(folder), done.stderr


def test_second_process_loads_what_the_first_compiled(package: Path, tmp_path: Path) -> None:
    first = run(package, tmp_path / "cache")
    second = run(package, tmp_path / "cache")
    assert first[:3] == ("22", "1.5", "0")
    assert second[:3] == ("22", "1.5", "1")


def test_changed_callee_in_another_file_is_compiled_anew(package: Path, tmp_path: Path) -> None:
    assert run(package, tmp_path / "cache")[0] == "22"
    (package / "callee.py").write_text(CALLEE.format(number=50))
    doubled, _, hits, _, _ = run(package, tmp_path / "cache")
    assert (doubled, hits) == ("102", "0")


def test_portable_kernels_have_their_own_folder(package: Path, tmp_path: Path) -> None:
    usual = run(package, tmp_path / "cache", FANNS_CPU="")
    portable = run(package, tmp_path / "cache", FANNS_CPU="portable")
    assert usual[3] != portable[3]
    assert portable[:3] == ("22", "1.5", "0")


def test_unwritable_cache_costs_one_warning(package: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    doubled, halved, _, _, errors = run(package, blocked)
    assert (doubled, halved) == ("22", "1.5")
    assert errors.count("RuntimeWarning") == 1
    assert "set FANNS_CACHE_DIR" in errors


def test_damaged_files_are_compiled_anew(package: Path, tmp_path: Path) -> None:
    folder = run(package, tmp_path / "cache")[3]
    files = sorted(folder.glob("*.nbc"))
    assert len(files) == 3
    files[0].write_bytes(b"")
    for file in files[1:]:
        file.write_bytes(file.read_bytes()[:-20])
    assert run(package, tmp_path / "cache")[:3] == ("22", "1.5", "0")
    assert run(package, tmp_path / "cache")[:3] == ("22", "1.5", "1")


def test_numba_settings_of_the_user_are_ignored(package: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "numba"
    run(package, tmp_path / "cache", NUMBA_CACHE_DIR=str(elsewhere))
    assert not elsewhere.exists()
    assert not (package / "__pycache__" / "caller.doubled.nbi").exists()


def test_pruning_keeps_new_and_recent_folders_and_foreign_files(tmp_path: Path) -> None:
    folders = [tmp_path / f"kernels-{number:024x}" for number in range(12)]
    for age, folder in enumerate(folders):
        folder.mkdir()
        (folder / "a.nbc").write_bytes(b"code")
        if age == 11:
            (folder / "notes.txt").write_text("not ours")
        days = 0 if age == 8 else age
        os.utime(folder, (time.time() - days * 86_400 - 60,) * 2)
    other = tmp_path / "data"
    other.mkdir()
    jit._prune(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    kept = [*folders[:7], folders[8], folders[11]]
    assert left == {folder.name for folder in kept} | {"data"}
    assert (folders[11] / "notes.txt").exists()


def test_inner_kernels_refuse_calls_from_python() -> None:
    with pytest.raises(TypeError, match="sort_heap is an inner kernel"):
        topk.sort_heap(np.empty(1), np.empty(1, np.int64), np.empty(1, np.int32), 0)


def test_frozen_copies_only_what_is_not_contiguous() -> None:
    array = np.arange(12.0).reshape(3, 4)
    same = jit.frozen(array)
    assert np.shares_memory(same, array)
    assert not same.flags.writeable
    assert array.flags.writeable
    assert jit.frozen(same) is same
    columns = jit.frozen(array[:, ::2])
    assert columns.flags.c_contiguous
    assert not columns.flags.writeable
