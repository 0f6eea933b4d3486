"""Graphs of a column: walks within an interval or a value, against brute force."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.attributes.lists import ListColumn
from fanns.attributes.scalar import ScalarColumn
from fanns.codes import Int8Codes
from fanns.errors import CorruptIndexError
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.paths import APPROXIMATE, EXACT, EXHAUSTED, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.column_graph_builder import (
    PLACES,
    Coded,
    frequent_values,
    label_links,
    range_links,
    shifts_of,
)
from fanns.paths.column_path import FEWEST
from fanns.paths.graph import TWO_HOP, GraphParameters
from fanns.paths.label_graph import LabelGraph
from fanns.paths.range_graph import RangeGraph
from fanns.schema import ColumnType
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.graph_helpers import clustered, graph_of, queries_near, recall

N, K = 6_000, 10
VECTORS, OFFSETS = clustered(N, 24, 80)
QUERIES = queries_near(VECTORS, 30)
RNG = np.random.default_rng(5)
# Many copies of a value, and nulls.
YEARS = np.where(RNG.random(N) < 0.3, 1990, RNG.integers(0, 3_000, N))
NULL = RNG.random(N) < 0.05
YEAR = ScalarColumn.build(pa.array(YEARS, mask=NULL), ColumnType("int"))
CODE = np.asarray(YEAR.codes)
KINDS = RNG.choice(6, N, p=[0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
KIND = ScalarColumn.build(pa.array([f"kind {kind}" for kind in KINDS]), ColumnType("string"))
TAGS = [sorted(set(RNG.choice(5, 2, p=[0.4, 0.3, 0.2, 0.09, 0.01]).tolist())) for _ in range(N)]
TAG = ListColumn.build(pa.array(TAGS), ColumnType("int", is_list=True))
WIDE = GraphParameters(TWO_HOP, 300, 60, 0, 0.5)
BUILT: dict[Any, Any] = {}


def coded(metric: int) -> Coded:
    store = DenseVectors.from_array(VECTORS, metric)
    return Coded(store, Int8Codes.build(store), np.unique(OFFSETS))


def graph_in(metric: int, bits: int) -> Any:
    if (metric, bits) not in BUILT:
        BUILT[metric, bits] = graph_of(VECTORS, OFFSETS, metric, bits=bits)
    return BUILT[metric, bits]


def made(column: Any, metric: int = COSINE, bits: int = 2, threads: int = 1) -> Any:
    """The graph of a column, its links built once a metric."""
    key = (id(column), metric, threads)
    postings, base = column.postings, graph_in(metric, bits)
    options: Any = {"seed": 0, "threads": threads, "progress": lambda done, total: None}
    ordered = column is YEAR
    if key not in BUILT and ordered:
        BUILT[key] = range_links(coded(metric), base.links, postings, shifts_of(N), **options)
    elif key not in BUILT:
        values = frequent_values(np.diff(postings.offsets)[1:], N)
        BUILT[key] = label_links(coded(metric), postings, values, **options)
    kind = RangeGraph if ordered else LabelGraph
    return kind.load(BUILT[key], base, postings, "column")


def within(bounds: list[int]) -> Array:
    """The rows with a year of these codes."""
    low, high = bounds
    return np.asarray((low <= CODE) & (high > CODE))


def interval(first: float, last: float) -> list[int]:
    """Codes between two shares of the sorted rows."""
    order = np.sort(CODE)
    return [int(order[int(first * (N - 1))]), int(order[int(last * (N - 1))]) + 1]


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("bits", [0, 2])
@pytest.mark.parametrize("ends", [(0.3, 0.6), (0.0, 0.2), (0.5, 1.0), (0.1, 0.95), (0.0, 1.0)])
def test_intervals(metric: int, bits: int, ends: tuple[float, float]) -> None:
    bounds = interval(*ends)
    chosen = within(bounds)
    path = made(YEAR, metric, bits)
    selection = YEAR.postings.select(bounds)
    assert path.covering(bounds).rows == chosen.sum() == selection.count
    answers = path.search(QUERIES, selection, K, WIDE, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, metric, chosen, K) > 0.97
    assert (answers.found == K).all() and np.isin(answers.status, [EXACT, APPROXIMATE]).all()


def test_a_value_that_many_rows_have_is_an_interval() -> None:
    code = int(np.bincount(CODE[CODE >= 0]).argmax())
    selection = YEAR.postings.select([code, code + 1])
    answers = made(YEAR).search(QUERIES, selection, K, WIDE, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, COSINE, np.asarray(code == CODE), K) > 0.97


def test_short_intervals_and_scattered_values_are_left_to_others() -> None:
    path = made(YEAR)
    order = np.sort(CODE)
    assert path.covering([int(order[2_000]), int(order[2_000 + FEWEST // 2])]) is None
    assert path.covering([0, 1_000, 1_500, 2_500]) is None
    labels = made(KIND)
    assert labels.covering([5, 6]) is None  # a rare value
    assert labels.covering([0, 2]).walks == 2


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("column", [YEAR, KIND, TAG], ids=["year", "kind", "tag"])
def test_what_else_the_filter_asks(share: float, column: Any) -> None:
    bounds = interval(0.2, 0.8) if column is YEAR else [1, 2]
    selection = column.postings.select(bounds)
    other = np.random.default_rng(7).random(N) < share
    both = selection & Selection.from_mask(other)
    answers = made(column).search(QUERIES, both, K, WIDE, NO_BUDGET)
    chosen = selection.mask() & other
    assert both.count == chosen.sum()
    assert recall(answers, VECTORS, QUERIES, COSINE, chosen, K) > 0.95


@pytest.mark.parametrize("bits", [0, 2])
@pytest.mark.parametrize("column", [KIND, TAG], ids=["kind", "tag"])
@pytest.mark.parametrize("bounds", [[0, 1], [1, 2], [0, 1, 2, 3], [0, 3]])
def test_values(column: Any, bounds: list[int], bits: int) -> None:
    selection = column.postings.select(bounds)
    answers = made(column, COSINE, bits).search(QUERIES, selection, K, WIDE, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, COSINE, selection.mask(), K) > 0.97
    assert (np.diff(answers.distances, axis=1) >= 0).all()


def test_few_rows_are_left_of_an_interval() -> None:
    selection = YEAR.postings.select(interval(0.2, 0.8))
    for kept in (0, 1, 3):
        few = selection & Selection.from_rows(selection.rows()[:kept], N)
        if kept == 0:
            assert few.count == 0
            continue
        answers = made(YEAR).search(QUERIES, few, kept, WIDE, NO_BUDGET)
        assert (answers.status == EXACT).all() and (answers.found == kept).all()


def test_equal_vectors() -> None:
    same = np.ones((4_096, 8), np.float32)
    offsets = np.arange(0, 4_097, 256)
    base = graph_of(same, offsets)
    years = ScalarColumn.build(pa.array(np.arange(4_096) % 100), ColumnType("int"))
    store = DenseVectors.from_array(same, COSINE)
    rows = Coded(store, Int8Codes.build(store), offsets.astype(np.int64))
    links = range_links(
        rows, base.links, years.postings, [10], seed=0, threads=1, progress=lambda done, total: None
    )
    path = RangeGraph.load(links, base, years.postings, "year")
    selection = years.postings.select([10, 60])
    answers = path.search(same[:3], selection, 20, WIDE, NO_BUDGET)
    assert (answers.found == 20).all() and selection.mask()[answers.rows].all()


def test_budgets() -> None:
    selection = YEAR.postings.select(interval(0.1, 0.9))
    spent = made(YEAR).search(QUERIES, selection, K, WIDE, Budget(max_work=60))
    assert (spent.status == INCOMPLETE).all() and (spent.work[:, :2].sum(axis=1) <= 60).all()
    assert selection.mask()[spent.rows[spent.rows >= 0]].all()
    given_up = made(YEAR).search(QUERIES, selection, K, WIDE._replace(walk_limit=40), NO_BUDGET)
    assert (given_up.status == EXHAUSTED).all()
    two = KIND.postings.select([0, 2])
    spent = made(KIND).search(QUERIES, two, K, WIDE, Budget(max_work=100))
    assert (spent.status == INCOMPLETE).all() and (spent.work[:, :2].sum(axis=1) <= 100).all()


def test_links_stay_within_their_segment_and_do_not_depend_on_threads() -> None:
    made(YEAR)
    one = BUILT[id(YEAR), COSINE, 1]
    links, shifts = one["links"], one["shifts"]
    assert shifts.tolist() == shifts_of(N) and links.shape == (N, PLACES * (1 + len(shifts)))
    ranks = np.empty(N, np.int64)
    ranks[YEAR.postings.rows] = np.arange(N)
    for level, shift in enumerate(shifts.tolist(), start=1):
        part = links[:, level * PLACES : (level + 1) * PLACES]
        rows, places = np.nonzero(part >= 0)
        assert (ranks[rows] >> shift == ranks[part[rows, places]] >> shift).all()
        assert (rows != part[rows, places]).all()
    many = range_links(
        coded(COSINE), graph_in(COSINE, 2).links, YEAR.postings, shifts_of(N),
        seed=0, threads=3, progress=lambda done, total: None,
    )  # fmt: skip
    np.testing.assert_array_equal(many["links"], links)


def test_links_of_values_stay_among_their_rows() -> None:
    made(TAG)
    one = BUILT[id(TAG), COSINE, 1]
    start = 0
    for code in one["values"].tolist():
        rows = TAG.postings.slot(code).rows()
        part = one["links"][start : start + len(rows)]
        assert np.isin(part[part >= 0], rows).all()
        start += len(rows)
    assert start == len(one["links"])


@pytest.mark.parametrize(
    ("column", "harm"),
    [
        (YEAR, {"links": np.full((N, 2 * PLACES), N, np.int32)}),
        (YEAR, {"links": np.zeros((N - 1, 2 * PLACES), np.int32)}),
        (YEAR, {"links": np.zeros((N, 2 * PLACES), np.int64)}),
        (YEAR, {"links": np.zeros((N, 2 * PLACES + 1), np.int32)}),
        (YEAR, {"links": np.zeros(N, np.int32)}),
        (YEAR, {"shifts": np.array([11.0])}),
        (YEAR, {"shifts": np.array([9, 11])}),
        (YEAR, {"shifts": np.array([70])}),
        (YEAR, {"shifts": np.zeros(0, np.int64)}),
        (KIND, {"values": np.array([0, 0], np.int32)}),
        (KIND, {"values": np.array([99], np.int32)}),
        (KIND, {"values": np.array([0], np.int64)}),
        (KIND, {"values": np.array([-2], np.int32)}),
        (KIND, {"links": np.full((1, PLACES), -2, np.int32)}),
    ],
)
def test_arrays_that_cannot_be_trusted(column: Any, harm: dict[str, Array]) -> None:
    made(column)
    arrays = {**BUILT[id(column), COSINE, 1], **{name: frozen(a) for name, a in harm.items()}}
    kind: Any = RangeGraph if column is YEAR else LabelGraph
    with pytest.raises(CorruptIndexError):
        kind.load(arrays, graph_in(COSINE, 2), column.postings, "column")
