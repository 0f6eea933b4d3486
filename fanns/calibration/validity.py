"""A calibration's JSON, checked before the planner reckons with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 1e15
"""No time in nanoseconds, and no number of rows, is larger."""

DEEPEST = 1e6
"""No shortlist is longer, as a multiple of k."""


def check(raw: Mapping[str, Any], targets: int) -> None:
    """Raises ValueError (or TypeError, KeyError) unless the planner can reckon with all numbers.

    `targets`: how many recall targets each table has a column for.
    """
    for number in _numbers(raw):
        if not abs(number) <= LARGEST:
            raise ValueError(f"{number} is no number of rows or nanoseconds")
    if raw["k"] < 1 or not isinstance(raw["source"], str):
        raise ValueError("no source, or no k")
    _costs(raw["scan"])
    _row(raw["depths"], targets, 0, DEEPEST)
    if raw["bits"] is not None:
        _costs(raw["bits"])
        _row(raw["bit_depths"], targets, 0, DEEPEST)
    for curve in raw["curves"]:
        _curve(curve, targets)
    for name, curve in raw["columns"]:
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no graph")
        _curve(curve, targets)
    for name, model in raw["blocks"]:
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no name of blocks")
        _row([model[part] for part in ("fixed_ns", "centre_ns", "block_ns")], 3, 0)
        _needs(model["needs"], targets)
    if raw["clusters"] is not None:
        _clusters(raw["clusters"], targets)


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in JSON of at most some levels."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value


def _row(values: Any, length: int, least: float, most: float = LARGEST) -> None:
    """A list of so many numbers in a range."""
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(f"a table has {str(values)[:40]} in the place of {length} numbers")
    for value in values:
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError(f"a table holds {value!r}")


def _costs(raw: Mapping[str, Any]) -> None:
    _row(list(raw.values()), len(raw), 0)


def _rising(values: Any) -> None:
    _row(values, len(values), 0)
    if any(after <= before for before, after in zip([0, *values], values, strict=False)):
        raise ValueError(f"{values} do not rise from above 0")


def _curve(raw: Mapping[str, Any], targets: int) -> None:
    if raw["mode"] not in (0, 1):
        raise ValueError(f"no kind of walk: {raw['mode']!r}")
    _row([raw["fixed_ns"], raw["code_ns"]], 2, 0)
    shares = raw["selectivities"]
    _rising(shares[::-1])
    if not shares or not len(shares) == len(raw["gaps"]) == len(raw["codes"]):
        raise ValueError("a curve has no point, or tables of other lengths")
    for gaps, codes in zip(raw["gaps"], raw["codes"], strict=True):
        _row(gaps, targets, 0)
        _row(codes, targets, 0)
        if any(gap > 0 and code <= 0 for gap, code in zip(gaps, codes, strict=True)):
            raise ValueError("a walk compares no code")


def _clusters(raw: Mapping[str, Any], targets: int) -> None:
    if type(raw["clusters"]) is not int or raw["clusters"] < 0:
        raise ValueError("no number of clusters")
    _row(raw["slacks"], targets, -math.inf)
    _row([raw["exact_share"]], 1, 0, 1)
    _costs(raw["times"])
    for part in (raw["near"], raw["far"]):
        _needs(part, targets)


def _needs(raw: Mapping[str, Any], targets: int) -> None:
    _rising(raw["shares"])
    _rising(raw["ks"])
    if len(raw["rows"]) != len(raw["shares"]) or (raw["shares"] and not raw["ks"]):
        raise ValueError("a table of rows has other sides than its shares")
    for by_k in raw["rows"]:
        if len(by_k) != len(raw["ks"]):
            raise ValueError("a table of rows has other sides than its ks")
        for line in by_k:
            _row(line, targets, 1e-9)
