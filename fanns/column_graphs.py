"""Which columns have paths of their own, and their arrays for a segment.

Intervals and values of up to BLOCKS_MOST rows are served by blocks, larger ones by links. Either
costs about the same for each row, so that under a budget the most frequent values come first: they
are asked for most, as far as nobody tells better, and gain most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanns.attributes import AttributeIndex
from fanns.errors import InputError
from fanns.paths.column_blocks import Quantized, block_bytes
from fanns.paths.column_blocks_builder import column_blocks, label_parts, range_parts
from fanns.paths.column_graph_builder import (
    BESIDE_BLOCKS,
    LABEL_BYTES,
    Coded,
    frequent_values,
    label_links,
    range_links,
    shifts_of,
)
from fanns.paths.column_path import BLOCKS_MOST, LABEL, RANGE
from fanns.pq_codes import PQCodes
from fanns.schema import ColumnType, Schema

AUTO = "auto"
AUTO_SHARE = 0.125
"""Bytes that label graphs chosen by themselves may take, as a share of those of the vectors."""

FLOAT_BYTES = 4

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ColumnGraphs:
    """The columns with a range graph, and those with a label graph.

    `auto`: columns whose label graphs share a budget, AUTO_SHARE of the vectors' bytes; `labels`
    have no limit.
    """

    ranges: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    auto: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: list(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ColumnGraphs:
        """The inverse of `to_json`; KeyError, TypeError or ValueError where it is none."""
        parts = [raw[name] for name in cls.__slots__]
        if not all(isinstance(part, list) for part in parts):
            raise ValueError("columns of graphs are lists")
        if not all(isinstance(name, str) for part in parts for name in part):
            raise ValueError("columns of graphs are names")
        return cls(*map(tuple, parts))

    def without(self, column: str) -> ColumnGraphs:
        """The same for the other columns."""
        parts = [getattr(self, name) for name in self.__slots__]
        return ColumnGraphs(*(tuple(name for name in part if name != column) for part in parts))

    def of(self, kind: str) -> tuple[str, ...]:
        """The columns with graphs of a kind."""
        return self.ranges if kind == RANGE else (*self.labels, *self.auto)

    def columns(self) -> set[str]:
        """The columns with any."""
        return {*self.ranges, *self.labels, *self.auto}

    def values(
        self, counts: Mapping[str, np.ndarray], n: int, d: int, has_blocks: bool
    ) -> dict[str, list[int]]:
        """The codes of the values that are served, rising, by column, beside n vectors of d.

        counts: the rows of each value (code) of the columns with label graphs.
        """
        own = {name: counts[name] for name in self.labels}
        shared = {name: counts[name] for name in self.auto}
        budget = AUTO_SHARE * n * d * FLOAT_BYTES
        return chosen_values(own, n, d, None, has_blocks) | chosen_values(
            shared, n, d, budget, has_blocks
        )


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
        return ColumnGraphs(ranges, (), labels)
    return ColumnGraphs(ranges, _names("label_index", label_index, indexed))


def _names(option: str, names: Any, indexed: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"{option} is {names!r}, expected a list of column names")
    found = tuple(dict.fromkeys(names))
    for at, name in enumerate(found):
        if name == AUTO and name not in indexed and option == "label_index":
            others = ", ".join(map(repr, found[:at] + found[at + 1 :]))
            raise InputError(
                f'label_index: "{AUTO}" chooses the columns and stands alone: give "{AUTO}" by '
                "itself" + (f", or names without it ({others})" if others else "")
            )
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
    products: PQCodes | None,
    base: np.ndarray,
    attributes: AttributeIndex,
    *,
    seed: int,
    threads: int | None,
    progress: Progress,
    known: Collection[tuple[str, str]] = (),
) -> dict[str, np.ndarray]:
    """The arrays of a segment's column graphs and blocks, by their names in it.

    `known`: kind and column of those that it has. `base` int32[n, places] are the links between
    all rows. Without product codes there are no blocks, and links serve all.
    """
    arrays: dict[str, np.ndarray] = {}
    n, has_blocks = len(base), products is not None
    cut = None if products is None else Quantized(rows.vectors, rows.codes, products)

    def put(folder: str, name: str, made: Mapping[str, np.ndarray]) -> None:
        arrays.update({f"{folder}/{name}/{part}": array for part, array in made.items()})

    for name in graphs.ranges:
        if (RANGE, name) in known:
            continue
        postings, tell = attributes.postings(name), _stage(progress, name)
        if cut is not None:
            parts = range_parts(postings)
            put("range_blocks", name, column_blocks(cut, postings, parts, threads=threads,
                                                    progress=tell))  # fmt: skip
        if shifts := range_shifts(n, has_blocks):
            put("range_graphs", name, range_links(rows, base, postings, shifts, seed=seed,
                                                  threads=threads, progress=tell))  # fmt: skip
    counts = {name: counts_of(attributes, name) for name in graphs.of(LABEL)}
    for name, values in graphs.values(counts, n, rows.vectors.d, has_blocks).items():
        if (LABEL, name) in known:
            continue
        postings, tell = attributes.postings(name), _stage(progress, name)
        cuts, links = split_values(counts[name], values, has_blocks)
        if cuts and cut is not None:
            parts = label_parts(postings, cuts)
            put("label_blocks", name, column_blocks(cut, postings, parts, threads=threads,
                                                    progress=tell))  # fmt: skip
        if links:
            put("label_graphs", name, label_links(rows, postings, links, seed=seed,
                                                  threads=threads, progress=tell))  # fmt: skip
    return arrays


def range_shifts(n: int, has_blocks: bool) -> list[int]:
    """The levels of links that a range graph of n rows has; none where blocks serve all of it."""
    if not has_blocks:
        return shifts_of(n)
    return shifts_of(n, BESIDE_BLOCKS) if n > BLOCKS_MOST else []


def split_values(
    counts: np.ndarray, values: Sequence[int], has_blocks: bool
) -> tuple[list[int], list[int]]:
    """The values (codes) that have blocks, and those that have links."""
    cut = [code for code in values if has_blocks and counts[code] <= BLOCKS_MOST]
    return cut, [code for code in values if code not in set(cut)]


def counts_of(attributes: AttributeIndex, column: str) -> np.ndarray:
    """How many rows each value of a column has, by its code."""
    return np.asarray(attributes.postings(column).counts()[1:])


def _stage(progress: Progress, column: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(f"graph of {column}", done, total)


def chosen_values(
    counts: Mapping[str, np.ndarray], n: int, d: int, budget: float | None, has_blocks: bool
) -> dict[str, list[int]]:
    """The codes of the values of each column that are served, rising, within a budget of bytes.

    counts: the rows of each value (code) of a column, of n rows of d numbers in all.
    """
    found = [
        (int(counts[name][code]), name, code)
        for name in counts
        for code in frequent_values(counts[name], n)
    ]
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    chosen: dict[str, list[int]] = {}
    left = math.inf if budget is None else budget
    for count, name, code in found:
        spent = value_bytes(count, d, has_blocks)
        if spent <= left:
            left -= spent
            chosen.setdefault(name, []).append(code)
    return {name: sorted(codes) for name, codes in chosen.items()}


def value_bytes(count: int, d: int, has_blocks: bool) -> int:
    """Bytes that a value of so many rows takes."""
    if has_blocks and count <= BLOCKS_MOST:
        return block_bytes(count, d)
    return count * LABEL_BYTES


def range_bytes(n: int, d: int, has_blocks: bool) -> int:
    """Bytes that intervals of an ordered column of n rows take."""
    shifts = range_shifts(n, has_blocks)
    links = n * LABEL_BYTES * (1 + len(shifts)) if shifts else 0
    return links + (block_bytes(n, d) if has_blocks else 0)
