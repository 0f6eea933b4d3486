"""The heat maps: selectivity x correlation, coloured by how many times as fast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from fanns.bench.reporting.looks import FAST, INK, SLOW, Figure, axis, layout
from fanns.bench.reporting.ratios import Comparison, Verdict, geometric_mean
from fanns.bench.reporting.wording import percent, spread, times

Cell = Mapping[str, Any]

SELECTIVITIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001, 0.00001)
CORRELATIONS = ("positive", "none", "negative", "natural")
NO_FILTER = "no filter"
_STRONGEST = 3.0  # binary logarithm of the ratio whose colour is the deepest
_SCALE = [
    [0.0, "#e0935c"],
    [0.35, "#f6ddca"],
    [0.5, "#ffffff"],
    [0.65, "#d3e5f3"],
    [1.0, "#75b1de"],
]
_SIGNS: dict[Verdict, str] = {"faster": "▲", "slower": "▼", "undecided": "≈"}


def heat_map(
    comparisons: Iterable[Comparison], cells: Mapping[str, Cell], together: bool
) -> Figure:
    """Selectivity x correlation, coloured by the ratio; one row per family, or all `together`.

    Where several cells meet, the geometric mean is shown and how many there are. A recall that was
    not reached is said in words.
    """
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault(_place(cells[one.cell], together), []).append(one)
    rows = sorted({row for row, _ in groups}, key=lambda row: _row_order(row, cells))
    columns = [percent(s) for s in SELECTIVITIES if any(c == percent(s) for _, c in groups)]
    squares = [[_square(groups.get((row, column), [])) for column in columns] for row in rows]
    trace = {
        "type": "heatmap",
        "x": columns,
        "y": rows,
        "z": [[value for value, _, _ in line] for line in squares],
        "text": [[text for _, text, _ in line] for line in squares],
        "customdata": [[hover for _, _, hover in line] for line in squares],
        "texttemplate": "%{text}",
        "textfont": {"color": INK, "size": 12},
        "hovertemplate": "%{y}, %{x} pass<br>%{customdata}<extra></extra>",
        "colorscale": _SCALE,
        "zmin": -_STRONGEST,
        "zmax": _STRONGEST,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "colorbar": _colorbar(),
        "showscale": not together,
    }
    bare = axis() | {"showgrid": False, "ticks": "", "type": "category"}
    named = {"title": {"text": "rows that pass the filter", "standoff": 6}, "side": "top"}
    own_layout = {
        "height": 100 + 30 * max(3 if together else 6, len(rows)),
        "xaxis": bare | named,
        "yaxis": bare | {"autorange": "reversed", "automargin": True},
    }
    return {"data": [trace], "layout": layout() | own_layout}


def _colorbar() -> dict[str, Any]:
    steps = (-3, -2, -1, 0, 1, 2, 3)
    return {
        "title": {"text": "times as fast", "side": "right"},
        "tickvals": list(steps),
        "ticktext": ["≤ 1/8", "1/4", "1/2", "1", "2", "4", "≥ 8"],
        "thickness": 14,
        "outlinewidth": 0.5,
        "len": 1,
    }


def _square(group: list[Comparison]) -> tuple[float | None, str, str]:
    """The colour's value, the text and the hover text of one square of the heat map."""
    if not group:
        return None, "", ""
    values = [one.interval.ratio for one in group if one.interval]
    mean = geometric_mean(values)
    states = [one.state for one in group]
    words = {
        "ours_not_reached": (SLOW, "not reached"),
        "peers_not_reached": (FAST, "only ours"),
        "none_reached": (INK, "nobody"),
        "no_peer": (INK, "no peer"),
    }
    parts = [
        f'<span style="color:{colour}"><b>{text}</b></span>' + _times(states.count(state), group)
        for state, (colour, text) in words.items()
        if state in states
    ]
    if mean is None:
        # White, not empty: measured, and without a ratio.
        return 0.0, " ".join(parts), _hover(group)
    sign = _SIGNS.get(group[0].verdict, "") if len(group) == 1 else ""
    parts.insert(0, f"{times(mean)}{sign and ' ' + sign}" + _times(len(values), group))
    return (
        round(max(-_STRONGEST, min(_STRONGEST, math.log2(mean))), 3),
        " ".join(parts),
        _hover(group),
    )


def _times(count: int, group: list[Comparison]) -> str:
    return f" ({count})" if len(group) > 1 else ""


def _hover(group: list[Comparison]) -> str:
    lines = []
    for one in group[:12]:
        peer = f" vs {one.peer['engine']}" if one.peer else ""
        value = f"{times(one.interval.ratio)} ({spread(one)})" if one.interval else one.verdict
        lines.append(f"{one.cell}: {value}{peer}")
    return "<br>".join(lines + (["…"] if len(group) > 12 else []))


def _place(cell: Cell, together: bool) -> tuple[str, str]:
    row = cell["correlation"] if together else f"{cell['family']} · {cell['correlation']}"
    if cell["where"] is None:
        row = NO_FILTER
    return row, percent(_nearest(cell["target"] or cell["selectivity"]))


def _nearest(share: float) -> float:
    return min(SELECTIVITIES, key=lambda s: abs(math.log(s / max(share, 1e-9))))


def _row_order(row: str, cells: Mapping[str, Cell]) -> tuple[int, int]:
    """No filter first, then families in the workload's order, positive before negative."""
    if row == NO_FILTER:
        return (-1, -1)
    *family, correlation = row.split(" · ")
    families = list(dict.fromkeys(cell["family"] for cell in cells.values()))
    rank = CORRELATIONS.index(correlation) if correlation in CORRELATIONS else len(CORRELATIONS)
    return (families.index(family[0]) if family else 0, rank)
