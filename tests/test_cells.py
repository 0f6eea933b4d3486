"""Cells of an inverted multi-index: their order, their ranking, and the search through them."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.cells import Cells
from fanns.codes import Int8Codes
from fanns.errors import InputError
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, NO_BUDGET, Budget
from fanns.paths import cells as cells_module
from fanns.paths.cells import CellParameters, CellsPath
from fanns.vectors import DenseVectors
from tests.test_scan import FORMS, METRICS, nearest, oracle, select, whole_numbers


def make(
    array: Array, metric: int, ties: Array | None = None, halves: Any = None
) -> tuple[CellsPath, Cells, Array]:
    """A path over rows put in the order of their cells, the cells, and that order."""
    order, cells = Cells.build(DenseVectors.from_array(array, metric), 1, halves=halves)
    store = DenseVectors.from_array(array[order], metric)
    ties = np.arange(len(array), dtype=np.int64) if ties is None else ties
    return CellsPath(store, Int8Codes.build(store), ties, cells), cells, order


def clustered(n: int, d: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d))
    return (centres[rng.integers(0, 40, n)] + 0.6 * rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("halves", [None, (1, 1), (3, 11), (50, 2)])
def test_rows_stand_in_the_cells_of_their_halves(metric: int, halves: Any) -> None:
    array = clustered(500, 9, 1)
    order, cells = Cells.build(DenseVectors.from_array(array, metric), 2, halves=halves)
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    c_a, c_b = halves or (11, 11)
    assert cells.half_a.shape == (c_a, 4) and cells.half_b.shape == (c_b, 5)
    assert len(cells) == c_a * c_b == len(cells.offsets) - 1
    assert cells.offsets[0] == 0 and cells.offsets[-1] == 500
    wide = array.astype(np.float64)
    if metric == COSINE:
        wide /= np.linalg.norm(wide, axis=1)[:, None]
    for cell, (start, stop) in enumerate(itertools.pairwise(cells.offsets)):
        members = order[start:stop]
        assert (np.diff(members) > 0).all()  # as given, within a cell
        for part, table, own in (
            (slice(0, 4), cells.half_a, cell // c_b),
            (slice(4, 9), cells.half_b, cell % c_b),
        ):
            gaps = ((wide[members, None, part] - table) ** 2).sum(2)
            # k-means compares by int8 codes, hence the allowance
            assert (gaps[:, own] <= gaps.min(axis=1) * 1.05 + 0.01).all()


@pytest.mark.parametrize("metric", METRICS)
def test_ranks_all_cells_by_the_sum(metric: int) -> None:
    array = clustered(400, 8, 3)
    _, cells = Cells.build(DenseVectors.from_array(array, metric), 2, halves=(13, 17))
    query = array[7] * 2
    q = query / np.linalg.norm(query) if metric == COSINE else query
    a, b = cells.half_a.astype(np.float64), cells.half_b.astype(np.float64)
    if metric == IP:
        sums = np.add.outer(-(a @ q[:4]), -(b @ q[4:])).ravel()
    else:
        sums = np.add.outer(((a - q[:4]) ** 2).sum(1), ((b - q[4:]) ** 2).sum(1)).ravel()
    ranked = list(cells.rank(query))
    assert sorted(ranked) == list(range(13 * 17))
    np.testing.assert_allclose(sums[ranked], np.sort(sums), atol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["float32", "float16", "int8"]),
    n=st.sampled_from([1, 2, 63, 64, 65, 300]),
    d=st.sampled_from([2, 3, 64, 65]),
    k=st.integers(1, 12),
    rerank=st.sampled_from([1, 20, 400]),
    enough=st.sampled_from([1, 30, 10**6]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    form=st.sampled_from(FORMS),
)
def test_answers_are_right_for_what_was_seen(
    seed: int,
    metric: int,
    dtype: str,
    n: int,
    d: int,
    k: int,
    rerank: int,
    enough: int,
    share: float,
    form: str,
) -> None:
    rng = np.random.default_rng(seed)
    given_rows = whole_numbers(seed, n, d, dtype, metric)
    queries = whole_numbers(seed + 1, 2, d, "float32", metric)
    ties = rng.permutation(n).astype(np.int64) - n // 2
    path, _, order = make(given_rows, metric, ties)
    array, chosen = given_rows[order], rng.random(n) < share
    answers = path.search(
        queries, select(chosen, form), k, CellParameters(enough, rerank), NO_BUDGET
    )
    found = min(k, int(chosen.sum()))
    assert (answers.found == found).all()
    assert (answers.rows[:, found:] == -1).all() and np.isinf(answers.distances[:, found:]).all()
    for number, query in enumerate(queries):
        distances = oracle(array, query, metric)
        rows, status = answers.rows[number, :found], answers.status[number]
        assert chosen[rows].all() and len(set(rows.tolist())) == found
        np.testing.assert_allclose(answers.distances[number, :found], distances[rows], atol=1e-9)
        assert status in (EXACT, APPROXIMATE)
        if status == EXACT:
            np.testing.assert_array_equal(rows, nearest(distances, ties, chosen, k))
        if rerank == 400 and enough == 10**6:
            assert status == EXACT


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_few_cells_find_most(metric: int, share: float) -> None:
    array = clustered(6000, 16, 4)
    path, cells, order = make(array, metric)
    rows = array[order]
    rng = np.random.default_rng(5)
    queries = (rows[rng.integers(0, 6000, 30)] + 0.1).astype(np.float32)
    chosen = rng.random(6000) < share
    selection = select(chosen, "words")
    answers = path.search(queries, selection, 5, CellParameters(200, 100), NO_BUDGET)
    ties = np.arange(6000)
    hits = sum(
        len(set(answers.rows[i]) & set(nearest(oracle(rows, query, metric), ties, chosen, 5)))
        for i, query in enumerate(queries)
    )
    assert hits / 150 > 0.85
    assert (answers.status == APPROXIMATE).mean() > 0.8  # the others had their selection scanned
    assert (answers.work[:, 0] < 0.4 * chosen.sum()).mean() > 0.8
    assert (answers.work[:, 3] < len(cells)).all()


def test_cells_are_taken_in_their_order_until_enough_rows_pass() -> None:
    array = clustered(3000, 8, 6)
    path, cells, _ = make(array, L2)
    chosen = np.random.default_rng(7).random(3000) < 0.5
    query = array[3] + 0.05
    answers = path.search(
        query[None], select(chosen, "words"), 3, CellParameters(200, 50), NO_BUDGET
    )
    seen = taken = 0
    for cell in cells.rank(query):
        if seen >= 200:
            break
        taken += 1
        seen += int(chosen[cells.offsets[cell] : cells.offsets[cell + 1]].sum())
    assert answers.work[0, 0] == seen and answers.work[0, 3] == taken


def test_a_selection_far_from_the_query_is_scanned_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = clustered(4000, 8, 8)
    path, cells, order = make(array, L2)
    rows = array[order]
    query = rows[10] + 0.01
    distances = oracle(rows, query, L2)
    chosen = distances > np.quantile(distances, 0.7)
    selection = select(chosen, "words")
    wanted = nearest(distances, np.arange(4000), chosen, 5)
    parameters = CellParameters(200, 100)
    answers = path.search(query[None], selection, 5, parameters, NO_BUDGET)
    np.testing.assert_array_equal(answers.rows[0], wanted)
    assert answers.status[0] == EXACT
    assert answers.work[0, 3] == chosen.sum() // cells_module.CELL_ROWS
    assert answers.work[0, 0] >= chosen.sum()
    monkeypatch.setattr(cells_module, "CELL_ROWS", 0.01)
    answers = path.search(query[None], selection, 5, parameters, NO_BUDGET)
    assert answers.work[0, 3] <= len(cells)
    assert answers.work[0, 0] < chosen.sum()


@pytest.mark.parametrize("metric", METRICS)
def test_a_budget_ends_a_search(metric: int) -> None:
    array = clustered(4000, 8, 9)
    path, _, _ = make(array, metric)
    selection = select(np.ones(4000, np.bool_), "words")
    parameters = CellParameters(3000, 50)
    for most in (1, 2, 30, 1000):
        answers = path.search(array[:3], selection, 4, parameters, Budget(max_work=most))
        assert (answers.status == INCOMPLETE).all()
        assert (answers.work[:, :2].sum(axis=1) <= most).all()
    late = Budget(deadline_ns=clock_ns() - 1)
    answers = path.search(array[:3], selection, 4, parameters, late)
    assert (answers.status == INCOMPLETE).all() and (answers.found == 0).all()


def test_same_cells_for_any_number_of_threads() -> None:
    store = DenseVectors.from_array(clustered(2000, 10, 10), COSINE)
    one, first = Cells.build(store, 5)
    two, second = Cells.build(store, 5, threads=2)
    other, _ = Cells.build(store, 6)
    np.testing.assert_array_equal(one, two)
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])
    assert not np.array_equal(one, other)
    assert repr(first).startswith("<Cells: 22 x 22, ") and first.nbytes > 0
    loaded = Cells(first.arrays(), COSINE)
    assert list(loaded.rank(store.vectors[0])) == list(first.rank(store.vectors[0]))


@pytest.mark.parametrize(("n", "d", "halves"), [(0, 4, None), (5, 1, None), (5, 4, (6, 1))])
def test_what_cannot_have_cells(n: int, d: int, halves: Any) -> None:
    with pytest.raises(InputError):
        Cells.build(DenseVectors.from_array(np.ones((n, d), np.float32), L2), 1, halves=halves)
