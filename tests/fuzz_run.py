"""Many cases in a process of its own, so that a crash of the interpreter is seen, and a hang.

    python -m tests.fuzz_run AREA FIRST COUNT FOLDER

A case is a function of its seed. It answers, rightly, or raises one of fanns' own errors; all else
ends the process: other exceptions, wrong answers (AssertionError), more memory than MEMORY, more
time than SECONDS. FOLDER/now then has the seed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fanns.errors import FannsError

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30
MEMORY = 12 << 30
Case = Callable[[int], str]


def cases(area: str, folder: Path) -> Case:
    """What runs one case of an area and tells its kind; prepared in `folder`."""
    made: Case = import_module(f"tests.fuzz_{area}").prepare(folder)
    return made


def run(area: str, first: int, count: int, folder: Path) -> dict[str, int]:
    """So many cases, here; how many of each kind were refused and answered."""
    case = cases(area, folder)
    told: Counter[str] = Counter()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    now = os.open(folder / "now", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for seed in range(first, first + count):
        os.pwrite(now, b"%12d" % seed, 0)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            told[case(seed)] += 1
        except FannsError:
            told["refused"] += 1
    faulthandler.cancel_dump_traceback_later()
    return dict(told)


def run_apart(area: str, first: int, count: int, folder: Path) -> Counter[str]:
    """The same in a process of its own. Raises AssertionError naming the seed of what went wrong"""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_run", area, str(first), str(count), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        now = folder / "now"
        seed = now.read_text().strip() if now.exists() else "none"
        raise AssertionError(
            f"{area}: seed {seed} ended the process ({done.returncode})\n{done.stderr[-4000:]}"
        )
    told: Counter[str] = Counter(json.loads(done.stdout.splitlines()[-1]))
    assert sum(told.values()) == count
    return told


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("error")
    place = Path(sys.argv[4])
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), place)))
