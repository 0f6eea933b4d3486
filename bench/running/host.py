"""The parent's side of a worker: starts it, asks it, watches its time and memory, ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic
from typing import IO, Any

import psutil

from fanns.bench.running.processes import family, kill, resident_bytes

_TICK = 0.25  # seconds between looks at a worker's memory
_PATIENCE = 10.0  # seconds for a worker to end by itself

# Libraries that start threads within one call: as many as one search may use.
_WITHIN = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Pools that searches share: as many as search at the same time.
_POOLS = (
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
    "LANCE_IO_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


class Failed(Exception):
    """The engine failed at a request; the worker goes on.

    state: "unsupported", "absent", "memory" or "error"; reason: for people.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(f"{state}: {reason}")
        self.state = state
        self.reason = reason


class Lost(Failed):
    """The worker is gone: "crashed", or ended for "timeout" or "memory"."""


class Host:
    """A worker process. Raises Lost when it ends or exceeds a limit; then it is gone."""

    def __init__(
        self,
        log: Path,
        *,
        within: int = 1,
        pool: int = 1,
        memory: int | None = None,
    ) -> None:
        """Starts a worker that knows nothing yet.

        within, pool: threads that a call may start, and of pools that calls share. memory: bytes
        that it and its children may hold.
        """
        self.memory = memory
        self.peak = 0  # bytes seen at most
        self._family: list[psutil.Process] = []
        self._connection, theirs = Pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = _start(theirs.fileno(), output, _environment(within, pool))
        theirs.close()

    def ask(self, verb: str, timeout: float, **arguments: Any) -> Any:
        """The worker's answer. Raises Failed, or Lost after `timeout` seconds."""
        try:
            self._connection.send((verb, arguments))
            self._wait(verb, timeout)
            state, value = self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._crashed(verb) from None
        except BaseException:  # interrupted within a message: the connection is of no use any more
            self.end()
            raise
        if state == "done":
            return value
        raise Failed(state, value)

    def resident(self) -> int:
        """Bytes that the worker and its children hold now."""
        self._look()
        return resident_bytes(self._family)

    def close(self) -> None:
        """Lets the engine close, then ends the process."""
        if self._process.poll() is None:
            with contextlib.suppress(Failed):
                self.ask("close", _PATIENCE)
        self.end()

    def end(self) -> None:
        """Ends the worker and all that it started."""
        self._look()
        kill(self._family)
        self._connection.close()
        self._process.wait()

    def _wait(self, verb: str, timeout: float) -> None:
        deadline = monotonic() + timeout
        while not self._connection.poll(max(0.0, min(_TICK, deadline - monotonic()))):
            self._look()
            held = resident_bytes(self._family)
            self.peak = max(self.peak, held)
            if self.memory is not None and held > self.memory:
                self.end()
                limit = f"{held / 1e6:,.0f} MB of {self.memory / 1e6:,.0f} MB allowed"
                raise Lost("memory", f"{verb} held {limit}")
            if monotonic() >= deadline:
                self.end()
                raise Lost("timeout", f"{verb} took more than {timeout:g} s")

    def _crashed(self, verb: str) -> Lost:
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Lost("crashed", f"the process ended during {verb} ({how})")

    def _look(self) -> None:
        """Notes who belongs to the worker; when it is dead, what it had started is still known."""
        self._family = family(self._process.pid) or self._family


def searching_cores(threads: int) -> list[int] | None:
    """Cores to search on: the last ones this process may use, leaving it others if there are any.

    None where the system cannot pin.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))[-threads:]


def watching_cores(threads: int) -> set[int] | None:
    """The cores that `searching_cores` leaves; None where it leaves none or cannot pin."""
    taken = searching_cores(threads)
    return None if taken is None else (os.sched_getaffinity(0) - set(taken) or None)


def _environment(within: int, pool: int) -> dict[str, str]:
    counts = dict.fromkeys(_WITHIN, within) | dict.fromkeys(_POOLS, pool)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    limits = {name: str(count) for name, count in counts.items()}
    return {**os.environ, **limits, "PYTHONPATH": path}


def _start(
    descriptor: int, output: IO[bytes], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "fanns.bench.running.worker", str(descriptor)],
        pass_fds=[descriptor],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
