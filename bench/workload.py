"""The queries and filters of the comparison, and what exact search says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

BUCKETS = 100  # values of the random column, each on 1 % of the rows
ORDERED = ("bucket", "submitted_date")
SHARES = (10, 2, 1)  # per cent that pass its filters
Rows = NDArray[np.int64]


class Postings:
    """What a user of faiss keeps beside it to filter: the rows of each value, and rows in order."""

    def __init__(self, table: pa.Table) -> None:
        lists = table["categories"].combine_chunks()
        parents = pc.list_parent_indices(lists).to_numpy()
        names, codes = np.unique(lists.flatten().to_pylist(), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        self.categories: dict[str, Rows] = {
            name: np.unique(parents[order[bounds[i] : bounds[i + 1]]]).astype(np.int64)
            for i, name in enumerate(names.tolist())
        }
        self.columns = {name: table[name].cast(pa.int32()).to_numpy() for name in ORDERED}
        self.orders = {name: np.argsort(v, kind="stable") for name, v in self.columns.items()}
        self.sorted = {name: v[self.orders[name]] for name, v in self.columns.items()}

    def rows(self, condition: Condition) -> Rows:
        """The passing rows, int64, of a condition that is not empty."""
        if condition.category is None:
            assert condition.span is not None
            name, first, last = condition.span
            low = np.searchsorted(self.sorted[name], first, side="left")
            high = np.searchsorted(self.sorted[name], last, side="right")
            return self.orders[name][low:high]
        rows = self.categories[condition.category]
        if condition.span is None:
            return rows
        name, first, last = condition.span
        values = self.columns[name][rows]
        kept: Rows = rows[(values >= first) & (values <= last)]
        return kept


@dataclass(frozen=True, slots=True)
class Condition:
    """A query's filter as the peers read it: a category, a range (column, first, last), or both."""

    category: str | None = None
    span: tuple[str, int, int] | None = None

    @property
    def empty(self) -> bool:
        return self.category is None and self.span is None


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
    """Papers with a random column `bucket`, and queries. Ids are row numbers, for all engines."""
    files = sorted(folder.glob("papers-*.parquet"))
    if not files:
        raise FileNotFoundError(f"no papers-*.parquet in {folder}")
    table = pa.concat_tables([pq.read_table(file) for file in files]).slice(0, rows)
    values = np.random.default_rng(1).permutation(len(table)).astype(np.int32) % BUCKETS
    table = table.drop_columns("id").append_column("bucket", pa.array(values))
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

    def window(share: float) -> list[tuple[str, int, int]]:
        width = max(1, int(len(days) * share))
        starts = rng.integers(0, len(days) - width, m)
        return [("submitted_date", int(days[i]), int(days[i + width - 1])) for i in starts]

    def buckets(share: int) -> list[tuple[str, int, int]]:
        starts = rng.integers(0, BUCKETS - share + 1, m).tolist()
        return [("bucket", start, start + share - 1) for start in starts]

    cells = [Cell("unfiltered", None, [{} for _ in range(m)], [Condition() for _ in range(m)])]
    cells += [_cell(f"random {share} %", m, spans=buckets(share)) for share in SHARES]
    cells.append(_cell("own category", m, categories=own))
    cells.append(_cell("random category", m, categories=other))
    cells.append(_cell("date 10 %", m, spans=window(0.10)))
    cells.append(_cell("date 1 %", m, spans=window(0.01)))
    cells.append(_cell("category and date", m, categories=own, spans=window(0.10)))
    return cells


def _cell(
    name: str,
    m: int,
    categories: Sequence[str] | None = None,
    spans: Sequence[tuple[str, int, int]] | None = None,
) -> Cell:
    clauses = []
    params: list[dict[str, Any]] = [{} for _ in range(m)]
    if categories is not None:
        clauses.append("list_contains(categories, :category)")
        for i in range(m):
            params[i]["category"] = categories[i]
    if spans is not None:
        column = spans[0][0]
        clauses.append(f"{column} BETWEEN :first AND :last")
        for i, (_, first, last) in enumerate(spans):
            params[i] |= {"first": _value(column, first), "last": _value(column, last)}
    conditions = [
        Condition(
            None if categories is None else categories[i], None if spans is None else spans[i]
        )
        for i in range(m)
    ]
    return Cell(name, " AND ".join(clauses), params, conditions)


def _value(column: str, value: int) -> Any:
    """What a user would pass: a date for a column of dates."""
    return value if column == "bucket" else np.datetime64(value, "D").item()


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
