"""Which cells a workload has: families x selectivities x correlations, and the fixed lists.

A cell is named after its family, the share of rows that should pass, and how the filter should
lean to the query, as in "in-0.1-positive"; families that give themselves a selectivity have a bare
name, as "em".
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from fanns.bench.workloads.drafts import FAMILIES

SELECTIVITIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001)  # of the short lists
ALL = (*SELECTIVITIES, 0.00001)  # the last takes 100,000 rows and more
CORRELATIONS = ("positive", "none", "negative")
BARE: dict[str, tuple[float | None, str]] = {
    "none": (1.0, "none"),
    "em": (None, "natural"),
    "r": (None, "natural"),
    "emis": (None, "natural"),
}

# Families, selectivities, correlations: every family, every selectivity, all three correlations.
SHORT = (
    "none",
    "not-1-negative",
    "random-0.5-none",
    "or-0.5-positive",
    "range_float-0.2-none",
    "contains_any-0.2-positive",
    "in-0.2-negative",
    "in-0.1-positive",
    "or-0.1-none",
    "contains_any-0.1-negative",
    "range_date-0.05-none",
    "contains_one-0.02-positive",
    "equality-0.02-negative",
    "equality-0.01-positive",
    "random-0.01-none",
    "and2-0.01-negative",
    "contains_all-0.001-positive",
    "range_date-0.001-none",
    "and3-0.001-negative",
    "random-0.0001-none",
    "contains_one-0.0001-positive",
    "em",
    "r",
    "emis",
)
QUICK = (
    "none",
    "random-0.01-none",
    "in-0.1-positive",
    "in-0.1-negative",
    "contains_one-0.02-positive",
    "range_date-0.1-none",
    "and2-0.01-positive",
    "em",
)


@dataclass(frozen=True)
class Asked:
    """A cell that a workload should have. target is None for families that give it themselves."""

    name: str
    family: str
    target: float | None
    correlation: str


def asked(name: str) -> Asked:
    """The cell of a name. ValueError for a name that is none."""
    family, *rest = name.split("-")
    if family in BARE and not rest:
        return Asked(name, family, *BARE[family])
    if family not in FAMILIES or family in BARE or len(rest) != 2 or rest[1] not in CORRELATIONS:
        raise ValueError(
            f"no cell {name!r}: expected one of {', '.join(BARE)}, or family-selectivity-"
            f"correlation with a family of {', '.join(f for f in FAMILIES if f not in BARE)}"
        )
    try:
        target = float(rest[0])
    except ValueError:
        target = 0.0
    if not 0.0 < target <= 1.0:
        raise ValueError(f"cell {name!r}: the selectivity must be in (0, 1]")
    return Asked(name, family, target, rest[1])


def grid(selectivities: tuple[float, ...] = ALL) -> list[Asked]:
    """All cells: every family at every selectivity and correlation that mean something for it."""
    found = [asked("none")]
    for family in FAMILIES:
        if family in BARE:
            continue
        found += [
            asked(f"{family}-{_spelled(target)}-{correlation}")
            for target in selectivities
            for correlation in CORRELATIONS
            if _sensible(family, target, correlation)
        ]
    return found + [asked(name) for name in ("em", "r", "emis")]


def matching(cells: list[Asked], patterns: tuple[str, ...]) -> list[Asked]:
    """The cells whose name matches one of the patterns; all without patterns."""
    if not patterns:
        return cells
    return [cell for cell in cells if any(fnmatchcase(cell.name, p) for p in patterns)]


def _spelled(target: float) -> str:
    """A selectivity in a cell's name: 0.00001, never 1e-05, and 1."""
    return np.format_float_positional(target, trim="-")


def _sensible(family: str, target: float, correlation: str) -> bool:
    """Whether a cell can be what it says, whatever the data."""
    if family == "random":
        return correlation == "none"
    if target == 1.0:  # all rows (but one value's): ranges of everything, or NOT
        return family == "not" or (family.startswith("range") and correlation == "none")
    return True
