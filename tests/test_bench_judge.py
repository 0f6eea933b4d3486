from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fanns.bench.running.judge import Judge, Rows, Verdict, paired_distances
from fanns.bench.workloads.workload import Cell, Workload, load
from fanns.datasets.exact import distances
from fanns.errors import InputError
from tests.bench_fakes import make_workload

K = 10


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return load(make_workload(tmp_path_factory.mktemp("workload")))


def cell(workload: Workload, name: str) -> Cell:
    return next(one for one in workload.cells if one.name == name)


def truth(workload: Workload, query: int, k: int = K) -> Rows:
    start, end = workload.truth_offsets[query : query + 2]
    return np.asarray(workload.truth_rows[start : min(end, start + k)])


def judged(
    workload: Workload, name: str, change: Callable[[Rows], Rows] = lambda answer: answer
) -> Verdict:
    """The verdict on true answers, changed by a function of one answer."""
    judge = Judge(workload, K)
    judge.enter(cell(workload, name))
    queries = cell(workload, name).measure
    answers = [change(truth(workload, query)) for query in queries]
    offsets = np.cumsum([0, *(len(answer) for answer in answers)])
    return judge.judge(queries, np.concatenate(answers).astype(np.int64), offsets)


@pytest.mark.parametrize("name", ["all", "colour"])
def test_true_answers_are_found_right(workload: Workload, name: str) -> None:
    found = judged(workload, name)
    assert np.all(found.recall == 1.0)
    assert not found.violations.any()
    assert not found.invalid.any()
    assert np.array_equal(found.returned, found.wanted)
    if name == "colour":
        assert {0, 3, K} <= set(found.wanted.tolist())


def test_rows_that_fail_the_filter_count_for_nothing(workload: Workload) -> None:
    found = judged(workload, "colour", lambda answer: (answer + 1) % len(workload.vectors))
    some = found.wanted > 0
    assert found.violations[some].mean() > 0.5 * K
    assert found.recall[some].mean() < 0.3
    assert np.all(found.recall[~some] == 1.0)


def test_what_is_no_row_number_is_invalid(workload: Workload) -> None:
    def change(answer: Rows) -> Rows:
        changed = answer.copy()
        changed[0], changed[1], changed[3] = -1, 10**9, changed[2]
        return changed

    found = judged(workload, "all", change)
    assert np.all(found.invalid == 3)
    assert np.all(found.recall == 0.7)
    assert np.all(found.returned == K)


def test_rows_past_k_do_not_help(workload: Workload) -> None:
    everything = np.arange(len(workload.vectors))
    found = judged(workload, "all", lambda answer: everything)
    assert np.all(found.invalid == len(everything) - K)
    assert found.recall.mean() < 0.3


def test_short_answers_are_judged_by_what_was_wanted(workload: Workload) -> None:
    found = judged(workload, "all", lambda answer: answer[:4])
    assert np.all(found.recall == 0.4)
    assert np.all(found.returned == 4)
    assert np.all(found.wanted == K)


def test_a_row_as_near_as_the_last_true_one_will_do(workload: Workload) -> None:
    judge = Judge(workload, K)
    judge.enter(cell(workload, "all"))
    query = cell(workload, "all").measure[:1]
    eleventh = truth(workload, int(query[0]), K + 1)
    shifted = judge.judge(query, eleventh[1:], np.array([0, K]))
    assert shifted.recall[0] == 0.9
    known = workload.truth_distances.copy()
    last = workload.truth_offsets[query[0]] + K - 1
    known[last] = known[last + 1] - 5e-7
    lenient = Judge(replace(workload, truth_distances=known), K)
    lenient.enter(cell(workload, "all"))
    assert lenient.judge(query, eleventh[1:], np.array([0, K])).recall[0] == 1.0


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_distances_are_the_oracles(metric: str) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(20, 7)).astype(np.float32)
    queries = random.normal(size=(20, 7)).astype(np.float32)
    expected = [distances(v[None], q, metric)[0] for v, q in zip(vectors, queries, strict=True)]
    assert paired_distances(vectors, queries, metric) == pytest.approx(expected, rel=1e-12)


def test_more_neighbours_than_are_known_are_refused(workload: Workload) -> None:
    with pytest.raises(InputError, match="knows 20 neighbours"):
        Judge(workload, 21)
