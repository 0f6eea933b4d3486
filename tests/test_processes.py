"""Readers in other processes and threads, and writers that wait for each other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanns
from fanns.errors import IndexLockedError, InputError

ROWS = 6_000
QUERIES = np.random.default_rng(1).standard_normal((24, 16)).astype(np.float32)
WHERE = "year < :y"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("processes") / "x"
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, 16)).astype(np.float32)
    table: dict[str, Any] = {
        "id": np.arange(ROWS),
        "embedding": vectors,
        "year": rng.integers(0, 9, ROWS),
    }
    fanns.Index.build(table, path=made, calibration="default").close()
    with fanns.open(made, mode="w") as index:
        index.delete(where="year = 1")
        index.add({name: column[:500] + 10**6 for name, column in table.items()})
    return made


def ask(index: fanns.Index, number: int) -> tuple[list[int], list[float]]:
    hits = index.search(QUERIES[number], 10, WHERE, {"y": 1 + number % 9})
    return list(map(int, hits.ids)), list(map(float, hits.distances))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_give_the_same_answers(path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    with fanns.open(path) as index:
        expected = [ask(index, number) for number in range(len(QUERIES))]
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            answers = pool.map(partial(ask, index), range(len(QUERIES)), chunksize=12)
            assert list(answers) == expected


def test_threads_give_the_same_answers(path: Path) -> None:
    with fanns.open(path) as index, ThreadPoolExecutor(8) as pool:
        expected = [ask(index, number) for number in range(len(QUERIES))]
        again = list(pool.map(partial(ask, index), list(range(len(QUERIES))) * 20))
        assert again == expected * 20


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_goes_on_with_the_open_index(path: Path) -> None:
    with fanns.open(path) as index:
        expected = ask(index, 3)
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        process = context.Process(target=lambda: answers.put(ask(index, 3)))
        process.start()
        assert answers.get() == expected
        process.join()
        assert ask(index, 3) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_that_closes_leaves_its_parent_alone(path: Path) -> None:
    with fanns.open(path) as index:
        expected = ask(index, 5)
        pid = os.fork()
        if pid == 0:
            same = ask(index, 5) == expected
            index.close()
            os._exit(0 if same else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert ask(index, 5) == expected
        assert index.verify() == []


class Neighbours:
    """A data set in the manner of PyTorch: an item is the answer to one query, made by a worker."""

    def __init__(self, index: fanns.Index) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(QUERIES)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        ids, distances = ask(self.index, number)
        return np.array(ids), np.array(distances)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core
def test_workers_of_a_data_loader(path: Path, method: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    from torch.utils.data import DataLoader

    with fanns.open(path) as index:
        expected = [ask(index, number) for number in range(len(QUERIES))]
        loader: Any = DataLoader(
            Neighbours(index),  # type: ignore[arg-type,unused-ignore]
            batch_size=5,
            num_workers=2,
            multiprocessing_context=method,
        )
        for _ in range(2):  # epochs: each starts its workers anew
            batches = list(loader)
            found = [
                (one.tolist(), two.tolist())
                for ids, distances in batches
                for one, two in zip(ids, distances, strict=True)
            ]
            assert found == expected


def test_pickled_as_a_path(path: Path) -> None:
    with fanns.open(path) as index:
        sent = pickle.loads(pickle.dumps(index))
        assert ask(sent, 0) == ask(index, 0)
        sent.close()
    memory = fanns.Index.build({"embedding": np.eye(4, dtype=np.float32)})
    with pytest.raises(InputError, match="cannot be pickled: save it"):
        pickle.dumps(memory)


def test_a_second_writer_waits_if_asked(path: Path) -> None:
    with fanns.open(path, mode="w"):
        with pytest.raises(IndexLockedError, match="is open for writing by process"):
            fanns.open(path, mode="w")
        begun = time.monotonic()
        with pytest.raises(IndexLockedError):
            fanns.open(path, mode="w", wait=0.3)
        assert time.monotonic() - begun >= 0.3
    first = fanns.open(path, mode="w")
    closing = threading.Timer(0.2, first.close)
    closing.start()
    fanns.open(path, mode="w", wait=20).close()
    closing.join()


def test_changes_from_several_threads_are_one_after_another(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    table: dict[str, Any] = {
        "id": np.arange(400),
        "embedding": vectors,
        "year": np.zeros(400, np.int64),
    }
    first = {name: column[:200] for name, column in table.items()}
    fanns.Index.build(first, path=tmp_path / "x", calibration="default").close()

    def change(index: fanns.Index, number: int) -> None:
        rows = slice(200 + 10 * number, 210 + 10 * number)
        index.add({name: column[rows] for name, column in table.items()})
        index.update(set={"year": number}, ids=range(5 * number, 5 * number + 5))
        index.delete(ids=[200 + 10 * number, 5 * number])

    with fanns.open(tmp_path / "x", mode="w") as index, ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(change, index), range(20)))
        assert len(index) == 400 - 40
    with fanns.open(tmp_path / "x", check=True) as index:
        assert len(index) == 400 - 40
        assert [index.count("year = :y", {"y": y}) for y in range(1, 20)] == [4] * 19
