"""Fixed chunks of rows over a pool of threads: the result never depends on their number.

A thread whose work nobody may want in the end runs it under `stoppable`: chunks look before each
whether they shall go on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_asked = threading.local()


class Stopped(Exception):
    """Work was given up because it was asked to be; no error."""


@contextmanager
def stoppable(asked: Callable[[], bool]) -> Iterator[None]:
    """Whatever this thread does inside ends with `Stopped` soon after `asked` says so."""
    _asked.now = asked
    try:
        yield
    finally:
        del _asked.now


def go_on() -> None:
    """Raises `Stopped` in a thread that was asked to stop; see `stoppable`."""
    asked = getattr(_asked, "now", None)
    if asked is not None and asked():
        raise Stopped


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_chunks(
    task: Callable[[int, int], object],
    n: int,
    size: int,
    threads: int | None = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Call `task(start, stop)` for each run of `size` rows of 0..n; None = all processors.

    The first exception of a task ends the run and is raised. `progress` hears the rows done.
    """
    threads = available_threads() if threads is None else threads
    starts = range(0, n, size)
    if threads <= 1 or len(starts) <= 1:
        for start in starts:
            go_on()
            task(start, min(start + size, n))
            if progress is not None:
                progress(min(start + size, n))
        return
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(task, start, min(start + size, n)) for start in starts]
        try:
            for start, future in zip(starts, futures, strict=True):
                future.result()
                if progress is not None:
                    progress(min(start + size, n))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
