"""The scan against a float64 oracle: every metric, type, form of selection, tie and budget."""

import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.intrinsics import clock_ns
from fanns.kernels.jit import Array, Integer, frozen, kernel
from fanns.kernels.shortlist import cut_back, make_heap, sink
from fanns.kernels.topk import push, sort_heap
from fanns.paths import APPROXIMATE, EXACT, INCOMPLETE, NO_BUDGET, Answers, Budget, Path
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.test_codes import KINDS, nasty

METRICS = [COSINE, L2, IP]
FORMS = ["rows", "words"]


def select(chosen: Array, form: str) -> Selection:
    """A selection in one form; all rows when all are chosen."""
    n = len(chosen)
    if chosen.all():
        return Selection.all(n)
    if form == "rows":
        return Selection.from_rows(np.flatnonzero(chosen).astype(np.int32), n)
    bits = np.packbits(chosen, bitorder="little")
    return Selection.from_words(np.pad(bits, (0, -len(bits) % 8)).view(np.uint64), n)


def make(array: Array, metric: int, ties: Array | None = None) -> ScanPath:
    store = DenseVectors.from_array(array, metric)
    if ties is None:
        ties = np.arange(len(array), dtype=np.int64)
    return ScanPath(store, Int8Codes.build(store), ties)


def oracle(array: Array, query: Array, metric: int) -> Array:
    """Distances in float64; on small whole numbers exactly those of the kernels."""
    wide, q = array.astype(np.float64), query.astype(np.float64)
    if metric == L2:
        return np.asarray(np.sqrt(((wide - q) ** 2).sum(axis=1)))
    dots = (wide * q).sum(axis=1)
    if metric == IP:
        return np.asarray(-dots)
    norms = np.sqrt((q * q).sum()) * np.sqrt((wide * wide).sum(axis=1))
    return np.asarray(np.clip(1.0 - dots / norms, 0.0, 2.0))


def nearest(distances: Array, ties: Array, chosen: Array, k: int) -> Array:
    """The k best chosen rows by (distance, tie)."""
    rows = np.flatnonzero(chosen)
    return rows[np.lexsort((ties[rows], distances[rows]))][:k]


def whole_numbers(seed: int, n: int, d: int, dtype: str, metric: int) -> Array:
    """Rows of small whole numbers: many equal distances, all computed exactly."""
    array = np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(dtype)
    if metric == COSINE:
        array[~array.any(axis=1), 0] = 1
    return array


@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["float32", "float32", "float16", "int8"]),
    n=st.sampled_from([0, 1, 2, 63, 64, 65, 200]),
    d=st.sampled_from([1, 2, 63, 64, 65]),
    k=st.integers(1, 12),
    rerank=st.sampled_from([0, 1, 5, 20, 300]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    form=st.sampled_from(FORMS),
)
def test_answers_equal_the_oracle_with_ties(
    seed: int,
    metric: int,
    dtype: str,
    n: int,
    d: int,
    k: int,
    rerank: int,
    share: float,
    form: str,
) -> None:
    rng = np.random.default_rng(seed)
    array = whole_numbers(seed, n, d, dtype, metric)
    queries = whole_numbers(seed + 1, 2, d, "float32", metric)
    ties = rng.permutation(n).astype(np.int64) - n // 2
    chosen = rng.random(n) < share
    path = make(array, metric, ties)
    answers = path.search(queries, select(chosen, form), k, ScanParameters(rerank), NO_BUDGET)
    found = min(k, int(chosen.sum()))
    assert (answers.found == found).all()
    assert (answers.rows[:, found:] == -1).all()
    assert np.isinf(answers.distances[:, found:]).all()
    for number, query in enumerate(queries):
        distances = oracle(array, query, metric)
        rows, expected = answers.rows[number, :found], nearest(distances, ties, chosen, k)
        assert chosen[rows].all()
        assert len(set(rows)) == found
        np.testing.assert_array_equal(answers.distances[number, :found], distances[rows])
        if answers.status[number] == EXACT:
            np.testing.assert_array_equal(rows, expected)
        else:
            assert answers.status[number] == APPROXIMATE and rerank > 0
            np.testing.assert_array_equal(
                rows, nearest(distances, ties, np.isin(np.arange(n), rows), k)
            )
    if rerank == 0 or rerank >= n:
        assert (answers.status == EXACT).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    query_kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    d=st.sampled_from([1, 3, 64, 65]),
    rerank=st.sampled_from([0, 3, 10, 40]),
)
def test_exact_is_never_claimed_wrongly(
    seed: int, kind: str, query_kind: str, metric: int, d: int, rerank: int
) -> None:
    array, query = nasty(seed, kind, 150, d), nasty(seed + 1, query_kind, 1, d)
    path = make(array, metric)
    answers = path.search(query, Selection.all(150), 3, ScanParameters(rerank), NO_BUDGET)
    truth = path.search(query, Selection.all(150), 3, ScanParameters(0), NO_BUDGET)
    wide, q = array.astype(np.float64), query[0].astype(np.float64)
    unit = {
        COSINE: 1.0,
        L2: (np.abs(wide).max() + np.abs(q).max()) * np.sqrt(d),
        IP: (np.abs(wide) @ np.abs(q)).max(),
    }[metric]
    expected = np.sort(oracle(array, query[0], metric))[:3]
    assert (np.abs(truth.distances[0] - expected) <= 1e-12 * unit).all()
    assert (np.diff(answers.distances[0]) >= 0).all()
    if answers.status[0] == EXACT:
        np.testing.assert_array_equal(answers.rows, truth.rows)
        np.testing.assert_array_equal(answers.distances, truth.distances)


@pytest.mark.parametrize("metric", METRICS)
def test_separated_neighbours_are_proved(metric: int) -> None:
    """Neighbours far ahead of all other rows need only a short list to be certain."""
    rng = np.random.default_rng(1)
    array = rng.standard_normal((5000, 64)).astype(np.float32)
    query = array[17] + 0.05 * rng.standard_normal(64).astype(np.float32)
    array[100:109] = query + 0.1 * rng.standard_normal((9, 64)).astype(np.float32)
    if metric == IP:
        array[100:109] *= 3
    answers = make(array, metric).search(
        query[None], Selection.all(5000), 10, ScanParameters(30), NO_BUDGET
    )
    assert answers.status[0] == EXACT or metric == IP
    assert answers.work[0].tolist()[0] == 5000
    assert 10 <= answers.work[0, 1] <= 30
    np.testing.assert_array_equal(
        answers.rows[0],
        nearest(oracle(array, query, metric), np.arange(5000), array[:, 0] < 1e9, 10),
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rerank", [0, 4, 12, 100])
def test_equal_rows_are_ordered_by_tie(metric: int, rerank: int) -> None:
    array = np.ones((3000, 5), np.float32)
    ties = np.random.default_rng(2).permutation(3000).astype(np.int64)
    answers = make(array, metric, ties).search(
        np.ones((1, 5), np.float32), Selection.all(3000), 6, ScanParameters(rerank), NO_BUDGET
    )
    rows = answers.rows[0]
    assert (np.diff(ties[rows]) > 0).all()
    if rerank == 0:
        assert ties[rows].tolist() == list(range(6))
        assert answers.status[0] == EXACT
    else:  # nothing tells the rows outside the shortlist from those inside
        assert answers.status[0] == APPROXIMATE


@pytest.mark.parametrize("rerank", [0, 20])
def test_forms_of_a_selection_give_equal_answers(rerank: int) -> None:
    rng = np.random.default_rng(3)
    array = rng.standard_normal((5000, 20)).astype(np.float32)
    array[2000:] = array[:3000]  # equal keys as well
    queries = rng.standard_normal((3, 20)).astype(np.float32)
    path = make(array, COSINE)
    for chosen in (rng.random(5000) < 0.3, np.ones(5000, bool), rng.random(5000) < 0.999):
        given = [
            path.search(queries, selection, 10, ScanParameters(rerank), NO_BUDGET)
            for selection in (select(chosen, "rows"), select(chosen, "words"))
        ]
        explicit = Selection.from_rows(np.flatnonzero(chosen).astype(np.int32), 5000)
        given.append(path.search(queries, explicit, 10, ScanParameters(rerank), NO_BUDGET))
        for answers in given[1:]:
            for part, other in zip(given[0], answers, strict=True):
                np.testing.assert_array_equal(part, other)


def test_a_batch_is_its_queries_one_by_one() -> None:
    rng = np.random.default_rng(4)
    array = rng.standard_normal((3000, 30)).astype(np.float32)
    queries = rng.standard_normal((7, 30)).astype(np.float32)
    path, selection = make(array, L2), select(rng.random(3000) < 0.5, "words")
    for rerank in (0, 15):
        together = path.search(queries, selection, 5, ScanParameters(rerank), NO_BUDGET)
        for number in range(7):
            alone = path.search(
                queries[number : number + 1], selection, 5, ScanParameters(rerank), NO_BUDGET
            )
            for part, other in zip(together, alone, strict=True):
                np.testing.assert_array_equal(np.asarray(part)[number : number + 1], other)
    nothing = path.search(queries[:0], selection, 5, ScanParameters(15), NO_BUDGET)
    assert nothing.rows.shape == (0, 5)


@pytest.mark.parametrize("rerank", [0, 20])
@pytest.mark.parametrize("max_work", [1, 2, 7, 1023, 1024, 1025, 2500])
def test_work_stays_within_its_budget(rerank: int, max_work: int) -> None:
    rng = np.random.default_rng(5)
    array = rng.standard_normal((4000, 8)).astype(np.float32)
    answers = make(array, L2).search(
        array[:2], Selection.all(4000), 10, ScanParameters(rerank), Budget(max_work)
    )
    assert (answers.status == INCOMPLETE).all()
    assert (answers.work.sum(axis=1) <= max_work).all()
    if rerank == 0:
        assert (answers.work.sum(axis=1) == max_work).all()
    for rows, distances, found in zip(answers.rows, answers.distances, answers.found, strict=True):
        assert found <= min(10, max_work)
        assert (rows[:found] >= 0).all() and (rows[:found] < max_work).all()
        assert (np.diff(distances[:found]) >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_proving_gives_exact_answers_always(metric: int) -> None:
    rng = np.random.default_rng(10)
    array = rng.standard_normal((3000, 70)).astype(np.float32)
    array[1500:] = array[:1500]  # every neighbour has a twin, which only ties tell apart
    queries = rng.standard_normal((20, 70)).astype(np.float32)
    path, chosen = make(array, metric), select(rng.random(3000) < 0.8, "words")
    truth = path.search(queries, chosen, 9, ScanParameters(0), NO_BUDGET)
    plain = path.search(queries, chosen, 9, ScanParameters(10), NO_BUDGET)
    proved = path.search(queries, chosen, 9, ScanParameters(10, prove=True), NO_BUDGET)
    assert (plain.status == APPROXIMATE).any()
    assert (proved.status == EXACT).all()
    np.testing.assert_array_equal(proved.rows, truth.rows)
    np.testing.assert_array_equal(proved.distances, truth.distances)
    again = plain.status == APPROXIMATE
    np.testing.assert_array_equal(proved.work[~again], plain.work[~again])
    np.testing.assert_array_equal(proved.work[again], plain.work[again] + truth.work[again])


def test_proving_stays_within_the_budget() -> None:
    array = np.ones((3000, 4), np.float32)
    path, parameters = make(array, L2), ScanParameters(20, prove=True)
    for max_work in (3021, 3500, 9000):
        answers = path.search(array[:1], Selection.all(3000), 9, parameters, Budget(max_work))
        assert answers.work.sum() <= max_work
        assert answers.status[0] == (EXACT if max_work == 9000 else INCOMPLETE)
        assert answers.found[0] == 9


@pytest.mark.parametrize("rerank", [0, 20])
def test_enough_budget_changes_nothing(rerank: int) -> None:
    array = np.random.default_rng(6).standard_normal((2000, 8)).astype(np.float32)
    path = make(array, L2)
    plain = path.search(array[:1], Selection.all(2000), 10, ScanParameters(rerank), NO_BUDGET)
    rich = Budget(10_000, clock_ns() + 10**11)
    answers = path.search(array[:1], Selection.all(2000), 10, ScanParameters(rerank), rich)
    for part, other in zip(plain, answers, strict=True):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("rerank", [0, 20])
def test_deadline_ends_a_scan(rerank: int) -> None:
    array = np.zeros((50_000, 256), np.float32)
    array[:, 0] = 1
    path, queries = make(array, L2), np.tile(array[:1], (200, 1))
    path.search(queries[:1], Selection.all(50_000), 10, ScanParameters(rerank), NO_BUDGET)
    before = time.perf_counter()
    budget = Budget(deadline_ns=clock_ns() + 20_000_000)
    answers = path.search(queries, Selection.all(50_000), 10, ScanParameters(rerank), budget)
    assert time.perf_counter() - before < 1.0  # all 200 would take several seconds
    assert answers.status[-1] == INCOMPLETE
    assert answers.found[-1] == 0
    assert (answers.rows[-1] == -1).all()


def test_path_obeys_the_protocol() -> None:
    path: Path = make(np.eye(3, dtype=np.float32), COSINE)
    assert path.name == "scan"
    assert path.arrays() == {}
    assert path.nbytes == 0


def test_zero_query_under_cosine_is_at_distance_one() -> None:
    """The index refuses such queries; the kernels must not divide by zero all the same."""
    array = np.random.default_rng(7).standard_normal((300, 8)).astype(np.float32)
    for rerank in (0, 20):
        answers = make(array, COSINE).search(
            np.zeros((1, 8), np.float32), Selection.all(300), 4, ScanParameters(rerank), NO_BUDGET
        )
        assert (answers.distances == 1.0).all()


@kernel
def _cut_and_pop(keys: Array, rows: Array, limit: int, out: Array) -> float:
    """Cut back, copy the front to out[0], then pop what is left in order into out[1]."""
    worst = cut_back(keys, rows, np.int64(keys.shape[0]), np.int64(limit))
    for place in range(limit):
        out[0, place] = rows[place]
    make_heap(keys, rows, np.int64(limit))
    for size in range(limit - 1, -1, -1):
        out[1, limit - 1 - size] = rows[0]
        keys[0], rows[0] = keys[size], rows[size]
        sink(keys, rows, np.int64(0), np.int64(size))
    return worst


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 2, 3, 10, 127, 129, 300, 1500]),
    share=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    distinct=st.sampled_from([1, 2, 5, 10_000]),
    order=st.sampled_from(["any", "up", "down"]),
)
def test_cut_back_and_heap_order(
    seed: int, size: int, share: float, distinct: int, order: str
) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, distinct, size) / 7
    if order != "any":
        keys = np.sort(keys) if order == "up" else np.sort(keys)[::-1].copy()
    rows = rng.permutation(size).astype(np.int32)
    limit = max(1, int(size * share))
    expected = rows[np.lexsort((rows, keys))][:limit]
    worst = float(np.sort(keys)[limit - 1])
    out = np.empty((2, limit), np.int64)
    assert _cut_and_pop(keys, rows, limit, out) == worst
    np.testing.assert_array_equal(np.sort(out[0]), np.sort(expected))
    np.testing.assert_array_equal(out[1], expected)


@kernel
def _offer(offers: Array, given_ties: Array, best: Array, ties: Array, rows: Array) -> Any:
    size: Integer = np.int64(0)
    for row in range(offers.shape[0]):
        size = push(best, ties, rows, size, offers[row], given_ties[row], np.int64(row))
    sort_heap(best, ties, rows, size)
    return size


@given(
    offers=st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.integers(-5, 5)), max_size=50),
    capacity=st.integers(1, 12),
)
def test_bounded_heap_keeps_the_best(offers: list[tuple[float, int]], capacity: int) -> None:
    best, ties = np.empty(capacity), np.empty(capacity, np.int64)
    rows = np.empty(capacity, np.int32)
    distances = np.array([distance for distance, _ in offers], np.float64)
    size = _offer(distances, np.array([tie for _, tie in offers], np.int64), best, ties, rows)
    assert list(zip(best[:size], ties[:size], strict=True)) == sorted(offers)[:capacity]
    for distance, tie, row in zip(best[:size], ties[:size], rows[:size], strict=True):
        assert offers[row] == (distance, tie)


def real(table: pa.Table) -> Array:
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    return np.ascontiguousarray(flat.reshape(len(table), -1))


def recall(answers: Answers, truth: Answers) -> float:
    """Share of answers no farther than the true k-th neighbour."""
    return float((answers.distances <= truth.distances[:, -1:]).mean())


def check_recall(array: Array, queries: Array) -> dict[str, Any]:
    path, n = make(array, COSINE), len(array)
    selection = select(np.random.default_rng(8).random(n) < 0.1, "words")
    measured = {}
    for chosen in (Selection.all(n), selection):
        truth = path.search(queries, chosen, 10, ScanParameters(0), NO_BUDGET)
        for rerank, least in ((10, 0.94), (20, 0.999), (40, 0.9999)):
            answers = path.search(queries, chosen, 10, ScanParameters(rerank), NO_BUDGET)
            measured[f"{chosen.count} rows, {rerank}"] = recall(answers, truth)
            assert recall(answers, truth) >= least
            exact = answers.status == EXACT
            np.testing.assert_array_equal(answers.rows[exact], truth.rows[exact])
        assert exact.mean() > 0.9  # with 40, nearly all are proved
    return measured


def test_recall_on_real_vectors(arxiv_sample: pa.Table, arxiv_queries: pa.Table) -> None:
    check_recall(real(arxiv_sample), real(arxiv_queries)[:100])


@pytest.mark.slow
def test_recall_on_all_real_vectors(arxiv_table: pa.Table, arxiv_queries: pa.Table) -> None:
    check_recall(real(arxiv_table), real(arxiv_queries))


def test_read_only_arrays_of_a_mapped_file_use_the_same_kernels(tmp_path: Any) -> None:
    array = np.random.default_rng(9).standard_normal((500, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", array)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    store = DenseVectors.from_array(mapped, L2)
    assert np.shares_memory(store.vectors, mapped)
    path = ScanPath(store, Int8Codes.build(store), frozen(np.arange(500)))
    answers = path.search(array[:1], Selection.all(500), 1, ScanParameters(10), NO_BUDGET)
    assert answers.rows[0, 0] == 0
