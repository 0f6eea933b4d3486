"""The three query sets of the arXiv benchmark, by the rules that its published sets follow.

"Benchmarking Filtered Approximate Nearest Neighbor Search Algorithms on Transformer-based Embedding
Vectors" (Iff et al., 2025) asks the same queries under three kinds of filter, whose values are
sampled from the data's own attributes:

EM      number_of_sub_categories = :label. The label of a row that is drawn uniformly, so that the
        mean selectivity is the sum of the squared shares of the values.
R       update_date BETWEEN :range_start AND :range_end. As many rows as a share that is uniform in
        [0.09, 0.80] wants, from a uniform place in the order of dates on.
EMIS    list_contains(main_categories, :label). A row is drawn, and one of its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from .passing import Between, Contains, Equal, Passing, integers

R_LEAST, R_MOST = 0.09, 0.80  # what the shares of the published ranges are uniform between
EM_COLUMN = "number_of_sub_categories"
R_COLUMN = "update_date"
EMIS_COLUMN = "main_categories"
EM_WHERE = f"{EM_COLUMN} = :label"
R_WHERE = f"{R_COLUMN} BETWEEN :range_start AND :range_end"
EMIS_WHERE = f"list_contains({EMIS_COLUMN}, :label)"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class QuerySet:
    """Filters for a list of queries.

    Attributes:
        name: "none", "em", "r" or "emis". where: the SQL text that all share, None: no filter.
        params: for each query the values of its :names. passing: the rows, None: every row.
        column: the attribute, "" without a filter.
    """

    name: str
    where: str | None
    params: list[dict[str, Any]]
    passing: Passing | None
    column: str = ""


def paper_sets(attributes: pa.Table, queries: int, seed: int = 0) -> list[QuerySet]:
    """The unfiltered set and the paper's three, each for so many queries.

    A set whose column the attributes lack, or have no value of, is left out (`missing_sets` names
    them). update_date may be a date or an integer, days since 1970-01-01. One seed, one result.
    """
    found = [QuerySet("none", None, [{} for _ in range(queries)], None)]
    for number, (name, (column, make)) in enumerate(_MAKERS.items()):
        if name not in missing_sets(attributes):
            rng = np.random.default_rng([seed, 11, number])
            found.append(make(attributes[column], queries, rng))
    return found


def missing_sets(attributes: pa.Table) -> dict[str, str]:
    """Of the paper's sets those that the attributes cannot give, and why."""
    missing = {}
    for name, (column, _) in _MAKERS.items():
        if column not in attributes.column_names:
            missing[name] = f"there is no column {column}"
        elif not len(filled(attributes[column])):
            missing[name] = f"{column} has no value in any row"
    return missing


def exact_match(column: pa.ChunkedArray, queries: int, rng: np.random.Generator) -> list[Any]:
    """EM: the column's value in a random row, for each query."""
    return _drawn(column, queries, rng)


def ranges(values: NDArray[Any], queries: int, rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """R: first and last value, both inside, for each query, of the sorted values of a column.

    A range ends with all rows that share its last date, and begins with all that share its first,
    so it may hold more rows than its share.
    """
    found = []
    for share in rng.uniform(R_LEAST, R_MOST, queries).tolist():
        want = max(1, round(share * len(values)))
        start = int(rng.integers(0, len(values) - want + 1))
        found.append((values[start], values[start + want - 1]))
    return found


def exact_match_in_set(
    column: pa.ChunkedArray, queries: int, rng: np.random.Generator
) -> list[Any]:
    """EMIS: one of the values of a random row's list, for each query."""
    return [own[int(rng.integers(len(own)))] for own in _drawn(column, queries, rng)]


def _em(column: pa.ChunkedArray, queries: int, rng: np.random.Generator) -> QuerySet:
    labels = exact_match(column, queries, rng)
    params = [{"label": label} for label in labels]
    return QuerySet("em", EM_WHERE, params, Equal(column, labels), EM_COLUMN)


def _r(column: pa.ChunkedArray, queries: int, rng: np.random.Generator) -> QuerySet:
    found = ranges(np.sort(integers(column)[filled(column)]), queries, rng)
    passing = Between(column, [low for low, _ in found], [high for _, high in found])
    given = _day if pa.types.is_date(column.type) else int
    params = [{"range_start": given(low), "range_end": given(high)} for low, high in found]
    return QuerySet("r", R_WHERE, params, passing, R_COLUMN)


def _emis(column: pa.ChunkedArray, queries: int, rng: np.random.Generator) -> QuerySet:
    labels = exact_match_in_set(column, queries, rng)
    params = [{"label": label} for label in labels]
    return QuerySet("emis", EMIS_WHERE, params, Contains(column, labels), EMIS_COLUMN)


Maker = Callable[[pa.ChunkedArray, int, np.random.Generator], QuerySet]
_MAKERS: dict[str, tuple[str, Maker]] = {
    "em": (EM_COLUMN, _em),
    "r": (R_COLUMN, _r),
    "emis": (EMIS_COLUMN, _emis),
}


def _drawn(column: pa.ChunkedArray, queries: int, rng: np.random.Generator) -> list[Any]:
    """The column's values in random rows, never null or an empty list."""
    rows = filled(column)
    if not len(rows):
        raise InputError("a column without any value: nothing can be drawn from it")
    drawn = rows[rng.integers(0, len(rows), queries)]
    return list(column.take(pa.array(drawn)).to_pylist())


def filled(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """The rows with a value: not null, not an empty list."""
    valid = column.is_valid()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        valid = pc.greater(pc.fill_null(pc.list_value_length(column), 0), 0)
    return np.flatnonzero(np.asarray(valid))


def _day(days: Any) -> date:
    return _EPOCH + timedelta(days=int(days))
