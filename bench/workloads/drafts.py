"""How the filters of each family are drawn: a constant text, and parameters for every query."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fanns.bench.workloads.board import RANDOM, Board
from fanns.bench.workloads.drawing import (
    Axis,
    Draft,
    Impossible,
    Part,
    Undeclared,
    Wish,
    axis_of,
    first_of,
    needs,
    orders,
    pick,
    quoted,
    scalar_topic,
    span,
    unions,
)
from fanns.datasets import arxiv_filters

MOST_LEFT_OUT = 1_000  # values, one by one, by NOT IN

Family = Callable[[Board, Wish], Draft]


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
    column, picked = pick(board, wish, board.declaration.equality, board.candidates)
    return Draft(f"{quoted(column)} = :value", [{"value": value} for value in picked])


def contains_one(board: Board, wish: Wish) -> Draft:
    column, picked = pick(board, wish, board.declaration.contains, board.candidates)
    where = f"list_contains({quoted(column)}, :value)"
    return Draft(where, [{"value": value} for value in picked])


def contains_all(board: Board, wish: Wish) -> Draft:
    column, picked = pick(board, wish, board.declaration.contains, board.pairs)
    where = f"list_has_all({quoted(column)}, :chosen)"
    return Draft(where, [{"chosen": list(pair)} for pair in picked])


def contains_any(board: Board, wish: Wish) -> Draft:
    column = first_of(board.declaration.contains, "a list column")
    params = [{"chosen": part.values} for part in unions(board, column, wish, wish.target)]
    return Draft(f"list_has_any({quoted(column)}, :chosen)", params)


def is_in(board: Board, wish: Wish) -> Draft:
    column = scalar_topic(board)
    params = [{"chosen": part.values} for part in unions(board, column, wish, wish.target)]
    return Draft(f"{quoted(column)} IN :chosen", params)


def negated(board: Board, wish: Wish) -> Draft:
    """Everything but some values. Of all rows, one value is left out: the nearest to the query
    under "negative"; of fewer, all values but the nearest, farthest or random ones.
    """
    column = scalar_topic(board)
    found = board.candidates(column)
    if len(found) > MOST_LEFT_OUT:
        raise Impossible(f"{column} has {len(found)} values: too many to leave out one by one")
    where = f"{quoted(column)} NOT IN :chosen"
    if wish.target == 1.0:
        turned = {"positive": "negative", "negative": "positive"}.get(wish.correlation, "none")
        firsts = (order[0] for order in orders(board, column, wish._replace(correlation=turned)))
        return Draft(where, [{"chosen": [found.values[first]]} for first in firsts])
    params = []
    for part in unions(board, column, wish, wish.target):
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
        first, last = span(axis.ordered.within(part.mask), want, wish)
        params.append({"chosen": part.values, **axis.params(first, last)})
    return Draft(f"{where} AND {axis.text}", params)


def and3(board: Board, wish: Wish) -> Draft:
    """A set of values, of its rows a range, and of those the upper part of a third column."""
    where, parts, axis = _set_and_range(board, wish, wish.target ** (1 / 3))
    third = axis_of(board, ("float", "int"), other_than=axis.column)
    broad = round(wish.target ** (2 / 3) * board.rows)
    want = max(1, round(wish.target * board.rows))
    params = []
    for part in parts:
        first, last = span(axis.ordered.within(part.mask), broad, wish)
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
        first, last = span(axis.ordered.within(~part.mask), want, wish)
        params.append({"chosen": part.values, **axis.params(first, last)})
    return Draft(f"{where} OR {axis.text}", params)


def paper_em(board: Board, wish: Wish) -> Draft:
    """The paper's EM: the number of sub-categories of a random row."""
    needs(board, arxiv_filters.EM_COLUMN)
    column = board.corpus.attributes[arxiv_filters.EM_COLUMN]
    drawn = arxiv_filters.exact_match(column, board.queries, wish.rng)
    return Draft(arxiv_filters.EM_WHERE, [{"label": value} for value in drawn])


def paper_r(board: Board, wish: Wish) -> Draft:
    """The paper's R: a range of update dates, of uniform selectivity and uniform start."""
    needs(board, arxiv_filters.R_COLUMN)
    axis = board.ordered(arxiv_filters.R_COLUMN)
    found = arxiv_filters.ranges(axis.sorted, board.queries, wish.rng)
    params = [
        {"range_start": axis.python(first), "range_end": axis.python(last)} for first, last in found
    ]
    return Draft(arxiv_filters.R_WHERE, params)


def paper_emis(board: Board, wish: Wish) -> Draft:
    """The paper's EMIS: one of the main categories of a random row."""
    needs(board, arxiv_filters.EMIS_COLUMN)
    column = board.corpus.attributes[arxiv_filters.EMIS_COLUMN]
    drawn = arxiv_filters.exact_match_in_set(column, board.queries, wish.rng)
    return Draft(arxiv_filters.EMIS_WHERE, [{"label": value} for value in drawn])


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


def _set_and_range(board: Board, wish: Wish, share: float) -> tuple[str, Iterator[Part], Axis]:
    """The text of a set of values, the set of each query, and the axis of a range beside it."""
    if board.declaration.contains:
        column = board.declaration.contains[0]
        where = f"list_has_any({quoted(column)}, :chosen)"
    else:
        column = scalar_topic(board)
        where = f"{quoted(column)} IN :chosen"
    axis = axis_of(board, ("date", "timestamp", "float", "int"))
    return where, unions(board, column, wish, share), axis


def _range(board: Board, wish: Wish, kinds: tuple[str, ...]) -> Draft:
    named = [name for name in board.declaration.range if board.kind(name).kind in kinds]
    column = first_of(tuple(named), f"a column of {' or '.join(kinds)}")
    ordered = board.ordered(column)
    want = round(wish.target * board.rows)
    params = []
    for query in range(board.queries):
        near = None
        if wish.correlation != "none":
            near = np.sort(ordered.values[board.near[query]])
        first, last = span(ordered.sorted, want, wish, near)
        params.append({"first": ordered.python(first), "last": ordered.python(last)})
    return Draft(f"{quoted(column)} BETWEEN :first AND :last", params)
