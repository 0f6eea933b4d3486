"""The part of an index that makes it, keeps it, and says where it searches. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from fanns.adding import next_id
from fanns.background import Merger, check_way
from fanns.building import Recipe, make_segment
from fanns.errors import InputError, StorageError
from fanns.exporting import BATCH_ROWS, export_index
from fanns.importing import import_data
from fanns.ingest import Ingest
from fanns.kernels.distance import METRICS
from fanns.memory_limit import parse_size
from fanns.merge_memory import Room
from fanns.mutable import Mutable
from fanns.native_building import make_native, prepare_native
from fanns.persistence import load_index, save_index
from fanns.planning import plan_build
from fanns.prepared import Snapshot
from fanns.quick import Quick
from fanns.quick_live import QuickLive
from fanns.segment import Segment
from fanns.segment_building import Machine
from fanns.storage import Directory, check_durability
from fanns.stores_base import NativeStore
from fanns.streaming import build_streamed, prepare_rows
from fanns.transforms import NONE, Transform, Transforms

if TYPE_CHECKING:
    pass

Progress = Callable[[str, int, int], None]
PLAIN = (0, 1)  # no offset, groups of one


class Kept(Mutable):
    """What `Index` is made of besides its searches and its changes; see there."""

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
        self._held: Any = None  # an index like this one, asked by vectors as they are held
        self._device: Any = None  # a DeviceSearch; of it nothing is imported before it is asked for
        self._see(segments)

    @property
    def _snapshot(self) -> Snapshot:
        if self._seen is None:
            raise StorageError("this index is closed: open it again with fanns.open(path)")
        return self._seen

    @property
    def _searched(self) -> Self:
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
    ) -> Self:
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
    ) -> Self:
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
    ) -> Self:
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
    ) -> Self:
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
    ) -> Self:
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

    def to(self, device: str, device_memory: int | str | None = None) -> Self:
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
            InputError: an argument. MissingDependencyError: there is no numba-cuda. DeviceError: no
                such device, or too little memory there. Searches are answered by the CPU then.
        """
        from fanns.device.finding import check_device

        number = check_device(device)
        made = None
        self._leave_device()
        if number is not None:
            from fanns.device.finding import find_cuda

            find_cuda(number)
            from fanns.device.searching import DeviceSearch

            made = DeviceSearch(number, device_memory)
            made.see(self._snapshot)
        self._device = self._searched._device = made
        return self

    def _leave_device(self) -> None:
        """Give back what was taken of a device, if any was."""
        if self._device is not None:
            self._device.close()
        self._device = self._searched._device = None

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
        """Give files, lock and device back; the index cannot be used afterwards.

        A merge in the background is given up, which loses nothing.

        Raises:
            StorageError: such a merge failed and no call has told yet; all is closed nevertheless.
        """
        merger, self._merger = self._merger, None
        if merger is not None:
            merger.close()
        if self._directory is not None:
            self._directory.close()
        self._leave_device()
        self._seen = self._quick = self._held = None
        if merger is not None:
            merger.report()

    def __copy__(self) -> Self:
        """The index as it is now, whatever is done to this one later."""
        made = object.__new__(type(self))
        made.__dict__ |= self.__dict__
        made._merger = None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        if self._directory is None:
            raise InputError("an index in memory cannot be pickled: save it, and send its path")
        return type(self).open, (str(self._directory.path),)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.close()
        except StorageError:
            if exc[0] is None:  # what ended the block says more
                raise


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
