"""What to measure, how long, in which order. Pure functions of what pilots took."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

TARGETS = (0.95, 0.99, 0.90, 0.80)  # in order of what readers ask for first
ENOUGH = 0.995  # recall at which a pilot climbs no further, once seen twice
LEAST = 200  # queries of a point, or all that there are
WARM = 10  # untimed searches before each turn of a point
_REQUEST = 0.02  # seconds of each turn besides searching: messages, judging

_AIM = 0.93  # of the time limit

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One setting of an engine on a few tuning queries: its number, recall, seconds a query."""

    setting: int
    recall: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """What is measured: one engine in one mode under one setting.

    seconds: expected of a query, bound filters included. rank: 0 is given up last.
    """

    engine: str
    mode: str
    setting: int
    seconds: float
    rank: int


@dataclass(frozen=True)
class Plan:
    """The points of a cell, and seconds of searching after which each ends.

    dropped: points given up for want of time.
    """

    points: list[Point]
    seconds: float
    dropped: list[Point]


def next_trial(trials: Sequence[Trial], count: int, most: int | None) -> tuple[int, bool] | None:
    """The setting of `count` to try next, and whether the point at the first target needs it.

    None: enough is known. Settings stand in the order of rising cost, so for each target in turn
    the first that reaches it is found by halving; then the one after it is tried, as pilots are
    uncertain. With `most` None every setting is tried, until two have found nearly everything.
    """
    if most is None:
        enough = sum(trial.recall >= ENOUGH for trial in trials) >= 2
        return None if enough or len(trials) == count else (len(trials), True)
    tried = {trial.setting: trial.recall for trial in trials}
    for target in TARGETS:
        missing = [setting for setting, recall in tried.items() if recall < target]
        reaching = [setting for setting, recall in tried.items() if recall >= target]
        low, high = max(missing, default=-1), min(reaching, default=count)
        if high - low > 1:
            return (low + high) // 2, target == TARGETS[0]
    first = min((one for one, recall in tried.items() if recall >= TARGETS[0]), default=count)
    return (first + 1, False) if first + 1 < count and first + 1 not in tried else None


def choose(trials: Sequence[Trial], most: int | None) -> list[int]:
    """The settings to measure, the most wanted first; `most` None: all of them.

    For each target the fastest trial that reaches it, or the best there is; then for each the next
    more accurate one, since a pilot's recall is uncertain; then the next less accurate.
    """
    if most is None:
        return [trial.setting for trial in trials]
    ladder = _ladder(trials)
    reach = [_first(ladder, target) for target in TARGETS]
    above = [min(place + 1, len(ladder) - 1) for place in reach]
    below = [max(place - 1, 0) for place in reach]
    wanted = [reach[0], reach[1], reach[2], above[0], reach[3], above[1], *above, *below]
    return [ladder[place].setting for place in dict.fromkeys(wanted)][:most]


def _ladder(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that none surpasses in both recall and time, by rising recall."""
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (-one.recall, one.seconds)):
        if not kept or trial.seconds < kept[-1].seconds:
            kept.append(trial)
    return kept[::-1]


def _first(ladder: Sequence[Trial], target: float) -> int:
    reaching = [place for place, trial in enumerate(ladder) if trial.recall >= target]
    return reaching[0] if reaching else len(ladder) - 1


def fit(
    points: Sequence[Point],
    budget: float | None,
    *,
    seconds: float,
    queries: int,
    rounds: int,
) -> Plan:
    """Fits points into `budget` seconds (None: no limit).

    A point ends at `queries` queries or `seconds` seconds, never under LEAST queries. All points
    shrink together; where the least does not fit either, the engine that takes longest gives up
    its point of the highest rank, again and again, down to one for each of its modes.
    """
    kept, dropped = list(points), []
    if budget is None:
        return Plan(kept, seconds, [])
    while cost(kept, 0.0, queries, rounds) > budget and (out := _spare(kept, queries, rounds)):
        kept = [point for point in kept if point not in out]
        dropped += out
    low, high = 0.0, seconds
    if cost(kept, high, queries, rounds) <= budget:
        return Plan(kept, seconds, dropped)
    for _ in range(30):
        middle = (low + high) / 2
        within = cost(kept, middle, queries, rounds) <= budget
        low, high = (middle, high) if within else (low, middle)
    return Plan(kept, low, dropped)


def cost(points: Sequence[Point], seconds: float, queries: int, rounds: int) -> float:
    """Expected seconds of the points when each ends after `seconds` of searching."""
    total = 0.0
    for point in points:
        done = min(queries, max(min(LEAST, queries), seconds / max(point.seconds, 1e-9)))
        total += (done + WARM * rounds) * point.seconds + rounds * _REQUEST
    return total


def _spare(points: Sequence[Point], queries: int, rounds: int) -> list[Point]:
    """The points that the engine which takes longest can spare, those of its highest rank."""
    slowest: list[Point] = []
    most = 0.0
    for engine in dict.fromkeys(point.engine for point in points):
        mine = [point for point in points if point.engine == engine]
        took = cost(mine, 0.0, queries, rounds)
        if took > most and any(point.rank > 0 for point in mine):
            slowest, most = mine, took
    last = max((point.rank for point in slowest), default=0)
    return [point for point in slowest if point.rank == last]


def parts(queries: NDArray[np.int64], most: int, rounds: int) -> list[NDArray[np.int64]]:
    """The queries of each round, drawn without return by one seed.

    A turn that is cut short has done the first of its part: a random sample, as the part is.
    """
    chosen = np.random.default_rng(0).permutation(queries)[:most]
    return [part for turn in range(rounds) if len(part := chosen[turn::rounds])]


def least(queries: int, rounds: int) -> int:
    """The fewest queries of a round: together never under LEAST, or all that there are."""
    return -(-min(LEAST, queries) // rounds)


def shuffled(points: Sequence[T], cell: str, turn: int) -> list[T]:
    """The points in the order of a round: by chance, so that nobody always follows itself."""
    order = list(points)
    random.Random(f"{cell} {turn}").shuffle(order)
    return order


def allotment(limit: float | None, elapsed: float, cells: int) -> float | None:
    """Seconds for the next of `cells` cells that are left; None: no limit.

    It is aimed at a little less than the limit, since estimates fail and points have a least.
    """
    if limit is None:
        return None
    return max(0.0, _AIM * limit - elapsed) / max(1, cells)
