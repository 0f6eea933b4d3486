"""Build the graphs of a column: one of the rows of each segment of its order, or of each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fanns.codes import Int8Codes
from fanns.kernels.jit import Array, frozen
from fanns.paths.column_path import FEWEST, PostingLists
from fanns.paths.graph_builder import build_links
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors

PLACES = 24
"""Links of a row on each level, or of each of its values: 96 bytes.

Measured on intervals of 3 to 50 % of 100,000 abstracts, codes for recall 0.95: with 32 places and a
degree of 24 as many within 7 %."""

LABEL_BYTES = 4 * PLACES
"""What a row of a value takes, or a row on a level."""

DEGREE = 16
"""Links kept when a row is pruned."""

BEAM = 64
"""Width of the searches of the build."""

CUT = 2
"""Each level cuts the segments of the one above in 2^CUT."""

SMALLEST, BESIDE_BLOCKS = 11, 15
"""The smallest segments have at least 2^SMALLEST rows, as shorter intervals are scanned; beside
blocks, which serve intervals of up to 2^BESIDE_BLOCKS rows, as many as that."""

MOST_SHARE = 0.7
"""A value that more rows have is searched by the graph of all rows."""

Progress = Callable[[int, int], None]


class Coded(NamedTuple):
    """The rows of a segment, in cluster order: cluster i is rows bounds[i]..bounds[i + 1]."""

    vectors: DenseVectors
    codes: Int8Codes
    bounds: Array


def shifts_of(n: int, smallest: int = SMALLEST) -> list[int]:
    """The sizes of the segments of each level of n rows, as powers of two, falling."""
    largest = max((n - 1).bit_length() - CUT, 1)
    return list(range(largest, smallest - 1, -CUT)) or [largest]


def range_links(
    rows: Coded,
    base: Array,
    postings: PostingLists,
    shifts: Sequence[int],
    *,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> dict[str, Array]:
    """What `RangeGraph` holds; `base` int32[n, places] are the links of the graph of all rows, and
    `shifts` the levels (see `shifts_of`).
    """
    n = len(base)
    links = np.full((n, PLACES * (1 + len(shifts))), -1, np.int32)
    few = min(PLACES, base.shape[1])
    links[:, :few] = base[:, :few]
    parts = [
        (np.sort(postings.rows[start : start + (1 << shift)]), PLACES * (1 + level))
        for level, shift in enumerate(shifts)
        for start in range(0, n, 1 << shift)
    ]

    def put(number: int, made: Array) -> None:
        members, place = parts[number]
        links[members, place : place + PLACES] = made

    _link_all([members for members, _ in parts], put, rows, seed, threads, progress)
    return {"links": frozen(links), "shifts": frozen(np.array(shifts, np.int64))}


def frequent_values(counts: Array, n: int) -> list[int]:
    """The codes of the values for which links among their own rows pay; counts: rows of each."""
    codes: list[int] = np.flatnonzero((counts >= FEWEST) & (counts <= MOST_SHARE * n)).tolist()
    return codes


def label_links(
    rows: Coded,
    postings: PostingLists,
    values: Sequence[int],
    *,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> dict[str, Array]:
    """What `LabelGraph` holds for values, given by their rising codes."""
    members = [postings.slot(code).rows() for code in values]
    starts = np.cumsum([0, *map(len, members)])
    links = np.full((int(starts[-1]), PLACES), -1, np.int32)

    def put(number: int, made: Array) -> None:
        links[starts[number] : starts[number + 1]] = made

    _link_all(members, put, rows, seed, threads, progress)
    return {"links": frozen(links), "values": frozen(np.array(values, np.int32))}


def _link_all(
    parts: Sequence[Array],
    put: Callable[[int, Array], None],
    rows: Coded,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> None:
    """Hand out the links within each part of the rows, by row numbers of the whole."""
    # The largest first, or one thread would be left with such a part at the end.
    order = sorted(range(len(parts)), key=lambda number: -len(parts[number]))
    ends = np.cumsum([0, *(len(parts[number]) for number in order)]).tolist()

    def task(start: int, stop: int) -> None:
        for place in range(start, stop):
            put(order[place], _linked(parts[order[place]], rows, seed))

    run_chunks(task, len(parts), 1, threads, lambda done: progress(ends[done], ends[-1]))


def _linked(members: Array, rows: Coded, seed: int) -> Array:
    """Links int32[m, PLACES] between the rows of a part, sorted int32[m]."""
    bounds = np.unique(np.searchsorted(members, rows.bounds)).astype(np.int64)
    made = build_links(
        rows.vectors.norms[members],
        rows.codes.take(members),
        bounds,
        seed=seed,
        threads=1,
        progress=None,
        places=PLACES,
        degree=DEGREE,
        beam=BEAM,
    )
    return np.where(made.links >= 0, members[made.links], np.int32(-1))
