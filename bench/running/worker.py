"""The child process that holds one engine: python -m fanns.bench.running.worker DESCRIPTOR

It answers requests from its parent over a connection that it inherits, one at a time. A request is
(verb, arguments); a reply is ("done", value), or (state, reason) where the engine failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier, Thread
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines import registry
from fanns.bench.engines.engine import AbsentError, Engine, Items, Setting, UnsupportedError
from fanns.bench.running.messages import Built, Order, Turn
from fanns.bench.running.processes import cpu_seconds, forget_peak, peak_bytes
from fanns.bench.workloads.workload import load

_BLOCK = 32  # filters bound at a time: a selector may be as large as the data set
_LOOK = 1.0  # seconds between looks for the parent
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: what an engine starts stays below this process


class Worker:
    """The verbs that the parent may ask for, in the order of their use."""

    engine: Engine
    opened = False
    pool: ThreadPoolExecutor | None = None

    def setup(
        self, engine: str, options: Mapping[str, Any], threads: int, workload: Path, share: Path
    ) -> None:
        """Loads the workload and makes the engine."""
        self.threads = threads
        self.workload = load(workload, share)
        self.queries = np.array(self.workload.queries)  # not mapped: reading must not be timed
        self.items = Items(
            np.asarray(self.workload.vectors),
            self.workload.attributes,
            self.workload.metric,
            self._tuning_queries(),
        )
        self.cells = {cell.name: cell for cell in self.workload.cells}
        self.engine = registry.load(engine)(options, threads)
        gc.collect()
        gc.freeze()  # the workload's many objects: later collections need not look at them

    def warm(self) -> None:
        self.engine.warm()

    def build(self, folder: Path, threads: int) -> Built:
        forget_peak()
        cpu, start = cpu_seconds(), perf_counter()
        self.engine.build(self.items, folder, threads)
        wall = perf_counter() - start
        return Built(wall, cpu_seconds() - cpu, peak_bytes(), self.engine.size(folder))

    def open(self, folder: Path, cores: Collection[int] | None) -> float:
        """Seconds to open the index, on these cores, where this process stays; None: on any."""
        if cores is not None:
            pin(cores)
        start = perf_counter()
        self.opened = True
        self.engine.open(self.items, folder)
        return perf_counter() - start

    def settings(self) -> list[Setting]:
        return self.engine.settings()

    def start(self, cell: str) -> float:
        """Microseconds that the engine takes for a cell's filter text."""
        start = perf_counter()
        self.engine.start(self.cells[cell].where)
        return (perf_counter() - start) * 1e6

    def measure(self, order: Order) -> Turn:
        """Warms up, then searches; nothing is collected as garbage meanwhile."""
        self.engine.use(order.setting)
        self._one_thread(order._replace(queries=order.warm, limit=np.inf))
        gc.collect()
        gc.disable()
        try:
            if self.threads > 1:
                return self._many_threads(order)
            return self._one_thread(order)
        finally:
            gc.enable()

    def close(self) -> None:
        if self.opened:
            self.engine.close()

    def _one_thread(self, order: Order) -> Turn:
        """Rows are read between the calls, before the engine reuses its buffers."""
        micros: list[float] = []
        read = _Reader(self.engine)
        spent = 0.0
        for start in range(0, len(order.queries), _BLOCK):
            for call in self._calls(order, order.queries[start : start + _BLOCK]):
                if order.mode == "end_to_end":
                    self.engine.forget()
                begin = perf_counter()
                answer = call()
                took = perf_counter() - begin
                micros.append(took * 1e6)
                read(answer)
                spent += took
                if spent > order.limit and len(micros) >= order.least:
                    return read.turn(micros, spent)
        return read.turn(micros, spent)

    def _many_threads(self, order: Order) -> Turn:
        """Threads take the next query as they become free; rows are read after the clock stops."""
        self._warm_threads(order)
        self.engine.forget()
        calls = self._calls(order, order.queries)
        begin = perf_counter()
        late = begin + order.limit

        def work(place: int) -> tuple[float, Any] | None:
            start = perf_counter()
            if start > late and place >= order.least:
                return None
            answer = calls[place]()
            return (perf_counter() - start) * 1e6, answer

        done = [one for one in self._pool().map(work, range(len(calls))) if one is not None]
        seconds = perf_counter() - begin
        read = _Reader(self.engine)
        for _, answer in done:
            read(answer)
        return read.turn([micros for micros, _ in done], seconds)

    def _pool(self) -> ThreadPoolExecutor:
        """Threads that live as long as the worker, and so does what engines keep for each."""
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.threads)
        return self.pool

    def _warm_threads(self, order: Order) -> None:
        """Searches in every thread, so that each has its connection or buffers before the clock."""
        together = Barrier(self.threads)

        def warm(_: int) -> None:
            together.wait()
            for call in self._calls(order, order.warm):
                call()

        list(self._pool().map(warm, range(self.threads)))

    def _calls(self, order: Order, queries: NDArray[np.int64]) -> list[Callable[[], Any]]:
        """The searches, ready to be timed; filters are bound before in mode "prepared"."""
        engine, k = self.engine, order.k
        vectors, params = self.queries, self.workload.params
        if order.mode == "prepared":
            bound = [engine.bind(params[query]) for query in queries]
            return [
                lambda v=vectors[query], b=b: engine.search_bound(v, b, k)  # type: ignore[misc]
                for query, b in zip(queries, bound, strict=True)
            ]
        return [
            lambda v=vectors[query], p=params[query]: engine.search(v, p, k)  # type: ignore[misc]
            for query in queries
        ]

    def _tuning_queries(self) -> NDArray[np.float32]:
        """The vectors of tuning queries, each once, none of them measured."""
        cells = self.workload.cells
        tune = np.concatenate([cell.tune for cell in cells] + [np.empty(0, np.int64)])
        return np.unique(self.queries[tune], axis=0)


class _Reader:
    """Collects rows and work of answers, one after the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: list[NDArray[np.int64]] = []
        self.distances: list[int] = []
        self.statuses: list[str | None] = []

    def __call__(self, answer: Any) -> None:
        self.rows.append(np.array(self.engine.rows(answer), dtype=np.int64).ravel())
        work = self.engine.work(answer)
        self.distances.append(-1 if work.distances is None else work.distances)
        self.statuses.append(work.status)

    def turn(self, micros: list[float], seconds: float) -> Turn:
        return Turn(
            np.array(micros),
            np.concatenate([*self.rows, np.empty(0, np.int64)]),
            np.cumsum([0, *(len(rows) for rows in self.rows)], dtype=np.int64),
            np.array(self.distances, dtype=np.int64),
            self.statuses,
            seconds,
        )


def pin(cores: Collection[int]) -> None:
    """Keeps this process on some cores: the threads that are there, and so all that they start."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)


def serve(connection: Connection) -> None:
    """Answers requests until the parent hangs up."""
    worker = Worker()
    while True:
        try:
            verb, arguments = connection.recv()
        except EOFError:
            return
        try:
            reply = ("done", getattr(worker, verb)(**arguments))
        except UnsupportedError as error:
            reply = ("unsupported", str(error))
        except AbsentError as error:
            reply = ("absent", str(error))
        except MemoryError as error:
            reply = ("memory", f"out of memory: {error}")
        except Exception as error:  # whatever an engine raises is a result, not our failure
            import traceback

            traceback.print_exc()
            reply = ("error", f"{type(error).__name__}: {error}")
        sys.stdout.flush()
        connection.send(reply)


def _leave_with_parent(parent: int) -> None:
    """Ends this process and its group when the parent is gone, even within a long search."""
    while os.getppid() == parent:
        sleep(_LOOK)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
