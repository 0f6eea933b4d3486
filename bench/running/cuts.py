"""What a run left out for want of time, and how its readers are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from fanns.bench.running.schedule import LEAST


class Cut(NamedTuple):
    """Something that a cell was denied.

    kind: "untried": an engine was too slow for its pilot to try every setting that it wanted;
    "dropped": an engine was measured at fewer settings than were chosen; "shortened": all points
    ended after `seconds` of searching.
    """

    kind: Literal["untried", "dropped", "shortened"]
    cell: str
    engine: str | None = None
    seconds: float | None = None


def sentences(cuts: Iterable[Sequence[Any]], asked: float) -> list[str]:
    """The cuts in words; `asked`: seconds after which a point would have ended."""
    made = [Cut(*one) for one in cuts]
    found = []
    if short := [cut for cut in made if cut.kind == "shortened"]:
        seconds = sorted(cut.seconds or 0.0 for cut in short)
        found.append(
            f"In {_cells(len(short))} points ended after {seconds[0]:.2f} to {seconds[-1]:.2f} s "
            f"of searching instead of {asked:g} s, to keep the time limit (though never under "
            f"{LEAST} queries, or all that there are)."
        )
    if dropped := [cut for cut in made if cut.kind == "dropped"]:
        engines = _by_engine(dropped)
        found.append(f"Fewer settings were measured, to keep the time limit: {engines}.")
    if untried := [cut for cut in made if cut.kind == "untried"]:
        found.append(f"Too slow to try every setting beforehand: {_by_engine(untried)}.")
    return found


def _by_engine(cuts: Sequence[Cut]) -> str:
    names = [str(cut.engine) for cut in cuts]
    return ", ".join(f"{name} ({_cells(names.count(name))})" for name in dict.fromkeys(names))


def _cells(count: int) -> str:
    return f"{count} cell" + "s" * (count != 1)
