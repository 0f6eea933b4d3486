"""The selections of recent filters, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from fanns.expressions import Node
from fanns.selection import Selection, word_count


class Hashed:
    """A filter as a key: hashing a tree costs as much as a look-up, so it is done once."""

    __slots__ = ("_hash", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self._hash = hash(node)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self.node == other.node


class SelectionCache:
    """Least recently used first out; safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        """`capacity` in bytes; 0 keeps nothing."""
        self.capacity = capacity
        self.used = 0
        self._entries: OrderedDict[Hashed, Selection] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashed) -> Selection | None:
        """The selection of an equal filter, or None."""
        found = self._entries.get(key)
        if found is not None:
            try:  # noqa: SIM105 - a context manager would cost half of a hit
                self._entries.move_to_end(key)
            except KeyError:
                pass  # another thread has just pushed it out
        return found

    def put(self, key: Hashed, selection: Selection) -> None:
        """Keep a selection; one that alone exceeds the capacity is not kept."""
        cost = _cost(selection)
        if cost > self.capacity:
            return
        with self._lock:
            before = self._entries.pop(key, None)
            self._entries[key] = selection
            self.used += cost - (_cost(before) if before is not None else 0)
            while self.used > self.capacity:
                self.used -= _cost(self._entries.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.used = 0

    def __len__(self) -> int:
        return len(self._entries)


def _cost(selection: Selection) -> int:
    """What it may come to hold: its rows, its bitmap, and a few hundred bytes of objects."""
    return 4 * selection.count + 8 * word_count(selection.n) + 512
