"""Contenders of `fanns bench gpu` timed in turns, ask by ask, within what is left of the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.engines.engine import Setting, UnsupportedError
from fanns.bench.proofs.gpu_asks import Ask, K
from fanns.bench.proofs.gpu_peers import MOST_BOUND, Gone, Peer, Search
from fanns.bench.running.schedule import shuffled

RECALL = 0.95
REPEATED = 0.05  # seconds that a turn of short calls takes at least
MOST_CALLS = 20  # of a turn
_GPU, _CPU = "fanns, GPU", "fanns, CPU"

DeviceSeconds = Callable[[Callable[[], object]], Mapping[str, float]]
"""Seconds that each kernel took on the device while something was done."""


class Contender(Protocol):
    """Who answers batches: rows int64[m, up to k], -1 for none.

    binds: whether filters can be made ready beforehand. told_recall: whether settings are recalls
    to reach, of which the first should do.
    """

    name: str
    settings: Sequence[Setting]
    binds: bool
    told_recall: bool

    def start(self, ask: Ask, left: float) -> None: ...
    def use(self, setting: Setting, left: float) -> None: ...
    def search(self, one: Search, left: float) -> tuple[float, Sequence[NDArray[np.int64]]]: ...


class Ours:
    """fanns on one device; `most` queries of a call."""

    binds = False
    told_recall = True

    def __init__(self, name: str, index: fanns.Index, most: int | None = None) -> None:
        self.name, self.index, self.most = name, index, most
        self.settings = [{"recall": goal} for goal in (RECALL, 0.96, 0.97, 0.98, 0.99, 1.0)]
        self.path = ""

    def start(self, ask: Ask, left: float) -> None:
        self._where = ask.where

    def use(self, setting: Setting, left: float) -> None:
        self._recall = float(setting["recall"])

    def search(self, one: Search, left: float) -> tuple[float, Sequence[NDArray[np.int64]]]:
        """End to end, ids read; what earlier requests left of their filters is forgotten."""
        params: dict[str, Any] | None = None
        if self._where is not None:
            params = dict(one.params[0])
            if len(one.params) > 1:
                params = {name: fanns.each([own[name] for own in one.params]) for name in params}
        self.index.clear_cache()
        begun = perf_counter()
        found = self.index.search(one.queries, one.k, self._where, params, recall=self._recall)
        rows = [np.asarray(hits.ids, np.int64) for hits in found]
        took = perf_counter() - begun
        self.path = found[0].explain().segments[0].path
        return took, rows


class FromPeer:
    """A peer as a contender."""

    most = None
    path = ""
    binds = True
    told_recall = False

    def __init__(self, peer: Peer) -> None:
        self.peer, self.name, self.settings = peer, peer.name, peer.settings

    def start(self, ask: Ask, left: float) -> None:
        self.peer.start(ask.where, left)

    def use(self, setting: Setting, left: float) -> None:
        self.peer.use(setting, left)

    def search(self, one: Search, left: float) -> tuple[float, Sequence[NDArray[np.int64]]]:
        took, rows = self.peer.search(one, left)
        return took, list(rows)


@dataclass
class Run:
    """One contender answering one ask in batches of one size.

    Attributes:
        recall: of the pilot, at the setting. wrong: rows of it that fail the filter or are none.
        estimate: seconds of a call. seconds: of calls, a median for each turn.
        device: seconds of each kernel in one call, where they were measured.
    """

    ask: Ask
    contender: Any
    batch: int
    bound: bool
    setting: Setting
    recall: float
    wrong: int
    estimate: float
    path: str = ""
    seconds: list[float] = field(default_factory=list)
    device: Mapping[str, float] | None = None

    @property
    def name(self) -> str:
        return str(self.contender.name)

    @property
    def rate(self) -> float:
        """Queries a second, of the median turn."""
        return self.batch / float(np.median(self.seconds))


@dataclass
class Left:
    """What was not run: which contender, on what, and why."""

    name: str
    what: str
    why: str


@dataclass
class Measured:
    """All runs that were timed, and what was not run."""

    runs: list[Run] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float) -> None:
        self.until = monotonic() + seconds

    @property
    def left(self) -> float:
        return self.until - monotonic()


def measure(
    asks: Sequence[Ask],
    contenders: list[Any],
    vectors: NDArray[np.float32],
    batches: Sequence[int],
    rounds: int,
    clock: Clock,
    device_seconds: DeviceSeconds,
    report: Callable[[str, int, int], None] | None = None,
) -> Measured:
    """Every ask by every contender in every size of batch, each ask within its share of the time.

    Of an ask the cheapest runs are timed first, and what does not fit its share is tried again
    when all asks are done, the cheapest first: the costliest are left out, if any are.
    """
    found, waiting = Measured(), list[Run]()
    names = [one.name for one in contenders]
    for number, ask in enumerate(asks):
        if report is not None:
            report("asks", number, len(asks))
        share = Clock(max(0.0, clock.left) / (len(asks) - number))
        runs = list(_piloted(ask, contenders, vectors, batches, share, found))
        waiting += _rounds(sorted(runs, key=_cost), rounds, share, contenders, found)
        _device(runs, clock, device_seconds)
    for run in sorted(waiting, key=_cost):
        _again(run, contenders, clock, found)
    order = {id(ask): number for number, ask in enumerate(asks)}
    found.runs.sort(key=lambda run: (order[id(run.ask)], run.batch, names.index(run.name)))
    return found


def _cost(run: Run) -> float:
    return run.estimate


def _piloted(
    ask: Ask,
    contenders: list[Any],
    vectors: NDArray[np.float32],
    batches: Sequence[int],
    share: Clock,
    found: Measured,
) -> Iterator[Run]:
    """A run for each size of batch of each contender, at the first setting that reaches RECALL."""
    what = told(ask)
    for contender in list(contenders):
        if share.left <= 0:
            found.left.append(Left(contender.name, what, "no time was left to choose a setting"))
            continue
        try:
            contender.start(ask, share.left)
            setting, recall, wrong, each = _setting(ask, contender, vectors, share)
        except UnsupportedError as error:
            found.left.append(Left(contender.name, what, str(error)))
            continue
        except (Gone, fanns.FannsError, MemoryError) as error:
            _gone(contender, contenders, what, error, found)
            continue
        most = contender.most or max(batches)
        for size in sorted({min(size, most) for size in batches}):
            for bound in (False, True) if contender.binds and ask.where is not None else (False,):
                if bound and ask.each and size > MOST_BOUND:
                    continue
                yield Run(ask, contender, size, bound, setting, recall, wrong, each * size)


def _setting(
    ask: Ask, contender: Contender, vectors: NDArray[np.float32], share: Clock
) -> tuple[Setting, float, int, float]:
    """The cheapest setting that reaches RECALL, found by halving, with its recall, wrong rows and
    seconds a query; the one of most recall where none does.
    """
    queries, params = ask.batch(len(ask.queries))
    tried: dict[int, tuple[float, int, float]] = {}

    def attempt(place: int) -> float:
        contender.use(contender.settings[place], max(share.left, 1.0))
        search = Search(queries, params, K, False)
        taken: list[float] = []
        rows: list[NDArray[np.int64]] = []
        for _ in range(2):  # the first may compile, or take memory
            took, answered = contender.search(search, max(share.left, 1.0))
            taken.append(took)
            rows = [one[one >= 0] for one in answered]
            if took > share.left:
                break
        recall, wrong = ask.judged(vectors, rows)
        tried[place] = recall, wrong, min(taken) / len(queries)
        return recall

    low, high = 0, len(contender.settings) - 1
    if contender.told_recall:
        low, high = (0, 0) if attempt(0) >= RECALL else (1, high)
    while low < high and share.left > 0:
        middle = (low + high) // 2
        if attempt(middle) >= RECALL:
            high = middle
        else:
            low = middle + 1
    if low not in tried and (share.left > 0 or not tried):
        attempt(low)
    reached = [place for place, (recall, _, _) in tried.items() if recall >= RECALL]
    best = min(reached) if reached else max(tried, key=lambda place: tried[place][0])
    contender.use(contender.settings[best], max(share.left, 1.0))
    return contender.settings[best], *tried[best]


def _rounds(
    runs: list[Run], rounds: int, share: Clock, contenders: list[Any], found: Measured
) -> list[Run]:
    """Time the runs of one ask in turns; those for which the share leaves no time."""
    waiting = []
    for run in runs:
        if run.contender not in contenders:
            continue
        if run.estimate > share.left:
            waiting.append(run)
        elif _turn(run, share, contenders, found):
            found.runs.append(run)
    for turn in range(1, rounds):
        for run in shuffled([run for run in runs if run.seconds], "gpu", turn):
            if run.contender in contenders and np.median(run.seconds) < share.left:
                _turn(run, share, contenders, found)
    return waiting


def _turn(run: Run, share: Clock, contenders: list[Any], found: Measured) -> bool:
    """One turn of a run: the median of calls that take REPEATED together; whether it went well."""
    queries, params = run.ask.batch(run.batch)
    one = Search(queries, params, K, run.bound)
    taken: list[float] = []
    try:
        while sum(taken) < REPEATED and len(taken) < MOST_CALLS:
            taken.append(run.contender.search(one, max(share.left, 1.0) + 10.0)[0])
    except (Gone, fanns.FannsError, MemoryError) as error:
        _gone(run.contender, contenders, _of(run), error, found)
        return False
    run.seconds.append(float(np.median(taken)))
    run.path = run.contender.path
    return True


def _again(run: Run, contenders: list[Any], clock: Clock, found: Measured) -> None:
    """Time a run that its ask's share left out, if there is time now."""
    if run.contender in contenders and run.estimate < clock.left:
        try:
            run.contender.start(run.ask, clock.left)
            run.contender.use(run.setting, clock.left)
        except (Gone, UnsupportedError, fanns.FannsError) as error:
            _gone(run.contender, contenders, _of(run), error, found)
            return
        if _turn(run, clock, contenders, found):
            found.runs.append(run)
    elif run.contender in contenders:
        why = f"would take about {run.estimate:,.1f} s, more than was left of the time limit"
        found.left.append(Left(run.name, _of(run), why))


def _device(runs: Sequence[Run], clock: Clock, device_seconds: DeviceSeconds) -> None:
    """One more call of each timed run of ours on the device, with its kernels' own time."""
    for run in runs:
        if run.name == _GPU and run.seconds and run.seconds[-1] < clock.left:
            queries, params = run.ask.batch(run.batch)
            one = Search(queries, params, K, False)
            run.device = device_seconds(lambda one=one, run=run: run.contender.search(one, 0.0))  # type: ignore[misc]


def _gone(
    contender: Any, contenders: list[Any], what: str, error: Exception, found: Measured
) -> None:
    with suppress(ValueError):
        contenders.remove(contender)
    found.left.append(Left(contender.name, f"{what} and all that follows", str(error)))


def told(ask: Ask) -> str:
    """An ask in words."""
    return ask.kind if ask.where is None else f"{ask.kind}, {'each its own' if ask.each else 'one'}"


def _of(run: Run) -> str:
    return f"{told(run.ask)}, batch of {run.batch:,}{', filters bound' if run.bound else ''}"


def ours(cpu: fanns.Index, gpu: fanns.Index, queries: int) -> list[Ours]:
    """fanns on the device, and on the CPU, whose time for a query does not depend on the batch."""
    return [Ours(_GPU, gpu), Ours(_CPU, cpu, queries)]
