"""What tests of CUDA kernels share: arrays there and back, selections, one small workspace."""

from typing import Any

import numpy as np

from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import Workspace, cuda_host
from fanns.kernels.scan import ALL, ROWS, WORDS

NO_ROWS = np.empty(0, np.int32)
NO_OFFSETS = np.zeros(1, np.int64)
NO_WORDS = np.empty((0, 0), np.uint64)
FORMS = {"all": ALL, "rows": ROWS, "words": WORDS}


def to_device(*arrays: Array) -> list[Any]:
    return [cuda_host.to_device(np.ascontiguousarray(array)) for array in arrays]


def to_host(*arrays: Any) -> list[Array]:
    return [array.copy_to_host() for array in arrays]


def workspace(threads: int = 32, blocks: int = 2, nbytes: int = 1 << 20) -> Workspace:
    """Small blocks, which the simulator runs soonest, and more than one of them."""
    return Workspace(nbytes, cuda_host.stream(), threads, blocks)


def bitmaps(masks: Array) -> Array:
    """Words uint64[s, w] of masks bool[s, n]."""
    padded = np.pad(masks, ((0, 0), (0, -masks.shape[1] % 64)))
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def row_lists(masks: Array) -> tuple[Array, Array]:
    """Rows int32 and offsets int64[s + 1] of masks bool[s, n]."""
    offsets = np.concatenate([[0], np.cumsum(masks.sum(axis=1))]).astype(np.int64)
    return np.nonzero(masks)[1].astype(np.int32), offsets


def selection(masks: Array, form: str) -> tuple[int, Array, Array, Array]:
    """Form, rows, offsets and words of the selections of a batch, on the host."""
    rows, offsets = row_lists(masks) if form == "rows" else (NO_ROWS, NO_OFFSETS)
    return FORMS[form], rows, offsets, bitmaps(masks) if form == "words" else NO_WORDS


def no_answers(m: int, k: int) -> list[Array]:
    """Rows, distances, found, status and work of m queries, filled with what none of them is."""
    return [
        np.full((m, k), -7, np.int32),
        np.full((m, k), np.nan),
        np.full(m, -7, np.int32),
        np.full(m, -7, np.int8),
        np.full((m, 4), -7, np.int64),
    ]
