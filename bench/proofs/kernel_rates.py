"""Kernels timed in turns, as records and ratios against the fastest of what they compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.bench.proofs.turns import Call, take_turns
from fanns.bench.reporting.ratios import Interval, paired


class Timed(NamedTuple):
    """A kernel: one call of it, and how much that call does (bytes, rows, queries)."""

    call: Call
    amount: float


class Pace(NamedTuple):
    """How long to measure: rounds, and seconds for all contenders of a comparison together."""

    rounds: int
    seconds: float


def compare(
    topic: str, timed: Mapping[str, Timed], peers: Sequence[str], unit: str, pace: Pace
) -> tuple[list[dict[str, Any]], dict[str, Interval]]:
    """A record for each contender, and its rate as a multiple of the fastest peer's, by rounds.

    unit: what amounts count, such as "rows".
    """
    taken = take_turns({name: one.call for name, one in timed.items()}, *pace, topic)
    rates = {name: [one.amount / t for t in taken[name]] for name, one in timed.items()}
    best = max(peers, key=lambda name: np.median(rates[name]))
    ratios = {name: paired(found, rates[best]) for name, found in rates.items()}
    records = [
        {
            "topic": topic, "kernel": name, "unit": unit, "amount": timed[name].amount,
            "seconds": float(np.median(taken[name])), "per_second": float(np.median(rates[name])),
            "against": best, "ratio": one.ratio, "low": one.low, "high": one.high,
        }
        for name, one in ratios.items()
    ]  # fmt: skip
    return records, ratios
