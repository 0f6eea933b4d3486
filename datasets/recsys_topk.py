"""The best items of a block of users, from dense scores: one pass over each row.

What a user has seen is skipped on the way, as is what a filter leaves out, and ties go to the item
of the smaller row, so that the answer is one and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NOBODY = -1  # the item of a place that is empty, as the user has too few candidates


def best(
    scores: Floats,
    users: Ints,
    k: int,
    *,
    seen: Interactions | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[Ints, Floats]:
    """Items int64[b, k] of the highest scores, best first, and those scores float32[b, k].

    scores: float32[b, n_items], row j of user users[j]. seen: interactions that are left out.
    allowed: bool[n_items], the items that a filter passes. Places beyond the candidates hold
    NOBODY and minus infinity; an item that scores minus infinity is no candidate.

    Raises InputError for scores that are not numbers.
    """
    scores = np.ascontiguousarray(scores, np.float32)
    items = np.full((len(scores), k), NOBODY, np.int64)
    values = np.full((len(scores), k), -np.inf, np.float32)
    indptr = np.zeros(1, np.int64) if seen is None else seen.indptr
    indices = np.zeros(0, np.int32) if seen is None else seen.indices
    passing = np.ones(0, np.bool_) if allowed is None else np.ascontiguousarray(allowed)
    odd = _best(scores, np.asarray(users, np.int64), indptr, indices, passing, items, values)
    if odd >= 0:
        raise InputError(f"the scores of user row {users[odd]} are not all numbers")
    return items, values


def _kernel(function: Callable[..., Any]) -> Any:
    return numba.njit(nogil=True)(function)


@_kernel
def _best(
    scores: Floats,
    users: Ints,
    indptr: Ints,
    indices: NDArray[np.int32],
    passing: NDArray[np.bool_],
    items: Ints,
    values: Floats,
) -> int:
    """Fills items and values; the row of a score that is NaN, or -1."""
    k = items.shape[1]
    for row in range(len(scores)):
        at, end = np.int64(0), np.int64(0)
        if len(indptr) > 1:
            at, end = indptr[users[row]], indptr[users[row] + 1]
        last = np.float32(-np.inf)
        for item in range(scores.shape[1]):
            score = scores[row, item]
            if at < end and indices[at] == item:
                at += 1
                continue
            if score <= last:
                continue
            if np.isnan(score):
                return row
            if len(passing) and not passing[item]:
                continue
            place = k - 1  # by insertion: few items get this far, and k is small
            while place > 0 and values[row, place - 1] < score:
                values[row, place] = values[row, place - 1]
                items[row, place] = items[row, place - 1]
                place -= 1
            values[row, place] = score
            items[row, place] = item
            last = values[row, k - 1]
    return -1
