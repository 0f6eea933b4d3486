"""The index: what users hold. Wiring only; the work is done by the modules that it imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fanns import listing, transformed
from fanns.advising import Advice, advise
from fanns.arguments import check_limit, check_names
from fanns.checking import CheckReport, check_recall
from fanns.errors import InputError, UnknownColumnError, UnknownIdError
from fanns.execution import Answer, Options, answer
from fanns.explanation import Explanation
from fanns.hits import BatchHits, Hits
from fanns.keeping import Kept
from fanns.planner import PATHS
from fanns.prepared import Prepared, Snapshot, prepare
from fanns.quick_batch import answer_batch
from fanns.requests import Note, check_search, filters_of, grouped
from fanns.schema import Schema
from fanns.transforms import Transforms
from fanns.tuning import TuneReport, tune
from fanns.vectors import accept_queries

if TYPE_CHECKING:
    from fanns.device.answers import DeviceAnswers

Progress = Callable[[str, int, int], None]
PLAIN = (0, 1)  # no offset, groups of one


class Index(Kept):
    """Vectors with typed attributes, searched under any filter.

    Made by `Index.build`, `fanns.open`; safe for searches from many threads.

    Attributes:
        metric: "cosine", "l2" or "ip", or that of a transform. dimensions: length of a vector as it
        is given. schema: column types by name. model: name of the text encoder the vectors came
        from, or None. transforms: what vectors go through before they are held, false for none.
    """

    def search(
        self,
        q: Any,
        k: int = 10,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        recall: float = 0.95,
        exact: bool = False,
        radius: float | None = None,
        offset: int = 0,
        nulls: str | None = None,
        columns: Sequence[str] = (),
        group_by: str | None = None,
        group_size: int = 1,
        threads: int = 1,
        timeout: float | None = None,
        max_work: int | None = None,
        plan: str | None = None,
    ) -> Any:
        """The k nearest passing rows of one query or of many.

        Args:
            q: float32[d], or float32[m, d] for m queries.
            k: rows wanted; exactly min(k, matches) come back.
            where: a filter in any spelling; for m queries also a list of m filters.
            params: values of the filter's `:parameters`; `fanns.each([...])` gives each query of
                a batch its own.
            recall: the share of the true k nearest to aim at, in (0, 1]; 1 means exact.
            exact: compare every passing row in full precision.
            radius: only rows at most this far, inclusive.
            offset: leave out the first rows of the answer.
            nulls: "sql" (three-valued) or "python" (`!=` keeps missing values).
            columns: to fetch with the hits.
            group_by: an attribute; at most `group_size` rows of each value, k groups.
            threads: over the queries of a batch.
            timeout: seconds; max_work: distances. Either may end the search `incomplete`.
            plan: "scan", "clusters", "graph" or "keys" (product keys of a native store), for
                experts; where there is none of it, the scan.

        Returns:
            `Hits` for one query, `BatchHits` for many.

        Raises:
            InputError: a query or argument that cannot be used. FilterError: the filter.
        """
        if self._held is not None:
            asked = {"k": k, "where": where, "params": params, "recall": recall, "exact": exact}
            asked |= {"offset": offset, "nulls": nulls, "columns": columns, "group_by": group_by}
            asked |= {"group_size": group_size, "threads": threads, "timeout": timeout}
            asked |= {"max_work": max_work, "plan": plan}
            return transformed.search(self._held, self._recipe.transforms, q, radius, asked)
        plain = (
            radius is None
            and nulls is None
            and group_by is None
            and timeout is None
            and max_work is None
            and (plan is None or plan in PATHS)
            and not exact
            and not columns
            and (offset, group_size) == PLAIN
        )
        quick = self._quick if plain and self._device is None else None
        if quick is not None and threads == 1:
            answered = quick.search(q, k, where, params, recall, plan)
            if answered is not None:
                return answered
        options = Options(recall, bool(exact), plan, timeout, max_work, threads)
        check_search(k, offset, options, group_size, radius, params)
        if recall >= 0.9995:
            options = options._replace(exact=True)
        queries = accept_queries(q, self.dimensions, self._metric)
        single = np.ndim(q) == 1
        if group_by is not None:
            found = [
                listing.grouped(self, query, k, where, params, nulls, group_by, group_size, options)
                for query in queries
            ]
            return found[0] if single else BatchHits(found)
        if quick is not None and not single and not options.exact:
            batch = answer_batch(quick, queries, k, where, params, options)
            if batch is not None:
                return batch
        names = self._known(columns)
        parts = self._answers(queries, single, k + offset, where, params, nulls, options)

        def hits(place: int) -> Hits:
            query, part, note = parts[place]
            return self._hits(part, offset, radius, names, note, query)

        if single:
            return hits(0)
        if radius is None and not isinstance(parts, list):
            return parts.batch(offset, self._source, hits)
        return BatchHits([hits(place) for place in range(len(queries))])

    def _answers(
        self,
        queries: np.ndarray,
        single: bool,
        k: int,
        where: Any,
        params: Mapping[str, Any] | None,
        nulls: str | None,
        options: Options,
    ) -> list[tuple[int, Answer, Note]] | DeviceAnswers:
        snapshot, device, told = self._snapshot, self._device, None
        k = min(k, snapshot.rows)
        each = filters_of(where, params, single, len(queries))
        if device is not None:
            groups = [((where, params), range(len(queries)))] if each is None else grouped(each)
            shared = [prepare(snapshot, *filter_, nulls) for filter_, _ in groups]
            owners = np.empty(len(queries), np.int32)
            for number, (_, members) in enumerate(groups):
                owners[members] = number
            told = device.left_to_cpu(snapshot, shared, owners, k, options)
            if told is None:
                found: DeviceAnswers = device.search(snapshot, shared, owners, queries, k, options)
                return found
            filters = shared if each is None else [shared[number] for number in owners.tolist()]
        else:
            asked = [(where, params)] if each is None else each
            filters = [prepare(snapshot, filter_, bound, nulls) for filter_, bound in asked]
        if each is None:
            return self._answer_all(snapshot, queries, k, filters[0], options, told)
        out = []
        for query, ready in zip(queries, filters, strict=True):
            out += self._answer_all(snapshot, query[None], k, ready, options, told)
        return out

    def _answer_all(
        self,
        snapshot: Snapshot,
        queries: np.ndarray,
        k: int,
        ready: Prepared,
        options: Options,
        told: str | None = None,
    ) -> list[tuple[int, Answer, Note]]:
        begun = perf_counter_ns()
        selections = ready.selections()
        filtered = perf_counter_ns()
        answers, traces = answer(snapshot.segments, selections, queries, k, options)
        note = Note(
            snapshot,
            ready,
            k,
            options,
            filtered - begun,
            perf_counter_ns() - filtered,
            traces,
            told,
        )
        return [(query, part, note) for query, part in enumerate(answers)]

    def _hits(
        self,
        found: Answer,
        offset: int,
        radius: float | None,
        names: Sequence[str],
        note: Note,
        query: int,
    ) -> Hits:
        if radius is not None:
            stop = int(np.searchsorted(found.distances, radius, side="right"))
            found = found.part(0, stop)
        if offset:
            found = found.part(offset, len(found.rows))
        hits = note.hits(found, query, self.metric, self._source(note.snapshot))
        hits.prefetched = tuple(names)
        return hits

    def _source(self, snapshot: Snapshot) -> listing.Columns:
        return listing.Columns(snapshot, self._recipe.id_name)

    def _known(self, columns: Sequence[str] | None) -> Sequence[str]:
        if not columns:
            return ()
        check_names("columns", columns)
        for name in columns:
            if name not in self.schema and name != self._recipe.id_name:
                raise UnknownColumnError(
                    f"no column {name!r}; the index has {', '.join(self.schema) or 'none'}"
                )
        return tuple(columns)

    def explain(self, q: Any, k: int = 10, where: Any = None, **options: Any) -> Explanation:
        """Run one query and tell its plan, the plans that lost, predictions and actual work."""
        hits = self.search(q, k, where, **options)
        if isinstance(hits, BatchHits):
            raise InputError("explain takes one query, float32[d]")
        told: Explanation = hits.explain()
        return told

    def prepare(self, where: Any, *, nulls: str | None = None) -> Prepared:
        """A reusable filter with `.bind(**params)`, `.count()` and `.selectivity`."""
        return prepare(self._snapshot, where, None, nulls)

    def pages(self, q: Any, k: int = 10, where: Any = None, **options: Any) -> Iterator[Hits]:
        """Page after page of k hits for one query, without repeats, until the matches end."""
        return listing.pages(self, q, k, where, options)

    def check(
        self,
        Q: Any,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        k: int = 10,
        recall: float = 0.95,
        nulls: str | None = None,
        threads: int = 1,
    ) -> CheckReport:
        """Recall measured against exact answers on these queries, with a 95 % interval."""
        return check_recall(self, Q, where, params, k, recall, nulls, threads)

    def advise(self, filters: Sequence[Any], *, k: int = 10, recall: float = 0.95) -> list[Advice]:
        """Paths of columns (`range_index`, `label_index`) that these filters would gain by.

        Costs are those that the planner predicts, as far as it knows without measuring: build the
        path (`index_column`) and look at `explain` to know. Nothing is changed.

        Args:
            filters: what `where` takes, or pairs (where, params); as often as they are asked.
            k, recall: of the searches.

        Returns:
            What saves most for its bytes first; none where the index has what helps, or filters
            leave so few rows that they are scanned.

        Raises:
            InputError: no filters. FilterError: one that cannot be evaluated.
        """
        return advise(self._snapshot, self._recipe, filters, k, recall)

    def tune(
        self,
        Q: Any,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        k: int = 10,
        recall: float = 0.95,
        nulls: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> TuneReport:
        """Fit the calibration to these queries and filters, so that `recall=` means theirs.

        Build measures on stand-ins, or on sample queries under synthetic filters. Queries of
        another kind, and filters that follow or avoid them, may need more or less work for the
        same recall. The result is kept on disk when the index was opened with mode="w", else for
        as long as this object lives.

        Args:
            Q: queries [m, d], at least 16; some hundreds tell more.
            where, params: one filter for all, or one per query, as for `search`.
            k, recall: at which recall is reported; the curves cover all targets.
            progress: called with (done, total).

        Returns:
            Recall before and after, with 95 % intervals.

        Raises:
            InputError: too few queries, or ones that cannot be used.
        """
        return tune(
            self._searched,
            self._snapshot,
            self._keep_calibration,
            self._recipe.held_queries(Q),
            where,
            params,
            recall=recall,
            k=k,
            nulls=nulls,
            seed=self._recipe.seed,
            progress=progress,
        )

    # -- rows by key or filter ----------------------------------------------------------------

    def get(
        self, ids: Any, *, vector: bool = False, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows by id, in the order asked: id, the columns (default all) and the vectors as given.

        Vectors held by coordinates in a subspace (`reduce`) come back within float32 rounding.

        Raises:
            UnknownIdError: an id that the index does not hold.
            InputError: vectors were asked for and the index keeps none (`keep_originals=False`).
        """
        snapshot = self._snapshot  # one throughout: the next may have other segments
        keys = self._recipe.check_keys(ids)
        segments, rows = listing.locate(snapshot, keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            raise UnknownIdError(
                f"no row with id {keys[int(missing[0])]!r}"
                + (f" ({len(missing)} unknown ids)" if len(missing) > 1 else "")
            )
        names = list(self.schema) if columns is None else list(self._known(columns))
        source = self._source(snapshot)
        table = source.columns_at(segments, rows, [self._recipe.id_name, *names])
        if vector:
            values = listing.vectors_at(snapshot, segments, rows, self._recipe)
            table = table.append_column(self._recipe.vector_name, values)
        return table

    def ids(self) -> Any:
        """The ids of all rows in the order given: int64[n] or a list of n strings."""
        return listing.all_ids(self._snapshot)

    def count(
        self,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        nulls: str | None = None,
    ) -> int:
        """The exact number of rows that pass."""
        return prepare(self._snapshot, where, params, nulls).count()

    def facets(
        self,
        column: str,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        nulls: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """How many passing rows hold each value: columns `value`, `count`, most frequent first."""
        self._known([column])
        check_limit(limit)
        snapshot = self._snapshot
        ready = prepare(snapshot, where, params, nulls)
        return listing.facets(snapshot, column, ready.selections(), limit)

    def rows(
        self,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        *,
        columns: Sequence[str] | None = None,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        nulls: str | None = None,
    ) -> pa.Table:
        """Passing rows without a query vector: id and columns, by `order_by` or as given."""
        names = list(self.schema) if columns is None else list(self._known(columns))
        self._known([order_by] if order_by else [])
        check_limit(limit)
        snapshot = self._snapshot
        ready = prepare(snapshot, where, params, nulls)
        return listing.rows(
            self._source(snapshot), ready.selections(), names, order_by, descending, limit
        )

    # -- about --------------------------------------------------------------------------------

    @property
    def metric(self) -> str:
        return self._recipe.asked_metric

    @property
    def dimensions(self) -> int:
        return self._recipe.given_dimensions

    @property
    def schema(self) -> Schema:
        return self._recipe.schema

    @property
    def transforms(self) -> Transforms:
        return self._recipe.transforms

    @property
    def model(self) -> str | None:
        return self._recipe.model

    def __len__(self) -> int:
        return self._snapshot.rows

    def info(self) -> dict[str, Any]:
        """Rows, columns, bytes, calibration and settings, as plain values."""
        told = listing.info(self._snapshot, self._recipe, self._directory)
        merging = None if self._merger is None else self._merger.told()
        device = "cpu" if self._device is None else self._device.held
        return {**told, "merging": merging, "device": device}

    def warmup(self) -> None:
        """Compile or load every kernel and touch the index, so that the next search is fast."""
        if not len(self):
            return
        rng, held = np.random.default_rng(0), self._searched
        probe = rng.standard_normal((2, held.dimensions)).astype(np.float32)
        half = np.arange(self._snapshot.rows) % 2 == 0
        for where in (None, half):
            held.search(probe[0], 1, where, exact=True)
            for plan in PATHS:
                held.search(probe, 10, where, plan=plan)
        for segment in self._snapshot.segments:
            segment.warmup(probe)

    def clear_cache(self) -> None:
        """Forget the selections of recent filters, as measurements of a first use need it."""
        for segment in self._snapshot.segments:
            segment.clear_cache()

    def __repr__(self) -> str:
        if self._seen is None:
            return "<fanns.Index: closed>"
        return (
            f"<fanns.Index: {len(self):,} rows x {self.dimensions}, {self.metric}, "
            f"{len(self.schema)} columns, {len(self._snapshot.segments)} segment(s)>"
        )
