"""What the families draw their filters with: single values, sets of values, and ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.workloads.board import RANDOM, Board
from fanns.bench.workloads.candidates import Candidates
from fanns.bench.workloads.windows import Ordered, window
from fanns.datasets.arxiv_filters import filled
from fanns.expressions import IsNull
from fanns.filters import to_sql


class Impossible(Exception):
    """The data cannot give such filters; the text says why."""


class Undeclared(Impossible):
    """The data has no column for any filter of this family."""


class Draft(NamedTuple):
    """The filter of a cell, and the parameters of each query."""

    where: str | None
    params: list[dict[str, Any]]


class Wish(NamedTuple):
    """What a cell asks for. target: the share of rows that should pass."""

    target: float
    correlation: str
    rng: np.random.Generator


def quoted(column: str) -> str:
    """A column's name as SQL text."""
    return to_sql(IsNull(column)).removesuffix(" IS NULL")


class Part(NamedTuple):
    """A set of values for one query, and the rows bool[n] that have one of them."""

    values: list[Any]
    mask: NDArray[np.bool_]


class Axis(NamedTuple):
    """A column that a range is taken of, and the text of the range."""

    column: str
    ordered: Ordered
    text: str

    def params(self, first: Any, last: Any) -> dict[str, Any]:
        return {"first": self.ordered.python(first), "last": self.ordered.python(last)}


def pick(
    board: Board, wish: Wish, columns: tuple[str, ...], values_of: Callable[[str], Candidates]
) -> tuple[str, list[Any]]:
    """One value (or pair) of about the wanted size for each query, all of one column.

    The column is the one with the most values of that size.
    """
    first_of(columns, "a column for them")
    want = wish.target * board.rows
    best: tuple[str, Candidates, NDArray[np.int64]] | None = None
    for factor in (2**0.5, 2.0):
        for column in columns:
            found = values_of(column)
            chosen = found.between(want / factor, want * factor, wish.rng)
            if len(chosen) and (best is None or len(chosen) > len(best[2])):
                best = column, found, chosen
        if best is not None:
            break
    if best is None:
        raise Impossible(f"no value with about {want:.0f} rows ({', '.join(columns)})")
    column, found, chosen = best
    if wish.correlation == "none":
        picked = wish.rng.integers(0, len(chosen), board.queries)
    else:
        nearness = board.similarity(column, found, chosen)
        nearest = wish.correlation == "positive"
        picked = np.argmax(nearness, axis=1) if nearest else np.argmin(nearness, axis=1)
    return column, [found.values[value] for value in chosen[picked].tolist()]


def unions(board: Board, column: str, wish: Wish, share: float) -> Iterator[Part]:
    """For each query values, nearest or farthest or random first, until a share of rows has one.

    Values that would lead too far beyond the share are passed over.
    """
    found, want = board.candidates(column), max(1, round(share * board.rows))
    for order in orders(board, column, wish):
        yield _union(found, order, want, board.rows)


def orders(board: Board, column: str, wish: Wish) -> Iterator[NDArray[np.int64]]:
    """For each query the numbers of a column's values, nearest or farthest or random first."""
    found = board.candidates(column)
    every = found.between(1, board.rows, wish.rng)
    if not len(every):
        raise Impossible(f"{column} has no values")
    if wish.correlation == "none":
        for _ in range(board.queries):
            yield wish.rng.permutation(every)
        return
    nearness = board.similarity(column, found, every)
    for row in -nearness if wish.correlation == "positive" else nearness:
        yield every[np.argsort(row, kind="stable")]


def _union(found: Candidates, order: NDArray[np.int64], want: int, rows: int) -> Part:
    mask = np.zeros(rows, np.bool_)
    values: list[Any] = []
    total, sizes = 0, found.sizes[order]
    for value, size in zip(order.tolist(), sizes.tolist(), strict=True):
        if size > 3 * (want - total):  # even if others hold most of it
            continue
        own = found.rows(value)
        new = size - int(np.count_nonzero(mask[own]))
        if new == 0 or total + new > 1.1 * want + 1:
            continue
        mask[own] = True
        values.append(found.values[value])
        total += new
        if total >= 0.9 * want:
            break
    if not values:  # nothing is small enough: the smallest there is
        value = int(order[np.argmin(sizes)])
        mask[found.rows(value)] = True
        values.append(found.values[value])
    return Part(values, mask)


def axis_of(board: Board, kinds: tuple[str, ...], other_than: str | None = None) -> Axis:
    """The first declared column of one of these kinds, else the random numbers."""
    named = [name for name in board.declaration.range if board.kind(name).kind in kinds]
    if board.declaration.random:
        named.append(RANDOM)
    named = [name for name in named if name != other_than]
    column = first_of(tuple(named), f"a column of {' or '.join(kinds)}")
    return Axis(column, board.ordered(column), f"{quoted(column)} BETWEEN :first AND :last")


def span(
    values: NDArray[Any], want: int, wish: Wish, near: NDArray[Any] | None = None
) -> tuple[Any, Any]:
    """A range of the sorted values; of none at all, an empty one."""
    if not len(values):
        return 1, 0
    return window(values, want, wish.rng, wish.correlation, near)


def scalar_topic(board: Board) -> str:
    topic = board.declaration.topic
    if topic is not None and not board.kind(topic).is_list:
        return topic
    return first_of(board.declaration.equality, "a column of single values")


def first_of(columns: tuple[str, ...], what: str) -> str:
    if not columns:
        raise Undeclared(f"the declaration names no {what.removeprefix('a ')}")
    return columns[0]


def needs(board: Board, column: str) -> None:
    """Undeclared without the column, Impossible when no row has a value of it."""
    if column not in board.columns:
        raise Undeclared(f"there is no column {column!r}")
    if not len(filled(board.corpus.attributes[column])):
        raise Impossible(f"{column} has no values")
