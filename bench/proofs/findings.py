"""What a proof found: tables, and bars that were to be met; as text, Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fanns.bench.reporting.prose import table
from fanns.bench.reporting.ratios import Interval
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import scrub, times

State = Literal["met", "MISSED", "not measured"]


@dataclass(frozen=True)
class Bar:
    """Something that was to be shown, and whether it was.

    Attributes:
        what: in words. needed, found: what it takes and what was measured, in words.
        met: None where it could not be measured; then `found` says why.
    """

    what: str
    needed: str
    found: str
    met: bool | None

    @property
    def state(self) -> State:
        if self.met is None:
            return "not measured"
        return "met" if self.met else "MISSED"


@dataclass(frozen=True)
class Finding:
    """The outcome of one proof.

    Attributes:
        name: of the command, and of its files. title: one line. setting: what was measured, on
            what, how. sheets: tables with their headings. bars: in the order asked for.
        rows: all that was measured, a flat record each, for CSV.
    """

    name: str
    title: str
    setting: Sequence[str]
    sheets: Sequence[tuple[str, Sheet]]
    bars: Sequence[Bar]
    rows: Sequence[dict[str, Any]] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether every bar was measured and met."""
        return all(bar.met for bar in self.bars)


def bars_sheet(bars: Iterable[Bar]) -> Sheet:
    """A line for each bar."""
    heads = ["to be shown", "needed", "found", "state"]
    return Sheet(heads, [[bar.what, bar.needed, bar.found, bar.state] for bar in bars], words=4)


def ratio(found: Interval) -> str:
    """A ratio with its interval: "2.3x (2.1 ... 2.6)"."""
    if found.low is None or found.high is None:
        return times(found.ratio)
    return f"{times(found.ratio)} ({times(found.low)[:-1]} … {times(found.high)[:-1]})"


def at_least(what: str, found: Interval, least: float) -> Bar:
    """A bar for a ratio that is to be this large or larger; judged by the ratio itself."""
    return Bar(what, f"at least {least:g}x", ratio(found), found.ratio >= least)


def at_most(what: str, found: Interval, most: float) -> Bar:
    """A bar for a ratio that is to be this small or smaller; judged by the ratio itself."""
    return Bar(what, f"at most {most:g}x", ratio(found), found.ratio <= most)


def markdown(found: Finding) -> str:
    """The finding as a page of Markdown. Holds no absolute paths."""
    parts = [f"# {found.title}", *found.setting]
    sheets = [("To be shown", bars_sheet(found.bars)), *found.sheets]
    for heading, sheet in sheets:
        if sheet.rows:
            parts += [f"## {heading}", table(sheet)]
    return scrub("\n\n".join(parts)) + "\n"


def write(found: Finding, folder: Path) -> list[Path]:
    """Write <name>.md, and <name>.csv where there are records; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{found.name}.md"
    page.write_text(markdown(found), encoding="utf-8")
    if not found.rows:
        return [page]
    data = folder / f"{found.name}.csv"
    heads = list(dict.fromkeys(name for row in found.rows for name in row))
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, heads, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found.rows)
    return [page, data]
