"""The graph's build: determinism, reachability, awkward shapes, and damaged arrays."""

import numpy as np
import pytest

from fanns.codes import Int8Codes
from fanns.errors import CorruptIndexError, InputError
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.jit import Array, frozen
from fanns.paths import NO_BUDGET
from fanns.paths.graph import TWO_HOP, GraphParameters, GraphPath
from fanns.paths.graph_copies import first_of_equals
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.graph_helpers import clustered, graph_of, load, queries_near, recall


def reached(path: GraphPath) -> Array:
    """Which rows links lead to from the entries (a plain twin of the builder's check)."""
    seen = np.zeros(len(path.links), bool)
    todo = [int(entry) for entry in path.entries]
    seen[todo] = True
    while todo:
        for other in path.links[todo.pop()].tolist():
            if other >= 0 and not seen[other]:
                seen[other] = True
                todo.append(other)
    return seen


def check_structure(path: GraphPath, n: int) -> None:
    """Links are rows, never the row itself or twice the same, and fill the first places."""
    assert path.links.shape[0] == n and path.links.dtype == np.int32
    for row, links in enumerate(path.links):
        used = links[links >= 0]
        assert (links[: len(used)] >= 0).all() and (links[len(used) :] == -1).all()
        assert row not in used and len(np.unique(used)) == len(used)
    assert reached(path).all()


@pytest.mark.parametrize("metric", [COSINE, L2, IP])
def test_every_row_is_reached_and_neighbours_are_found(metric: int) -> None:
    vectors, offsets = clustered(3000, 24, 50)
    path = graph_of(vectors, offsets, metric)
    check_structure(path, 3000)
    queries = queries_near(vectors, 60)
    everything = Selection.all(3000)
    found = path.search(queries, everything, 10, GraphParameters(TWO_HOP, 64, 30), NO_BUDGET)
    assert recall(found, vectors, queries, metric, np.ones(3000, bool), 10) > 0.97


@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_inner_product_with_lengths_that_differ(spread: float) -> None:
    vectors, offsets = clustered(3000, 24, 50)
    vectors *= np.random.default_rng(5).lognormal(0, spread, (3000, 1)).astype(np.float32)
    path = graph_of(vectors, offsets, IP)
    check_structure(path, 3000)
    queries = queries_near(vectors, 60)
    everything = Selection.all(3000)
    found = path.search(queries, everything, 10, GraphParameters(TWO_HOP, 100, 40), NO_BUDGET)
    assert recall(found, vectors, queries, IP, np.ones(3000, bool), 10) > 0.95


def test_the_same_graph_for_any_number_of_threads_and_another_for_another_seed() -> None:
    vectors, offsets = clustered(2500, 16, 40)
    one = graph_of(vectors, offsets, L2, threads=1)
    two = graph_of(vectors, offsets, L2, threads=2)
    other = graph_of(vectors, offsets, L2, seed=1)
    np.testing.assert_array_equal(one.links, two.links)
    np.testing.assert_array_equal(one.entries, two.entries)
    assert (one.links != other.links).any()


def test_links_are_ordered_by_distance() -> None:
    vectors, offsets = clustered(1500, 16, 30)
    path = graph_of(vectors, offsets, L2)
    for row in range(0, 1500, 50):
        links = path.links[row][path.links[row] >= 0]
        away = np.linalg.norm(vectors[links] - vectors[row], axis=1)
        assert (np.diff(away) > -0.05).all()  # codes are rounded


@pytest.mark.parametrize("n", [1, 2, 3, 30, 65])
@pytest.mark.parametrize("metric", [COSINE, L2, IP])
def test_few_rows(n: int, metric: int) -> None:
    vectors, offsets = clustered(n, 8, 3)  # some clusters may be empty
    path = graph_of(vectors, offsets, metric)
    check_structure(path, n)
    queries = queries_near(vectors, 5)
    found = path.search(queries, Selection.all(n), 10, GraphParameters(TWO_HOP, 80, 80), NO_BUDGET)
    assert (found.found == min(10, n)).all()
    assert recall(found, vectors, queries, metric, np.ones(n, bool), 10) == 1.0


def test_no_rows() -> None:
    path = graph_of(np.empty((0, 4), np.float32), np.zeros(1, np.int64))
    assert path.links.shape[0] == 0
    found = path.search(
        np.ones((2, 4), np.float32), Selection.all(0), 3, GraphParameters(1, 10, 10), NO_BUDGET
    )
    assert (found.found == 0).all() and (found.rows == -1).all()


@pytest.mark.parametrize("n", [40, 700, 3000])
def test_equal_vectors_are_all_reached(n: int) -> None:
    vectors = np.ones((n, 8), np.float32)
    offsets = np.array([0, n // 2, n // 2, n], np.int64)
    path = graph_of(vectors, offsets, L2)
    check_structure(path, n)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("copies", [4, 50])
def test_copies_are_found_under_filters(share: float, copies: int) -> None:
    vectors, _ = clustered(3000 // copies, 8, 30)
    vectors = np.repeat(vectors, copies, axis=0)
    n = len(vectors)
    offsets = np.append(np.arange(0, n, 4 * copies), n).astype(np.int64)
    path = graph_of(vectors, offsets, COSINE)
    check_structure(path, n)
    queries = queries_near(vectors, 30)
    chosen = np.random.default_rng(3).random(n) < share
    # Copies share the beam with the row they equal, so it must be longer where there are many.
    parameters = GraphParameters(TWO_HOP, 20 + 10 * copies, 60)
    found = path.search(queries, Selection.from_mask(chosen), 10, parameters, NO_BUDGET)
    assert recall(found, vectors, queries, COSINE, chosen, 10) > 0.95


def test_first_of_equals() -> None:
    vectors, _ = clustered(200, 8, 5)
    rows = np.random.default_rng(0).integers(0, 40, 300)
    store = DenseVectors.from_array(vectors[rows], COSINE)
    cluster_of = frozen((np.arange(300) >= 150).astype(np.int32))
    first = first_of_equals(Int8Codes.build(store), cluster_of, 1)
    for row in range(300):
        same = (rows == rows[row]) & (cluster_of == cluster_of[row])
        assert first[row] == np.flatnonzero(same)[0]


def test_one_dimension_and_a_wide_row() -> None:
    line, offsets = clustered(500, 1, 8)
    path = graph_of(line, offsets, L2)
    check_structure(path, 500)
    queries = queries_near(line, 20)
    found = path.search(queries, Selection.all(500), 5, GraphParameters(1, 60, 60), NO_BUDGET)
    assert recall(found, line, queries, L2, np.ones(500, bool), 5) > 0.95
    wide, offsets = clustered(200, 700, 4)
    check_structure(graph_of(wide, offsets, COSINE), 200)


@pytest.mark.parametrize("factor", [1e-18, 1e18])
def test_very_short_and_very_long_vectors(factor: float) -> None:
    vectors, offsets = clustered(800, 12, 10)
    vectors = (vectors * factor).astype(np.float32)
    path = graph_of(vectors, offsets, L2)
    check_structure(path, 800)
    queries = np.ascontiguousarray(vectors[::40])
    found = path.search(queries, Selection.all(800), 1, GraphParameters(1, 40, 20), NO_BUDGET)
    assert (found.rows[:, 0] == np.arange(0, 800, 40)).mean() > 0.95


def test_progress_ends_at_all_rows() -> None:
    vectors, offsets = clustered(900, 8, 9)
    heard: list[tuple[int, int]] = []
    graph_of(vectors, offsets, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (900, 900)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


def test_bad_parameters_are_refused() -> None:
    vectors, offsets = clustered(50, 8, 2)
    with pytest.raises(InputError, match="degree=48"):
        graph_of(vectors, offsets, degree=48, places=48)
    with pytest.raises(InputError, match="beam=0"):
        graph_of(vectors, offsets, beam=0)


def test_arrays_come_back() -> None:
    vectors, offsets = clustered(600, 16, 10)
    path = graph_of(vectors, offsets)
    again = load(path, vectors, offsets)
    queries = queries_near(vectors, 10)
    for selection in (Selection.all(600), Selection.from_mask(np.arange(600) % 3 == 0)):
        parameters = GraphParameters(TWO_HOP, 40, 20)
        a = path.search(queries, selection, 5, parameters, NO_BUDGET)
        b = again.search(queries, selection, 5, parameters, NO_BUDGET)
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.distances, b.distances)
    assert path.nbytes == path.links.nbytes + path.entries.nbytes
    assert not path.links.flags.writeable


def changed(array: Array, place: tuple[int, ...] | int, value: int) -> Array:
    copy = array.copy()
    copy[place] = value
    return copy


def test_damaged_arrays_are_refused() -> None:
    vectors, offsets = clustered(300, 8, 5)
    path = graph_of(vectors, offsets)
    links, entries = path.links, path.entries
    for wrong in (300, -2, 2**31 - 1, -(2**31)):
        for place in ((0, 0), (299, 47), (150, 31)):
            with pytest.raises(CorruptIndexError, match=f"row {place[0]} links"):
                load(path, vectors, offsets, links=changed(links, place, wrong))
        with pytest.raises(CorruptIndexError, match="outside its cluster"):
            load(path, vectors, offsets, entries=changed(entries, 0, wrong))
    for bad in (links[:-1], links.astype(np.int64), links[0], links[:, :1]):
        with pytest.raises(CorruptIndexError, match="graph/links"):
            load(path, vectors, offsets, links=bad)
    for bad in (entries[:-1], entries.astype(np.int64)):
        with pytest.raises(CorruptIndexError, match="graph/entries"):
            load(path, vectors, offsets, entries=bad)
