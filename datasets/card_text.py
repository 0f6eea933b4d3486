"""Markdown of a data card: tables and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; columns of numbers go to the right. Cells are written by `cell`."""
    if not lines:
        return ""
    numeric = [
        all(isinstance(line[at], int | float) or line[at] is None for line in lines)
        for at in range(len(heads))
    ]
    rule = " | ".join("---:" if right else "---" for right in numeric)
    rows = [f"| {' | '.join(cell(value) for value in line)} |" for line in lines]
    return "\n".join([f"| {' | '.join(heads)} |", f"| {rule} |", *rows])


def cell(value: Any) -> str:
    """A value as a table shows it; texts cannot leave their cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    text = " ".join(str(value).split()).replace("\\", "\\\\")
    for sign in "|`<*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text if len(text) <= 120 else f"{text[:117]}..."


def number(value: float) -> str:
    """Three significant digits, no fewer before the point."""
    if value != value:
        return "not defined"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A share in per cent, with digits that keep rare things apart from none."""
    if share == 0 or share >= 0.1:
        return f"{100 * share:.1f} %"
    return f"{100 * share:.3g} %"
