"""What a search planned, what it predicted and what it did, as text and as a dict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment's share of a search.

    Attributes:
        rows: rows of the segment; matches: those that pass.
        path, parameters, reason: the plan that ran and why.
        predicted_us, actual_us: time of the search, microseconds.
        work: codes compared, full-precision distances, predicate checks, hops.
        rejected: (path, predicted microseconds or None, why not) of the other plans.
        fallback: the path that finished the search when the first ran out of its budget.
        lift: the pass-rate near the query over that of all rows, where the plan depends on it.
    """

    rows: int
    matches: int
    path: str
    parameters: dict[str, Any]
    reason: str
    predicted_us: float
    actual_us: float
    predicted_codes: float
    work: tuple[int, ...]
    rejected: tuple[tuple[str, float | None, str], ...]
    fallback: str | None = None
    lift: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan of one query and its outcome; `str()` prints it, `to_dict()` is for machines."""

    where: str
    k: int
    recall: float
    status: str
    found: int
    matches: int
    rows: int
    filter_us: float
    search_us: float
    notes: tuple[str, ...]
    segments: tuple[SegmentReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        out = {name: getattr(self, name) for name in self.__slots__ if name != "segments"}
        out["notes"] = list(self.notes)
        out["segments"] = [
            {name: getattr(part, name) for name in part.__slots__} for part in self.segments
        ]
        for part in out["segments"]:
            part["rejected"] = [list(plan) for plan in part["rejected"]]
            part["work"] = list(part["work"])
        return out

    def __str__(self) -> str:
        share = self.matches / self.rows if self.rows else 0.0
        lines = [
            f"filter   {self.where}",
            f"matches  {self.matches:,} of {self.rows:,} rows ({share:.2%}), exact count",
            f"answer   {self.found} rows for k={self.k}, {self.status}"
            + ("" if self.status == "exact" else f" (recall target {self.recall:g})"),
            f"time     filter {self.filter_us:,.0f} us, search {self.search_us:,.0f} us",
        ]
        lines += [f"note     {note}" for note in self.notes]
        for number, part in enumerate(self.segments):
            lines += _segment_lines(number, part, len(self.segments) > 1)
        return "\n".join(lines)


def _segment_lines(number: int, part: SegmentReport, many: bool) -> list[str]:
    settings = ", ".join(f"{name}={_short(value)}" for name, value in part.parameters.items())
    name = f"plan {number}" if many else "plan"
    codes, full, checks, hops = part.work
    lines = [
        f"{name:<8} {part.path}({settings}): {part.reason}",
        f"         predicted {part.predicted_us:,.0f} us, took {part.actual_us:,.0f} us;"
        f" predicted {part.predicted_codes:,.0f} codes, compared {codes:,};"
        f" full-precision distances {full:,}, predicate checks {checks:,}, hops {hops:,}",
    ]
    if part.lift is not None:
        lines.append(f"         pass-rate near the query: {part.lift:.2f} times the overall one")
    if part.fallback:
        lines.append(f"         finished by {part.fallback}: the plan gave the query up")
    for path, predicted, why in part.rejected:
        cost = "no estimate" if predicted is None else f"{predicted:,.0f} us"
        lines.append(f"         rejected {path} ({cost}): {why}")
    return lines


def _short(value: Any) -> str:
    """A parameter as a line can hold it: four digits, and the ends of a list."""
    if isinstance(value, tuple):
        ends = value if len(value) < 3 else (value[0], "...", value[-1])
        return f"({', '.join(_short(end) for end in ends)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
