"""The short way from parameter values to a selection, without a tree in between.

Binding a tree, putting it in canonical form and evaluating it costs several times what a small
selection then costs to search. Where a filter is a conjunction of comparisons, memberships and list
look-ups over indexed columns, or a disjunction of such, and its values are of the columns' own
types, their codes are looked up at once: the smallest part of a conjunction gives its rows, and the
others are tested on those. Whatever else comes (another filter, another type of value, null) is
left to the general way, which also has the errors to raise. `direct_tree` makes these from filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.attributes import intervals
from fanns.attributes.intervals import Bounds
from fanns.attributes.lists import ListColumn
from fanns.attributes.postings import limits_of
from fanns.attributes.scalar import ScalarColumn
from fanns.kernels import bitset
from fanns.kernels import postings as kernels
from fanns.selection import Rows, Selection, Span, word_count

Values = Mapping[str, Any]
Find = Callable[[Values], Bounds | None]
FindMany = Callable[[Mapping[str, Sequence[Any]]], tuple[Any, Any] | None]
Slices = tuple[NDArray[np.int64], NDArray[np.int64], Rows]
FindAll = Callable[[Values], list[Bounds] | None]
Part = tuple[ScalarColumn | ListColumn, Bounds]


class Direct:
    """A conjunction over one segment.

    `scalars`: for each scalar column what to look up; the codes must be in all that is found.
    `lists`: a list column and what to look up; its lists must meet each of the sets found.
    """

    __slots__ = ("_lists", "_many", "_n", "_offset", "_scalars", "_single")

    def __init__(
        self,
        n: int,
        scalars: list[tuple[ScalarColumn, list[Find]]],
        lists: list[tuple[ListColumn, FindAll, Find | None]],
        many: list[FindMany | None],
    ) -> None:
        """The last part of `lists`: the look-up of a single element. `many`: all again, for many
        values at a time.
        """
        self._n = n
        self._scalars = scalars
        self._lists = lists
        self._many = many
        self._single: list[Find] | None = None
        if len(scalars) == 1 and not lists:
            self._single = scalars[0][1]
        elif len(lists) == 1 and not scalars and lists[0][2] is not None:
            self._single = [lists[0][2]]
        self._offset = (scalars or lists)[0][0].postings.offsets.item

    def bounds(self, values: Values) -> Bounds | None:
        """The codes that pass, where one column decides alone; None for others."""
        finds = self._single
        if finds is None:
            return None
        bounds = finds[0](values)
        if bounds is None:
            return None
        for find in finds[1:]:
            more = find(values)
            if more is None:
                return None
            bounds = intervals.intersect(bounds, more)
        return bounds

    def slice(self, bounds: Bounds) -> Rows | None:
        """Of what `bounds` gave, the rows as a slice of the posting lists, in their order.

        None where they are several slices.
        """
        rows = (self._scalars or self._lists)[0][0].postings.rows
        if len(bounds) != 2:
            return None if bounds else rows[:0]
        return rows[self._offset(bounds[0] + 1) : self._offset(bounds[1] + 1)]

    def within(self, bounds: Bounds) -> Selection:
        """Of what `bounds` gave, the rows."""
        column = (self._scalars or self._lists)[0][0]
        return column.postings.select(bounds) if bounds else Selection.none(self._n)

    def slices(self, columns: Mapping[str, Sequence[Any]]) -> Slices | None:
        """The rows for each of m values: starts, stops int64[m], of posting lists int32[...].

        None where the filter is of more than one column, or as for `select`.
        """
        if len(self._scalars) + len(self._lists) != 1:
            return None
        low: Any = 0
        high: Any = np.iinfo(np.int64).max
        for find in self._many:
            spans = None if find is None else find(columns)
            if spans is None:
                return None
            low, high = np.maximum(low, spans[0]), np.minimum(high, spans[1])
        postings = (self._scalars or self._lists)[0][0].postings
        starts = postings.offsets[low + 1].astype(np.int64)
        stops = postings.offsets[np.maximum(low, high) + 1].astype(np.int64)
        return starts, stops, postings.rows

    def select(self, values: Values) -> Selection | None:
        """The passing rows, or None where the general way must be taken."""
        if self._single is not None:
            bounds = self.bounds(values)
            return None if bounds is None else self.within(bounds)
        parts: list[Part] = []
        for column, finds in self._scalars:
            bounds = finds[0](values)
            if bounds is None:
                return None
            for find in finds[1:]:
                more = find(values)
                if more is None:
                    return None
                bounds = intervals.intersect(bounds, more)
            parts.append((column, bounds))
        for lists, find_all, _ in self._lists:
            sets = find_all(values)
            if sets is None:
                return None
            for bounds in sets:
                parts.append((lists, bounds))
        if len(parts) > 1:
            return self._meet(parts)
        only, bounds = parts[0]
        return only.postings.select(bounds) if bounds else Selection.none(self._n)

    def _meet(self, parts: list[Part]) -> Selection:
        """The rows of all parts, from the smallest on."""
        counts = [column.postings.count(bounds) if bounds else 0 for column, bounds in parts]
        order = sorted(range(len(parts)), key=counts.__getitem__)
        if counts[order[0]] == 0:
            return Selection.none(self._n)
        # The lists of several elements share rows: another part, if not much larger, goes first.
        for place in order[1:]:
            if _distinct(parts[order[0]]) or counts[place] > 4 * counts[order[0]]:
                break
            if _distinct(parts[place]):
                order.remove(place)
                order.insert(0, place)
        first = parts[order[0]]
        if counts[order[0]] > self._n >> 3 or not _distinct(first):
            return self._meet_large([(counts[place], *parts[place]) for place in order])
        rows = first[0].postings.slice(first[1])
        for place in order[1:]:
            if len(rows) == 0:
                break
            if not self._is_all(counts[place], parts[place]):
                rows = _passing(rows, *parts[place])
        spans = tuple(Span(column.postings, bounds) for column, bounds in parts)
        return Selection(self._n, len(rows), _sorted(rows, first[1]), None, spans)

    def _meet_large(self, parts: list[tuple[int, ScalarColumn | ListColumn, Bounds]]) -> Selection:
        """The same by bitmaps, until few rows are left."""
        selection = parts[0][1].postings.select(parts[0][2])
        for count, column, bounds in parts[1:]:
            if selection.count == 0:
                break
            if self._is_all(count, (column, bounds)):
                continue
            if isinstance(column, ScalarColumn) and selection.count <= self._n >> 4:
                selection = column.filtered(selection, bounds)
            else:
                selection = selection & column.postings.select(bounds)
        return selection

    def _is_all(self, count: int, part: Part) -> bool:
        """Whether every row is in a part that `postings.count` says has so many.

        Lists with several of the elements count several times.
        """
        return count == self._n and _distinct(part)


class AnyOf:
    """A disjunction over one segment."""

    __slots__ = ("_ways",)

    def __init__(self, ways: Sequence[Direct | AnyOf]) -> None:
        self._ways = ways

    def slices(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Several parts are no slice."""

    def select(self, values: Values) -> Selection | None:
        """The rows that pass any part, or None where the general way must be taken."""
        united: Selection | None = None
        for way in self._ways:
            part = way.select(values)
            if part is None:
                return None
            united = part if united is None else united | part
        return united


Way = Direct | AnyOf


def _distinct(part: Part) -> bool:
    """Whether the slots of a part share no row."""
    column, bounds = part
    return isinstance(column, ScalarColumn) or (len(bounds) == 2 and bounds[1] == bounds[0] + 1)


def _passing(rows: Rows, column: ScalarColumn | ListColumn, bounds: Bounds) -> Rows:
    """Those of the rows, in order, that are in a part."""
    kept = np.empty(len(rows), np.int32)
    lists = column.postings
    words = lists.bitmap_of(bounds)
    if isinstance(column, ScalarColumn):
        found = kernels.rows_with_codes(rows, column.codes, limits_of(bounds), kept)
    elif words is not None:
        found = bitset.filter_rows(rows, words, 1, kept)
    else:
        words = np.zeros(word_count(lists.n), np.uint64)
        found = kernels.rows_in_slots(rows, limits_of(bounds), *lists.slots, words, kept)
    kept.setflags(write=False)
    return kept[:found]


def _sorted(rows: Rows, bounds: Bounds) -> Rows:
    """Rows of slots one after the other, in order."""
    if len(bounds) == 2 and bounds[1] == bounds[0] + 1:
        return rows
    rows = np.sort(rows)
    rows.setflags(write=False)
    return rows
