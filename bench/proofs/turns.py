"""Calls timed in turns: what is compared shares the machine's good and bad moments."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from time import perf_counter

from fanns.bench.running.schedule import shuffled

Call = Callable[[], object]


def take_turns(
    calls: Mapping[str, Call], rounds: int, seconds: float, name: str = ""
) -> dict[str, list[float]]:
    """Seconds of one call in each round, by name: the median of the calls of that turn.

    In every round each is called once untimed and then for about `seconds / rounds / calls`, at
    least once, in an order by chance that `name` and the round decide.
    """
    share = seconds / rounds / len(calls)
    taken: dict[str, list[float]] = {one: [] for one in calls}
    for turn in range(rounds):
        for one in shuffled(list(calls), name, turn):
            taken[one].append(_turn(calls[one], share))
    return taken


def _turn(call: Call, seconds: float) -> float:
    """The median seconds of calls made one after another for `seconds`."""
    call()
    times: list[float] = []
    until = perf_counter() + seconds
    while True:
        begun = perf_counter()
        call()
        ended = perf_counter()
        times.append(ended - begun)
        if ended >= until:
            return statistics.median(times)
