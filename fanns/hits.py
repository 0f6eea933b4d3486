"""What a search returns: rows with distances, and what the answer is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

import numpy as np
import pyarrow as pa

from fanns.errors import MissingDependencyError

if TYPE_CHECKING:
    from fanns.explanation import Explanation

STATUSES = ("exact", "approximate", "incomplete")


class Hit(NamedTuple):
    """One row of an answer."""

    id: int | str
    distance: float
    score: float


class RowSource(Protocol):
    """Where hits read attribute values from: the index as it was when the search ran."""

    def ids_at(self, segments: np.ndarray, rows: np.ndarray) -> np.ndarray | list[str]:
        """The ids of rows: int64[m] or a list of m strings."""

    def columns_at(self, segments: np.ndarray, rows: np.ndarray, names: Sequence[str]) -> pa.Table:
        """The named columns of rows given by segment number and row number, in order."""


def score_of(metric: str, distances: np.ndarray) -> np.ndarray:
    """Larger-is-better scores: cosine `1 - d`, ip `-d` (the inner product), else `1 / (1 + d)`."""
    if metric == "cosine":
        return 1.0 - distances
    if metric == "ip":
        return -distances
    return 1.0 / (1.0 + distances)


class Hits:
    """The answer to one query, nearest first, never padded.

    Attributes:
        status: "exact" (every passing row was compared in full precision, or a bound proves that
            no other can enter), "approximate" (aimed at the recall target) or "incomplete" (a
            time or work limit ended the search).
        matches: the exact number of rows that pass the filter.
        metric: "cosine", "l2" or "ip", or what the transforms of the index are for.
    """

    __slots__ = (
        "_distances",
        "_explanation",
        "_ids",
        "_rows",
        "_segments",
        "_source",
        "_work",
        "matches",
        "metric",
        "prefetched",
        "status",
    )

    _ids: np.ndarray | list[str] | None
    _source: RowSource
    matches: int
    metric: str
    prefetched: tuple[str, ...]
    status: str

    def __init__(
        self,
        distances: np.ndarray,
        status: str,
        matches: int,
        metric: str,
        work: np.ndarray,
        place: tuple[RowSource, np.ndarray, np.ndarray],
        explanation: Callable[[], Explanation],
    ) -> None:
        self._ids = None
        self._distances = distances
        self.status = status
        self.matches = matches
        self.metric = metric
        self._work = work
        self._source, self._segments, self._rows = place
        self._explanation = explanation
        self.prefetched = ()

    @property
    def distances(self) -> np.ndarray:
        """float64[m]; smaller is nearer: l2 Euclidean, cosine `1 - cos`, ip `-<q, x>`."""
        return self._distances

    @property
    def work(self) -> np.ndarray:
        """int64[4]: codes compared, full-precision distances, predicate checks, graph hops."""
        return self._work

    def _place(self) -> tuple[np.ndarray, np.ndarray]:
        """Segment numbers and rows, int32[m]."""
        return self._segments, self._rows

    @property
    def ids(self) -> Any:
        """The keys, nearest first: int64[m], or a list of m strings. Read when first asked for."""
        if self._ids is None:
            self._ids = self._source.ids_at(*self._place())
        return self._ids

    @property
    def scores(self) -> np.ndarray:
        """float64[m], larger is better: cosine `1 - d`, ip `-d`, others `1 / (1 + d)`."""
        return score_of(self.metric, self.distances)

    def __len__(self) -> int:
        return len(self.distances)

    def __iter__(self) -> Iterator[Hit]:
        ids = self.ids if isinstance(self.ids, list) else self.ids.tolist()
        for key, distance, score in zip(
            ids, self.distances.tolist(), self.scores.tolist(), strict=True
        ):
            yield Hit(key, distance, score)

    def __getitem__(self, i: int) -> Hit:
        key = self.ids[i]
        key = key if isinstance(key, str) else int(key)
        return Hit(key, float(self.distances[i]), float(self.scores[i]))

    def places(self) -> list[tuple[int, int]]:
        """Where each hit stands: (segment, row)."""
        segments, rows = self._place()
        return list(zip(segments.tolist(), rows.tolist(), strict=True))

    def subset(self, kept: Sequence[int]) -> Hits:
        """These hits alone, in this order."""
        at = np.asarray(kept, np.int64)
        segments, rows = self._place()
        place = (self._source, segments[at], rows[at])
        made = Hits(
            self.distances[at],
            self.status,
            self.matches,
            self.metric,
            self.work,
            place,
            self.explain,
        )
        made.prefetched = self.prefetched
        return made

    def restated(
        self,
        distances: np.ndarray,
        metric: str,
        status: str,
        explanation: Callable[[], Explanation],
    ) -> Hits:
        """The same rows with distances of another metric, float64[m]."""
        place = (self._source, *self._place())
        made = Hits(distances, status, self.matches, metric, self.work, place, explanation)
        made.prefetched = self.prefetched
        return made

    def columns(self, names: Sequence[str]) -> pa.Table:
        """The named attribute or stored columns of the hits, in order.

        Raises:
            UnknownColumnError: the index has no such column.
        """
        return self._source.columns_at(*self._place(), list(names))

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """`id`, `distance`, `score` and the named columns (default: those asked of the search)."""
        names = list(self.prefetched if columns is None else columns)
        kind = pa.string() if isinstance(self.ids, list) else pa.int64()
        table = pa.table(
            {
                "id": pa.array(self.ids, kind),
                "distance": pa.array(self.distances, pa.float64()),
                "score": pa.array(self.scores, pa.float64()),
            }
        )
        if names:
            extra = self.columns(names)
            for name in names:
                label = name if name not in table.column_names else f"{name}_"
                table = table.append_column(label, extra.column(name))
        note = {"metric": self.metric, "status": self.status, "matches": str(self.matches)}
        return table.replace_schema_metadata({f"fanns.{key}": text for key, text in note.items()})

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """The same as a pandas frame; needs pandas."""
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("to_pandas() needs pandas: pip install pandas") from error
        return self.to_arrow(columns).to_pandas()

    def to_polars(self, columns: Sequence[str] | None = None) -> Any:
        """The same as a polars frame; needs polars."""
        try:
            import polars
        except ImportError as error:
            raise MissingDependencyError("to_polars() needs polars: pip install polars") from error
        return polars.from_arrow(self.to_arrow(columns))

    def explain(self) -> Explanation:
        """The plan that ran, what it predicted and what it did."""
        return self._explanation()

    def __repr__(self) -> str:
        head = f"<Hits: {len(self)} of {self.matches:,} matches, {self.status}, {self.metric}>"
        lines = [f"  {hit.id!s:<24} {hit.distance:.6f}" for hit in list(self)[:10]]
        if len(self) > 10:
            lines.append(f"  ... {len(self) - 10} more")
        return "\n".join([head, *lines])


class BatchHits(Sequence[Hits]):
    """The answers to many queries: a sequence of `Hits`, with their rows end to end (CSR).

    Attributes:
        offsets: int64[queries + 1]; the hits of query i are flat rows `offsets[i]:offsets[i+1]`.
    """

    def __init__(self, parts: list[Hits]) -> None:
        self._parts = parts
        self.offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=self.offsets[1:])

    def _hits(self, i: int) -> Hits:
        """The hits of query i, 0 <= i < m."""
        return self._parts[i]

    @property
    def ids(self) -> Any:
        """All ids end to end: int64[...] or a list of strings."""
        parts = [part.ids for part in self]
        if parts and isinstance(parts[0], list):
            return [key for part in parts for key in part]
        return np.concatenate(parts or [np.zeros(0, np.int64)])

    @property
    def distances(self) -> np.ndarray:
        """All distances end to end, float64[...]."""
        return np.concatenate([part.distances for part in self] or [np.zeros(0)])

    @property
    def statuses(self) -> list[str]:
        """The status of each query."""
        return [part.status for part in self]

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, i: int) -> Hits: ...
    @overload
    def __getitem__(self, i: slice) -> list[Hits]: ...
    def __getitem__(self, i: int | slice) -> Hits | list[Hits]:
        if isinstance(i, slice):
            return [self._hits(place) for place in range(len(self))[i]]
        return self._hits(range(len(self))[i])

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All hits as one table with the query's number in `query`."""
        tables = []
        for number, part in enumerate(self):
            table = part.to_arrow(columns)
            query = pa.array(np.full(len(part), number, np.int64))
            tables.append(table.add_column(0, "query", query).replace_schema_metadata(None))
        if not tables:
            return pa.table({"query": pa.array([], pa.int64())})
        return pa.concat_tables(tables)

    def __repr__(self) -> str:
        counts = {status: self.statuses.count(status) for status in STATUSES}
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        return f"<BatchHits: {len(self)} queries, {int(self.offsets[-1])} hits; {told}>"


class LazyBatch(BatchHits):
    """See `BatchHits`; the hits of a query are made when they are first asked for.

    `sizes` int64[m] tells how many there are; `make` gives the hits of a query.
    """

    def __init__(self, sizes: np.ndarray, make: Callable[[int], Hits]) -> None:
        self._make = make
        self._made: dict[int, Hits] = {}
        self.offsets = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=self.offsets[1:])

    def _hits(self, i: int) -> Hits:
        made = self._made.get(i)
        if made is None:
            made = self._made.setdefault(i, self._make(i))
        return made

    def __len__(self) -> int:
        return len(self.offsets) - 1
