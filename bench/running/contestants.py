"""The engines of a run: which are installed, where their indexes are, the process of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanns.bench.engines import registry
from fanns.bench.engines.engine import AbsentError, Kind, Mode, Setting
from fanns.bench.running.host import Failed, Host, Lost
from fanns.errors import InputError

OURS = "fanns"
_CRASHES = 3  # after which an engine is given up
_START = 180.0  # seconds for a process to import and load the workload


@dataclass
class Place:
    """Where and how processes run.

    workload: its folder; share: of its mapped arrays. cores: to search on; None: unpinned.
    timeout: seconds for opening an index, and at most for any other request but builds.
    """

    workload: Path
    share: Path
    logs: Path
    threads: int
    cores: Collection[int] | None
    memory: int | None
    timeout: float


@dataclass
class Contestant:
    """One engine of a run.

    `row` is its line in the table of builds. `host` is its searching process, when it has one;
    `opened`: whether that has the index open.
    """

    spec: str
    name: str
    kind: Kind
    modes: tuple[Mode, ...]
    options: dict[str, Any]
    version: dict[str, str] | None
    absent: str | None = None
    row: dict[str, Any] = field(default_factory=dict)
    index: Path | None = None
    host: Host | None = None
    opened: bool = False
    sweep: list[Setting] = field(default_factory=list)
    crashes: int = 0
    before: int = 0  # bytes held before the index was opened

    @property
    def gone(self) -> str | None:
        """Why the engine takes no further part, or None."""
        if self.row.get("state") not in (None, "ok"):
            return str(self.row.get("reason") or self.row["state"])
        if self.crashes >= _CRASHES:
            return f"given up after its process was lost {self.crashes} times"
        return None

    def fail(self, failure: Failed) -> None:
        """Notes in the table of builds that the engine could not be built or opened."""
        state = failure.state if failure.state in ("absent", "timeout", "memory") else "failed"
        self.row |= {"state": state, "reason": failure.reason}

    def start(self, place: Place, building: int | None = None) -> Host:
        """A new process that knows workload and engine, to build (with so many threads) or search.

        Raises Failed.
        """
        host = Host(
            place.logs / f"{self.name}.log",
            within=building or 1,
            pool=building or place.threads,
            memory=place.memory,
        )
        try:
            host.ask(
                "setup",
                _START,
                engine=self.spec,
                options=self.options,
                threads=place.threads,
                workload=place.workload,
                share=place.share,
            )
        except BaseException:
            host.end()
            raise
        return host

    def wake(self, place: Place) -> None:
        """Starts the searching process, unless it is there. Raises Failed."""
        if self.host is None:
            self.host, self.opened = self.start(place), False

    def open(self, place: Place) -> None:
        """Opens the index in a process pinned to the searching cores, unless it is open."""
        self.wake(place)
        if self.opened:
            return
        assert self.host is not None
        try:
            self.before = self.host.resident()
            took = self.ask("open", place.timeout, folder=self.index, cores=place.cores)
            self.sweep = self.ask("settings", place.timeout)
        except Failed:
            self.end()
            raise
        self.opened = True
        self.row.setdefault("open_s", took)

    def ask(self, verb: str, timeout: float, **arguments: Any) -> Any:
        """Asks the process, which must be there. A lost one counts towards giving the engine up."""
        assert self.host is not None
        try:
            return self.host.ask(verb, timeout, **arguments)
        except Lost:
            self.crashes += 1
            self.host = None
            raise

    def weigh(self) -> None:
        """Notes what the process holds more than before it opened the index."""
        if self.host is not None and self.opened:
            self.row["resident_bytes"] = max(0, self.host.resident() - self.before)

    def close(self) -> None:
        if self.host is not None:
            self.host.close()
            self.host = None

    def end(self) -> None:
        if self.host is not None:
            self.host.end()
            self.host = None


def side_by_side(work: Callable[[Contestant], None], contestants: Sequence[Contestant]) -> None:
    """Does what nobody measures for several engines at once, on all cores.

    Those that fail say so in their row.
    """

    def one(contestant: Contestant) -> None:
        try:
            work(contestant)
        except Failed as failure:
            contestant.fail(failure)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, contestants))


def enlist(specs: Iterable[str] | None, settings: Path | None = None) -> list[Contestant]:
    """The engines asked for, absent ones too; None: all of them but the oracles.

    Raises InputError for a name that is no engine's, or two engines of one name.
    """
    asked = registry.names() if specs is None else specs
    found = [_contestant(spec, settings) for spec in asked]
    if specs is None:
        found = [one for one in found if one.kind != "oracle"]
    if not found:
        raise InputError("no engines to run; `fanns bench engines` lists them")
    names = [one.name for one in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"engines named twice: {', '.join(doubled)}")
    return found


def _contestant(spec: str, settings: Path | None) -> Contestant:
    engine = registry.load(spec)
    name = spec if spec in registry.names() else engine.name
    options = registry.options(name, settings)
    version, absent = None, None
    try:
        version = engine.version()
    except AbsentError as error:
        absent = str(error)
    row = {
        "engine": name,
        "kind": engine.kind,
        "version": json.dumps(version) if version is not None else None,
        "options": json.dumps(options, default=str),
        "cached": False,
    }
    if absent is not None:
        row |= {"state": "absent", "reason": absent}
    return Contestant(spec, name, engine.kind, engine.modes, options, version, absent, row)
