"""The report's curves, drawn with plotly: recall against speed, and every cell's ratio.

Each is returned as plain data (`data` and `layout`) for plotly.js.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fanns.bench.reporting.looks import (
    FAST,
    GREY,
    INK,
    LEGEND,
    SLOW,
    Figure,
    Look,
    Trace,
    axis,
    either,
    layout,
    look,
    rounded,
)  # fmt: skip
from fanns.bench.reporting.ratios import RECALLS, Comparison, Point, Verdict
from fanns.bench.reporting.wording import percent, spread, times
from fanns.bench.running.metrics import wrong

Cell = Mapping[str, Any]

# Recall is drawn as -log10(1 - recall + this): all of 0..1 shows, and 0.99 stands apart from 1.
_EPSILON = 0.002
# Which end of the axis of ratios a cell without one belongs to.
_SIDES = {"ours_not_reached": -1, "peers_not_reached": 1, "none_reached": 0, "no_peer": 0}
_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


def title(cell: Cell) -> str:
    """A cell in words: family, selectivity, correlation."""
    if cell["where"] is None:
        return "no filter"
    parts = [cell["family"], percent(cell["selectivity"])]
    if cell["correlation"] in ("positive", "negative"):
        parts.append(f"{cell['correlation']} correlation")
    return ", ".join(parts)


def recall_speed(
    points: Iterable[Point], cells: Sequence[Cell], engines: Sequence[str], ours: str
) -> Figure:
    """Queries per second against recall: a small panel for each cell, one legend for all.

    A line joins an engine's best points (none is faster at as high a recall); the others stand
    alone and pale. Points with wrong answers are crossed and joined by nothing.
    """
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point["cell"], point["engine"]), []).append(point)
    traces: list[Trace] = []
    shown: set[str] = set()
    for i, cell in enumerate(cells):
        axes = {"xaxis": f"x{_number(i)}", "yaxis": f"y{_number(i)}"}
        for engine in engines:
            if own := groups.get((cell["cell"], engine)):
                made = _traces(own, look(engine, engines), engine == ours, engine not in shown)
                traces += [trace | axes for trace in made]
                shown.add(engine)
    lowest = min((p["recall"] for own in groups.values() for p in own), default=0.0)
    # meta: where the page draws a line at the recall that is chosen in it.
    own_layout = {
        "height": 330,
        "hovermode": "closest",
        "legend": LEGEND,
        "showlegend": True,
        "meta": {f"{recall:g}": stretched(recall) for recall in RECALLS},
    }
    return {"data": traces, "layout": layout() | own_layout | _panels(cells, lowest)}


def _number(panel: int) -> str:
    """plotly counts axes x, x2, x3."""
    return "" if panel == 0 else str(panel + 1)


def _traces(points: list[Point], style: Look, ours: bool, legend: bool) -> list[Trace]:
    """An engine in one panel: its front, what lies behind the front, and wrong answers."""
    right = [point for point in points if not wrong(point)]
    front = pareto(right)
    behind = [point for point in right if point not in front]
    bad = [point for point in points if wrong(point)]
    engine = points[0]["engine"]
    width, size = (3.0, 9) if ours else (1.5, 8)
    line = {"color": style.colour, "dash": style.dash, "width": width}
    marker: Trace = {"color": style.colour, "symbol": style.symbol, "size": size}
    # Also without points, for the legend.
    made = [_trace(engine, front, marker) | {"mode": "lines+markers", "line": line}]
    made[0]["showlegend"] = legend
    if behind:
        made.append(_trace(engine, behind, marker | {"opacity": 0.35}))
    if bad:
        cross = {"symbol": "x-thin", "size": 12, "line": {"color": style.colour, "width": 3}}
        made.append(_trace(engine, bad, cross, " WRONG ANSWERS"))
    return made


def _trace(engine: str, points: list[Point], marker: Trace, note: str = "") -> Trace:
    return {
        "type": "scatter",
        # plotly leaves a trace without any coordinate out of the legend.
        "x": [stretched(p["recall"]) for p in points] or [None],
        "y": [rounded(p["qps"]) for p in points] or [None],
        "error_y": _bars(points),
        "customdata": [[round(p["recall"], 4), p["setting"], rounded(p["p95_us"])] for p in points],
        "hovertemplate": f"<b>{engine}</b>{note}<br>recall %{{customdata[0]}}"
        "<br>%{y:,.0f} queries/s<br>p95 %{customdata[2]:,.0f} µs<br>%{customdata[1]}"
        "<extra></extra>",
        "name": engine,
        "legendgroup": engine,
        "showlegend": False,
        "mode": "markers",
        "marker": marker,
    }


def _bars(points: list[Point]) -> dict[str, Any]:
    """The interval of the speed, as lengths above and below the point."""
    above = [either(p["qps_high"], p["qps"]) - p["qps"] for p in points]
    below = [p["qps"] - either(p["qps_low"], p["qps"]) for p in points]
    array, minus = ([rounded(max(0.0, x)) for x in lengths] for lengths in (above, below))
    return {"type": "data", "array": array, "arrayminus": minus, "thickness": 1, "width": 2}


def _panels(cells: Sequence[Cell], lowest: float) -> Trace:
    """An x and y axis for each cell, and its title; the page moves them to fit its width."""
    x = axis() | {
        "tickvals": [stretched(t) for t in _TICKS],
        "ticktext": [f"{t:g}" for t in _TICKS],
        "tickangle": 0,
        "title": {"text": "recall", "standoff": 8},
        "range": [stretched(max(0.0, lowest)) - 0.1, stretched(1.0) + 0.1],
    }
    # 1, 2, 5, 10, ...: powers of ten alone leave a narrow panel with one label.
    y = axis() | {"type": "log", "dtick": "D2", "exponentformat": "SI"}
    y["title"] = {"text": "queries / s", "standoff": 4}
    made: Trace = {"annotations": []}
    for i, cell in enumerate(cells):
        n = _number(i)
        made[f"xaxis{n}"] = x | {"anchor": f"y{n}"}
        made[f"yaxis{n}"] = y | {"anchor": f"x{n}"}
        at = {"xref": f"x{n} domain", "yref": f"y{n} domain", "x": 0, "y": 1}
        made["annotations"].append(_label(f"<b>{title(cell)}</b>", yanchor="bottom", **at))
    return made


def _label(text: str, **at: Any) -> dict[str, Any]:
    """Text that begins at a place, as an annotation."""
    return {"text": text, "xanchor": "left", "showarrow": False, "font": {"size": 13}} | at


def pareto(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both recall and speed, by rising recall."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (-p["recall"], -p["qps"])):
        if not kept or point["qps"] > kept[-1]["qps"]:
            kept.append(point)
    return kept[::-1]


def stretched(recall: float) -> float:
    """Where a recall stands on the axis."""
    return round(-math.log10(max(0.0, 1 - recall) + _EPSILON), 4)


def ratio_plot(comparisons: Sequence[Comparison], ours: str) -> Figure:
    """Every cell's ratio with its interval, on a logarithmic axis, and who the best peer is."""
    looks: dict[Verdict, tuple[str, str, str]] = {
        "faster": (FAST, "triangle-right", f"{ours} faster"),
        "slower": (SLOW, "triangle-left", f"{ours} slower"),
        "undecided": (GREY, "circle-open", "undecided: the interval holds 1"),
    }
    traces = []
    for verdict, style in looks.items():
        if group := [one for one in comparisons if one.verdict == verdict]:
            traces.append(_ratios(group, style))
    reach = _reach(comparisons)
    for side, text in ((-1, f"not reached by {ours}"), (1, f"reached by {ours} alone"), (0, "")):
        if group := [one for one in comparisons if _SIDES.get(one.state) == side]:
            traces.append(_unmeasured(group, side, text or "no comparison", reach))
    order = [one.cell for one in comparisons]
    own_layout = {
        "height": 130 + 24 * len(comparisons),
        "margin": {"l": 60, "r": 110, "t": 60, "b": 50},
        "hovermode": "closest",
        "legend": LEGEND,
        "showlegend": True,
        "annotations": _peers(comparisons),
        "shapes": [_one()],
        "xaxis": _ratio_axis(reach),
        "yaxis": axis()
        | {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": order,
            "range": [len(order) - 0.4, -0.6],
            "automargin": True,
        },
    }
    return {"data": traces, "layout": layout() | own_layout}


def _one() -> Trace:
    """The upright line at 1."""
    line = {"color": INK, "width": 1.5}
    ends = {"x0": 1, "x1": 1, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
    return {"type": "line", "line": line, **ends}


def _ratios(group: list[Comparison], style: tuple[str, str, str]) -> Trace:
    colour, symbol, name = style
    found = [(one, one.interval) for one in group if one.interval]
    above = [rounded(either(i.high, i.ratio) - i.ratio) for _, i in found]
    below = [rounded(i.ratio - either(i.low, i.ratio)) for _, i in found]
    return {
        "type": "scatter",
        "x": [rounded(i.ratio) for _, i in found],
        "y": [one.cell for one, _ in found],
        "error_x": {
            "type": "data", "array": above, "arrayminus": below, "thickness": 1.5, "width": 4,
            "color": colour,
        },
        "customdata": [[times(i.ratio), spread(one), _versus(one)] for one, i in found],
        "hovertemplate": "<b>%{y}</b><br>%{customdata[0]} (%{customdata[1]})"
        "<br>%{customdata[2]}<extra></extra>",
        "mode": "markers",
        "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"width": 1.5}},
        "name": name,
    }  # fmt: skip


def _unmeasured(group: list[Comparison], side: int, text: str, reach: float) -> Trace:
    """Cells without a ratio: a cross at the end of the axis where a ratio would be, and words."""
    colour = {-1: SLOW, 1: FAST}.get(side, INK)
    words = f"{text}  " if side > 0 else f"  {text}"
    return {
        "type": "scatter",
        "x": [10 ** (side * reach * 0.98)] * len(group),
        "y": [one.cell for one in group],
        "text": [words] * len(group),
        "textfont": {"color": colour},
        "textposition": "middle left" if side > 0 else "middle right",
        "mode": "markers+text",
        "marker": {"symbol": "x-thin", "size": 9, "line": {"width": 3, "color": colour}},
        "name": text,
        "hoverinfo": "skip",
    }


def _versus(one: Comparison) -> str:
    assert one.ours is not None and one.peer is not None
    return (
        f"{one.ours['engine']} {one.ours['qps']:,.0f}/s, "
        f"{one.peer['engine']} {one.peer['qps']:,.0f}/s"
    )


def _peers(comparisons: Sequence[Comparison]) -> list[Trace]:
    """The best peer's name at the right end of each line, and the heading above them."""
    at = {"x": 1, "xref": "paper", "xshift": 6, "yref": "y"}
    named = [_label(one.peer["engine"], y=one.cell, **at) for one in comparisons if one.peer]
    return [*named, _label("<b>best peer</b>", y=-1.0, **at)]


def _reach(comparisons: Sequence[Comparison]) -> float:
    """How far the axis goes to either side of 1, as a decimal logarithm."""
    found = [one.interval for one in comparisons if one.interval]
    ends = [end for i in found for end in (i.ratio, i.low, i.high) if end]
    return max([0.35, *(abs(math.log10(end)) for end in ends)]) + 0.05


def _ratio_axis(reach: float) -> Trace:
    sides = [1.5, 2, 3, 4] if reach < math.log10(5) else [2, 4, 8, 16, 32, 64, 128, 256]
    marks = [1.0, *(m for s in sides for m in (1 / s, s) if math.log10(s) <= reach)]
    labels = [f"{m:g}" if m >= 1 else f"1/{1 / m:g}" for m in marks]
    scale = {"type": "log", "range": [-reach, reach], "tickvals": marks, "ticktext": labels}
    return axis() | scale | {"title": {"text": "times as fast as the best peer"}}
