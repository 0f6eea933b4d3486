"""Blocks of a column: searches within an interval or a value, against brute force."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.attributes.lists import ListColumn
from fanns.attributes.scalar import ScalarColumn
from fanns.codes import Int8Codes
from fanns.errors import CorruptIndexError
from fanns.kernels.balance import balance
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.fastscan import ROWS
from fanns.kernels.jit import Array
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths.column_blocks import PART, BlockParameters, ColumnBlocks, Quantized, block_bytes
from fanns.paths.column_blocks_builder import (
    column_blocks,
    label_parts,
    range_parts,
)
from fanns.paths.column_path import BLOCKS_MOST, FEWEST
from fanns.pq_codes import PQCodes
from fanns.schema import ColumnType
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.graph_helpers import clustered, queries_near, recall

N, D, K = 6_000, 24, 10
VECTORS, OFFSETS = clustered(N, D, 80)
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
NEAR = (np.inf,)
WIDE = BlockParameters(NEAR, np.inf, 60, 1.0)
TIES = np.arange(N, dtype=np.int64)
BUILT: dict[Any, Any] = {}


def quantized(vectors: Array, metric: int) -> Quantized:
    store = DenseVectors.from_array(vectors, metric)
    codes = Int8Codes.build(store)
    return Quantized(store, codes, PQCodes.build(store, codes.mean, 0))


def arrays_of(column: Any, metric: int = COSINE, threads: int = 1) -> dict[str, Array]:
    key = id(column), metric, threads
    if key not in BUILT:
        rows = BUILT.setdefault(metric, quantized(VECTORS, metric))
        postings = column.postings
        counts = np.diff(postings.offsets)[1:]
        values = np.flatnonzero((counts >= FEWEST) & (counts <= BLOCKS_MOST)).tolist()
        parts = range_parts(postings) if column is YEAR else label_parts(postings, values)
        BUILT[key] = column_blocks(
            rows, postings, parts, threads=threads, progress=lambda done, total: None
        )
    made: dict[str, Array] = BUILT[key]
    return made


def made(column: Any, metric: int = COSINE) -> ColumnBlocks:
    arrays = arrays_of(column, metric)
    return loaded(column, metric, arrays)


def loaded(column: Any, metric: int, arrays: dict[str, Array]) -> ColumnBlocks:
    folder = "range_blocks" if column is YEAR else "label_blocks"
    return ColumnBlocks.load(folder, "column", BUILT[metric], TIES, column.postings, arrays)


def interval(first: float, last: float) -> list[int]:
    """Codes between two shares of the sorted rows."""
    order = np.sort(CODE)
    return [int(order[int(first * (N - 1))]), int(order[int(last * (N - 1))]) + 1]


@settings(max_examples=30)
@given(st.integers(1, 700), st.sampled_from([1, 3, 64, 70]), st.booleans(), st.integers(0, 9))
def test_balance_keeps_rows_and_puts_near_ones_together(
    m: int, d: int, equal: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = np.zeros((m, d)) if equal else rng.standard_normal((m, d)).astype(np.float32)
    codes = Int8Codes.build(DenseVectors.from_array(points.astype(np.float32), L2))
    rows = rng.permutation(m).astype(np.int32)
    balance(codes.codes, codes.scale, d, rows)
    np.testing.assert_array_equal(np.sort(rows), np.arange(m))
    if equal or m < 4 * ROWS:
        return

    def spread(order: Array) -> float:
        parts = np.split(points[order], np.arange(ROWS, m, ROWS))
        return sum(float(((part - part.mean(0)) ** 2).sum()) for part in parts)

    assert spread(rows) < spread(np.arange(m))


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
@pytest.mark.parametrize("ends", [(0.3, 0.6), (0.0, 0.2), (0.5, 1.0), (0.1, 0.95), (0.0, 1.0)])
def test_intervals(metric: int, ends: tuple[float, float]) -> None:
    bounds = interval(*ends)
    chosen = np.asarray((bounds[0] <= CODE) & (bounds[1] > CODE))
    path, selection = made(YEAR, metric), YEAR.postings.select(bounds)
    covering = path.covering(bounds)
    assert covering is not None and covering.rows == chosen.sum() == selection.count
    assert covering.rows / ROWS <= covering.blocks <= (covering.rows + 2 * PART) / ROWS
    answers = path.search(QUERIES, selection, K, WIDE, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, metric, chosen, K) > 0.99
    assert (answers.found == K).all() and np.isin(answers.status, [EXACT, APPROXIMATE]).all()
    few = path.search(QUERIES, selection, K, WIDE._replace(near=(400.0,)), NO_BUDGET)
    assert few.work[:, 3].sum() < answers.work[:, 3].sum()
    assert recall(few, VECTORS, QUERIES, metric, chosen, K) > 0.6


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.004])
@pytest.mark.parametrize("column", [YEAR, KIND, TAG], ids=["year", "kind", "tag"])
def test_what_else_the_filter_asks(share: float, column: Any) -> None:
    bounds = interval(0.2, 0.8) if column is YEAR else [1, 2]
    selection = column.postings.select(bounds)
    other = np.random.default_rng(7).random(N) < share
    both = selection & Selection.from_mask(other)
    answers = made(column).search(QUERIES, both, min(K, both.count), WIDE, NO_BUDGET)
    chosen = selection.mask() & other
    assert both.count == chosen.sum()
    assert recall(answers, VECTORS, QUERIES, COSINE, chosen, min(K, both.count)) > 0.98
    assert (answers.status == (EXACT if both.count <= 60 else APPROXIMATE)).all()


@pytest.mark.parametrize("column", [KIND, TAG], ids=["kind", "tag"])
@pytest.mark.parametrize("bounds", [[0, 1], [1, 2], [0, 3], [0, 1, 2, 3]])
def test_values(column: Any, bounds: list[int]) -> None:
    selection = column.postings.select(bounds)
    path = made(column)
    answers = path.search(QUERIES, selection, K, WIDE, NO_BUDGET)
    assert recall(answers, VECTORS, QUERIES, COSINE, selection.mask(), K) > 0.99
    assert (np.diff(answers.distances, axis=1) >= 0).all()
    for found in answers.rows:  # lists hold several of the values
        assert len(set(found.tolist())) == K


def test_what_is_left_to_others() -> None:
    path, order = made(YEAR), np.sort(CODE)
    assert path.covering([int(order[2_000]), int(order[2_000 + FEWEST // 2])]) is None
    assert path.covering([0, 1_000, 1_500, 2_500]) is None
    labels = made(KIND)
    assert labels.covering([5, 6]) is None  # a rare value
    assert labels.covering([0, 6]) is None
    assert labels.covering([0, 2]).walks == 1  # type: ignore[union-attr]
    assert made(TAG).covering([0, 2]).walks == 2  # type: ignore[union-attr]


def test_a_neighbour_is_found_when_enough_rows_come_before_it() -> None:
    bounds = interval(0.2, 0.7)
    path, selection = made(YEAR), YEAR.postings.select(bounds)
    truth = path.search(QUERIES, selection, K, WIDE, NO_BUDGET)
    before = path.passing_before(QUERIES, bounds, truth.rows)
    for enough in (200, 600, 1_500):
        found = path.search(QUERIES, selection, K, WIDE._replace(near=(enough,)), NO_BUDGET)
        hit = np.array([np.isin(a, b) for a, b in zip(truth.rows, found.rows, strict=True)])
        assert (hit == (before < enough)).mean() > 0.97


def test_budgets() -> None:
    selection = YEAR.postings.select(interval(0.1, 0.9))
    spent = made(YEAR).search(QUERIES, selection, K, WIDE, Budget(max_work=300))
    assert (spent.status == INCOMPLETE).all() and (spent.work[:, :2].sum(axis=1) <= 300).all()
    assert selection.mask()[spent.rows[spent.rows >= 0]].all()
    late = made(YEAR).search(QUERIES, selection, K, WIDE, Budget(deadline_ns=1))
    assert (late.status == INCOMPLETE).all()
    two = TAG.postings.select([0, 2])
    spent = made(TAG).search(QUERIES, two, K, WIDE, Budget(max_work=500))
    assert (spent.work[:, :2].sum(axis=1) <= 500).all()


def test_equal_vectors() -> None:
    same = np.ones((3_000, 1), np.float32)
    years = ScalarColumn.build(pa.array(np.arange(3_000) % 100), ColumnType("int"))
    rows = quantized(same, L2)
    parts = range_parts(years.postings)
    arrays = column_blocks(
        rows, years.postings, parts, threads=1, progress=lambda done, total: None
    )
    path = ColumnBlocks.load("range_blocks", "year", rows, TIES[:3_000], years.postings, arrays)
    selection = years.postings.select([10, 60])
    answers = path.search(same[:3], selection, 20, WIDE, NO_BUDGET)
    assert (answers.found == 20).all() and selection.mask()[answers.rows].all()
    assert (answers.distances == 0).all()


def test_blocks_hold_each_row_once_whatever_the_threads() -> None:
    one, many = arrays_of(YEAR), arrays_of(YEAR, threads=3)
    for name, array in one.items():
        np.testing.assert_array_equal(array, many[name])
    ranks = one["ranks"][one["ranks"] >= 0]
    np.testing.assert_array_equal(np.sort(ranks), np.arange(N))
    part = arrays_of(KIND)
    for start, stop, first in part["parts"].tolist():
        held = part["ranks"].ravel()[first * ROWS :][: stop - start]
        np.testing.assert_array_equal(np.sort(held), np.arange(start, stop))
    told = sum(block_bytes(stop - start, D) for start, stop, _ in one["parts"].tolist())
    assert told == sum(one[name].nbytes for name in one if name != "parts")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("ranks", lambda a: np.where(a == 7, N, a), "ranks: places"),
        ("ranks", lambda a: a[:-1], "codes"),
        ("ranks", lambda a: np.where(a == 7, -2, a), "ranks: places"),
        ("parts", lambda a: a[::-1], "parts"),
        ("parts", lambda a: a + np.array([0, 0, 1]), "parts"),
        ("parts", lambda a: a + np.array([0, 64, 0]), "parts"),
        ("parts", lambda a: a[:, :2], "parts"),
        ("parts", lambda a: a.astype(np.int32), "parts"),
        ("codes", lambda a: a[:, :-1], "codes"),
        ("fields", lambda a: a.astype(np.float64), "fields"),
        ("centres", lambda a: a[1:], "centres"),
        ("length2", lambda a: a[1:], "length2"),
    ],
)
def test_arrays_that_a_scan_could_not_trust(name: str, change: Any, told: str) -> None:
    arrays = arrays_of(YEAR)
    harmed = {**arrays, name: np.ascontiguousarray(change(arrays[name]))}
    with pytest.raises(CorruptIndexError, match=told):
        loaded(YEAR, COSINE, harmed)
