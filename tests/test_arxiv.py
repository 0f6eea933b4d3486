"""Recall on real abstracts with title queries: every filter kind, all rows to one in 10,000."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.checking import recall_of
from fanns.datasets.dataset import vectors as vectors_of

K = 10
TARGET = 0.95


class Cell(NamedTuple):
    """One kind of filter at one width: a filter and parameters per query."""

    name: str
    where: Any
    params: list[dict[str, Any]] | None


def own(queries: pa.Table) -> list[str]:
    return [str(name) for name in queries["primary_category"].to_pylist()]


def cells(table: pa.Table, queries: pa.Table, rng: np.random.Generator) -> list[Cell]:
    """Filters related to the query (its own category) and unrelated ones."""
    m, n = len(queries), len(table)
    names = own(queries)
    lists = queries["categories"].to_pylist()
    drawn = [str(table["primary_category"][int(i)]) for i in rng.integers(0, n, m)]
    days = np.sort(np.asarray(table["submitted_date"].cast(pa.int32())))
    out = [
        Cell("none", None, None),
        Cell("own category", "primary_category = :c", [{"c": c} for c in names]),
        Cell("random category", "primary_category = :c", [{"c": c} for c in drawn]),
        Cell("not own category", "primary_category != :c", [{"c": c} for c in names]),
        Cell(
            "IN three",
            "primary_category IN :cs",
            [
                {"cs": [a, b, c]}
                for a, b, c in zip(names, drawn, drawn[1:] + drawn[:1], strict=True)
            ],
        ),
        Cell("contains own", "list_contains(categories, :c)", [{"c": c} for c in names]),
        Cell("has any", "list_has_any(categories, :cs)", [{"cs": c} for c in lists]),
        Cell("has all", "list_has_all(categories, :cs)", [{"cs": c} for c in lists]),
        Cell("archive prefix", "primary_category LIKE :p", [{"p": c[:4] + "%"} for c in names]),
        Cell("other archives", "primary_category NOT LIKE :p", [{"p": c[:4] + "%"} for c in names]),
        Cell("is null", "updated_date IS NULL", None),
        Cell("two authors", "len(authors) = 2", None),
        Cell(
            "unrelated half", "primary_category LIKE 'math%' OR primary_category LIKE 'cs%'", None
        ),
    ]
    for share in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001):
        width = max(int(share * n), 1)
        starts = rng.integers(0, n - width + 1, m)
        ranges = [{"a": _day(days[s]), "b": _day(days[s + width - 1])} for s in starts]
        out.append(Cell(f"dates {share:g}", "submitted_date BETWEEN :a AND :b", ranges))
        out.append(Cell(f"random {share:g}", rng.random(n) < share, None))
        if share >= 0.05:
            both = [{**bounds, "c": c} for bounds, c in zip(ranges, names, strict=True)]
            where = "submitted_date BETWEEN :a AND :b AND primary_category = :c"
            out.append(Cell(f"dates {share:g} and own category", where, both))
            where = "submitted_date BETWEEN :a AND :b OR primary_category = :c"
            out.append(Cell(f"dates {share:g} or own category", where, both))
    return out


def _day(number: int) -> Any:
    return np.datetime64(int(number), "D").astype(object)


def shortfall(index: fanns.Index, vectors: np.ndarray, cell: Cell) -> tuple[float, float, float]:
    """Mean recall, mean share of rows passing and share of exact answers over a cell's queries."""
    recalls, passing, exact = [], [], []
    for i, query in enumerate(vectors):
        params = cell.params[i] if cell.params else None
        ready = index.prepare(cell.where).bind(**(params or {}))
        found = index.search(query, K, ready, recall=TARGET)
        assert len(found) == min(K, found.matches)
        passing.append(found.matches / len(index))
        if found.matches:
            exact.append(found.status == "exact")
            truth = index.search(query, K, ready, exact=True)
            recalls.append(recall_of(found.distances, truth.distances))
    return float(np.mean(recalls or [1.0])), float(np.mean(passing)), float(np.mean(exact or [1.0]))


def assert_recall(
    table: pa.Table, queries: pa.Table, tested: int, allowed: float, given: bool
) -> None:
    vectors = vectors_of(queries)
    rng = np.random.default_rng(0)
    sample, held = vectors[:500], vectors[500 : 500 + tested]
    columns = ["primary_category", "categories", "authors", "submitted_date", "updated_date"]
    index = fanns.Index.build(
        table.select(["id", "embedding", *columns]), queries=sample if given else None
    )
    failures = []
    for cell in cells(table, queries.slice(500, tested), rng):
        recall, share, exact = shortfall(index, held, cell)
        print(f"{cell.name:28} s={share:8.4%} recall={recall:.4f} exact={exact:.2f}")
        if recall < TARGET - allowed:
            failures.append(f"{cell.name} (s={share:.4%}): {recall:.4f}")
    assert not failures, failures


def test_recall_reaches_its_target_on_a_sample(
    arxiv_sample: pa.Table, arxiv_queries: pa.Table
) -> None:
    assert_recall(arxiv_sample, arxiv_queries, 60, 0.01, given=True)


@pytest.mark.slow
def test_recall_reaches_its_target_with_sample_queries(
    arxiv_table: pa.Table, arxiv_queries: pa.Table
) -> None:
    assert_recall(arxiv_table, arxiv_queries, 300, 0.0, given=True)


@pytest.mark.slow
def test_recall_without_sample_queries_misses_by_little(
    arxiv_table: pa.Table, arxiv_queries: pa.Table
) -> None:
    assert_recall(arxiv_table, arxiv_queries, 300, 0.02, given=False)
