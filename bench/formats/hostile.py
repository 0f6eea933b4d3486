"""Errors of foreign files, and the checks that come before anything is allocated or mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fanns.errors import FannsError


class FormatError(FannsError, ValueError):
    """A file of a foreign format that is truncated, altered, or not what its name says."""


def wrong(path: Path, offset: int, expected: str, found: object) -> FormatError:
    """The error of what stands at a byte of a file."""
    return FormatError(f"{path}: at byte {offset}: expected {expected}, found {found}")


def size_of(path: Path) -> int:
    """The bytes of a regular file. Raises FormatError where there is none."""
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    return path.stat().st_size


def header(path: Path, dtype: DTypeLike, count: int) -> list[int]:
    """The first `count` integers of a file, none of them negative."""
    size, width = size_of(path), np.dtype(dtype).itemsize
    if size < count * width:
        raise wrong(path, 0, f"a header of {count * width} bytes", f"a file of {size}")
    values = [int(value) for value in np.fromfile(path, dtype, count)]
    for number, value in enumerate(values):
        if value < 0:
            raise wrong(path, number * width, "a count of 0 or more", value)
    return values


def mapped(path: Path, dtype: DTypeLike, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Part of a file as a read-only array, mapped where it is not empty.

    The caller has compared the file's size with the shape.
    """
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)


def exactly(path: Path, wanted: int, reason: str) -> None:
    """Raises FormatError unless the file has `wanted` bytes."""
    size = size_of(path)
    if size != wanted:
        raise wrong(path, min(size, wanted), f"a file of {wanted:,} bytes ({reason})", f"{size:,}")
