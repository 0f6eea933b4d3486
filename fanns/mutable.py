"""The part of an index that changes it. Wiring only, as in `index.py` and `keeping.py`.

Every call is atomic: when it returns, all that it did holds, on disk as well (whatever happens to
the process or the machine afterwards); when it raises, nothing was done. Calls from several threads
go one after another; searches are never kept waiting, and see the state before or after a call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any

from fanns.adding import insertion, next_id
from fanns.background import Merger
from fanns.building import Recipe
from fanns.columns_changing import column_added, column_dropped, column_indexed
from fanns.compaction import CompactReport, Weight, held_by, merge, report, runs, within
from fanns.deleting import burial, chosen
from fanns.errors import InputError, StorageError
from fanns.graphs_changing import graphs_added, with_graphs
from fanns.merge_memory import Room
from fanns.persistence import load_index, opened, refresh_index
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.storage import Directory
from fanns.updating import updates
from fanns.writing import Change, apply, files_of

Progress = Callable[[str, int, int], None]


class Mutable:
    """What `Index` is made of besides its searches; see there."""

    _recipe: Recipe
    _directory: Directory | None
    _writing: Lock
    _merger: Merger | None
    _room: Room

    @property
    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    @abstractmethod
    def _see(self, segments: Sequence[Segment]) -> None: ...

    def _writable(self) -> Snapshot:
        """The state to change; the caller holds `_writing`."""
        snapshot = self._snapshot
        if self._directory is not None and self._directory.mode != "w":
            raise StorageError(
                f'{self._directory.path} is open for reading: fanns.open(path, mode="w")'
            )
        if self._merger is not None:
            self._merger.report()
        return snapshot

    def _commit(self, snapshot: Snapshot, change: Change) -> None:
        directory = self._directory
        before = None if directory is None else directory.segments
        try:
            segments = apply(change, self._recipe, snapshot.segments, directory)
            if change.recipe is not None:
                self._recipe = change.recipe
            self._see(segments)
        except BaseException:
            # An interrupt may come when the change holds on disk already: then it holds here too.
            if directory is not None and directory.segments is not before:
                self._recipe, committed = load_index(directory)
                self._see(committed)
            raise
        if self._merger is not None:
            self._merger.wake()

    def add(self, data: Any, *, progress: Progress | None = None) -> None:
        """Add rows, searchable when the call returns. Ids of deleted rows may come again.

        Raises:
            InputError: columns, dimensions or dtype differ, or an id is taken (`upsert` replaces
                rows) or occurs twice; nothing is added.
            StorageError: the index was opened for reading, or cannot be written.
        """
        with self._writing:
            snapshot = self._writable()
            ingest = self._recipe.ingest_more(data, lambda: next_id(snapshot))
            change, _ = insertion(snapshot, self._recipe, ingest, False, progress)
            if change is not None:
                self._commit(snapshot, change)

    def upsert(self, data: Any, *, progress: Progress | None = None) -> int:
        """Add rows, each in the place of the row of its id where there is one, all at once.

        The rows stand at the end of `ids()`, those that replace others as well.

        Returns:
            How many rows were replaced.

        Raises:
            InputError: as for `add`, but ids may be taken; or ids are generated, so that a batch
                cannot name any.
            StorageError: the index was opened for reading, or cannot be written.
        """
        with self._writing:
            snapshot = self._writable()
            if self._recipe.generated:
                raise InputError("ids are generated in this index: use add, or delete and add")
            ingest = self._recipe.ingest_more(data, lambda: 0)
            change, replaced = insertion(snapshot, self._recipe, ingest, True, progress)
            if change is not None:
                self._commit(snapshot, change)
            return replaced

    def delete(
        self,
        *,
        ids: Any = None,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        nulls: str | None = None,
    ) -> int:
        """Delete rows, by ids or by a filter; where="TRUE" deletes every row.

        They are gone from every answer when the call returns, and from the disk after `compact`.

        Args:
            ids: an id, or many; those that the index does not hold are no error: compare the
                number that comes back.
            where, params, nulls: a filter, as for `search`.

        Returns:
            How many rows were deleted.

        Raises:
            InputError: neither ids nor a filter was given, or both. FilterError: the filter.
            StorageError: the index was opened for reading, or cannot be written.
        """
        with self._writing:
            snapshot = self._writable()
            doomed = chosen(snapshot, ids, where, params, nulls, "delete")
            count = sum(rows.count for rows in doomed)
            if count:
                self._commit(snapshot, burial(snapshot.segments, doomed, self._recipe))
            return count

    def update(
        self,
        *,
        set: Mapping[str, Any],
        ids: Any = None,
        where: Any = None,
        params: Mapping[str, Any] | None = None,
        nulls: str | None = None,
    ) -> int:
        """Give attributes of rows new values, by ids or by a filter; vectors are not touched.

        The columns named are written anew for every segment that has such rows, however few they
        are (some 0.15 s for a million numbers, 0.8 s for distinct strings): update many at once.

        Args:
            set: by column a value for all rows (None: null), or an array, column or list with one
                per row: in the order of `ids`, or of `rows(where)`. For a list column a flat list
                is one value, a list of lists one per row.
            ids: an id, or many; unknown ones are left out, unless there is a value per row.
            where, params, nulls: a filter, as for `search`; "TRUE" means every row.

        Returns:
            How many rows were updated.

        Raises:
            InputError: values of another type than the column's, or of another number; the id or
                the vector was named (`upsert` replaces rows). UnknownColumnError, FilterError.
            StorageError: the index was opened for reading, or cannot be written.
        """
        with self._writing:
            snapshot = self._writable()
            change, count = updates(snapshot, self._recipe, set, ids, where, params, nulls)
            if change is not None:
                self._commit(snapshot, change)
            return count

    def add_column(self, name: str, values: Any, *, index: bool | None = None) -> None:
        """Add a column: a value for each row in the order of `ids()`, or one for all.

        Filters prepared before are to be prepared again.

        Args:
            values: an array, column or list; its Arrow type is the column's.
            index: whether filters on it have an index; default: unless it holds long texts.

        Raises:
            InputError: the name is taken, or the values are not one per row, or of no type that
                columns have. StorageError: as for `add`.
        """
        with self._writing:
            snapshot = self._writable()
            self._commit(snapshot, column_added(snapshot, self._recipe, name, values, index))

    def drop_column(self, name: str) -> None:
        """Take a column out of the index; its bytes go with `compact(erase=True)`, or are gone.

        Raises:
            InputError: it is the id or the vector. UnknownColumnError. StorageError: as for `add`.
        """
        with self._writing:
            snapshot = self._writable()
            self._commit(snapshot, column_dropped(snapshot, self._recipe, name))

    def index_column(
        self,
        name: str,
        *,
        range_index: bool = False,
        label_index: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Give a column that is only stored an index, or any column paths of its own.

        Filters use either from then on. These are two steps: where paths cannot be built, the
        index stays.

        Args:
            range_index, label_index: as `Index.build` has them; building either takes up to half as
                long as building the graph of all rows.
            progress: called with (stage, done, total).

        Raises:
            InputError: it has what was asked for, or cannot have it. UnknownColumnError.
            StorageError: as for `add`.
        """
        with self._writing:
            snapshot = self._writable()
            recipe = self._recipe
            graphs = range_index or label_index
            if name not in recipe.attributes or not graphs:
                change = column_indexed(snapshot, recipe, name)
                if graphs:  # refused before anything is done
                    with_graphs(change.recipe or recipe, name, range_index, label_index)
                self._commit(snapshot, change)
            if graphs:
                recipe = with_graphs(self._recipe, name, range_index, label_index)
                snapshot = self._snapshot
                self._commit(snapshot, graphs_added(snapshot, recipe, progress))

    def compact(
        self,
        *,
        erase: bool = False,
        full: bool = False,
        wait: float = 0.0,
        progress: Progress | None = None,
    ) -> CompactReport:
        """Merge small segments and those with many deleted rows, and give their space back.

        Paths of columns that updates took away are built anew. Segments over compressed tables
        stay as they are, which the report says.

        Rows keep their order, and vectors are read back from what the index holds. Searches go on
        meanwhile; other changes wait. Readers keep the files that they have open, and their space,
        until they close or `refresh`.

        Args:
            erase: also build segments anew that have any deleted row, and leave nothing in any
                file of the directory of what was deleted, replaced or dropped.
            full: merge all segments into one, or as many as `memory_limit` asks for.
            wait: with erase, seconds to wait for processes that hold erased files; those that
                still do are named in the report.
            progress: called with (stage, done, total).

        Raises:
            InputError: with erase, a segment with deleted rows is too large for the `memory_limit`
                that the index was opened with; nothing was done.
            StorageError: the index was opened for reading, or cannot be written. What was merged
                before stays merged.
        """
        with ExitStack() as stack:
            if self._merger is not None:
                stack.enter_context(self._merger.held())
            stack.enter_context(self._writing)
            before = self._weight(self._writable())
            following = next_id(self._snapshot) if self._recipe.generated else 0
            found, beyond = self._runs(full, erase)
            for run in reversed(found):
                self._merge(run, following, progress)
            self._complete(progress)
            readers: tuple[int, ...] | None = ()
            if erase and self._directory is not None:
                readers = self._erase(self._directory, wait)
            after = self._weight(self._snapshot)
            native = sum(segment.native for segment in self._snapshot.segments)
            return report(before, after, self._snapshot.rows, beyond, native, readers)

    def _keep_calibration(self, segment: Segment) -> None:
        """Write down a segment's new calibration, unless the segment was merged meanwhile."""
        with self._writing:
            directory = self._directory
            if directory is None or directory.mode != "w":
                return
            number = files_of(segment).id
            for known in self._snapshot.segments:
                if files_of(known).id == number:
                    known.calibrate(segment.calibration)
                    directory.describe_segment(number, known.meta)

    def _runs(self, full: bool, erase: bool) -> tuple[list[list[int]], int]:
        """What `compact` merges, and how many segments it leaves for want of memory."""
        segments = self._snapshot.segments
        return within(runs(segments, full, erase), segments, self._recipe, self._room, erase)

    def _merge(self, run: Sequence[int], next_id: int, progress: Progress | None) -> None:
        snapshot = self._snapshot
        change = merge(snapshot.segments, run, self._recipe, next_id, progress)
        self._commit(snapshot, change)

    def _complete(self, progress: Progress | None) -> None:
        """Build the paths of columns anew that updates took away."""
        snapshot = self._snapshot
        change = graphs_added(snapshot, self._recipe, progress)
        if change.edits:
            self._commit(snapshot, change)

    def _erase(self, directory: Directory, wait: float) -> tuple[int, ...] | None:
        """Leave nothing on disk but the present state; the processes that hold more open."""
        directory.erase()
        directory.reopen()
        self._see([opened(files, self._recipe.schema) for files in directory.segments])
        return held_by(directory.path, wait)

    def _weight(self, snapshot: Snapshot) -> Weight:
        parts = snapshot.segments
        if self._directory is not None:
            nbytes = self._directory.nbytes()
        else:
            nbytes = sum(part.array_bytes(name) for part in parts for name in part.arrays)
            nbytes += sum(part.stored_bytes for part in parts)
        return Weight(len(parts), nbytes, sum(part.n for part in parts))

    def sync(self) -> None:
        """Make changes durable that `durability="deferred"` has only given to the system.

        Raises:
            StorageError: they cannot be written to the disk; the changes hold as they did.
        """
        with self._writing:
            self._writable()
            if self._directory is not None:
                self._directory.sync()

    def refresh(self) -> bool:
        """Go on to the last state that the writer has committed; whether there was a newer one.

        An index keeps the state that it was opened in until this call. That of the writer, and one
        in memory, are always at the last.

        Raises:
            StorageError: the directory cannot be read. CorruptIndexError: it is damaged.
        """
        with self._writing:
            segments = self._snapshot.segments
            if self._directory is None:
                return False
            found = refresh_index(self._directory, self._recipe, segments)
            if found is None:
                return False
            self._recipe = found[0]
            self._see(found[1])
            return True
