"""Which columns have graphs of their own, and their arrays for a segment.

Links among the rows of a value cost the same for each row, so that values are worth them in the
order of what a query saves: one on a value of m rows otherwise looks at about sqrt(m) times as many
rows, and values are asked for, as far as nobody tells better, as often as rows have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanns.attributes import AttributeIndex
from fanns.errors import InputError
from fanns.paths.column_graph import FOLDERS, LABEL, RANGE
from fanns.paths.column_graph_builder import (
    LABEL_BYTES,
    Coded,
    frequent_values,
    label_links,
    range_links,
    shifts_of,
)
from fanns.schema import ColumnType, Schema

AUTO = "auto"
AUTO_SHARE = 0.125
"""Bytes that label graphs chosen by themselves may take, as a share of those of the vectors."""

FLOAT_BYTES = 4

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ColumnGraphs:
    """The columns with a range graph, and those with a label graph.

    `share`: what label graphs may take, as a share of the vectors' bytes; None for no limit.
    """

    ranges: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    share: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"ranges": list(self.ranges), "labels": list(self.labels), "share": self.share}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ColumnGraphs:
        """The inverse of `to_json`; KeyError, TypeError or ValueError where it is none."""
        share = raw["share"]
        if not isinstance(raw["ranges"], list) or not isinstance(raw["labels"], list):
            raise ValueError("columns of graphs are lists")
        made = cls(tuple(raw["ranges"]), tuple(raw["labels"]), share)
        names = (*made.ranges, *made.labels)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("columns of graphs are names")
        if share is not None and not 0 <= float(share) < math.inf:
            raise ValueError(f"share of label graphs is {share!r}")
        return made

    def without(self, column: str) -> ColumnGraphs:
        """The same for the other columns."""
        ranges, labels = (
            tuple(name for name in names if name != column) for names in (self.ranges, self.labels)
        )
        return replace(self, ranges=ranges, labels=labels)

    def of(self, kind: str) -> tuple[str, ...]:
        """The columns with graphs of a kind."""
        return self.ranges if kind == RANGE else self.labels

    def budget(self, n: int, d: int) -> float | None:
        """Bytes that label graphs may take beside n vectors of d dimensions; None: any number."""
        return None if self.share is None else self.share * n * d * FLOAT_BYTES

    def columns(self) -> set[str]:
        """The columns with any."""
        return {*self.ranges, *self.labels}


NO_GRAPHS = ColumnGraphs()


def wanted(
    range_index: Sequence[str], label_index: Sequence[str] | str, schema: Schema, indexed: Any
) -> ColumnGraphs:
    """What `Index.build` was asked for.

    Raises:
        InputError: a column is not indexed, or has no order that intervals could lie in.
    """
    ranges = _names("range_index", range_index, indexed)
    for name in ranges:
        kind = schema[name]
        if not orderly(kind):
            raise InputError(
                f"range_index: column {name!r} is {kind.to_arrow()}; intervals need numbers, dates,"
                " timestamps or strings (label_index serves values)"
            )
    if isinstance(label_index, str):
        if label_index != AUTO:
            raise InputError(f'label_index is {label_index!r}, expected column names or "{AUTO}"')
        labels = tuple(name for name in indexed if _is_label(schema[name]))
        return ColumnGraphs(ranges, labels, AUTO_SHARE)
    return ColumnGraphs(ranges, _names("label_index", label_index, indexed))


def _names(option: str, names: Any, indexed: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"{option} is {names!r}, expected a list of column names")
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in indexed:
            told = ", ".join(indexed) or "none"
            raise InputError(f"{option}: {name!r} is not an indexed attribute; those are {told}")
    return found


def orderly(kind: ColumnType) -> bool:
    """Whether intervals of a column mean something."""
    return not kind.is_list and kind.kind != "bool"


def _is_label(kind: ColumnType) -> bool:
    return kind.is_list or kind.kind in ("string", "bool")


def build_column_graphs(
    graphs: ColumnGraphs,
    rows: Coded,
    base: np.ndarray,
    attributes: AttributeIndex,
    *,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """The arrays of a segment's column graphs, by their names in it.

    `base` int32[n, places] are the links of the graph of all rows.
    """
    arrays: dict[str, np.ndarray] = {}
    options: Any = {"seed": seed, "threads": threads}
    for name in graphs.ranges:
        made = range_links(
            rows, base, attributes.postings(name), progress=_stage(progress, name), **options
        )
        arrays |= {f"{FOLDERS[RANGE]}/{name}/{part}": array for part, array in made.items()}
    budget = graphs.budget(rows.vectors.n, rows.vectors.d)
    counts = {name: counts_of(attributes, name) for name in graphs.labels}
    for name, values in chosen_values(counts, len(base), budget).items():
        postings = attributes.postings(name)
        made = label_links(rows, postings, values, progress=_stage(progress, name), **options)
        arrays |= {f"{FOLDERS[LABEL]}/{name}/{part}": array for part, array in made.items()}
    return arrays


def counts_of(attributes: AttributeIndex, column: str) -> np.ndarray:
    """How many rows each value of a column has, by its code."""
    return np.asarray(attributes.postings(column).counts()[1:])


def _stage(progress: Progress, column: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(f"graph of {column}", done, total)


def chosen_values(
    counts: Mapping[str, np.ndarray], n: int, budget: float | None
) -> dict[str, list[int]]:
    """The codes of the values of each column that get links, rising, within a budget of bytes.

    counts: the rows of each value (code) of a column, of n rows in all.
    """
    found = [
        (int(counts[name][code]), name, code)
        for name in counts
        for code in frequent_values(counts[name], n)
    ]
    # What a query on m rows saves, times how often it is asked, by bytes: sqrt(m) * m / m.
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    chosen: dict[str, list[int]] = {}
    left = math.inf if budget is None else budget
    for count, name, code in found:
        if count * LABEL_BYTES <= left:
            left -= count * LABEL_BYTES
            chosen.setdefault(name, []).append(code)
    return {name: sorted(codes) for name, codes in chosen.items()}


def range_bytes(n: int) -> int:
    """Bytes of a range graph of n rows."""
    return n * LABEL_BYTES * (1 + len(shifts_of(n)))
