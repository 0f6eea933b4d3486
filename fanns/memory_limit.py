"""Sizes of memory in words and numbers, and what this process holds."""

from __future__ import annotations

import ctypes
import os
import re
import sys

import pyarrow as pa

from fanns.errors import InputError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)

UNKNOWN_HELD = 300_000_000
"""What a process with all libraries and kernels loaded holds, where the system does not tell."""


def parse_size(given: int | str, name: str = "memory_limit") -> int:
    """Bytes: a whole number, or text such as "1GB" (10^9), "1.5 GiB" (2^30) or "300 MB".

    `name`: the argument that errors name.

    Raises:
        InputError: it is neither, or not above zero.
    """
    if isinstance(given, str) and (match := SIZE.fullmatch(given)):
        units = {**UNITS, **BINARY}
        size = int(float(match[1]) * units[(match[2] or "").lower()])
    elif isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        raise InputError(f'{name} is {given!r}, expected bytes or a text such as "1GB"')
    if size < 1:
        raise InputError(f"{name} is {given!r}, expected more than nothing")
    return size


def spelled(size: float) -> str:
    """A size for people, in megabytes rounded up."""
    return f"{-int(-size // 10**6):,} MB"


def held_now() -> int:
    """Resident bytes of this process, mapped files among them."""
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN_HELD


def held_besides_files() -> int:
    """Resident bytes of this process without the pages of mapped files."""
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
            return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN_HELD


def give_back() -> None:
    """Return what is free to the system: Arrow's and the C library's allocators keep it."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # of the GNU C library
            trim(0)
