"""Builds indexes, each in a process of its own, and keeps those of peers for other runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from filelock import FileLock

from fanns.bench.running.contestants import OURS, Contestant, Place
from fanns.bench.running.host import Failed, Host
from fanns.bench.running.messages import Built


@dataclass
class Builder:
    """Finds or builds indexes; engines' rows tell how, or why there is none.

    cache: where peers' indexes are kept, by workload, version and build options, for all runs.
    own: for ours alone, of this run: every run shows what its build takes.
    until: of the monotonic clock; no build goes on after it, so that cells are measured at all.
    """

    place: Place
    cache: Path
    own: Path
    fingerprint: str
    threads: int
    timeout: float
    until: float | None = None
    _hosts: dict[str, Host] = field(default_factory=dict)

    def find(self, contestant: Contestant) -> bool:
        """Takes the index if it is there, and says whether it is."""
        home = self._home(contestant)
        contestant.row["threads"] = self.threads
        if (kept := _kept(home)) is None:
            return False
        self._found(contestant, kept | {"cached": True})
        return True

    def ready(self, contestant: Contestant) -> None:
        """Starts a process to build in, as warm as an installation in use. Raises Failed."""
        host = contestant.start(self.place, self.threads)
        self._hosts[contestant.name] = host
        host.ask("warm", self.timeout)

    def build(self, contestant: Contestant) -> None:
        """Builds in the process that is ready, unless another run has just done so."""
        host = self._hosts[contestant.name]
        home = self._home(contestant)
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{home}.lock"):
                if not self.find(contestant):
                    took = _build(host, home, self.threads, self._left())
                    self._found(contestant, took)
        except Failed as failure:
            contestant.fail(failure)
        finally:
            host.end()

    def _left(self) -> float:
        """Seconds that a build may take. Raises Failed when there are none."""
        if self.until is None:
            return self.timeout
        left = self.until - monotonic()
        if left <= 0:
            raise Failed("timeout", "the time limit left no time for its build; run again, longer")
        return min(self.timeout, left)

    def end(self) -> None:
        """Ends the processes that are still ready."""
        for host in self._hosts.values():
            host.end()

    def _home(self, contestant: Contestant) -> Path:
        if contestant.name == OURS:
            return self.own / OURS
        return self.cache / _key(contestant, self.fingerprint, self.threads)

    def _found(self, contestant: Contestant, took: Mapping[str, Any]) -> None:
        contestant.row |= {"state": "ok", "reason": None, **took}
        contestant.index = (self._home(contestant) / "index").absolute()


def _key(contestant: Contestant, fingerprint: str, threads: int) -> str:
    """A folder name that changes with whatever may change the index or what its build takes."""
    parts = {
        "workload": fingerprint,
        "engine": contestant.spec,
        "version": contestant.version,
        "build": contestant.options.get("build", {}),
        "threads": threads,
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return f"{contestant.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _kept(home: Path) -> dict[str, Any] | None:
    """What the build of a finished index took; None where there is none, whole."""
    try:
        found: dict[str, Any] = json.loads((home / "built.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if (home / "index").is_dir() else None


def _build(host: Host, home: Path, threads: int, timeout: float) -> dict[str, Any]:
    """Builds into `home`; built.json comes last and says that the index is whole."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "index").mkdir(parents=True)
    before, host.peak = host.resident(), 0
    try:
        folder = (home / "index").absolute()
        built: Built = host.ask("build", timeout, folder=folder, threads=threads)
        host.close()
    except BaseException:
        host.end()  # before its files go
        shutil.rmtree(home, ignore_errors=True)
        raise
    peak = max(built.peak_bytes, host.peak) - before  # what the build itself needed
    took = built._asdict() | {"peak_bytes": max(0, peak)}
    (home / "built.json").write_text(json.dumps(took) + "\n", encoding="utf-8")
    return took
