"""The regression gate: a small run whose ratios must not fall under recorded floors."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fanns.bench.reporting.ratios import Interval, Measurements
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import mode_name, times
from fanns.bench.running.results import Run
from fanns.errors import InputError

DEFAULT = Path(__file__).parents[1] / "gate.toml"
_SLACK = 0.95  # of the interval's lower end: where --update puts a floor
_TABLE = re.compile(r"^\s*\[\[floors\]\]", re.MULTILINE)


@dataclass(frozen=True)
class Floor:
    """`min_ratio`: how many times as fast as `peer` fanns must be, both at this recall."""

    cell: str
    mode: str
    peer: str
    recall: float
    min_ratio: float


@dataclass(frozen=True)
class Gate:
    """What to run (the options of RunConfig, by name) and what to demand of it."""

    run: Mapping[str, Any]
    floors: Sequence[Floor]


@dataclass(frozen=True)
class Judgement:
    """A floor and what was measured; `missing` says why there is no ratio."""

    floor: Floor
    interval: Interval | None
    missing: str = ""

    @property
    def passed(self) -> bool:
        """Whether the ratio, with the upper end of its interval, reaches the floor.

        If the peer misses the recall that ours reaches, no ratio can be too low: passed.
        """
        if self.interval is None:
            return self.missing == PEER_MISSED
        high = self.interval.ratio if self.interval.high is None else self.interval.high
        return high >= self.floor.min_ratio


OURS_MISSED, PEER_MISSED = "ours did not reach the recall", "the peer did not reach the recall"
UNMEASURED = "not measured in this cell and mode"


def load(path: Path = DEFAULT) -> Gate:
    """Reads a file of floors.

    Raises:
        InputError: it is no TOML, or lacks or misnames something.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as floors: {error}") from error
    if not isinstance(found.get("run"), dict) or not found["run"].get("workload"):
        raise InputError(f"{path} needs a table [run] that names a workload")
    if not found.get("floors"):
        raise InputError(f"{path} demands nothing: expected tables [[floors]]")
    return Gate(found["run"], [_floor(path, i, one) for i, one in enumerate(found["floors"])])


def _floor(path: Path, number: int, given: Mapping[str, Any]) -> Floor:
    names = {field.name for field in fields(Floor)}
    if set(given) != names:
        raise InputError(
            f"{path}: floor {number + 1} has {sorted(given)}, expected {sorted(names)}"
        )
    return Floor(**given)


def measure(
    gate: Gate,
    folder: Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> list[Judgement]:
    """Runs what the gate asks for, in `folder` or one that is removed afterwards, and judges it.

    Raises:
        InputError: the gate names an option, engine or cell that there is not.
    """
    from fanns.bench.running import runner
    from fanns.bench.running.config import RunConfig

    known = {field.name for field in fields(RunConfig)}
    if unknown := set(gate.run) - known:
        raise InputError(f"[run] has unknown options {sorted(unknown)}; known: {sorted(known)}")
    listed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in gate.run.items()
    }
    config = RunConfig(**listed)
    if folder is not None:
        return judge(gate.floors, runner.run(config, folder, report))
    with tempfile.TemporaryDirectory(prefix="fanns-gate-") as made:
        return judge(gate.floors, runner.run(config, made, report))


def judge(floors: Iterable[Floor], run: Run, ours: str = "fanns") -> list[Judgement]:
    """Every floor against what a run measured."""
    measured = Measurements(run.points(), run.rounds())
    return [_judge(floor, measured, ours) for floor in floors]


def _judge(floor: Floor, measured: Measurements, ours: str) -> Judgement:
    there = measured.engines(floor.cell, floor.mode)
    for name in (ours, floor.peer):
        if name not in there:
            return Judgement(floor, None, f"{UNMEASURED}: {name}")
    at = (floor.cell, floor.mode)
    own = measured.fastest(*at, ours, floor.recall)
    peer = measured.fastest(*at, floor.peer, floor.recall)
    if own is None:
        return Judgement(floor, None, OURS_MISSED)
    if peer is None:
        return Judgement(floor, None, PEER_MISSED)
    return Judgement(floor, measured.interval(own, peer))


def sheet(judgements: Iterable[Judgement]) -> Sheet:
    """What was demanded and what came."""
    rows = []
    for one in judgements:
        floor, interval = one.floor, one.interval
        low, high = (interval.low, interval.high) if interval else (None, None)
        rows.append(
            [
                floor.cell,
                mode_name(floor.mode),
                floor.peer,
                f"{floor.recall:g}",
                times(floor.min_ratio),
                times(interval.ratio) if interval else "-",
                f"{low:.2f} … {high:.2f}" if low is not None and high is not None else "-",
                one.missing or ("ok" if one.passed else "TOO SLOW"),
            ]
        )
    heads = ["cell", "mode", "peer", "recall", "floor", "ratio", "95 % interval", "verdict"]
    return Sheet(heads, rows, 3)


def raised(judgements: Iterable[Judgement]) -> list[Floor]:
    """The floors, those raised that were exceeded: to a little under the interval's lower end."""
    floors = []
    for one in judgements:
        low = one.interval.low if one.interval else None
        reached = 0.0 if low is None else int(low * _SLACK * 100) / 100
        floors.append(replace(one.floor, min_ratio=max(one.floor.min_ratio, reached)))
    return floors


def save(path: Path, floors: Iterable[Floor]) -> None:
    """Writes floors into a file, whose text before its first floor is kept."""
    head = _TABLE.split(path.read_text(encoding="utf-8"), maxsplit=1)[0].rstrip()
    tables = [
        f'[[floors]]\ncell = "{one.cell}"\nmode = "{one.mode}"\npeer = "{one.peer}"\n'
        f"recall = {one.recall:g}\nmin_ratio = {one.min_ratio:g}\n"
        for one in floors
    ]
    path.write_text("\n".join([f"{head}\n", *tables]), encoding="utf-8")
