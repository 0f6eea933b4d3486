"""What searches take: of every kind, one query at a time, in turn.

A planner compares paths, so their times must be of the same minutes: what else a machine does
then slows all of them down alike. Taking turns also leaves the caches as another search left them,
and every turn has rows of its own, or what the caches still hold would look three times cheaper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from fanns.paths import Answers

TURNS = 15
"""Times that each kind of search is timed."""

Job = Callable[[int], Answers | None]
"""The search of one turn, 0 to TURNS - 1."""

Key = TypeVar("Key", bound=Hashable)


class Timed(NamedTuple):
    """Medians over the turns: nanoseconds, and codes compared plus lists of links read."""

    ns: float
    work: float


def timed(jobs: Mapping[Key, Job]) -> dict[Key, Timed]:
    """Run every job TURNS times, in turn."""
    keys = list(jobs)
    taken, work = np.zeros((len(keys), TURNS)), np.zeros((len(keys), TURNS))
    for turn in range(TURNS):
        for place, key in enumerate(keys):
            job = jobs[key]
            begun = time.thread_time_ns()
            found = job(turn)
            taken[place, turn] = time.thread_time_ns() - begun
            if found is not None:
                work[place, turn] = found.work[0, 0] + found.work[0, 3]
    typical = zip(np.median(taken, axis=1), np.median(work, axis=1), strict=True)
    return {key: Timed(float(a), float(b)) for key, (a, b) in zip(keys, typical, strict=True)}
