"""From values to rows: dictionary look-ups, posting lists, and the bitmaps of code intervals.

A column's values are codes: ranks in a sorted dictionary, -1 for null. *Slot* c + 1 of its posting
lists holds the rows with code c, slot 0 those with a null; `rows[offsets[s] : offsets[s + 1]]` are
the rows of slot s, sorted. A set of codes is a flat, sorted list of *bounds*: codes bounds[0] <= c
< bounds[1], bounds[2] <= c < bounds[3], and so on.

A number's code is found among int64 keys, a string's among UTF-8 bytes in byte order.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.intrinsics import popcount
from fanns.kernels.jit import Array, Integer, inner, kernel

ONE = np.uint64(1)
ZERO = np.uint64(0)


@kernel
def search_key(keys: Array, key: int) -> int:
    """2 * rank + found: the number of sorted keys (int64) below `key`, and whether it is there."""
    low = 0
    high = keys.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return 2 * low + int(low < keys.shape[0] and keys[low] == key)


@kernel
def find_keys(values: Array, order: Array, keys: Array, rows: Array) -> None:
    """rows[i] = where keys[i] stands among distinct values (int64), -1 where it does not.

    `order` int32 are the places of the values in rising order.
    """
    for i in range(keys.shape[0]):
        low = 0
        high = order.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if values[order[middle]] < keys[i]:
                low = middle + 1
            else:
                high = middle
        found = low < order.shape[0] and values[order[low]] == keys[i]
        rows[i] = order[low] if found else -1


@kernel
def search_text(offsets: Array, data: Array, text: Array) -> int:
    """2 * rank + found: the number of sorted strings below `text`, and whether it is there."""
    low = 0
    high = offsets.shape[0] - 1
    found = 0
    length = text.shape[0]
    while low < high:
        middle = (low + high) >> 1
        start = offsets[middle]
        size = offsets[middle + 1] - start
        i = 0
        while i < length and i < size and data[start + i] == text[i]:
            i += 1
        if i == length:
            high = middle  # equal, or longer
            found = int(size == length)
        elif i == size or data[start + i] < text[i]:
            low = middle + 1
        else:
            high = middle
            found = 0
    return 2 * low + found


@kernel
def search_texts(offsets: Array, data: Array, ends: Array, texts: Array, codes: Array) -> None:
    """codes[i] = rank of the string texts[ends[i - 1] : ends[i]], -1 where it is not there."""
    start = 0
    for i in range(ends.shape[0]):
        found = search_text(offsets, data, texts[start : ends[i]])
        codes[i] = found >> 1 if found & 1 else -1
        start = ends[i]


@kernel
def group_rows(starts: Array, codes: Array, last: Array, offsets: Array, rows: Array) -> int:
    """Posting lists by counting sort; returns how many rows were written.

    Row r has the codes codes[starts[r] : starts[r + 1]] (repeats count once). `offsets` has an
    entry more than there are slots, `last` (int32) one per slot, `rows` one per code.
    """
    slots = last.shape[0]
    offsets[:] = 0
    for writing in range(2):
        last[:] = -1
        for r in range(starts.shape[0] - 1):
            for i in range(starts[r], starts[r + 1]):
                slot = codes[i] + 1
                if last[slot] != r:
                    last[slot] = r
                    if writing:
                        rows[offsets[slot]] = r
                    offsets[slot] += 1
        # Counts become the ends of slots, or cursors that have reached them: shift to the starts.
        place = 0
        for s in range(slots + 1):
            size = offsets[s]
            offsets[s] = place
            place = size if writing else place + size
    return int(offsets[slots])


@kernel
def flip_codes(
    bounds: Array,
    offsets: Array,
    rows: Array,
    cuts: Array,
    bitmaps: Array,
    words: Array,
) -> None:
    """Flip the rows whose code lies within the bounds, in a column with one code per row.

    bitmaps[i] is the set of the rows with a code below cuts[i], nulls among them (the cumulative
    bitmaps of a range-encoded index, Chan and Ioannidis 1998). An interval is the difference of
    two prefixes of the rows in slot order, and each prefix is the nearest stored one, or none,
    plus or minus the rows between.
    """
    width = words.shape[0]
    nearest = np.empty(2, np.int64)
    position = np.empty(2, np.int64)
    end = np.empty(2, np.int64)
    for i in range(0, bounds.shape[0], 2):
        for side in range(2):
            position[side] = offsets[bounds[i + side] + 1]
            nearest[side] = -1
            end[side] = 0
            for c in range(cuts.shape[0]):
                stop = int(offsets[cuts[c] + 1])
                if abs(stop - position[side]) < abs(end[side] - position[side]):
                    nearest[side] = c
                    end[side] = stop
        # Each prefix costs a pass over the words, which costs about a quarter of a flip a word.
        if nearest[0] == nearest[1] or position[1] - position[0] <= width >> 1:
            end[0] = end[1] = position[1]
            nearest[:] = -1
        for side in range(2):
            if nearest[side] >= 0:
                stored = bitmaps[nearest[side]]
                for w in range(width):
                    words[w] ^= stored[w]
            low = min(position[side], end[side])
            for j in range(low, max(position[side], end[side])):
                r = rows[j]
                words[r >> 6] ^= ONE << np.uint64(r & 63)


@kernel
def rows_with_codes(rows: Array, codes: Array, bounds: Array, out: Array) -> int:
    """out = those of rows whose code lies within the bounds, in order; returns how many."""
    found = 0
    if bounds.shape[0] == 2:  # one interval needs no branch: a seventh of the time
        first, width = np.int64(bounds[0]), np.uint64(bounds[1] - bounds[0])
        for i in range(rows.shape[0]):
            r = rows[i]
            out[found] = r
            found += int(np.uint64(np.int64(codes[r]) - first) < width)
        return found
    for i in range(rows.shape[0]):
        code = codes[rows[i]]
        low, high = 0, bounds.shape[0]
        while low < high:  # how many bounds are at or below the code: odd means inside
            middle = (low + high) >> 1
            if bounds[middle] <= code:
                low = middle + 1
            else:
                high = middle
        out[found] = rows[i]  # overwritten when it fails
        found += low & 1
    return found


@inner
def _set_rows(rows: Array, start: Integer, stop: Integer, words: Array) -> None:
    """Set the bits of rows. Gathering those of one word first would take twice the time: whether
    the next row shares the word cannot be guessed."""
    for place in range(start, stop):
        r = rows[place]
        words[r >> 6] |= ONE << np.uint64(r & 63)


@kernel
def count_slots(bounds: Array, offsets: Array) -> int:
    """The rows of all slots within the bounds, each slot's by themselves."""
    total = 0
    for i in range(0, bounds.shape[0], 2):
        total += int(offsets[bounds[i + 1] + 1]) - int(offsets[bounds[i] + 1])
    return total


@kernel
def fill_slots(
    bounds: Array, offsets: Array, rows: Array, frequent: Array, bitmaps: Array, words: Array
) -> int:
    """Set the rows of all slots within the bounds; gives how many are set then.

    bitmaps[i] is the set of the rows with code frequent[i], a rising list.
    """
    for i in range(0, bounds.shape[0], 2):
        code, end, place = bounds[i], bounds[i + 1], 0
        while place < frequent.shape[0] and frequent[place] < code:
            place += 1
        while code < end:
            stop = end
            if place < frequent.shape[0] and frequent[place] < end:
                stop = frequent[place]
            for c in range(code, stop):
                _set_rows(rows, offsets[c + 1], offsets[c + 2], words)
            if stop < end:
                for w in range(words.shape[0]):
                    words[w] |= bitmaps[place, w]
                place += 1
            code = stop + 1
    total = 0
    for w in range(words.shape[0]):
        total += popcount(words[w])
    return total


@kernel
def rows_in_slots(
    few: Array,
    bounds: Array,
    offsets: Array,
    rows: Array,
    frequent: Array,
    bitmaps: Array,
    words: Array,
    out: Array,
) -> int:
    """out = those of a few rows that are in a slot within the bounds; returns how many.

    As `fill_slots`, which leaves `words`, empty before, filled. That takes two nanoseconds for each
    of the slots' rows; stepping through the lists would mispredict a branch for many of them.
    """
    fill_slots(bounds, offsets, rows, frequent, bitmaps, words)
    found = 0
    for i in range(few.shape[0]):
        r = few[i]
        out[found] = r  # overwritten when it is in none
        found += int((words[r >> 6] >> np.uint64(r & 63)) & ONE)
    return found
