"""The index: what users hold. Wiring only; the work is done by the modules that it imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from fanns import listing, transformed
from fanns.adding import next_id
from fanns.advising import Advice, advise
from fanns.arguments import check_limit, check_names
from fanns.background import Merger, check_way
from fanns.building import Recipe, make_segment
from fanns.checking import CheckReport, check_recall
from fanns.errors import InputError, StorageError, UnknownColumnError, UnknownIdError
from fanns.execution import Answer, Options, answer
from fanns.explanation import Explanation
from fanns.exporting import BATCH_ROWS, export_index
from fanns.hits import BatchHits, Hits
from fanns.importing import import_data
from fanns.ingest import Ingest
from fanns.kernels.distance import METRICS
from fanns.memory_limit import parse_size
from fanns.merge_memory import Room
from fanns.mutable import Mutable
from fanns.native_building import make_native, prepare_native
from fanns.persistence import load_index, save_index
from fanns.planner import PATHS
from fanns.planning import plan_build
from fanns.prepared import Prepared, Snapshot, prepare
from fanns.quick import Quick
from fanns.quick_batch import answer_batch
from fanns.quick_live import QuickLive
from fanns.requests import Note, check_search, filters_of, grouped
from fanns.schema import Schema
from fanns.segment import Segment
from fanns.segment_building import Machine
from fanns.storage import Directory, check_durability
from fanns.stores_base import NativeStore
from fanns.streaming import build_streamed, prepare_rows
from fanns.transforms import NONE, Transform, Transforms
from fanns.tuning import TuneReport, tune
from fanns.vectors import accept_queries

if TYPE_CHECKING:
    from fanns.device.answers import DeviceAnswers

Progress = Callable[[str, int, int], None]
PLAIN = (0, 1)  # no offset, groups of one


class Index(Mutable):
    """Vectors with typed attributes, searched under any filter.

    Made by `Index.build`, `fanns.open`; safe for searches from many threads.

    Attributes:
        metric: "cosine", "l2" or "ip", or that of a transform. dimensions: length of a vector as it
        is given. schema: column types by name. model: name of the text encoder the vectors came
        from, or None. transforms: what vectors go through before they are held, false for none.
    """

    def __init__(
        self, recipe: Recipe, segments: Sequence[Segment], directory: Directory | None = None
    ) -> None:
        self._recipe = recipe
        self._directory = directory
        self._metric = METRICS[recipe.metric]
        self._writing = Lock()
        self._merger: Merger | None = None
        self._room = Room()
        self._seen: Snapshot | None = None
        self._quick: Quick | None = None
        self._held: Index | None = None
        self._device: Any = None  # a DeviceSearch; of it nothing is imported before it is asked for
        self._see(segments)

    @property
    def _snapshot(self) -> Snapshot:
        if self._seen is None:
            raise StorageError("this index is closed: open it again with fanns.open(path)")
        return self._seen

    @property
    def _searched(self) -> Index:
        """The index that queries in the form of held vectors are asked of."""
        return self if self._held is None else self._held

    def _see(self, segments: Sequence[Segment]) -> None:
        """Search these segments from now on."""
        recipe = self._recipe
        seen = Snapshot(segments, recipe.schema, recipe.id_kind, recipe.id_name)
        self._quick = None
        if len(segments) == 1:
            quick = Quick if segments[0].live is None else QuickLive
            self._quick = quick(seen, recipe.metric, recipe.dimensions)
        self._seen = seen
        if recipe.transforms:
            held = copy(self)
            held._recipe, held._held = replace(recipe, transforms=NONE), None
            self._held = held

    # -- making and keeping -------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        data: Any,
        *,
        vector: str | None = None,
        vectors: NativeStore | None = None,
        id: str | None = None,
        metric: str = "cosine",
        attributes: Sequence[str] | None = None,
        store: Sequence[str] | None = None,
        path: str | Path | None = None,
        overwrite: bool = False,
        queries: np.ndarray | None = None,
        model: str | None = None,
        seed: int = 0,
        threads: int | None = None,
        keep_originals: bool = True,
        reduce: str = "auto",
        calibration: str = "measure",
        bits: int = 2,
        range_index: Sequence[str] = (),
        label_index: Sequence[str] | str = (),
        graph: bool = False,
        transforms: Sequence[Transform] | Transforms | None = None,
        memory_limit: int | str | None = None,
        device: str = "cpu",
        device_memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Build an index over a table of vectors and attributes.

        Args:
            data: a pyarrow table, pandas or polars frame, dict of arrays, or the path(s) of
                Parquet files.
            vector: the column of vectors (float32, float16, float64 or int8, all of one length);
                found by itself when only one column can be it.
            vectors: a store of `fanns.stores`, row i of which is the vector of row i of `data`
                (None: there are no columns): a compressed embedding table, which is searched as it
                is, exactly; `vector` is then the name that vectors come back by.
            id: the column of keys, int64 or string, distinct; without it ids are 0..n-1, or the
                column named "id" when there is one.
            metric: "cosine", "l2" or "ip".
            attributes: columns to index for filters; default all but long text.
            store: columns kept for display (and filterable more slowly); default long text.
            path: directory to save to; without it the index lives in memory.
            overwrite: replace what is at `path`.
            queries: float32[m, d] sample queries, on which the recall target is calibrated.
                Without them held-out stand-ins made of rows are used, which may miss by up to
                0.02 where queries are of another kind than the data.
            model: name of the sentence-transformers model that made the vectors.
            seed: of everything drawn at random.
            threads: for building; default all cores. Never changes the result.
            keep_originals: False stores vectors as float16 (normalised under cosine), half the
                bytes; `get(vector=True)` then refuses.
            reduce: "on" looks whether float32 vectors lie in a subspace of at most 0.9 of their
                dimensions, all of them within float32 rounding (1e-6 of their length). Then their
                coordinates in it are held, distances are right to that rounding, and vectors come
                back within it, not to the bit; `info` says so. Each query is multiplied by the
                basis: "auto" looks for ranks so low that this pays for single queries (up to
                d / 2, 151 of 384, 200 of 1,024), or any where the vectors take 8 GB or more.
                Needs 128 dimensions and 4 rows for each. "off" holds vectors as given.
            calibration: "measure", or "default" for shipped constants (no timing, so that builds
                are equal to the bit).
            bits: per dimension, of the codes that pick candidates: 1, 2 or 4; 0 for none. More
                take more memory and find the nearest in shorter lists.
            range_index: ordered columns of which any interval of 1,024 rows or more is searched as
                if an index had been built of its rows: from blocks of near rows up to 32,768 rows
                (d / 8 + d / 64 + 13 bytes a row), else by a graph of the column (96 bytes a row
                and level; 2 levels at 100,000 rows), which takes half the build time of the graph
                of all rows.
            label_index: columns whose frequent values (of 1,024 rows or more), also values in
                lists, are searched so; as many bytes for each of their rows. "auto" takes columns
                of text, bool and lists, and as many of their values, the most frequent first, as
                an eighth of the vectors' bytes holds.
            graph: with `vectors`, also build clusters and a graph of int8 stand-ins of the rows (d
                bytes and more for each, an index as of dense vectors), whose shortlists are
                compared through the store: for large tables without product keys.
            transforms: of `fanns.transforms`, which rows and queries go through from now on, in
                this order; `metric` is then the one that distances are asked for. The transformed
                vectors are held, and come back from `get` and `export`.
            memory_limit: the most memory that this process may hold meanwhile, libraries and all:
                bytes, or a text such as "1GB". Then `data` must be Parquet files, which are read
                piece by piece, and `path` be given; the index has as many segments as it takes.
                Each is kept once it is built: the same call again goes on with a build that was
                interrupted, and until it is whole nobody can open it. Give it to `open` as well
                when you write to such an index, so that merges keep to it.
            device: "cuda" (or "cuda:1") clusters, encodes and links rows on a GPU. Codes and the
                order of rows have the same bytes as without; the graph has other links. Attributes,
                codebooks, graphs of columns, and whatever is added later are built on the CPU, and
                the index that is returned searches there until `to` says otherwise.
            device_memory: bytes of it to take at most, or a text such as "20GB"; without, nine
                tenths of what is free. Rows that do not fit come in pieces.
            progress: called with (stage, done, total).

        Raises:
            InputError: the data cannot be used; the message names the column and row. Or the limit
                is too low; the message names the least. Or an unfinished build at `path` was of
                other data or options.
            IndexExistsError: something is at `path` and `overwrite` is False.
            IndexLockedError: another process builds at `path` in steps.
            MissingDependencyError, DeviceError: no numba-cuda, no such device, or too little memory
                there.
        """
        if vectors is not None and device != "cpu":
            raise InputError("device is for vectors that are written out, not for a store")
        machine = _machine(device, device_memory)
        options: dict[str, Any] = {
            "vector": vector,
            "id": id,
            "metric": metric,
            "attributes": attributes,
            "store": store,
            "model": model,
            "seed": seed,
            "threads": threads,
            "keep_originals": keep_originals,
            "reduce": reduce,
            "calibration": calibration,
            "bits": bits,
            "range_index": range_index,
            "label_index": label_index,
            "transforms": Transforms.of(transforms),
        }
        if vectors is not None:
            return cls._over(
                data,
                vectors,
                options,
                graph,
                queries,
                path,
                overwrite,
                progress,
                memory_limit,
            )
        if graph:
            raise InputError("graph is for vectors=: other segments have a graph by their size")
        if memory_limit is not None:
            given = (data, options, path, overwrite, queries, memory_limit)
            return cls.open(build_streamed(*given, progress, machine))

        def prepared() -> tuple[Recipe, Ingest | list[Ingest], int | None]:
            return *prepare_rows(data, options, progress), None

        make = partial(make_segment, machine=machine)
        return cls._made(prepared, queries, path, overwrite, progress, make)

    @classmethod
    def _over(
        cls,
        data: Any,
        store: NativeStore,
        options: Mapping[str, Any],
        graph: bool,
        queries: np.ndarray | None,
        path: str | Path | None,
        overwrite: bool,
        progress: Progress | None,
        memory_limit: int | str | None,
    ) -> Index:
        """An index over a native store."""
        if memory_limit is not None:
            raise InputError("memory_limit is for vectors in Parquet files, not for a store")

        def prepared() -> tuple[Recipe, Ingest, None]:
            return *prepare_native(data, store, options, bool(graph)), None

        def make(recipe: Recipe, ingest: Any, queries: Any, progress: Progress | None) -> Segment:
            return make_native(recipe, ingest, store, bool(graph), queries, progress)

        return cls._made(prepared, queries, path, overwrite, progress, make)

    @classmethod
    def _made(
        cls,
        prepared: Callable[[], tuple[Recipe, Ingest | list[Ingest], int | None]],
        queries: np.ndarray | None,
        path: str | Path | None,
        overwrite: bool,
        progress: Progress | None,
        make: Callable[..., Segment] = make_segment,
    ) -> Index:
        """An index of one segment, in memory or at `path`; whether it may go there comes first.

        `prepared` gives the recipe, the rows, and the next id where ids are generated and some
        were given before; `make` the segment of these.
        """
        directory = None
        if path is not None:
            directory = Directory.create(path, overwrite=overwrite)
        try:
            recipe, ingest, following = prepared()
            segment = make(recipe, ingest, queries, progress)
            if following is not None and recipe.generated:
                segment.meta["next_id"] = following
            made = cls(recipe, [segment])
            if directory is None:
                return made
            save_index(directory, recipe, [segment])
            directory.commit_new()
        finally:
            if directory is not None:
                directory.close()
        assert path is not None
        return cls.open(path)

    @classmethod
    def import_(
        cls,
        file: str | Path,
        path: str | Path | None = None,
        *,
        overwrite: bool = False,
        queries: np.ndarray | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Restore an index from the Parquet file that `export` wrote.

        Rows, their order, ids, vectors and columns are as they were, and so are metric, roles of
        columns, model and options of the build, which the file holds; codes and graph are built
        anew, in one segment, and calibrated on `queries`. Nothing in the file is executed. (`build`
        takes such a file as any other: with its own options.)

        Args:
            file: the Parquet file.
            path: directory to save to; without it the index lives in memory.
            overwrite, queries, threads, progress: as for `build`.

        Raises:
            InputError: the file is not Parquet or no export, or its settings cannot be used.
            IndexExistsError: something is at `path` and `overwrite` is False.
        """
        return cls._made(lambda: import_data(file, threads), queries, path, overwrite, progress)

    def export(
        self,
        path: str | Path,
        *,
        batch_rows: int = BATCH_ROWS,
        overwrite: bool = False,
        held: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Write all rows to one Parquet file, from which `import_` restores the index.

        Any reader of Parquet opens it: ids, vectors, attributes and stored columns in their types,
        rows in the order of `ids()`. The file appears at once, complete and durable, or not at
        all. Changes made meanwhile are not in it.

        Args:
            path: the file.
            batch_rows: rows held in memory at a time, and in a row group of the file.
            overwrite: replace a file at `path`.
            held: where the index was built with `keep_originals=False`, write the float16 vectors
                that it holds (normalised under cosine). Others come back as `get` gives them.
            progress: called with ("export", done, total).

        Returns:
            The number of rows.

        Raises:
            InputError: the vectors as given are gone and `held` is False; or a timestamp in seconds
                is beyond Parquet's range.
            IndexExistsError: there is a file and `overwrite` is False.
            StorageError: it cannot be written; what was there stays.
        """
        snapshot, recipe = self._snapshot, self._recipe
        return export_index(
            snapshot,
            recipe,
            next_id(snapshot) if recipe.generated else 0,
            path,
            batch_rows=batch_rows,
            overwrite=overwrite,
            held=held,
            progress=progress,
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        mode: Literal["r", "w"] = "r",
        *,
        check: bool = False,
        wait: float = 0.0,
        merge: str = "background",
        durability: str = "full",
        memory_limit: int | str | None = None,
        device: str = "cpu",
        device_memory: int | str | None = None,
    ) -> Index:
        """Open a saved index: memory-mapped, in milliseconds.

        Pickling an index on disk, as worker processes do, sends its path: it is opened there for
        reading, in the state that is then the last.

        Args:
            path: the directory.
            mode: "r", any number of readers; "w", the one writer.
            check: read every file and prove its checksum first.
            wait: with mode "w", seconds to wait for another writer to close.
            merge: with mode "w", "background": four neighbours of about one size become one
                segment, and one with over a quarter of its rows deleted is built anew, by a thread
                of its own while calls go on; what ends it is raised by the next change, or by
                `close`. "manual": only `compact` does, for a program that must not be disturbed.
            durability: with mode "w", "full": a change that returned survives the process and loss
                of power. "deferred": it survives the process, killed or not; loss of power, or a
                crash of the system, takes away all changes since the last sync, and nothing
                before them: the index is then as it was at that sync. `sync`, `close`,
                `compact(erase=True)` and any change 5 seconds after the first deferred one sync.
            memory_limit: with mode "w", the most memory that this process may hold while segments
                are merged, in the background or by `compact`, without pages of mapped files: bytes,
                or a text such as "1GB". What would take more is not merged; `info` says so.
            device, device_memory: where to search, as for `to`.

        Raises:
            InputError: an argument. NotAnIndexError, CorruptIndexError, IndexLockedError,
                StorageError. What `to` raises.
        """
        check_way(merge)
        check_durability(durability)
        limit = None if memory_limit is None else parse_size(memory_limit)
        directory = Directory.open(path, mode, check, wait, durability)
        try:
            recipe, segments = load_index(directory)
            index = cls(recipe, segments, directory)
            index._room = Room(limit)
            if device != "cpu":
                index.to(device, device_memory)
            if mode == "w" and merge == "background":
                index._merger = Merger(index)
                with index._writing:
                    index._merger.wake()
            return index
        except BaseException:
            directory.close()
            raise

    @staticmethod
    def plan_build(
        data: Any, *, memory_limit: int | str | None = None, **options: Any
    ) -> dict[str, Any]:
        """What `build` with these arguments would make, and what that takes.

        All rows are checked as a build checks them, and a few thousand are built to see how fast
        this machine is and what the columns take: some seconds. Nothing is written.

        Returns:
            Columns and their roles; `segments`; `bytes` on disk by kind; `peak_memory_bytes`, the
            most resident memory of a process that does nothing else; `seconds`. These are meant to
            be right within a quarter, for ranks and kinds of values as the sample has them.

        Raises:
            InputError: as `build`.
        """
        return plan_build(data, memory_limit, **options)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the index to a directory, all or nothing; this object stays as it is.

        Raises:
            IndexExistsError: something is there and `overwrite` is False.
            StorageError: it cannot be written; the target is left as it was.
        """
        with Directory.create(path, overwrite=overwrite) as directory:
            save_index(directory, self._recipe, self._snapshot.segments)
            directory.commit_new()

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Read every file and compare its checksum; problems found, naming files ([] if none)."""
        return [] if self._directory is None else self._directory.verify(progress)

    def close(self) -> None:
        """Give files and lock back; the index cannot be used afterwards.

        A merge in the background is given up, which loses nothing.

        Raises:
            StorageError: such a merge failed and no call has told yet; all is closed nevertheless.
        """
        merger, self._merger = self._merger, None
        if merger is not None:
            merger.close()
        if self._directory is not None:
            self._directory.close()
        self._seen = self._quick = self._held = None
        if merger is not None:
            merger.report()

    def __copy__(self) -> Index:
        """The index as it is now, whatever is done to this one later."""
        made = object.__new__(type(self))
        made.__dict__ |= self.__dict__
        made._merger = None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        if self._directory is None:
            raise InputError("an index in memory cannot be pickled: save it, and send its path")
        return Index.open, (str(self._directory.path),)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.close()
        except StorageError:
            if exc[0] is None:  # what ended the block says more
                raise

    # -- searching ----------------------------------------------------------------------------

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

    def to(self, device: str, device_memory: int | str | None = None) -> Index:
        """Search on a GPU from now on, "cuda" or "cuda:1"; "cpu" ends that.

        The calls stay as they are, and so does what they promise; `explain` says where a search was
        answered. Changes of the index are brought to the device by the next search.

        Args:
            device_memory: bytes of it to take at most, or a text such as "20GB"; without, nine
                tenths of what is free. Codes lie there, originals where there is room, else in
                page-locked memory of the host.

        Returns:
            This index.

        Raises:
            InputError: an argument, or an index of a compressed table. MissingDependencyError:
                there is no numba-cuda. DeviceError: no such device, or too little memory there.
        """
        from fanns.device.finding import check_device

        number = check_device(device)
        made = None
        if number is not None:
            from fanns.device.finding import find_cuda

            find_cuda(number)
            from fanns.device.searching import DeviceSearch

            made = DeviceSearch(number, device_memory)
            made.see(self._snapshot)
        self._device = self._searched._device = made
        return self

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


def _machine(device: str, device_memory: int | str | None) -> Machine | None:
    """What a build runs on; None for the processor. Raises as `Index.build`."""
    from fanns.device.finding import check_device

    number = check_device(device)
    if number is None:
        return None
    from fanns.device.finding import find_cuda

    find_cuda(number)
    from fanns.device.building import machine_of

    return machine_of(number, device_memory)
