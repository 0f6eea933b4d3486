"""The queries and filters of the comparison, and what exact search says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

BUCKETS = (10, 50, 100)
Rows = NDArray[np.int64]


class Postings:
    """What a user of faiss keeps beside it to filter: the rows of each value, dates in order."""

    def __init__(self, table: pa.Table) -> None:
        self.values: dict[tuple[str, Any], Rows] = {}
        for count in BUCKETS:
            self._add(f"bucket{count}", table[f"bucket{count}"].to_numpy(), np.arange(len(table)))
        lists = table["categories"].combine_chunks()
        parents = pc.list_parent_indices(lists).to_numpy()
        self._add("category", np.asarray(lists.flatten().to_pylist(), dtype=object), parents)
        self.days = table["submitted_date"].cast(pa.int32()).to_numpy()
        self.by_day = np.argsort(self.days, kind="stable")
        self.sorted_days = self.days[self.by_day]

    def _add(self, column: str, values: NDArray[Any], rows: Rows) -> None:
        names, codes = np.unique(values, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        for number, name in enumerate(names.tolist()):
            part = rows[order[bounds[number] : bounds[number + 1]]]
            self.values[column, name] = np.unique(part).astype(np.int64)

    def rows(self, condition: Condition) -> Rows:
        """The passing rows, int64, of a condition that is not empty."""
        if condition.value is None:
            assert condition.days is not None
            low = np.searchsorted(self.sorted_days, condition.days[0], side="left")
            high = np.searchsorted(self.sorted_days, condition.days[1], side="right")
            return self.by_day[low:high]
        rows = self.values[condition.value]
        if condition.days is None:
            return rows
        days = self.days[rows]
        kept: Rows = rows[(days >= condition.days[0]) & (days <= condition.days[1])]
        return kept


@dataclass(frozen=True, slots=True)
class Condition:
    """A query's filter as the peers read it: one value of a column, a range of days, or both."""

    value: tuple[str, Any] | None = None
    days: tuple[int, int] | None = None

    @property
    def empty(self) -> bool:
        return self.value is None and self.days is None


@dataclass(slots=True)
class Cell:
    """One kind of filter: a constant text, and for each query its parameters.

    Attributes:
        params: one dict per query for fanns; conditions: the same for the peers.
        bounds: float64[m], the largest inner product distance that counts as found.
        matches: int64[m], passing rows.
    """

    name: str
    where: str | None
    params: list[dict[str, Any]]
    conditions: list[Condition]
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    matches: Rows = field(default_factory=lambda: np.empty(0, np.int64))


def load(folder: Path, rows: int, queries: int) -> tuple[pa.Table, pa.Table]:
    """Papers with random bucket columns, and queries; the records' own ids are kept as text."""
    files = sorted(folder.glob("papers-*.parquet"))
    if not files:
        raise FileNotFoundError(f"no papers-*.parquet in {folder}")
    table = pa.concat_tables([pq.read_table(file) for file in files]).slice(0, rows)
    table = table.rename_columns([n if n != "id" else "paper" for n in table.column_names])
    rng = np.random.default_rng(1)
    for count in BUCKETS:
        values = rng.permutation(len(table)).astype(np.int32) % count
        table = table.append_column(f"bucket{count}", pa.array(values))
    return table, pq.read_table(folder / "queries.parquet").slice(0, queries)


def matrix(table: pa.Table) -> NDArray[np.float32]:
    """The embeddings, float32[n, d]."""
    column = table["embedding"].combine_chunks()
    flat = column.flatten().to_numpy().reshape(len(table), -1)
    return np.ascontiguousarray(flat, dtype=np.float32)


def make_cells(table: pa.Table, queries: pa.Table) -> list[Cell]:
    """The cells of the comparison; every query has parameters of its own, from one seed."""
    rng = np.random.default_rng(2)
    m = len(queries)
    days = np.sort(table["submitted_date"].cast(pa.int32()).to_numpy())
    own = queries["primary_category"].to_pylist()
    known = set(pc.list_flatten(table["categories"]).unique().to_pylist())
    own = [name if name in known else "hep-ph" for name in own]
    primary = table["primary_category"].to_pylist()
    other = [primary[i] for i in rng.integers(0, len(table), m)]

    def window(share: float) -> Callable[[int], tuple[int, int]]:
        width = max(1, int(len(days) * share))
        starts = rng.integers(0, len(days) - width, m)
        return lambda i: (int(days[starts[i]]), int(days[starts[i] + width - 1]))

    cells = [Cell("unfiltered", None, [{} for _ in range(m)], [Condition() for _ in range(m)])]
    for count in BUCKETS:
        values = rng.integers(0, count, m).tolist()
        cells.append(_bucket_cell(count, values))
    cells.append(_cell("own category", m, category=own))
    cells.append(_cell("random category", m, category=other))
    cells.append(_cell("date 10 %", m, days=window(0.10)))
    cells.append(_cell("date 1 %", m, days=window(0.01)))
    cells.append(_cell("category and date", m, category=own, days=window(0.10)))
    return cells


def _bucket_cell(count: int, values: Sequence[int]) -> Cell:
    column = f"bucket{count}"
    return Cell(
        f"random {100 // count} %",
        f"{column} = :value",
        [{"value": value} for value in values],
        [Condition((column, value)) for value in values],
    )


def _cell(
    name: str,
    m: int,
    category: Sequence[str] | None = None,
    days: Callable[[int], tuple[int, int]] | None = None,
) -> Cell:
    clauses = []
    params: list[dict[str, Any]] = [{} for _ in range(m)]
    ranges = [None if days is None else days(i) for i in range(m)]
    if category is not None:
        clauses.append("list_contains(categories, :category)")
        for i in range(m):
            params[i]["category"] = category[i]
    if days is not None:
        clauses.append("submitted_date BETWEEN :first AND :last")
        for i, span in enumerate(ranges):
            assert span is not None
            first, last = (np.datetime64(day, "D").item() for day in span)
            params[i] |= {"first": first, "last": last}
    conditions = [
        Condition(None if category is None else ("category", category[i]), ranges[i])
        for i in range(m)
    ]
    return Cell(name, " AND ".join(clauses), params, conditions)


def add_truth(
    cells: Sequence[Cell],
    postings: Postings,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
) -> None:
    """Fills bounds and matches by brute force in float64; ties with the k-th row count as found."""
    wide = vectors.astype(np.float64)
    for cell in cells:
        cell.bounds = np.empty(len(queries))
        cell.matches = np.empty(len(queries), np.int64)
    for i, query in enumerate(queries.astype(np.float64)):
        distances = -(wide @ query)
        for cell in cells:
            condition = cell.conditions[i]
            passing = distances if condition.empty else distances[postings.rows(condition)]
            last = min(k, len(passing))
            cell.matches[i] = len(passing)
            cell.bounds[i] = np.partition(passing, last - 1)[last - 1] if last else -np.inf


def recall(
    rows: Rows,
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    bound: float,
    wanted: int,
) -> float:
    """The share of the nearest passing rows that were found, admitting ties; 1 if none pass."""
    if wanted == 0:
        return 1.0
    rows = np.unique(rows[rows >= 0])
    distances = -(vectors[rows].astype(np.float64) @ query.astype(np.float64))
    return min(wanted, int((distances <= bound + 1e-9).sum())) / wanted
