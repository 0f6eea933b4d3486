"""Where the answers of a batch stand: in one piece of memory, on the device and on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fanns.kernels.jit_cuda import DeviceArray, Workspace, bytes_of
from fanns.paths import Answers


class Places(NamedTuple):
    """Where kernels put answers, in one piece of the device's memory."""

    whole: DeviceArray
    matches: DeviceArray
    answers: Answers
    shapes: Any


def places_of(m: int, k: int, filters: int, workspace: Workspace) -> Places:
    """Places for the answers to m queries under so many filters."""
    shapes = (
        ((filters,), np.int64),
        ((m, k), np.int32),
        ((m, k), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    )
    whole = workspace.take((bytes_of(*shapes),), np.uint8)
    matches, *answers = cut(whole, shapes)
    return Places(whole, matches, Answers(*answers), shapes)


def cut(whole: Any, shapes: Any) -> list[Any]:
    """The arrays of these shapes in one array of bytes, on the host or on the device."""
    made, start = [], 0
    for shape, kind in shapes:
        size = bytes_of((shape, kind))
        used = int(np.prod(shape)) * np.dtype(kind).itemsize
        made.append(whole[start : start + used].view(kind).reshape(shape))
        start += size
    return made


def nothing_found(m: int, k: int) -> Answers:
    """The answers to m queries for which there are no rows."""
    rows, distances = np.full((m, k), -1, np.int32), np.full((m, k), np.inf)
    found, status = np.zeros(m, np.int32), np.zeros(m, np.int8)
    return Answers(rows, distances, found, status, np.zeros((m, 4), np.int64))
