"""Engines that answer batches, each in a process of its own: what ends it leaves the rest alone."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines import registry
from fanns.bench.engines.batches import BatchEngine
from fanns.bench.engines.engine import AbsentError, Items, Setting, UnsupportedError
from fanns.bench.proofs.large import TUNE, Large
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors
from fanns.errors import InputError

PEERS = ("faiss-gpu-flat", "faiss-gpu-ivf", "faiss-gpu-ivfpq", "cuvs-brute-force", "cuvs-cagra")
MOST_BOUND = 1_000
"""Filters of their own that are bound beforehand at most: each may be as large as a bitmap."""


class Gone(Exception):
    """An engine that takes no further part; the text says why."""


class Search(NamedTuple):
    """A batch: `bound` tells whether its filters are ready before the clock starts."""

    queries: NDArray[np.float32]
    params: Sequence[Mapping[str, Any]]
    k: int
    bound: bool


class _Server:
    """The verbs of the child process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._engine: Any = registry.load(name)(registry.options(name))
        if not isinstance(self._engine, BatchEngine):
            raise InputError(f"engine {name!r} does not answer batches")
        self._held = Large(folder)

    def open(self) -> float:
        """Seconds of the build, which is thrown away when it is open."""
        held = self._held.vectors()
        tune = vectors(arxiv_like.queries(TUNE, held.shape[1]))
        items = Items(np.asarray(held), self._held.attributes(), "cosine", tune)
        with tempfile.TemporaryDirectory() as folder:
            begun = perf_counter()
            self._engine.build(items, Path(folder), _threads())
            took = perf_counter() - begun
            self._engine.open(items, Path(folder))
        return took

    def start(self, where: str | None) -> None:
        self._engine.start(where)

    def use(self, setting: Setting) -> None:
        self._engine.use(setting)

    def search(self, one: Search) -> tuple[float, NDArray[np.int64]]:
        """Seconds, and rows int64[m, k]."""
        engine = self._engine
        ready = engine.bind_batch(one.params) if one.bound else None
        begun = perf_counter()
        if ready is None:
            ready = engine.bind_batch(one.params)
        rows = engine.search_batch(one.queries, ready, one.k)
        return perf_counter() - begun, rows


def _threads() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def serve(connection: Any, name: str, folder: Path) -> None:
    """Answers (verb, arguments) with ("done", value) or (what went wrong, text), until closed."""
    server: _Server | None = None
    while True:
        try:
            verb, arguments = connection.recv()
        except EOFError:
            return
        try:
            server = server or _Server(name, folder)
            reply = "done", getattr(server, verb)(*arguments)
        except (AbsentError, UnsupportedError, InputError) as error:
            reply = type(error).__name__, str(error)
        except Exception as error:  # whatever an engine raises is a result
            traceback.print_exc()
            reply = "failed", f"{type(error).__name__}: {error}"
        connection.send(reply)


class Peer:
    """One engine, built and opened in a child process.

    Attributes:
        name: of the registry, or module:Class. settings: in order of rising cost. built: seconds.
    """

    def __init__(self, name: str, folder: Path, timeout: float) -> None:
        """Raises Gone where the engine is absent or cannot be built within `timeout` seconds."""
        kind = registry.load(name)
        self.name = name if ":" not in name else kind.name
        self.settings: list[Setting] = registry.options(self.name)["settings"]
        try:
            kind.version()
        except AbsentError as error:
            raise Gone(str(error)) from None
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, name, folder), daemon=True)
        self._process.start()
        theirs.close()
        self.built = float(self._ask(timeout, "open"))

    def start(self, where: str | None, timeout: float) -> None:
        """Raises UnsupportedError for a filter that the engine cannot take, and Gone."""
        self._ask(timeout, "start", where)

    def use(self, setting: Setting, timeout: float) -> None:
        self._ask(timeout, "use", setting)

    def search(self, one: Search, timeout: float) -> tuple[float, NDArray[np.int64]]:
        found: tuple[float, NDArray[np.int64]] = self._ask(timeout, "search", one)
        return found

    def close(self) -> None:
        self._ours.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, timeout: float, verb: str, *arguments: Any) -> Any:
        try:
            self._ours.send((verb, arguments))
            if not self._ours.poll(max(0.0, timeout)):
                self.close()
                raise Gone(f"took more than the {timeout:,.0f} s that were left for it to {verb}")
            state, value = self._ours.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            raise Gone(f"its process ended (exit status {code}) when asked to {verb}") from error
        if state == "done":
            return value
        if state == "UnsupportedError":
            raise UnsupportedError(value)
        self.close()
        raise Gone(value)
