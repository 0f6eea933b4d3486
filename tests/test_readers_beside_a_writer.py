"""Readers in threads and processes while one writer changes the index: every answer is right.

A process must find, after each `refresh`, the rows of some state that was committed, and all of its
answers must follow from them. Threads that share the writer's own index must get answers of a state
that held at some time during the call.
"""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fanns
from fanns import adding, merging
from tests.living_helpers import DIMENSIONS, FILTERS, Model
from tests.living_operations import digest, draw, follow, perform, start
from tests.storage_helpers import child

READING = """
    import json, random, sys, time
    import numpy as np
    import fanns
    from tests.living_helpers import DIMENSIONS, Model, assert_same
    from tests.living_operations import digest, rows_in
    path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    rng, seen = np.random.default_rng(seed), []
    end = time.monotonic() + seconds
    index = fanns.open(path)
    print("ready", flush=True)
    while time.monotonic() < end:
        model = Model(rows_in(index))
        for _ in range(int(rng.integers(1, 4))):  # the writer goes on meanwhile
            assert_same(index, model, rng.standard_normal(DIMENSIONS).astype(np.float32))
        seen.append(digest(list(model.rows.values())))
        if rng.random() < 0.3:
            index.close()
            index = fanns.open(path)
        else:
            index.refresh()
    print(json.dumps(seen), flush=True)
"""


class States:
    """The states of an index, by number; `begun` counts those that may be seen already."""

    def __init__(self, first: Model) -> None:
        self.models = [first]
        self.committed = 0
        self.digests = {digest(list(first.rows.values()))}


def write(index: fanns.Index, states: States, seconds: float, seed: int) -> None:
    """Change the index at random, noting each state before it can be seen."""
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        operation = draw(rng, index)
        model = follow(states.models[-1], operation)
        states.digests.add(digest(list(model.rows.values())))
        states.models.append(model)
        perform(index, operation)
        states.committed += 1


def read(index: fanns.Index, states: States, done: threading.Event, seed: int) -> int:
    """Ask the writer's index; the number of answers."""
    rng = np.random.default_rng(seed)
    asked = 0
    while not done.is_set():
        query = rng.standard_normal(DIMENSIONS).astype(np.float32)
        where, params, passes = FILTERS[int(rng.integers(len(FILTERS)))]
        first = states.committed
        hits = index.search(query, 5, where, params, exact=True)
        count = index.count(where, params)
        last = len(states.models)
        possible = states.models[first:last]
        answers = [model.nearest(query, 5, passes) for model in possible]
        assert list(hits.ids) in answers, (where, list(hits.ids), answers)
        counts = [sum(map(passes, model.rows.values())) for model in possible]
        assert hits.matches in counts and count in counts, where
        values = hits.to_arrow(columns=["year"])["year"].to_pylist()
        told = [[model.rows[key]["year"] for key in hits.ids] for model, ids in
                zip(possible, answers, strict=True) if ids == list(hits.ids)]  # fmt: skip
        assert values in told
        asked += 1
    return asked


def check_beside(path: Path, seconds: float, threads: int, processes: int, merges: int = 0) -> None:
    states = States(start(path))
    children = [child(READING, path, seconds, seed) for seed in range(processes)]
    problems: list[BaseException] = []
    asked: list[int] = []
    done = threading.Event()

    def run(index: fanns.Index, seed: int) -> None:
        try:
            asked.append(read(index, states, done, seed))
        except BaseException as cause:
            problems.append(cause)

    try:
        for process in children:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        with fanns.open(path, mode="w") as index:
            readers = [threading.Thread(target=run, args=(index, i)) for i in range(threads)]
            for reader in readers:
                reader.start()
            write(index, states, seconds, seed=7)
            assert index.info()["merging"]["merges"] >= merges
            done.set()
            for reader in readers:
                reader.join()
        assert not problems
        assert len(asked) == threads and min(asked) > seconds
        seen: set[str] = set()
        for process in children:
            output, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            found = json.loads(output)
            assert len(found) > seconds / 5 and set(found) <= states.digests
            seen |= set(found)
        assert len(seen) > 1
    finally:
        done.set()
        for process in children:
            process.kill()
            process.communicate()
    with fanns.open(path, check=True) as read_:
        assert len(read_) == len(states.models[-1].rows)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of eight rows stay segments, which are merged in the background all the time."""
    monkeypatch.setattr(adding, "TAIL_ROWS", 8)
    monkeypatch.setattr(merging, "SMALLEST", 8)


def test_readers_beside_a_writer(tmp_path: Path) -> None:
    check_beside(tmp_path / "x", seconds=5, threads=2, processes=1)


@pytest.mark.slow
def test_eight_readers_for_two_minutes(tmp_path: Path) -> None:
    check_beside(tmp_path / "x", seconds=120, threads=4, processes=4, merges=3)
