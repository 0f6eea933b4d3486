"""What processes use, children included: an engine may be a server of several."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil


def family(pid: int | None = None) -> list[psutil.Process]:
    """A process (default: this one) and all below it that are alive."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def cpu_seconds(pid: int | None = None) -> float:
    """User and system time of a family, and of those of its children that have ended."""
    total = 0.0
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # own and waited-for children's
    return total


def resident_bytes(members: Sequence[psutil.Process]) -> int:
    """Memory held by a family, as `family` lists it.

    Of the first all resident pages, mapped files too; of those below it their proportional share,
    so that the buffers which a server's processes have in common count once.
    """
    total = 0
    for place, process in enumerate(members):
        with contextlib.suppress(psutil.Error):
            total += _shared_out(process) if place else process.memory_info().rss
    return total


def _shared_out(process: psutil.Process) -> int:
    """Bytes of a process, pages that several processes hold divided among them (where known)."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def forget_peak() -> None:
    """Begins anew to note the most that this process holds, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most that this process held (since `forget_peak`), and the most of any ended child."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return children + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    high = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return children + int(high.split()[1]) * 1024


def kill(members: Iterable[psutil.Process]) -> None:
    """Ends processes at once. psutil looks at their start, so a reused number is left alone."""
    gone = list(members)
    for process in gone:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(gone, timeout=10)
