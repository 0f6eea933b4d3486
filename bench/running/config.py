"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fanns.bench.engines.engine import Mode

MODES: tuple[Mode, ...] = ("end_to_end", "prepared")

# What may differ between the parts of a run that is resumed: it changes no measurement.
_FREE = ("time_limit", "memory_limit", "engine_timeout", "data", "settings", "indexes")


@dataclass(frozen=True)
class RunConfig:
    """One run.

    Attributes:
        workload: the name of one, or its folder. data: where a named one is made from.
        engines: names, or "module:Class"; None: every installed one but the oracles.
        cells: shell patterns of cells' names; none: all.
        k: neighbours. modes: how the filter reaches an engine.
        rounds: turns of each point. seconds, queries: a point ends at whichever comes first, but
            not under 200 queries.
        pilot: tuning queries that a setting is tried on at least. most: settings of an engine that
            are measured in a cell; None: all that were tried.
        threads: searching at the same time. build_threads: None: every core.
        settings: a file of engines' settings to use instead of peers.toml.
        time_limit: seconds for everything, or None. memory_limit: bytes of an engine, or None.
        engine_timeout: seconds for a build, and at most for any other request.
        full: every cell of a named workload. indexes: where built peers are kept; None: beside
            the made workloads.
    """

    workload: str | Path
    data: Path | None = None
    engines: tuple[str, ...] | None = None
    cells: tuple[str, ...] = ()
    k: int = 10
    modes: tuple[Mode, ...] = MODES
    rounds: int = 5
    seconds: float = 5.0
    queries: int = 1000
    pilot: int = 40
    most: int | None = 5
    threads: int = 1
    build_threads: int | None = None
    settings: Path | None = None
    time_limit: float | None = None
    memory_limit: int | None = None
    engine_timeout: float = 900.0
    full: bool = False
    indexes: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            name: str(value) if isinstance(value, Path) else _plain(value)
            for name, value in asdict(self).items()
        }

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        return {name: value for name, value in self.as_json().items() if name not in _FREE}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
