"""Walking the proximity graph for the nearest rows of a selection, on codes.

Int8 codes, or records of few bits a dimension (`graph_codes`). What a step meets is asked for and
compared a step later, when the links of the next best row have been read: a step then waits once
for memory instead of twice, for 5 % more steps.

Two walks, both from the clusters nearest to the query that hold rows to begin with:

- `walk_passing` (two-hop) meets passing rows only. A link to a failing row is replaced by that
  row's own links, as in ACORN-1 (Patel et al., SIGMOD 2024), the nearest first and until enough
  passing rows were met. With every row passing this is the plain beam search.
- `walk_all` (one-hop) walks over all rows and collects the passing ones.

A walk ends when the nearest row to follow is farther than the k-th best by a share of its distance
(Al-Jazzazi et al. 2025, "Distance adaptive beam search"), or behind the worst of a full beam.

A walk whose links lead nowhere new before its beam is full begins again at the next clusters, so
it ends early only when every passing row was met. A row is met once: its bit in `left` is cleared.

Scoring failing rows to look through the nearest ones first (NaviX's directed two-hop) was tried:
at 10 % it costs twice the time at equal recall, because it compares ten rows for one that passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.kernels.graph_codes import ask_for, key_of
from fanns.kernels.graph_keys import (
    FOLLOWED,
    distance_of,
    heap_pop,
    heap_push,
    inlined,
    insert,
    pack,
    row_of,
)
from fanns.kernels.graph_parts import (
    HIGH,
    LOW,
    WIDTH,
    begin_part,
    is_between,
    place_of,
    places_of,
)
from fanns.kernels.graph_steps import (
    CHECKED,
    COMPARED,
    LISTS,
    NEAR,
    STATUS,
    begin,
    is_set,
    out_of_time,
    take,
    within,
)
from fanns.kernels.intrinsics import prefetch_row
from fanns.kernels.jit import Array, Integer, inner
from fanns.kernels.scan import APPROXIMATE

ENOUGH = 64
"""Passing rows met by following one row, after which no more failing rows are looked through.

Measured on 100,000 abstracts at 50 to 2 %: 24 takes a third longer at recall 0.95 and twice as long
at 0.99; no limit takes twice as long at 20 % and above."""

CLUSTERS = 4
"""Clusters whose rows a walk begins with."""

SEEDS = 8
"""Rows taken from each of them when there is a filter; without one, its entry row alone."""

MOST_SEEDS = 512
"""The most rows of a cluster to go on with when the links lead nowhere new."""

MARGIN = 0.02
"""Rows farther than are followed, by this share of the distance, are kept for full precision."""

UNBOUNDED = 1e9
"""From this gap on only a full beam ends a walk."""

ALL = np.int64(2**63 - 1)
LAST_ROW = np.int64(2**32 - 1)

MOST_FRESH = CLUSTERS * (MOST_SEEDS + 1)
"""Places for rows met and not yet compared."""


@inlined
def beyond(key: Integer, gap: float, floor: float) -> Integer:
    """The last key farther than the k-th best by no more than a share `gap` of its distance.

    `floor` makes distances of keys (`graph_codes.floor_of`).
    """
    if gap >= UNBOUNDED:
        return ALL
    reach = distance_of(key)
    return pack(reach + gap * max(reach + floor, 0.0), np.int64(0)) | LAST_ROW


@inlined
def ask_for_links(links: Array, members: Array, row: Integer) -> None:
    """Ask for the links of a row, where it takes no search to find them."""
    if members.shape[0] == 0:
        prefetch_row(links, row)


@inner
def walk_passing(
    held: Any,
    ahead: Integer,
    links: Array,
    by: Any,
    bounds: Array,
    entries: Array,
    around: Array,
    everything: bool,
    words: Array,
    count: Integer,
    deadline: Integer,
    left: Array,
    through: Array,
    pool: Array,
    k: Integer,
    gap: float,
    floor: float,
    pending: Array,
    rows: Array,
    failing: Array,
    state: Array,
) -> Integer:
    """Beam search over passing rows; the first rows of `pool` int64[beam], in order: how many.

    `held` is what rows are measured by (`graph_codes`), `ahead` how many are asked for at once;
    `by` (marks, members, part) says which links count (`graph_parts`); `around` are the clusters'
    keys; k, gap, floor say when to end (`beyond`). `everything`: all rows of the part pass. `left`
    holds the bits of the passing rows at first, of all with `everything`; `through` zeros (failing
    rows looked through). pending, rows int32[MOST_FRESH] and failing int32[places of a row] are
    scratch.
    """
    beam, size, checked = pool.shape[0], np.int64(0), np.int64(0)
    current: Integer = np.int64(0)
    place: Integer
    bar: Integer = ALL  # of rows to follow
    gate: Integer = ALL  # of rows to keep
    enough = beam if gap >= UNBOUNDED else k
    near = np.empty(CLUSTERS, np.int64)
    marks, members, part = by
    ranked, low, length = marks.shape[0] > 0, part[LOW], part[HIGH] - part[LOW]
    in_part = ranked or members.shape[0] > 0
    room = np.int64(links.shape[1]) if marks.shape[0] == 0 else np.int64(part[WIDTH])
    most: Integer = np.int64(1) if everything and not in_part else np.int64(SEEDS)
    waiting: Integer = np.int64(0)
    if everything and in_part:
        waiting = begin_part(bounds, around, left, by, CLUSTERS, most, pending)
    else:
        waiting = begin(bounds, entries, around, left, most, near, pending)
    for place in range(min(waiting, ahead)):
        ask_for(held, np.int64(pending[place]))
    while True:
        fresh: Integer = np.int64(0)
        while current < size and pool[current] & FOLLOWED:
            current += 1
        if current < size and pool[current] <= bar:
            here = row_of(np.int64(pool[current]))
            pool[current] |= FOLLOWED
            state[LISTS] += 1
            failed = np.int64(0)
            home = place_of(members, here)
            place, last, sure = places_of(marks, part, here, links.shape[1])
            while place < last:
                other = np.int64(links[home, place])
                if other < 0:
                    place += room - place % room  # the next level
                    continue
                place += 1
                checked += 1
                rows[fresh] = other
                if take(left, other):
                    fresh += not everything or place > sure or is_between(marks, low, length, other)
                elif (
                    not everything
                    and not is_set(words, other)
                    and not is_set(through, other)
                    and (not ranked or is_between(marks, low, length, other))
                ):
                    failing[failed] = other
                    failed += 1
                    ask_for_links(links, members, other)
            if current + 1 < size:
                ask_for_links(links, members, row_of(np.int64(pool[current + 1])))
            number = np.int64(0)
            while number < failed and fresh < ENOUGH:
                middle = np.int64(failing[number])
                number += 1
                state[LISTS] += 1
                through[middle >> 6] |= np.uint64(1) << np.uint64(middle & 63)
                home = place_of(members, middle)
                place, last, sure = places_of(marks, part, middle, links.shape[1])
                while place < last:
                    other = np.int64(links[home, place])
                    if other < 0:
                        place += room - place % room
                        continue
                    place += 1
                    checked += 1
                    if is_set(left, other):  # seldom: no store for the others
                        take(left, other)
                        rows[fresh] = other
                        fresh += 1
        elif waiting == 0:
            if size >= enough or state[COMPARED] >= count:
                break
            # The links lead nowhere new: begin again with what the nearest clusters have left.
            most = min(2 * most, np.int64(MOST_SEEDS))
            if everything and in_part:
                fresh = begin_part(bounds, around, left, by, CLUSTERS, most, rows)
            else:
                fresh = begin(bounds, entries, around, left, most, near, rows)
            if fresh == 0:
                break
        for place in range(min(fresh, ahead)):
            ask_for(held, np.int64(rows[place]))
        waiting = within(state, waiting)
        lowest: Integer = size
        for place in range(waiting):
            if place + ahead < waiting:
                ask_for(held, np.int64(pending[place + ahead]))
            row = np.int64(pending[place])
            key = key_of(held, row)
            if key > gate:
                continue
            where = insert(pool, size, key)
            if where < beam:
                size += size < beam
                lowest = where if where < lowest else lowest
                if where < current + 2:  # likely to be followed next
                    ask_for_links(links, members, row)
        current = lowest if lowest < current else current
        if lowest < k <= size:
            bar = beyond(np.int64(pool[k - 1]), gap, floor)
            gate = beyond(np.int64(pool[k - 1]), gap + MARGIN, floor)
        if state[STATUS] != APPROXIMATE or out_of_time(deadline, state):
            break
        pending, rows = rows, pending
        waiting = fresh
    state[CHECKED] = checked
    state[NEAR] = min(current, size)
    return size


@inner
def walk_all(
    held: Any,
    ahead: Integer,
    links: Array,
    bounds: Array,
    entries: Array,
    around: Array,
    words: Array,
    count: Integer,
    deadline: Integer,
    left: Array,
    queue: Array,
    pool: Array,
    k: Integer,
    gap: float,
    floor: float,
    pending: Array,
    rows: Array,
    state: Array,
) -> Integer:
    """Best-first search over all rows; the first passing rows in `pool`, in order: how many.

    As `walk_passing`. `left` holds all ones at first; `queue` int64[n] is scratch for the rows to
    follow.
    """
    beam, size, queued, passed = pool.shape[0], np.int64(0), np.int64(0), np.int64(0)
    near = np.empty(CLUSTERS, np.int64)
    bar: Integer = ALL  # of rows to follow
    gate: Integer = ALL  # of rows to keep
    enough = beam if gap >= UNBOUNDED else k
    waiting: Integer = begin(bounds, entries, around, left, np.int64(1), near, pending)
    for place in range(min(waiting, ahead)):
        ask_for(held, np.int64(pending[place]))
    while True:
        fresh: Integer = np.int64(0)
        # What is behind the worst of a full collection is not followed, now or later.
        if queued > 0 and queue[0] <= bar and (size < beam or queue[0] <= pool[size - 1]):
            here = row_of(heap_pop(queue, queued))
            queued -= 1
            state[LISTS] += 1
            for place in range(links.shape[1]):
                other = np.int64(links[here, place])
                if other < 0:
                    break
                rows[fresh] = other
                fresh += take(left, other)
            if queued > 0:
                prefetch_row(links, row_of(queue[0]))
        elif waiting == 0:
            if size >= enough:
                break
            # The links lead nowhere new: begin again with what the nearest clusters have left.
            fresh = begin(bounds, entries, around, left, np.int64(MOST_SEEDS), near, rows)
            if fresh == 0:
                break
        for place in range(min(fresh, ahead)):
            ask_for(held, np.int64(rows[place]))
        waiting = within(state, waiting)
        lowest: Integer = beam
        for place in range(waiting):
            if place + ahead < waiting:
                ask_for(held, np.int64(pending[place + ahead]))
            row = np.int64(pending[place])
            key = key_of(held, row)
            passes = is_set(words, row)
            passed += passes
            if key <= gate and (size < beam or key < pool[size - 1]):
                heap_push(queue, queued, key)
                queued += 1
                if queue[0] == key:  # likely to be followed next
                    prefetch_row(links, row)
                if passes:
                    where = insert(pool, size, key)
                    size += size < beam
                    lowest = where if where < lowest else lowest
        if lowest < k <= size:
            bar = beyond(np.int64(pool[k - 1]), gap, floor)
            gate = beyond(np.int64(pool[k - 1]), gap + MARGIN, floor)
        if state[STATUS] != APPROXIMATE or out_of_time(deadline, state) or passed >= count:
            break
        pending, rows = rows, pending
        waiting = fresh
    state[CHECKED] = state[COMPARED]
    near_enough: Integer = size
    while near_enough > 0 and pool[near_enough - 1] > bar:
        near_enough -= 1
    state[NEAR] = near_enough
    return size
