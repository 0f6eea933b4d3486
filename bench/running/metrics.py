"""What raw samples say: recall, rate and latency with their 95 % intervals. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_Z = 1.959963984540054  # normal quantile of a two-sided 95 % interval
_FEW = 3  # rounds: with fewer, their scatter says next to nothing


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Round(NamedTuple):
    """One turn of a point: how many queries, in how many seconds of searching, at what recall."""

    queries: int
    seconds: float
    recall: float


def recall_interval(recalls: Floats) -> Estimate:
    """Mean recall over queries, with Wilson's score interval for clustered answers.

    recalls: float64[q] in [0, 1], one per query with at least one match. With p the mean and v
    their sample variance, q answers are worth m = max(q, p (1 - p) q / v) independent yes-or-no
    trials (Kish's effective size: the rows of one answer succeed and fail together), and the
    interval is Wilson's for p of m:
        (p + z^2 / 2m  +-  z sqrt(p (1 - p) / m + z^2 / 4m^2)) / (1 + z^2 / m).
    So q perfect answers give [1 - 3.84 / (q + 3.84), 1], not [1, 1]. No query: (1, 0, 1).
    """
    count = len(recalls)
    if count == 0:
        return Estimate(1.0, 0.0, 1.0)
    p = float(recalls.mean())
    variance = float(recalls.var(ddof=1)) if count > 1 else 0.0
    size = max(float(count), p * (1 - p) * count / variance) if variance > 0 else float(count)
    centre = (p + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z * sqrt(p * (1 - p) / size + _Z**2 / (4 * size**2)) / (1 + _Z**2 / size)
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def rate_interval(rounds: Iterable[Round], micros: Floats) -> Estimate:
    """Queries a second: all queries over all seconds, with an interval on the log scale.

    Each round gives x = log(seconds / queries). The rate's interval is rate * exp(+-h), where h is
    the larger of
        t(R - 1) * sd(x) / sqrt(R)   over R >= 3 rounds: what drifts from round to round, and
        z * sd(micros) / mean(micros) / sqrt(q)   over all q queries: how unlike queries are.
    With fewer than 3 rounds only the second is known. micros: float64[q], time of each query.
    """
    rounds = [one for one in rounds if one.queries and one.seconds > 0]
    queries = sum(one.queries for one in rounds)
    if not queries:
        return Estimate(0.0, 0.0, 0.0)
    rate = queries / sum(one.seconds for one in rounds)
    half = 0.0
    if len(micros) > 1 and micros.mean() > 0:
        half = _Z * float(micros.std(ddof=1) / micros.mean()) / sqrt(len(micros))
    if len(rounds) >= _FEW:
        logs = np.array([log(one.seconds / one.queries) for one in rounds])
        spread = float(logs.std(ddof=1)) / sqrt(len(rounds))
        half = max(half, student(len(rounds) - 1) * spread)
    return Estimate(rate, rate * exp(-half), rate * exp(half))


def student(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t with this many degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats takes two seconds to import

    return float(stdtrit(freedom, 0.975))


def summarise(
    micros: Floats,
    recall: Floats,
    returned: Integers,
    wanted: Integers,
    violations: Integers,
    invalid: Integers,
    rounds: list[Round],
) -> dict[str, Any]:
    """The measured columns of a point from its samples, arrays of one value per query.

    Recall is averaged over queries that have a match at all. `short` is the share of queries whose
    valid rows are fewer than wanted; `violations` and `invalid` are shares of all returned rows.
    """
    good = recall_interval(recall[wanted > 0])
    rate = rate_interval(rounds, micros)
    rows = int(returned.sum())
    return {
        "queries": len(micros),
        "rounds": len(rounds),
        "recall": good.value,
        "recall_low": good.low,
        "recall_high": good.high,
        "short": float(np.mean(returned - invalid < wanted)) if len(micros) else 0.0,
        "violations": float(violations.sum()) / rows if rows else 0.0,
        "invalid": float(invalid.sum()) / rows if rows else 0.0,
        "qps": rate.value,
        "qps_low": rate.low,
        "qps_high": rate.high,
        **latencies(micros),
    }


def latencies(micros: Floats) -> dict[str, float | None]:
    """Mean and quantiles of the time of a query, in microseconds; None without any query."""
    if not len(micros):
        return dict.fromkeys(("mean_us", "p50_us", "p95_us", "p99_us"))
    p50, p95, p99 = np.quantile(micros, [0.5, 0.95, 0.99])
    return {
        "mean_us": float(micros.mean()),
        "p50_us": float(p50),
        "p95_us": float(p95),
        "p99_us": float(p99),
    }


def wrong(point: Mapping[str, Any]) -> bool:
    """Whether a point returned rows that fail the filter, or that are no rows."""
    return bool((point["violations"] or 0) > 0 or (point["invalid"] or 0) > 0)
