"""What searches take: of every kind, one query at a time, in turn.

A planner compares paths, so their times must be of the same minutes: what else a machine does
then slows all of them down alike. Every search has rows of its own, or what the caches still hold
would look three times cheaper; but searches of a kind mostly come several in a row, so that what
they share is warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from fanns.paths import Answers

ROUNDS, IN_A_ROW = 4, 5
TURNS = ROUNDS * IN_A_ROW
"""Searches of each kind; the first in a row is not timed."""

Job = Callable[[int], Answers | None]
"""The search of one turn, 0 to TURNS - 1."""

Key = TypeVar("Key", bound=Hashable)


class Timed(NamedTuple):
    """Medians over the turns: nanoseconds, and codes compared plus lists of links read."""

    ns: float
    work: float


def timed(jobs: Mapping[Key, Job]) -> dict[Key, Timed]:
    """Run every job ROUNDS times, in turn, IN_A_ROW searches each time."""
    keys = list(jobs)
    taken, work = np.zeros((len(keys), TURNS)), np.zeros((len(keys), TURNS))
    for first in range(0, TURNS, IN_A_ROW):
        for place, key in enumerate(keys):
            job = jobs[key]
            for turn in range(first, first + IN_A_ROW):
                begun = time.thread_time_ns()
                found = job(turn)
                taken[place, turn] = time.thread_time_ns() - begun
                if found is not None:
                    work[place, turn] = found.work[0, 0] + found.work[0, 3]
    timed_turns = np.arange(TURNS) % IN_A_ROW > 0
    typical = zip(
        np.median(taken[:, timed_turns], axis=1),
        np.median(work[:, timed_turns], axis=1),
        strict=True,
    )
    return {key: Timed(float(a), float(b)) for key, (a, b) in zip(keys, typical, strict=True)}
