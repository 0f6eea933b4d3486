"""Merges in the background of an index that is open for writing.

One thread, which is there while something is ripe to be merged and works with one processor. Calls
that change the index wait for it only while a finished merge takes its place, searches never.
`compact` and `close` end a merge that is under way: nothing but its work is lost.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any

from fanns.errors import InputError, StorageError
from fanns.merging import Task, begin, taking_over, written
from fanns.threads import Stopped, go_on, stoppable
from fanns.writing import files_of

if TYPE_CHECKING:
    from fanns.mutable import Mutable

WAYS = ("background", "manual")


def check_way(merge: str) -> None:
    """Raises InputError unless this is a way to merge."""
    if merge not in WAYS:
        raise InputError(f"merge is {merge!r}, expected 'background' or 'manual'")


class Merger:
    """Merges what is ripe in one index; holds no reference to it while it builds.

    Attributes:
        merges: how many were done; running: whether one is under way. beyond: the rows of segments
            that are ripe but would take more than the limit of memory, 0 for none.
    """

    def __init__(self, index: Mutable) -> None:
        self.merges = 0
        self.running = False
        self.beyond = 0
        self._index = weakref.ref(index)
        self._process = os.getpid()
        self._guard = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        self._holds = 0
        self._problem: BaseException | None = None
        self._told = False
        # An index that was forgotten, and one that is there when Python ends.
        self._ending = weakref.finalize(index, self._end)

    def wake(self) -> None:
        """See whether something is ripe; the caller holds the index's lock of writes."""
        index = self._index()
        with self._guard:
            stays = self.running or self._holds or self._problem is not None
            if stays or index is None or self._process != os.getpid():
                return
            task, self.beyond = self._task(index)
            if task is None:
                return
            self._stop.clear()
            self.running = True
            self._thread = Thread(target=self._run, name="fanns-merge", daemon=True)
            self._thread.start()

    def report(self) -> None:
        """Raises once what ended the merges, before a call changes anything.

        Raises:
            StorageError: a merge failed.
        """
        if self._problem is None or self._told:
            return
        self._told = True
        raise StorageError(
            f"a merge in the background failed: {self._problem}. Nothing is lost, and this call "
            "has done nothing: it can be made again. No more merges are tried until compact()"
        ) from self._problem

    def told(self) -> dict[str, Any]:
        """For `info`: whether a merge is under way, how many were done, and what ended them.

        `rows_beyond_limit`: of a merge that is not begun, because it would take too much memory.
        """
        problem = None if self._problem is None else str(self._problem)
        told = {"running": self.running, "merges": self.merges, "problem": problem}
        return {**told, "rows_beyond_limit": self.beyond}

    @contextmanager
    def held(self) -> Iterator[None]:
        """No merge is under way inside, and what has failed before is forgotten."""
        with self._guard:
            self._holds += 1
        try:
            self._halt()
            self._problem, self._told = None, False
            yield
        finally:
            with self._guard:
                self._holds -= 1

    def close(self) -> None:
        """End for good."""
        self._ending.detach()
        self._end()

    def _end(self) -> None:
        with self._guard:
            self._holds += 1
        self._halt()

    def _halt(self) -> None:
        """End a merge that is under way; the caller holds no lock of the index."""
        with self._guard:
            self._stop.set()
            thread = self._thread
        mine = self._process == os.getpid() and thread is not current_thread()
        if thread is not None and mine:
            thread.join()

    def _run(self) -> None:
        try:
            with suppress(Stopped), stoppable(self._stop.is_set):
                while self._step():
                    pass
        except BaseException as cause:
            self._problem = cause
        finally:
            self.running = False

    def _step(self) -> bool:
        """One merge, or one in vain; False when nothing is left to do."""
        task = self._chosen()
        if task is None:
            return False
        directory = self._held_index()._directory
        assert directory is not None
        merged = written(task, directory)
        change = None
        try:
            go_on()
            index = self._held_index()
            with index._writing:
                snapshot = index._snapshot
                change = taking_over(task, merged, snapshot.segments, index._recipe)
                if change is not None:
                    index._commit(snapshot, change)
                    self.merges += 1
        finally:
            if change is None:  # what becomes of it else, the commit has seen to
                directory.discard(files_of(merged))
        return True

    @staticmethod
    def _task(index: Mutable) -> tuple[Task | None, int]:
        assert index._directory is not None
        return begin(index._snapshot, index._recipe, index._directory, index._room)

    def _held_index(self) -> Mutable:
        index = self._index()
        if index is None:
            raise Stopped
        return index

    def _chosen(self) -> Task | None:
        index = self._index()
        if index is None:
            return None
        with index._writing:
            task = None
            if not self._stop.is_set() and index._directory is not None:
                task, self.beyond = self._task(index)
            if task is None:
                self.running = False  # a change that comes after this one wakes it again
            return task
