"""Tuning and timing: the cheapest setting that reaches the target, measured on other queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines import Engine
from fanns.bench.workload import Cell, recall


@dataclass(frozen=True, slots=True)
class Result:
    """One engine in one cell.

    Attributes:
        setting: the one measured; reached: whether it met the target on the tuning queries.
        recall: on the measured queries. micros: mean time of a query, end to end, and per round.
        filter_micros: the part of it spent on making a selector (0 where that is inside).
    """

    cell: str
    engine: str
    setting: Any
    reached: bool
    recall: float
    micros: float
    rounds: tuple[float, ...]
    median_micros: float
    p99_micros: float
    filter_micros: float


@dataclass(frozen=True, slots=True)
class Judge:
    """Counts recall against the exact answers that the cells carry."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    k: int

    def recall(self, cell: Cell, query: int, rows: NDArray[np.int64]) -> float:
        wanted = min(self.k, int(cell.matches[query]))
        bound = float(cell.bounds[query])
        return recall(rows, self.queries[query], self.vectors, bound, wanted)


def tune(
    engine: Engine, cell: Cell, queries: Sequence[int], judge: Judge, target: float
) -> tuple[Any, bool]:
    """The first setting whose mean recall reaches the target, by bisection, and whether one did."""
    low, high = 0, len(engine.settings)
    while low < high:
        middle = (low + high) // 2
        found = []
        for query in queries:
            engine.prepare(cell, query)
            rows = engine.search(cell, query, engine.settings[middle])
            found.append(judge.recall(cell, query, rows))
        if np.mean(found) >= target:
            high = middle
        else:
            low = middle + 1
    reached = low < len(engine.settings)
    return engine.settings[min(low, len(engine.settings) - 1)], reached


def compare(
    engines: Sequence[Engine],
    cell: Cell,
    tuning: Sequence[int],
    measured: Sequence[int],
    judge: Judge,
    target: float,
    rounds: int,
) -> list[Result]:
    """Tunes all engines, then measures them in turns: each round is a fresh part of the queries.

    No engine sees a query or its parameters twice, so that caches of earlier answers do not help.
    """
    chosen = {engine.name: tune(engine, cell, tuning, judge, target) for engine in engines}
    times: Mapping[str, list[NDArray[np.float64]]] = {engine.name: [] for engine in engines}
    recalls: Mapping[str, list[float]] = {engine.name: [] for engine in engines}
    filters = dict.fromkeys(times, 0.0)
    for turn, part in enumerate(np.array_split(np.asarray(measured), rounds)):
        for place in range(len(engines)):
            engine = engines[(place + turn) % len(engines)]
            before = engine.filter_seconds
            spent, rows = _run(engine, cell, part.tolist(), chosen[engine.name][0])
            filters[engine.name] += engine.filter_seconds - before
            times[engine.name].append(spent)
            for query, found in zip(part.tolist(), rows, strict=True):
                recalls[engine.name].append(judge.recall(cell, query, found))
    return [
        _result(cell, engine, chosen, times, recalls, filters[engine.name]) for engine in engines
    ]


def _run(
    engine: Engine, cell: Cell, queries: Sequence[int], setting: Any
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    spent = np.empty(len(queries))
    found = []
    for place, query in enumerate(queries):
        engine.prepare(cell, query)
        start = perf_counter()
        rows = engine.search(cell, query, setting)
        spent[place] = perf_counter() - start
        found.append(rows)
    return spent, found


def _result(
    cell: Cell,
    engine: Engine,
    chosen: Mapping[str, tuple[Any, bool]],
    times: Mapping[str, list[NDArray[np.float64]]],
    recalls: Mapping[str, list[float]],
    filter_seconds: float,
) -> Result:
    setting, reached = chosen[engine.name]
    everything = np.concatenate(times[engine.name]) * 1e6
    return Result(
        cell=cell.name,
        engine=engine.name,
        setting=setting,
        reached=reached,
        recall=float(np.mean(recalls[engine.name])),
        micros=float(everything.mean()),
        rounds=tuple(float(part.mean() * 1e6) for part in times[engine.name]),
        median_micros=float(np.median(everything)),
        p99_micros=float(np.quantile(everything, 0.99)),
        filter_micros=filter_seconds * 1e6 / len(everything),
    )
