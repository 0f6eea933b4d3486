"""One cell: pilots choose settings, then engines are measured in turns and judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pyarrow as pa

from fanns.bench.engines.engine import Mode
from fanns.bench.running import schedule
from fanns.bench.running.config import RunConfig
from fanns.bench.running.contestants import Contestant, Place
from fanns.bench.running.cuts import Cut
from fanns.bench.running.host import Failed, Lost
from fanns.bench.running.judge import Judge, columns
from fanns.bench.running.messages import Order, Turn
from fanns.bench.running.results import SAMPLES
from fanns.bench.running.schedule import Plan, Point, Trial
from fanns.bench.workloads.workload import Cell

_PILOT_SHARE = 0.3  # of a cell's time
_PILOT_LIMIT = 120.0  # seconds of an engine's pilot where there is no time limit
_PILOT_TURN = 0.15  # seconds after which a trial has seen enough queries, if there is time
_PILOT_TRIALS = 8  # that a pilot takes, roughly
_PILOT_WARM = 3
_PATIENCE = 5  # times its share that a pilot may take to find the setting most asked for

Say = Callable[[str], None]


@dataclass
class CellRun:
    """A cell being measured, and what has come of it."""

    cell: Cell
    config: RunConfig
    place: Place
    judge: Judge
    say: Say
    tables: list[pa.Table] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    parse: dict[str, float] = field(default_factory=dict)
    out: set[tuple[str, str]] = field(default_factory=set)  # (engine, mode) that takes no part

    def measure(self, contestants: Sequence[Contestant], budget: float | None) -> None:
        """Everything, within about `budget` seconds (None: no limit)."""
        began = monotonic()
        self.judge.enter(self.cell)
        ready = [one for one in contestants if self._start(one)]
        share = _PILOT_LIMIT if budget is None else _PILOT_SHARE * budget / max(1, len(ready))
        points: list[Point] = []
        for contestant in ready:
            self.say(f"{self.cell.name}: {contestant.name}, choosing settings")
            points += self._points(contestant, self._pilot(contestant, share))
        left = None if budget is None else budget - (monotonic() - began)
        count = min(self.config.queries, len(self.cell.measure))
        rounds = self.config.rounds
        seconds = self.config.seconds
        plan = schedule.fit(points, left, seconds=seconds, queries=count, rounds=rounds)
        self._tell(plan)
        by_name = {one.name: one for one in ready}
        for turn, part in enumerate(schedule.parts(self.cell.measure, count, rounds)):
            self.say(f"{self.cell.name}: round {turn + 1} of {rounds}")
            for point in schedule.shuffled(plan.points, self.cell.name, turn):
                self._turn(by_name[point.engine], point, turn, part, plan.seconds / rounds)

    def samples(self) -> pa.Table:
        """All that was measured, columns of the schema SAMPLES."""
        return pa.concat_tables([SAMPLES.empty_table(), *self.tables])

    def _modes(self, contestant: Contestant) -> list[Mode]:
        """The modes to measure: without a filter there is none to prepare."""
        asked = [mode for mode in self.config.modes if mode in contestant.modes]
        if self.cell.where is None:
            asked = [mode for mode in asked if mode == "end_to_end"]
        return [mode for mode in asked if (contestant.name, mode) not in self.out]

    def _start(self, contestant: Contestant) -> bool:
        """Opens the engine if need be and gives it the filter's text."""
        if (reason := contestant.gone) is not None:
            if contestant.row.get("state") == "ok":  # else the table of builds says it
                self._problem(contestant, None, "crashed", reason)
            return False
        try:
            contestant.open(self.place)
            self.parse[contestant.name] = contestant.ask(
                "start", self.place.timeout, cell=self.cell.name
            )
        except Failed as failure:
            self._failed(contestant, None, failure)
            return False
        if not self._modes(contestant) and self.cell.where is not None:
            asked = ", ".join(self.config.modes)
            self._problem(contestant, None, "unsupported", f"has no mode {asked}")
        return bool(self._modes(contestant))

    def _pilot(self, contestant: Contestant, share: float) -> list[Trial]:
        """Tries settings on tuning queries within about `share` seconds, those needed first."""
        trials: list[Trial] = []
        limit = min(_PILOT_TURN, share / _PILOT_TRIALS)
        mode, count, began = self._modes(contestant)[0], len(contestant.sweep), monotonic()
        while (step := schedule.next_trial(trials, count, self.config.most)) is not None:
            setting, needed = step
            spent = monotonic() - began
            if spent > share and trials and (not needed or spent > _PATIENCE * share):
                self.cuts.append(Cut("untried", self.cell.name, contestant.name))
                break
            try:
                turn, queries = self._order(
                    contestant, mode, setting, self.cell.tune, limit, self.config.pilot, _PILOT_WARM
                )
            except Failed as failure:
                self._failed(contestant, None, failure)
                return []
            verdict = self.judge.judge(queries, turn.ids, turn.offsets)
            some = verdict.recall[verdict.wanted > 0]
            if not len(some):  # nothing to choose by
                return [Trial(place, 0.0, 1e-3) for place in range(count)]
            trials.append(Trial(setting, float(some.mean()), turn.seconds / len(queries)))
        return trials

    def _points(self, contestant: Contestant, trials: Sequence[Trial]) -> list[Point]:
        seconds = {trial.setting: trial.seconds for trial in trials}
        chosen = schedule.choose(trials, self.config.most) if trials else []
        return [
            Point(contestant.name, mode, setting, seconds[setting], rank)
            for rank, setting in enumerate(chosen)
            for mode in self._modes(contestant)
        ]

    def _turn(
        self, contestant: Contestant, point: Point, turn: int, part: Any, limit: float
    ) -> None:
        """One turn of a point: searches, judges and keeps the samples."""
        mode: Mode = point.mode  # type: ignore[assignment]
        if contestant.host is None or (contestant.name, mode) in self.out:
            return
        least = schedule.least(len(part) * self.config.rounds, self.config.rounds)
        try:
            took, queries = self._order(contestant, mode, point.setting, part, limit, least)
        except Failed as failure:
            self._failed(contestant, mode, failure)
            return
        self.tables.append(self._samples(contestant, point, turn, took, queries))

    def _order(
        self,
        contestant: Contestant,
        mode: Mode,
        setting: int,
        queries: Any,
        limit: float,
        least: int,
        warm_up: int = schedule.WARM,
    ) -> tuple[Turn, Any]:
        """What came of searching, and the queries that were done."""
        warm = self.cell.tune[:warm_up]
        order = Order(
            contestant.sweep[setting], mode, self.config.k, queries, warm, limit, int(least)
        )
        turn: Turn = contestant.ask("measure", self.place.timeout + 2 * limit, order=order)
        return turn, queries[: len(turn.micros)]

    def _samples(
        self, contestant: Contestant, point: Point, number: int, turn: Turn, queries: Any
    ) -> pa.Table:
        count = len(queries)
        told = turn.distances
        constant = {
            "engine": contestant.name,
            "cell": self.cell.name,
            "mode": point.mode,
            "setting": json.dumps(contestant.sweep[point.setting], default=str),
            "round": number,
            "seconds": turn.seconds,
            "parse_us": self.parse[contestant.name],
        }
        made = {
            "query": pa.array(queries, pa.int32()),
            "micros": pa.array(turn.micros),
            "distances": pa.array(told, pa.int64(), mask=told < 0),
            "status": pa.array(turn.statuses, pa.string()),
            **columns(self.judge.judge(queries, turn.ids, turn.offsets)),
            **{
                name: pa.repeat(pa.scalar(value, SAMPLES.field(name).type), count)
                for name, value in constant.items()
            },
        }
        return pa.table([made[name] for name in SAMPLES.names], schema=SAMPLES)

    def _tell(self, plan: Plan) -> None:
        """Notes what the time limit took away."""
        if plan.seconds < self.config.seconds:
            self.cuts.append(Cut("shortened", self.cell.name, None, plan.seconds))
        for engine in dict.fromkeys(point.engine for point in plan.dropped):
            self.cuts.append(Cut("dropped", self.cell.name, engine))

    def _failed(self, contestant: Contestant, mode: Mode | None, failure: Failed) -> None:
        """Notes a failure; an engine that is lost, or fails before its modes, is out."""
        everything = mode is None or isinstance(failure, Lost)
        for one in [mode] if mode is not None and not everything else self.config.modes:
            self.out.add((contestant.name, one))
            self._drop(contestant.name, one)
        self._problem(contestant, mode, failure.state, failure.reason)

    def _drop(self, engine: str, mode: Mode) -> None:
        """Forgets the samples of points that were not measured to their end."""
        self.tables = [
            table
            for table in self.tables
            if (table["engine"][0].as_py(), table["mode"][0].as_py()) != (engine, mode)
        ]

    def _problem(self, contestant: Contestant, mode: Mode | None, state: str, reason: str) -> None:
        self.problems.append(
            {
                "engine": contestant.name,
                "cell": self.cell.name,
                "mode": mode,
                "state": state,
                "reason": reason,
            }
        )
