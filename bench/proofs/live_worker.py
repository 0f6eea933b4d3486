"""One turn of one engine of `fanns bench live`, in a process of its own: writes beside searches.

    python -m fanns.bench.proofs.live_worker REQUEST.json

prints a JSON object. A searching thread asks at a fixed rate from the first phase to the last; its
times count from when a search was due, so that waiting for a write counts as well.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.proofs.live_engines import LIVING, Floats, Ints, Living

K = 10
RECALL = 0.95
BATCH = 1_000


class Rows:
    """What the engine should hold: vectors float32[n, d] and years int64[n], rows still to come."""

    def __init__(self, folder: Path, base: int) -> None:
        self.vectors: Floats = np.load(folder / "vectors.npy", mmap_mode="r")
        self.years: Ints = np.load(folder / "years.npy")
        self.queries: Floats = np.load(folder / "queries.npy")
        self.held = base

    def next(self, count: int) -> tuple[int, Floats, Ints]:
        """The first key, the vectors and the years of so many new rows."""
        first = self.held
        self.held += count
        if self.held > len(self.vectors):
            raise IndexError("no more rows")
        new = np.ascontiguousarray(self.vectors[first : self.held])
        return first, new, self.years[first : self.held]

    def recall(self, engine: Living, year: int, count: int) -> float:
        """Mean recall of the first queries, against exact answers."""
        passing = np.flatnonzero(self.years[: self.held] >= year)
        vectors = np.asarray(self.vectors[: self.held])[passing]
        total = 0.0
        queries = self.queries[:count]
        for query in queries:
            scores = vectors @ query
            limit = np.partition(scores, -K)[-K] - 1e-6
            found = engine.search(query, year, K)
            right = self.vectors[found] @ query >= limit if found else np.zeros(0, np.bool_)
            fits = self.years[found] >= year if found else right
            total += float(np.count_nonzero(right & fits)) / K
        return total / len(queries)


class Asker:
    """A thread that searches at a fixed rate; milliseconds by phase."""

    def __init__(self, engine: Living, rows: Rows, year: int, rate: float) -> None:
        self.engine, self.rows, self.year, self.rate = engine, rows, year, rate
        self.phase = "idle"
        self.taken: dict[str, list[float]] = {}
        self.problem: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.perf_counter()
        number = 0
        try:
            while not self._done.is_set():
                wait = due - time.perf_counter()
                if wait > 0:
                    time.sleep(wait)
                phase = self.phase
                query = self.rows.queries[number % len(self.rows.queries)]
                self.engine.search(query, self.year, K)
                ended = time.perf_counter()
                self.taken.setdefault(phase, []).append((ended - due) * 1e3)
                number += 1
                # A search that took longer than several turns is not followed by a burst of them.
                due = max(due + 1 / self.rate, ended - 5 / self.rate)
        except BaseException as cause:
            self.problem = cause


def repeated(
    call: Callable[[], Any], seconds: float, most: int, least: int = 2
) -> tuple[int, float]:
    """How many calls, at most so many, were made in about so many seconds, and in how many."""
    begun, calls = time.perf_counter(), 0
    while calls < least or (calls < most and time.perf_counter() - begun < seconds):
        call()
        calls += 1
    return calls, time.perf_counter() - begun


def chosen(engine: Living, rows: Rows, year: int) -> float:
    """Uses the first setting that reaches the recall; its recall."""
    reached = 0.0
    for setting in engine.settings:
        engine.use(setting)
        reached = rows.recall(engine, year, 50)
        if reached >= RECALL:
            break
    return reached


def turn(engine: Living, rows: Rows, year: int, seconds: float, rate: float) -> dict[str, Any]:
    """All phases."""
    told: dict[str, Any] = {"recall": chosen(engine, rows, year), "setting": engine.setting}
    keys: NDArray[np.int64] = np.random.default_rng(1).permutation(rows.held)
    place = 0

    def updated() -> None:
        nonlocal place
        key = int(keys[place % len(keys)])
        place += 1
        engine.update(key, int(rows.years[key]) + 1)
        rows.years[key] += 1

    phases: list[tuple[str, Callable[[], None], int]] = [
        ("one", lambda: engine.insert(*rows.next(1)), 1),
        ("batches", lambda: engine.insert(*rows.next(BATCH)), BATCH),
        ("updates", updated, 1),
        ("merging", engine.merge, 0),
    ]
    engine.insert(*rows.next(1))  # code is loaded and compiled before the clock starts
    if "updates" not in engine.lacks:
        updated()
    with Asker(engine, rows, year, rate) as asker:
        time.sleep(seconds)
        for phase, call, size in phases:
            if phase in engine.lacks:
                continue
            asker.phase = phase
            if phase == "merging":
                begun = time.perf_counter()
                call()
                told["merge_seconds"] = time.perf_counter() - begun
                continue
            # half of the rows to come are for batches
            left = (len(rows.vectors) - rows.held) // (2 * size)
            calls, spent = repeated(call, seconds, 10**9 if phase == "updates" else left)
            told[phase] = calls * size / spent
        asker.phase = "after"
        time.sleep(seconds)
    if asker.problem is not None:
        raise asker.problem
    told["recall_after"] = rows.recall(engine, year, 50)
    told["milliseconds"] = asker.taken
    return told


def main(path: Path) -> None:
    request = json.loads(path.read_text(encoding="utf-8"))
    data, folder = Path(request["data"]), Path(request["folder"])
    engine = LIVING[request["engine"]]()
    rows = Rows(data, request["base"])
    if request["what"] == "build":
        base = np.ascontiguousarray(rows.vectors[: rows.held])
        engine.build(base, rows.years[: rows.held], folder)
        print(json.dumps({}))
        return
    engine.open(folder)
    try:
        told = turn(engine, rows, request["year"], request["seconds"], request["rate"])
    finally:
        engine.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
