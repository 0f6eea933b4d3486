"""How the filters of each family are drawn: a constant text, and parameters for every query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.bench.board import RANDOM, Board
from fanns.bench.candidates import Candidates
from fanns.bench.windows import Ordered, window
from fanns.expressions import IsNull
from fanns.filters import to_sql

# The paper's ranges: their selectivity is uniform between these.
R_LEAST, R_MOST = 0.09, 0.80
MOST_LEFT_OUT = 1_000


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


Family = Callable[[Board, Wish], Draft]


def quoted(column: str) -> str:
    """A column's name as SQL text."""
    return to_sql(IsNull(column)).removesuffix(" IS NULL")


def none(board: Board, wish: Wish) -> Draft:
    return Draft(None, [{} for _ in range(board.queries)])


def random(board: Board, wish: Wish) -> Draft:
    """A slice of random numbers: independent of everything."""
    if not board.declaration.random:
        raise Undeclared("the declaration wants no random numbers")
    low = wish.rng.random(board.queries) * (1.0 - wish.target)
    params = [{"low": float(x), "high": float(x + wish.target)} for x in low]
    return Draft(f"{RANDOM} >= :low AND {RANDOM} < :high", params)


def equality(board: Board, wish: Wish) -> Draft:
    column, picked = _pick(board, wish, board.declaration.equality, board.candidates)
    return Draft(f"{quoted(column)} = :value", [{"value": value} for value in picked])


def contains_one(board: Board, wish: Wish) -> Draft:
    column, picked = _pick(board, wish, board.declaration.contains, board.candidates)
    where = f"list_contains({quoted(column)}, :value)"
    return Draft(where, [{"value": value} for value in picked])


def contains_all(board: Board, wish: Wish) -> Draft:
    column, picked = _pick(board, wish, board.declaration.contains, board.pairs)
    where = f"list_has_all({quoted(column)}, :chosen)"
    return Draft(where, [{"chosen": list(pair)} for pair in picked])


def contains_any(board: Board, wish: Wish) -> Draft:
    column = _first(board.declaration.contains, "a list column")
    params = [{"chosen": part.values} for part in _unions(board, column, wish, wish.target)]
    return Draft(f"list_has_any({quoted(column)}, :chosen)", params)


def is_in(board: Board, wish: Wish) -> Draft:
    column = _scalar_topic(board)
    params = [{"chosen": part.values} for part in _unions(board, column, wish, wish.target)]
    return Draft(f"{quoted(column)} IN :chosen", params)


def negated(board: Board, wish: Wish) -> Draft:
    """Everything but some values. Of all rows, one value is left out: the nearest to the query
    under "negative"; of fewer, all values but the nearest, farthest or random ones.
    """
    column = _scalar_topic(board)
    found = board.candidates(column)
    if len(found) > MOST_LEFT_OUT:
        raise Impossible(f"{column} has {len(found)} values: too many to leave out one by one")
    where = f"{quoted(column)} NOT IN :chosen"
    if wish.target == 1.0:
        turned = {"positive": "negative", "negative": "positive"}.get(wish.correlation, "none")
        orders = _orders(board, column, wish._replace(correlation=turned))
        return Draft(where, [{"chosen": [found.values[order[0]]]} for order in orders])
    params = []
    for part in _unions(board, column, wish, wish.target):
        kept = set(part.values)
        params.append({"chosen": [value for value in found.values if value not in kept]})
    return Draft(where, params)


def range_date(board: Board, wish: Wish) -> Draft:
    return _range(board, wish, ("date", "timestamp"))


def range_float(board: Board, wish: Wish) -> Draft:
    return _range(board, wish, ("float", "int"))


def and2(board: Board, wish: Wish) -> Draft:
    """A set of values, and of its rows a range."""
    where, parts, axis = _set_and_range(board, wish, wish.target**0.5)
    want = round(wish.target * board.rows)
    params = []
    for part in parts:
        first, last = _span(axis.ordered.within(part.mask), want, wish)
        params.append({"chosen": part.values, **axis.params(first, last)})
    return Draft(f"{where} AND {axis.text}", params)


def and3(board: Board, wish: Wish) -> Draft:
    """A set of values, of its rows a range, and of those the upper part of a third column."""
    where, parts, axis = _set_and_range(board, wish, wish.target ** (1 / 3))
    third = _axis(board, ("float", "int"), other_than=axis.column)
    broad, want = round(wish.target ** (2 / 3) * board.rows), round(wish.target * board.rows)
    params = []
    for part in parts:
        first, last = _span(axis.ordered.within(part.mask), broad, wish)
        values = axis.ordered.values
        left = third.ordered.within(part.mask & (values >= first) & (values <= last))
        low = third.ordered.python(left[max(0, len(left) - want)] if len(left) else 0)
        params.append({"chosen": part.values, **axis.params(first, last), "low": low})
    return Draft(f"{where} AND {axis.text} AND {quoted(third.column)} >= :low", params)


def either(board: Board, wish: Wish) -> Draft:
    """A set of values, or a range of the rows outside it, half of the wanted rows each."""
    where, parts, axis = _set_and_range(board, wish, wish.target / 2)
    params = []
    for part in parts:
        want = round(wish.target * board.rows) - int(np.count_nonzero(part.mask))
        first, last = _span(axis.ordered.within(~part.mask), want, wish)
        params.append({"chosen": part.values, **axis.params(first, last)})
    return Draft(f"{where} OR {axis.text}", params)


def paper_em(board: Board, wish: Wish) -> Draft:
    """The paper's EM: the number of sub-categories of a random row."""
    _needs(board, "number_of_sub_categories")
    drawn = _drawn(board, "number_of_sub_categories", wish)
    return Draft("number_of_sub_categories = :label", [{"label": value} for value in drawn])


def paper_r(board: Board, wish: Wish) -> Draft:
    """The paper's R: a range of update dates, of uniform selectivity and uniform start."""
    _needs(board, "update_date")
    axis = board.ordered("update_date")
    n = len(axis.sorted)
    params = []
    for share in wish.rng.uniform(R_LEAST, R_MOST, board.queries).tolist():
        want = max(1, round(share * n))
        start = int(wish.rng.integers(0, n - want + 1))
        first, last = axis.sorted[start], axis.sorted[start + want - 1]
        params.append({"range_start": axis.python(first), "range_end": axis.python(last)})
    return Draft("update_date BETWEEN :range_start AND :range_end", params)


def paper_emis(board: Board, wish: Wish) -> Draft:
    """The paper's EMIS: one of the main categories of a random row."""
    _needs(board, "main_categories")
    lists = _drawn(board, "main_categories", wish)
    params = [{"label": own[int(wish.rng.integers(len(own)))]} for own in lists]
    return Draft("list_contains(main_categories, :label)", params)


FAMILIES: dict[str, Family] = {
    "none": none,
    "random": random,
    "equality": equality,
    "in": is_in,
    "contains_one": contains_one,
    "contains_any": contains_any,
    "contains_all": contains_all,
    "range_date": range_date,
    "range_float": range_float,
    "and2": and2,
    "and3": and3,
    "or": either,
    "not": negated,
    "em": paper_em,
    "r": paper_r,
    "emis": paper_emis,
}


class _Part(NamedTuple):
    """A set of values for one query, and the rows bool[n] that have one of them."""

    values: list[Any]
    mask: NDArray[np.bool_]


class _Axis(NamedTuple):
    """A column that a range is taken of, and the text of the range."""

    column: str
    ordered: Ordered
    text: str

    def params(self, first: Any, last: Any) -> dict[str, Any]:
        return {"first": self.ordered.python(first), "last": self.ordered.python(last)}


def _pick(
    board: Board, wish: Wish, columns: tuple[str, ...], values_of: Callable[[str], Candidates]
) -> tuple[str, list[Any]]:
    """One value (or pair) of about the wanted size for each query, all of one column.

    The column is the one with the most values of that size.
    """
    _first(columns, "a column for them")
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


def _unions(board: Board, column: str, wish: Wish, share: float) -> Iterator[_Part]:
    """For each query values, nearest or farthest or random first, until a share of rows has one.

    Values that would lead too far beyond the share are passed over.
    """
    found, want = board.candidates(column), max(1, round(share * board.rows))
    for order in _orders(board, column, wish):
        yield _union(found, order, want, board.rows)


def _orders(board: Board, column: str, wish: Wish) -> Iterator[NDArray[np.int64]]:
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


def _union(found: Candidates, order: NDArray[np.int64], want: int, rows: int) -> _Part:
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
    return _Part(values, mask)


def _set_and_range(board: Board, wish: Wish, share: float) -> tuple[str, Iterator[_Part], _Axis]:
    """The text of a set of values, the set of each query, and the axis of a range beside it."""
    if board.declaration.contains:
        column = board.declaration.contains[0]
        where = f"list_has_any({quoted(column)}, :chosen)"
    else:
        column = _scalar_topic(board)
        where = f"{quoted(column)} IN :chosen"
    axis = _axis(board, ("date", "timestamp", "float", "int"))
    return where, _unions(board, column, wish, share), axis


def _axis(board: Board, kinds: tuple[str, ...], other_than: str | None = None) -> _Axis:
    """The first declared column of one of these kinds, else the random numbers."""
    named = [name for name in board.declaration.range if board.kind(name).kind in kinds]
    if board.declaration.random:
        named.append(RANDOM)
    named = [name for name in named if name != other_than]
    column = _first(tuple(named), f"a column of {' or '.join(kinds)}")
    return _Axis(column, board.ordered(column), f"{quoted(column)} BETWEEN :first AND :last")


def _range(board: Board, wish: Wish, kinds: tuple[str, ...]) -> Draft:
    named = [name for name in board.declaration.range if board.kind(name).kind in kinds]
    column = _first(tuple(named), f"a column of {' or '.join(kinds)}")
    ordered = board.ordered(column)
    want = round(wish.target * board.rows)
    params = []
    for query in range(board.queries):
        near = None
        if wish.correlation != "none":
            near = np.sort(ordered.values[board.near[query]])
        first, last = _span(ordered.sorted, want, wish, near)
        params.append({"first": ordered.python(first), "last": ordered.python(last)})
    return Draft(f"{quoted(column)} BETWEEN :first AND :last", params)


def _span(
    values: NDArray[Any], want: int, wish: Wish, near: NDArray[Any] | None = None
) -> tuple[Any, Any]:
    """A range of the sorted values; of none at all, an empty one."""
    if not len(values):
        return 1, 0
    return window(values, want, wish.rng, wish.correlation, near)


def _drawn(board: Board, column: str, wish: Wish) -> list[Any]:
    """The values of a column in random rows, one for each query; never null or empty."""
    values = board.corpus.attributes[column]
    length = values.is_valid() if not board.kind(column).is_list else _filled(values)
    rows = np.flatnonzero(np.asarray(length))
    if not len(rows):
        raise Impossible(f"{column} has no values")
    drawn = rows[wish.rng.integers(0, len(rows), board.queries)]
    return [values[int(row)].as_py() for row in drawn]


def _filled(lists: Any) -> Any:
    return pc.greater(pc.fill_null(pc.list_value_length(lists), 0), 0)


def _scalar_topic(board: Board) -> str:
    topic = board.declaration.topic
    if topic is not None and not board.kind(topic).is_list:
        return topic
    return _first(board.declaration.equality, "a column of single values")


def _first(columns: tuple[str, ...], what: str) -> str:
    if not columns:
        raise Undeclared(f"the declaration names no {what.removeprefix('a ')}")
    return columns[0]


def _needs(board: Board, column: str) -> None:
    if column not in board.columns:
        raise Undeclared(f"there is no column {column!r}")
