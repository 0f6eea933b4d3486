"""Which queries a launch answers, against numpy."""

from typing import Any

import numpy as np
import pytest

from tests.cuda_helpers import (
    NO_OFFSETS,
    NO_ROWS,
    bitmaps,
    no_answers,
    to_device,
    to_host,
    workspace,
)

pytest.importorskip("fanns.kernels.jit_cuda")
from fanns.kernels.distance import L2
from fanns.kernels.scan import WORDS
from fanns.kernels.scan_cuda import scan_exact
from fanns.kernels.turns_cuda import add_work, assign_plans, fall_back


@pytest.mark.parametrize("shared", [False, True])
def test_plans_are_for_counts_from_the_least_on(shared: bool) -> None:
    counts = np.array([7] if shared else [0, 1, 9, 10, 11, 500, 499, 10**12], np.int64)
    least = np.array([0, 10, 500], np.int64)
    plans, work = np.full(8, 9, np.int8), np.full((8, 4), 9, np.int64)
    given = to_device(counts, least, plans, work)
    assign_plans(given[0], given[1], given[2], given[3], workspace())
    expected = np.searchsorted(least, counts, "right") - 1
    made, none = to_host(*given[2:])
    assert np.array_equal(made, np.broadcast_to(expected, 8)) and not none.any()


def test_unanswered_queries_get_another_plan() -> None:
    status, plans = np.array([0, 2, 2, 1], np.int8), np.array([1, 1, 2, 0], np.int8)
    before, work = np.arange(16).reshape(4, 4), np.ones((4, 4), np.int64)
    space, given = workspace(), to_device(status, plans, before, work)
    fall_back(given[0], 2, 0, given[1], space)
    add_work(given[1], 0, given[2], given[3], space)
    made, added = to_host(given[1], given[3])
    assert made.tolist() == [1, 0, 0, 0]
    assert np.array_equal(added, work + before * (made == 0)[:, None])


@pytest.mark.parametrize("one_filter", [True, False])
def test_answers_of_other_plans_are_left_alone(one_filter: bool) -> None:
    rng = np.random.default_rng(0)
    m, n, k = 9, 40, 3
    queries, vectors = (rng.normal(size=(rows, 5)).astype(np.float32) for rows in (m, n))
    masks = np.ones((1 if one_filter else m, n), bool)
    plans, ties = rng.integers(0, 3, m).astype(np.int8), np.arange(n)
    space, empty = workspace(), no_answers(m, k)
    rows: list[Any] = to_device(NO_ROWS, NO_OFFSETS, bitmaps(masks))
    held: list[Any] = to_device(vectors, np.zeros(n), ties)
    asked, own, *out = to_device(queries, plans, *empty)
    given: list[Any] = [asked, WORDS, *rows, n, *held[:2], L2, held[2], *out, space]
    with space.only(own, 1):
        scan_exact(*given)
    answers, other = to_host(*out), plans != 1
    for array, before in zip(answers, empty, strict=True):
        assert np.array_equal(array[other], before[other], equal_nan=array.dtype == np.float64)
    away = np.linalg.norm(queries[:, None].astype(np.float64) - vectors[None], axis=2)
    nearest = np.argsort(away, axis=1, kind="stable")[:, :k]
    assert np.array_equal(answers[0][~other], nearest[~other]) and 0 < other.sum() < m
