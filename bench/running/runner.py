"""A whole run: builds, then every cell, into a folder from which it can be resumed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic
from typing import Any

from fanns.bench.running import cuts, schedule
from fanns.bench.running.builds import Builder
from fanns.bench.running.config import RunConfig
from fanns.bench.running.contestants import Contestant, Place, enlist, side_by_side
from fanns.bench.running.host import Failed, searching_cores, watching_cores
from fanns.bench.running.judge import Judge
from fanns.bench.running.measuring import CellRun
from fanns.bench.running.results import Run, RunError
from fanns.bench.workloads import workload
from fanns.bench.workloads.workload import Cell, Workload
from fanns.errors import InputError

_BUILDING = 0.7  # of the time limit, after which no index is built

Report = Callable[[str, int, int], None]
"""Told (what is being done, cells and builds done, of how many)."""


@dataclass(frozen=True)
class Setup:
    """What a run will do: its workload, the cells asked for, the engines, absent ones too.

    told: what making the workload left out, if it was made just now.
    """

    config: RunConfig
    folder: Path
    workload: Workload
    cells: list[Cell]
    contestants: list[Contestant]
    told: Sequence[str] = ()

    @property
    def build_threads(self) -> int:
        return self.config.build_threads or _cores()


def prepare(config: RunConfig, report: Report | None = None) -> Setup:
    """Finds the workload (a named one is made if need be) and the engines.

    Raises InputError for a name that is unknown, and WorkloadError for a folder without workload.
    """
    contestants = enlist(config.engines, config.settings)
    told: list[str] = []
    path = Path(config.workload)
    if not (path / "manifest.json").exists():
        from fanns.bench.workloads.families import named

        name = str(config.workload)
        path = named(name, config.full, config.data, say=told.append, report=report)
    loaded = workload.load(path)
    cells = [one for one in loaded.cells if _asked(one.name, config.cells)]
    if not cells:
        known = ", ".join(cell.name for cell in loaded.cells)
        raise InputError(f"no cell matches {' '.join(config.cells)}; there are: {known}")
    return Setup(config, path, loaded, cells, contestants, told)


def run(config: RunConfig, folder: str | os.PathLike[str], report: Report | None = None) -> Run:
    """Measures what `config` asks for into `folder`, and returns the finished run.

    A folder that holds a run of the same configuration is resumed: finished cells stay as they
    are. Whatever ends this call early leaves such a folder. Cells for which the time limit leaves
    nothing are left out and noted; resuming measures them.

    Raises:
        RunError: the folder holds a run of another configuration.
        InputError, WorkloadError: see `prepare`.
    """
    began = monotonic()
    with _interruptible():
        return _Session(prepare(config, report), Path(folder), report or _silent, began).run()


class _Session:
    """One call of `run`."""

    def __init__(self, setup: Setup, folder: Path, report: Report, began: float) -> None:
        self.setup = setup
        self.config = setup.config
        self.contestants = setup.contestants
        self.judge = Judge(setup.workload, setup.config.k)
        self.results = _open(setup, folder)
        self.report = report
        self.began = began
        self.before = self.results.header["seconds"]  # of earlier calls
        self.told = [*self.results.header.get("told", []), *setup.told]
        self.results.header["told"] = self.told
        self.steps = len(self.contestants) + len(setup.cells)
        self.done = 0
        self.place = Place(
            workload=setup.folder.absolute(),
            share=(setup.folder / ".mapped").absolute(),
            logs=folder / "logs",
            threads=self.config.threads,
            cores=searching_cores(self.config.threads),
            memory=self.config.memory_limit,
            timeout=self.config.engine_timeout,
        )

    def run(self) -> Run:
        finished = self.results.finished_cells()
        cells = [cell for cell in self.setup.cells if cell.name not in finished]
        self.done = len(self.setup.cells) - len(cells)
        if not cells and self.results.header["finished"]:
            return self.results
        try:
            self._build()
            self._open()
            with _away_from_searches(self.config.threads):
                left_out = self._measure(cells)
                for contestant in self.contestants:
                    contestant.weigh()
                    contestant.close()
        finally:
            for contestant in self.contestants:
                contestant.end()
            self._save_builds()
        self._finish(left_out)
        return self.results

    def _build(self) -> None:
        from fanns.bench.workloads.families import bench_folder

        limit = self.config.time_limit
        builder = Builder(
            self.place,
            cache=self.config.indexes or bench_folder() / "indexes",
            own=self.results.folder / "indexes",
            fingerprint=self.setup.workload.fingerprint,
            threads=self.setup.build_threads,
            timeout=self.config.engine_timeout,
            until=None if limit is None else self.began + _BUILDING * limit,
        )
        before = {row["engine"]: row for row in self.results.builds().to_pylist()}
        present = [one for one in self.contestants if one.absent is None]
        missing = [one for one in present if not builder.find(one)]
        try:
            self._tell("starting engines")
            side_by_side(builder.ready, missing)
            for contestant in missing:
                if contestant.gone is None:
                    self._tell(f"building {contestant.name}")
                    builder.build(contestant)
        finally:
            builder.end()
        for contestant in present:
            if before.get(contestant.name, {}).get("state") == "ok":
                contestant.row["cached"] = before[contestant.name]["cached"]  # as when it began
        self._save_builds()

    def _open(self) -> None:
        present = [one for one in self.contestants if one.gone is None]
        self._tell("starting engines")
        side_by_side(lambda one: one.wake(self.place), present)
        for contestant in present:
            if contestant.gone is None:
                self._tell(f"opening {contestant.name}")
                try:
                    contestant.open(self.place)
                except Failed as failure:
                    contestant.fail(failure)
            self.done += 1
        self.done += len(self.contestants) - len(present)
        self._save_builds()

    def _measure(self, cells: Sequence[Cell]) -> list[str]:
        """Measures cells; returns the names of those that the time limit left out."""
        for number, cell in enumerate(cells):
            limit, elapsed = self.config.time_limit, monotonic() - self.began
            if limit is not None and elapsed > limit:
                return [one.name for one in cells[number:]]
            budget = schedule.allotment(limit, elapsed, len(cells) - number)
            measured = CellRun(cell, self.config, self.place, self.judge, self._tell)
            measured.measure(self.contestants, budget)
            self.results.add_cell(cell.name, measured.samples(), measured.problems)
            self.results.header["cuts"] += [list(cut) for cut in measured.cuts]
            self._remark([one.name for one in cells[number + 1 :]])
            self.results.save()
            self.done += 1
            self._tell(f"{cell.name} done")
        return []

    def _finish(self, left_out: Sequence[str]) -> None:
        self._remark(left_out)
        self.results.finish(_now(), complete=not left_out)
        if not left_out:
            shutil.rmtree(self.results.folder / "indexes", ignore_errors=True)

    def _remark(self, left_out: Sequence[str]) -> None:
        """Notes what readers must know, and the time so far, as if the run ended here."""
        header = self.results.header
        header["notes"] = [
            *self.told,
            *([f"This run left out these cells: {', '.join(left_out)}."] if left_out else []),
            *cuts.sentences(header["cuts"], self.config.seconds),
        ]
        header["seconds"] = self.before + monotonic() - self.began

    def _save_builds(self) -> None:
        self.results.set_builds([contestant.row for contestant in self.contestants])

    def _tell(self, what: str) -> None:
        self.report(what, self.done, self.steps)


def _open(setup: Setup, folder: Path) -> Run:
    """The run in the folder, if it is one of this configuration, or a new one."""
    header = _header(setup)
    if not (folder / "run.json").exists():
        from fanns.bench import machine

        header["machine"] = machine.describe()
        return Run.create(folder, header, [_cell_row(cell) for cell in setup.cells])
    found = Run.load(folder)
    differing = [
        f"{name}: {old!r} there, {new!r} asked"
        for name, old, new in _compare(found.header, header, setup.config)
        if old != new
    ]
    if differing:
        raise RunError(
            f"{folder} holds a run of another configuration ({'; '.join(differing)}); give another "
            "folder"
        )
    return found


def _compare(
    old: dict[str, Any], new: dict[str, Any], config: RunConfig
) -> Iterator[tuple[str, Any, Any]]:
    """What must be equal between the parts of one run: (name, old value, new value)."""
    for name in config.identity():
        if name not in ("workload", "engines"):
            yield name, old["config"].get(name), new["config"][name]
    yield "workload", old["workload"]["fingerprint"], new["workload"]["fingerprint"]
    yield "engines", sorted(old["engines"]), sorted(new["engines"])
    for name in old["engines"].keys() & new["engines"].keys():
        for what in ("version", "options"):
            yield f"{what} of {name}", old["engines"][name][what], new["engines"][name][what]


def _header(setup: Setup) -> dict[str, Any]:
    loaded, config = setup.workload, setup.config
    return {
        "config": config.as_json(),
        "command": sys.argv,
        "workload": {
            "name": loaded.name,
            "fingerprint": loaded.fingerprint,
            "metric": loaded.metric,
            "rows": len(loaded.vectors),
            "dims": loaded.vectors.shape[1],
            "depth": loaded.depth,
        },
        "pinned": searching_cores(config.threads),
        "engines": {
            one.name: {
                "kind": one.kind,
                "modes": list(one.modes),
                "version": one.version,
                "options": one.options,
                "absent": one.absent,
            }
            for one in setup.contestants
        },
        "started": _now(),
        "seconds": 0.0,
        "cuts": [],
        "complete": False,
    }


def _cell_row(cell: Cell) -> dict[str, Any]:
    return {
        "cell": cell.name,
        "family": cell.family,
        "where": cell.where,
        "target": cell.target,
        "correlation": cell.correlation,
        "selectivity": cell.selectivity,
        "affinity": cell.affinity,
        "measure": len(cell.measure),
        "tune": len(cell.tune),
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets a request to terminate end a run as Ctrl-C does, with no process left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _away_from_searches(threads: int) -> Iterator[None]:
    """Keeps this process off the cores that are searched on, if there are others."""
    cores = watching_cores(threads)
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _asked(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _silent(what: str, done: int, total: int) -> None:
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
