"""The half of an index that changes it. Wiring only, as in `index.py`.

Every call is atomic: when it returns, all that it did holds, on disk as well (whatever happens to
the process or the machine afterwards); when it raises, nothing was done. Calls from several threads
go one after another; searches are never kept waiting, and see the state before or after a call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from fanns.building import Recipe, make_segment
from fanns.deleting import burial, chosen
from fanns.errors import InputError, StorageError
from fanns.ingest import Ingest
from fanns.persistence import refresh_index
from fanns.prepared import Snapshot
from fanns.segment import Segment
from fanns.storage import Directory
from fanns.writing import Change, apply

Progress = Callable[[str, int, int], None]


class Mutable:
    """What `Index` is made of besides its searches; see there."""

    _recipe: Recipe
    _directory: Directory | None
    _writing: Lock

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
        return snapshot

    def _commit(self, snapshot: Snapshot, change: Change) -> None:
        segments = apply(change, self._recipe, snapshot.segments, self._directory)
        if change.recipe is not None:
            self._recipe = change.recipe
        self._see(segments)

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
            _refuse_known(snapshot, ingest)
            if not len(ingest.ids):
                return
            segment = make_segment(self._recipe, ingest, None, progress)
            self._commit(snapshot, Change(added=[segment]))

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


def next_id(snapshot: Snapshot) -> int:
    """The id of the next row where ids are generated: none is given twice."""
    after = [segment.meta.get("next_id", 0) for segment in snapshot.segments]
    if snapshot.id_kind == "int":
        after += [int(segment.ids.ties.max()) + 1 for segment in snapshot.segments if segment.n]
    return max(after, default=0)


def _refuse_known(snapshot: Snapshot, ingest: Ingest) -> None:
    ids = ingest.ids
    keys = ids if isinstance(ids, np.ndarray) else ids.to_pylist()
    for segment in snapshot.segments:
        taken = np.flatnonzero(segment.lookup(keys) >= 0)
        if len(taken):
            key = keys[int(taken[0])]
            raise InputError(
                f"id {key!r} is in the index already ({len(taken)} such ids in this batch); "
                "upsert replaces rows"
            )
