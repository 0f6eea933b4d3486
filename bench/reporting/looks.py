"""How the report's figures look: engines, axes, text.

Engines differ by colour, dash and symbol alike, and ratios carry their numbers, so that nothing is
lost in grey or to the colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Figure = dict[str, Any]  # data and layout, as plotly.js takes them
Trace = dict[str, Any]

INK, GRID, FAST, SLOW = "#1a1a1a", "#d9d9d9", "#0072B2", "#B34700"


class Look(NamedTuple):
    """How an engine is drawn in every figure. Colours are Okabe and Ito's."""

    colour: str
    symbol: str
    dash: str


_BLACK, _BLUE, _SKY, _GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
_ORANGE, _RED, _PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#777777"
_LOOKS = {
    "fanns": Look(_BLACK, "circle", "solid"),
    "exact": Look(GREY, "x", "dash"),
    "faiss-flat": Look(GREY, "square-x", "dot"),
    "faiss-hnsw": Look(_BLUE, "diamond", "dash"),
    "faiss-ivf": Look(_SKY, "triangle-left", "dot"),
    "faiss-ivfpq": Look(_BLUE, "triangle-up", "dashdot"),
    "faiss-rabitq": Look(_SKY, "triangle-down", "longdash"),
    "hnswlib": Look(_ORANGE, "square", "dash"),
    "usearch": Look(_RED, "triangle-right", "dot"),
    "lancedb": Look(_GREEN, "cross", "dashdot"),
    "zvec": Look(_PURPLE, "star", "longdash"),
    "turbovec": Look(_RED, "pentagon", "longdashdot"),
    "qdrant-edge": Look(_PURPLE, "hexagon", "dot"),
    "duckdb": Look(_ORANGE, "diamond-tall", "longdashdot"),
    "pgvector": Look(_GREEN, "hourglass", "dash"),
    "faiss-gpu-flat": Look(GREY, "square-x-open", "solid"),
    "faiss-gpu-ivf": Look(_SKY, "triangle-left-open", "solid"),
    "faiss-gpu-ivfpq": Look(_BLUE, "triangle-up-open", "solid"),
    "cuvs-brute-force": Look(GREY, "hexagram", "dashdot"),
    "cuvs-cagra": Look(_GREEN, "hexagram-open", "solid"),
    "slice": Look(GREY, "circle-open", "dot"),
    "subindex": Look(GREY, "diamond-open", "dashdot"),
}
_COLOURS = (_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY)
_SYMBOLS = ("bowtie", "star-square", "diamond-wide", "star-diamond", "octagon", "asterisk")
LEGEND = {"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0}
_DASHES = ("dash", "dot", "dashdot", "longdash")


def look(engine: str, engines: Sequence[str]) -> Look:
    """The engine's look; one that is not known here takes the next of its own."""
    if engine in _LOOKS:
        return _LOOKS[engine]
    i = sorted(e for e in engines if e not in _LOOKS).index(engine)
    return Look(_COLOURS[i % len(_COLOURS)], _SYMBOLS[i % len(_SYMBOLS)], _DASHES[i % len(_DASHES)])


def layout() -> dict[str, Any]:
    """The layout that all figures share."""
    font = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
    return {
        "font": font,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
        "hoverlabel": {"bgcolor": "#ffffff", "font": font},
    }


def axis() -> dict[str, Any]:
    """What all axes share."""
    return {
        "gridcolor": GRID,
        "linecolor": INK,
        "showline": True,
        "mirror": True,
        "ticks": "outside",
        "zeroline": False,
    }


def either(value: float | None, other: float) -> float:
    """The value, or another one for want of it."""
    return other if value is None else value


def rounded(value: float | None) -> float | None:
    """Six digits: more than any clock is good for, and a third of the bytes."""
    return None if value is None else float(f"{value:.6g}")
