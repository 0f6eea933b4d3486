"""Searches on a GPU under NVIDIA's compute-sanitizer: are all memory accesses in order?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from fanns.bench.proofs.gpu_checked import DONE

TOOLS = ("memcheck", "racecheck")
ROWS, DIMENSIONS = 2_000, 24
_FAILED = 99  # the exit status that the checker is asked to end with
_PLACES = (
    "nvidia/cuda_sanitizer_api/bin/compute-sanitizer",
    "nvidia/cu*/compute-sanitizer/compute-sanitizer",
)
_LIBRARY = "libsanitizer-collection.so"
_SUMMARY = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)")


class Checked(NamedTuple):
    """What a tool of the checker found; `told` in a line."""

    tool: str
    state: Literal["clean", "errors", "absent", "failed"]
    told: str


def sanitizer() -> Path | None:
    """The program, on the PATH or in a package of NVIDIA's."""
    found = shutil.which("compute-sanitizer")
    if found is not None:
        return Path(found)
    held = (
        file for folder in sys.path if folder for one in _PLACES for file in Path(folder).glob(one)
    )
    return next((file for file in held if os.access(file, os.X_OK)), None)


def check(timeout: float, rows: int = ROWS, dimensions: int = DIMENSIONS) -> list[Checked]:
    """Searches of a small index under each tool, within so many seconds in all."""
    program = sanitizer()
    if program is None:
        why = "compute-sanitizer is not installed: pip install nvidia-cuda-sanitizer-api"
        return [Checked(tool, "absent", why) for tool in TOOLS]
    searches = [sys.executable, "-m", "fanns.bench.proofs.gpu_checked", str(rows), str(dimensions)]
    return [_checked(program, tool, searches, timeout / len(TOOLS)) for tool in TOOLS]


def _checked(program: Path, tool: str, searches: list[str], timeout: float) -> Checked:
    command = [str(program), "--tool", tool, "--error-exitcode", str(_FAILED)]
    libraries = program.parent.with_name("lib")
    if (libraries / _LIBRARY).exists():  # where the package for CUDA 12 has them, and does not look
        command += ["--injection-path", str(libraries)]
    command += searches
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Checked(tool, "failed", f"not done within {timeout:,.0f} s")
    except OSError as error:
        return Checked(tool, "failed", f"cannot be run: {error.strerror}")
    return judge(tool, done.returncode, done.stdout + done.stderr)


def judge(tool: str, status: int, output: str) -> Checked:
    """What the checker's exit status and output say.

    Clean: it ended well, counted no error, and all searches were answered under its eyes.
    """
    counted = _SUMMARY.findall(output)
    lines = [line for line in output.splitlines() if line.strip()]
    said = [line.strip("= \t") for line in lines if line.startswith("=====")]
    said = [line for line in said if line and not line.startswith(("COMPUTE-SAN", "ERROR SUM"))]
    if status == 0 and DONE in output and counted and not any(map(int, counted)):
        return Checked(tool, "clean", f"0 errors; {DONE}")
    if any(map(int, counted)) and DONE in output:
        return Checked(tool, "errors", f"{sum(map(int, counted))} errors: {'; '.join(said[:3])}")
    errors = [line for line in said if line.startswith("Error")] or said[-1:] or lines[-1:]
    return Checked(tool, "failed", f"exit status {status}: {(errors or ['it said nothing'])[0]}")
