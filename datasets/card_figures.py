"""The pictures of a data card: PNG by matplotlib, without a screen or a browser.

Bytes depend on the data and the versions of the libraries alone, not on the time or the machine's
fonts. Raises MissingDependencyError where matplotlib is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT = "#1f4e79", "#c9d6e4"
COLOURS = ("#1f4e79", "#d1603d", "#3a7d44", "#7b5ea7", "#b58a1b", "#4d4d4d", "#a83279", "#2a9d9d")
DPI = 110
Doubles = NDArray[np.float64]
Line = tuple[Sequence[float] | NDArray[Any], Sequence[float] | NDArray[Any]]


def bars(path: Path, labels: Sequence[str], values: Sequence[float], title: str, axis: str) -> None:
    """Horizontal bars, the first on top."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(labels))
        axes.barh(places, values, color=INK)
        axes.set_yticks(places, [_short(label) for label in labels])
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        axes.set_title(title)

    _save(path, draw, height=1.2 + 0.24 * max(4, len(labels)))


def columns(
    path: Path, places: Sequence[float] | NDArray[Any], values: NDArray[Any], title: str, axis: str
) -> None:
    """Upright bars at numbers or, where `places` has one number more, between them."""

    def draw(axes: Axes) -> None:
        at = np.asarray(places, np.float64)
        if len(at) == len(values) + 1:
            axes.bar(
                at[:-1], values, np.diff(at), align="edge", color=INK, edgecolor="white", lw=0.3
            )
        else:
            axes.bar(at, values, 0.85, color=INK)
        if np.all(at == np.floor(at)):
            axes.locator_params(axis="x", integer=True)
        axes.set_xlabel(axis)
        axes.set_ylabel("rows")
        axes.set_title(title)

    _save(path, draw)


def lines(
    path: Path,
    curves: Mapping[str, Line],
    title: str,
    axes_names: tuple[str, str],
    *,
    log: str = "",
    marker: str = "",
) -> None:
    """Curves by name; `log` holds "x", "y" or both."""

    def draw(axes: Axes) -> None:
        for colour, (name, (x, y)) in zip(_cycle(len(curves)), curves.items(), strict=True):
            axes.plot(x, y, color=colour, label=name, marker=marker, lw=1.6, ms=4)
        if "x" in log:
            axes.set_xscale("log")
        if "y" in log:
            axes.set_yscale("log")
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        axes.set_title(title)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)

    _save(path, draw)


def heat(path: Path, names: Sequence[str], values: Doubles, title: str) -> None:
    """A square table of numbers between -1 and 1, each written in its place."""

    def draw(axes: Axes) -> None:
        axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, col in np.ndindex(values.shape):
            if np.isfinite(values[row, col]):
                dark = abs(values[row, col]) > 0.6
                text = f"{values[row, col]:.2f}"
                colour = "white" if dark else "black"
                axes.text(col, row, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_title(title)
        axes.grid(False)

    _save(path, draw, width=2.5 + 0.55 * len(names), height=2.0 + 0.5 * len(names))


def _save(
    path: Path, draw: Callable[[Axes], None], *, width: float = 6.4, height: float = 3.6
) -> None:
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "the figures of a data card need matplotlib: pip install 'fanns[datasets]'"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context():
        mpl.rcdefaults()  # not the user's style
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#e6e6e6", lw=0.6)
        axes.set_axisbelow(True)
        axes.title.set_fontsize(10)
        draw(axes)
        figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})


def _cycle(count: int) -> list[str]:
    return [COLOURS[at % len(COLOURS)] for at in range(count)]


def _short(label: str) -> str:
    return label if len(label) <= 42 else f"{label[:39]}..."
