"""The run itself as tables of text: builds, machine, what is absent, failed or wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fanns.bench.reporting.ratios import Measurements
from fanns.bench.reporting.sheets import Row, Sheet
from fanns.bench.reporting.wording import mode_name, percent, scrub, scrubbed
from fanns.bench.running.metrics import wrong

_NONE = "-"
_MANY = 6  # cells that one line of a table names


def builds(rows: Iterable[Row], raw: int) -> Sheet:
    """What building took and what is kept; `raw`: bytes of the vectors as float32."""
    heads = [
        "engine", "versions", "threads", "build, s", "CPU, s", "peak, MiB", "on disk, MiB",
        "of the vectors", "open, s", "resident, MiB", "of the vectors",
    ]  # fmt: skip
    lines = []
    for row in rows:
        if row["state"] != "ok":
            continue
        disk, resident = row["disk_bytes"], row["resident_bytes"]
        lines.append(
            [
                row["engine"],
                versions(row["version"]),
                _number(row["threads"]),
                _seconds(row["wall_s"]) + (" (kept)" if row["cached"] else ""),
                _seconds(row["cpu_s"]),
                _mebi(row["peak_bytes"]),
                _mebi(disk),
                f"{disk / raw:.2f}x" if disk is not None and raw else _NONE,
                _seconds(row["open_s"]),
                _mebi(resident),
                f"{resident / raw:.2f}x" if resident is not None and raw else _NONE,
            ]
        )
    return Sheet(heads, lines, 2)


def versions(text: str | None) -> str:
    """JSON of names and versions -> "faiss-cpu 1.13"."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return scrub(text or "")
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.1f}"


def _mebi(value: int | None) -> str:
    return _NONE if value is None else f"{value / 2**20:,.1f}"


def absent(rows: Iterable[Row]) -> Sheet:
    """Engines that have no index, and why."""
    lines = [
        [row["engine"], row["state"], scrub(row["reason"] or "")]
        for row in rows
        if row["state"] != "ok"
    ]
    return Sheet(["engine", "state", "reason"], lines, 3)


def problems(rows: Iterable[Row]) -> Sheet:
    """What went wrong or was not possible, alike cases on one line."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        mode = mode_name(row["mode"]) if row["mode"] else "all"
        key = (row["engine"], row["state"], mode, scrub(row["reason"] or ""))
        groups.setdefault(key, []).append(row["cell"] or "all cells")
    lines = [[e, state, mode, _few(found), why] for (e, state, mode, why), found in groups.items()]
    return Sheet(["engine", "state", "mode", "cells", "reason"], lines, 5)


def _few(names: Iterable[str]) -> str:
    """Names in one line; of many the first, and how many there are."""
    found = list(dict.fromkeys(names))
    if len(found) <= _MANY:
        return ", ".join(found)
    return f"{', '.join(found[: _MANY - 1])} and {len(found) - _MANY + 1} more"


def wrong_answers(measured: Measurements) -> Sheet:
    """Who returned rows that fail the filter or are none, where, and how many."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for point in measured.points:
        if wrong(point):
            groups.setdefault((point["engine"], point["mode"]), []).append(point)
    rows = [
        [
            engine,
            mode_name(mode),
            _few(point["cell"] for point in points),
            percent(max(point["violations"] or 0.0 for point in points)),
            percent(max(point["invalid"] or 0.0 for point in points)),
        ]
        for (engine, mode), points in groups.items()
    ]
    heads = ["engine", "mode", "cells", "rows failing the filter, at most", "no rows, at most"]
    return Sheet(heads, rows, 3)


def facts(record: Mapping[str, Any]) -> Sheet:
    """Nested facts (machine, versions, configuration) as lines of dotted name and value."""
    return Sheet(["", ""], _facts(scrubbed(record), ""), 2)


def _facts(record: Mapping[str, Any], prefix: str) -> list[list[str]]:
    lines: list[list[str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            lines += _facts(value, f"{prefix}{name}.")
        elif value is not None:
            lines.append([prefix + name, _fact(value)])
    return lines


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_fact, value))
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_fact(part)}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
