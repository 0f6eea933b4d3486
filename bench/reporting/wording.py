"""Numbers and modes in words, the same in every table and figure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fanns.bench.reporting.ratios import Comparison

# An absolute path, but no part of a URL and no fraction: its last part is all that a reader needs.
_PATH = re.compile(r"(?<![\w:/.~])(?:~|[A-Za-z]:)?(?:[/\\][\w.+@=,-]+){2,}[/\\]?")

MODES = {"end_to_end": "end to end", "prepared": "prepared filters"}


def mode_name(mode: str) -> str:
    return MODES.get(mode, mode)


def percent(share: float) -> str:
    """0.001 -> "0.1 %"."""
    return f"{100 * share:.3g} %"


def signed(value: float) -> str:
    """An affinity: +0.64, -0.80, and +0.00 for whatever rounds to nothing."""
    return f"{round(value, 2) + 0.0:+.2f}"


def times(ratio: float) -> str:
    """A ratio as it is printed everywhere: 0.43x, 2.1x, 14x."""
    return f"{ratio:.2f}x" if ratio < 2 else f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def spread(one: Comparison) -> str:
    """The interval of a ratio in words."""
    if one.interval is None or one.interval.low is None or one.interval.high is None:
        return "no interval"
    return f"{times(one.interval.low)[:-1]} … {times(one.interval.high)[:-1]}"


def scrub(text: str) -> str:
    """The text with absolute paths cut down to their last part."""
    return _PATH.sub(lambda m: "…/" + re.split(r"[/\\]", m[0].rstrip("/\\"))[-1], text)


def scrubbed(value: Any) -> Any:
    """The same for all text in nested data."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrubbed(item) for item in value]
    return value
