"""From values to rows: dictionary look-ups, posting lists, and the bitmaps of code intervals.

A column's values are codes: ranks in a sorted dictionary, -1 for null. *Slot* c + 1 of its posting
lists holds the rows with code c, slot 0 those with a null; `rows[offsets[s] : offsets[s + 1]]` are
the rows of slot s, sorted. A set of codes is a flat, sorted list of *bounds*: codes bounds[0] <= c
< bounds[1], bounds[2] <= c < bounds[3], and so on.

A number's code is found among int64 keys, a string's among UTF-8 bytes in byte order.
"""

from __future__ import annotations

import numpy as np

from fanns.kernels.jit import Array, kernel

ONE = np.uint64(1)


@kernel
def search_key(keys: Array, key: int, after: int) -> int:
    """The number of sorted keys (int64) below `key`; with `after` = 1, at or below it."""
    low = 0
    high = keys.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key or (after == 1 and keys[middle] == key):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find_key(keys: Array, key: int) -> int:
    """The code of a key, -1 when it is not there."""
    code = search_key(keys, key, 0)
    if code < keys.shape[0] and keys[code] == key:
        return code
    return -1


@kernel
def compare_text(offsets: Array, data: Array, code: int, text: Array) -> int:
    """Below, at or above 0 as string `code` sorts before, at or after `text`, by bytes."""
    start = offsets[code]
    length = offsets[code + 1] - start
    for i in range(min(length, text.shape[0])):
        if data[start + i] != text[i]:
            return -1 if data[start + i] < text[i] else 1
    order: int = length - text.shape[0]
    return order


@kernel
def search_text(offsets: Array, data: Array, text: Array, after: int) -> int:
    """The number of sorted strings below `text`; with `after` = 1, at or below it."""
    low = 0
    high = offsets.shape[0] - 1
    while low < high:
        middle = (low + high) >> 1
        order = compare_text(offsets, data, middle, text)
        if order < 0 or (after == 1 and order == 0):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find_text(offsets: Array, data: Array, text: Array) -> int:
    """The code of a string, -1 when it is not there."""
    code = search_text(offsets, data, text, 0)
    if code < offsets.shape[0] - 1 and compare_text(offsets, data, code, text) == 0:
        return code
    return -1


@kernel
def group_rows(starts: Array, codes: Array, last: Array, offsets: Array, rows: Array) -> int:
    """Posting lists by counting sort; returns how many rows were written.

    Row r has the codes codes[starts[r] : starts[r + 1]] (repeats count once). `offsets` has an
    entry more than there are slots, `last` (int32) one per slot, `rows` one per code.
    """
    slots = last.shape[0]
    offsets[:] = 0
    last[:] = -1
    for r in range(starts.shape[0] - 1):
        for i in range(starts[r], starts[r + 1]):
            slot = codes[i] + 1
            if last[slot] != r:
                last[slot] = r
                offsets[slot + 1] += 1
    for s in range(slots):
        offsets[s + 1] += offsets[s]
    last[:] = -1
    for r in range(starts.shape[0] - 1):
        for i in range(starts[r], starts[r + 1]):
            slot = codes[i] + 1
            if last[slot] != r:
                last[slot] = r
                rows[offsets[slot]] = r
                offsets[slot] += 1
    for s in range(slots, 0, -1):  # the cursors stand at the ends: shift them to the starts
        offsets[s] = offsets[s - 1]
    offsets[0] = 0
    return int(offsets[slots])


@kernel
def flip_rows(rows: Array, start: int, stop: int, words: Array) -> None:
    """Flip the bits of rows[start:stop]."""
    for i in range(start, stop):
        r = rows[i]
        words[r >> 6] ^= ONE << np.uint64(r & 63)


@kernel
def nearest_cut(offsets: Array, cuts: Array, total: int, position: int) -> int:
    """Which stored prefix of the rows in slot order ends nearest to `position` of `total`.

    -1 is the empty one, 0.. those up to code cuts[i], cuts.shape[0] the whole.
    """
    best = -1
    distance = position
    for i in range(cuts.shape[0]):
        d = abs(int(offsets[cuts[i] + 1]) - position)
        if d < distance:
            best, distance = i, d
    if total - position < distance:
        best = cuts.shape[0]
    return best


@kernel
def flip_prefix(
    offsets: Array, rows: Array, cuts: Array, bitmaps: Array, n: int, position: int, words: Array
) -> None:
    """Flip the bits of rows[:position] by way of the nearest stored prefix."""
    total = rows.shape[0]
    nearest = nearest_cut(offsets, cuts, total, position)
    end = 0
    if nearest == cuts.shape[0]:
        end = total
        for w in range(words.shape[0]):
            words[w] = ~words[w]
        if n & 63:
            words[words.shape[0] - 1] &= ~np.uint64(0) >> np.uint64(64 - (n & 63))
    elif nearest >= 0:
        end = int(offsets[cuts[nearest] + 1])
        for w in range(words.shape[0]):
            words[w] ^= bitmaps[nearest, w]
    flip_rows(rows, min(position, end), max(position, end), words)


@kernel
def flip_codes(
    bounds: Array,
    offsets: Array,
    rows: Array,
    cuts: Array,
    bitmaps: Array,
    n: int,
    words: Array,
) -> None:
    """Flip the rows whose code lies within the bounds, in a column with one code per row.

    bitmaps[i] is the set of the rows with a code below cuts[i], nulls among them (the cumulative
    bitmaps of a range-encoded index, Chan and Ioannidis 1998). An interval is the difference of
    two prefixes, and each prefix is a stored one plus or minus the rows between.
    """
    width = words.shape[0]
    total = rows.shape[0]
    for i in range(0, bounds.shape[0], 2):
        start = int(offsets[bounds[i] + 1])
        stop = int(offsets[bounds[i + 1] + 1])
        first = nearest_cut(offsets, cuts, total, start)
        last = nearest_cut(offsets, cuts, total, stop)
        # Two passes over the words against one flip per row: a word costs about a quarter flip.
        if first == last or stop - start <= width >> 1:
            flip_rows(rows, start, stop, words)
        else:
            flip_prefix(offsets, rows, cuts, bitmaps, n, start, words)
            flip_prefix(offsets, rows, cuts, bitmaps, n, stop, words)


@kernel
def set_codes(bounds: Array, offsets: Array, rows: Array, words: Array) -> None:
    """Set the rows that have a code within the bounds, in a column with several codes per row."""
    for i in range(0, bounds.shape[0], 2):
        for j in range(offsets[bounds[i] + 1], offsets[bounds[i + 1] + 1]):
            r = rows[j]
            words[r >> 6] |= ONE << np.uint64(r & 63)


@kernel
def gather_codes(bounds: Array, offsets: Array, rows: Array, out: Array) -> int:
    """out = the rows with a code within the bounds, by (code, row); returns how many."""
    found = 0
    for i in range(0, bounds.shape[0], 2):
        for j in range(offsets[bounds[i] + 1], offsets[bounds[i + 1] + 1]):
            out[found] = rows[j]
            found += 1
    return found


@kernel
def count_codes(bounds: Array, offsets: Array) -> int:
    """The number of posting entries within the bounds."""
    total = 0
    for i in range(0, bounds.shape[0], 2):
        total += int(offsets[bounds[i + 1] + 1]) - int(offsets[bounds[i] + 1])
    return total


@kernel
def rows_with_codes(rows: Array, codes: Array, bounds: Array, out: Array) -> int:
    """out = those of rows whose code lies within the bounds, in order; returns how many."""
    found = 0
    if bounds.shape[0] == 2:
        low, high = bounds[0], bounds[1]
        for i in range(rows.shape[0]):
            code = codes[rows[i]]
            out[found] = rows[i]  # overwritten when it fails: no branch to mispredict
            found += int(low <= code) & int(code < high)
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
        out[found] = rows[i]
        found += low & 1
    return found


@kernel
def count_elements(rows: Array, starts: Array, codes: Array, last: Array, counts: Array) -> None:
    """counts[c + 1] += the number of the given rows that hold code c; `last` as for group_rows."""
    last[:] = -1
    for i in range(rows.shape[0]):
        r = rows[i]
        for j in range(starts[r], starts[r + 1]):
            slot = codes[j] + 1
            if last[slot] != r:
                last[slot] = r
                counts[slot] += 1


@kernel
def check_postings(n: int, slots: int, offsets: Array, rows: Array) -> int:
    """0 when every look-up stays in bounds, else 1: offsets, 2: rows, for lists read from a file.

    Offsets must rise from 0 to the number of rows, and the rows of a slot must rise within 0..n-1.
    """
    if offsets.shape[0] != slots + 1 or offsets[0] != 0 or offsets[slots] != rows.shape[0]:
        return 1
    for s in range(slots):
        if offsets[s + 1] < offsets[s]:
            return 1
    for s in range(slots):
        before = -1
        for i in range(offsets[s], offsets[s + 1]):
            if rows[i] <= before or rows[i] >= n:
                return 2
            before = rows[i]
    return 0


@kernel
def check_partition(codes: Array, offsets: Array, rows: Array) -> int:
    """1 when each row stands in the slot of its code (after check_postings), else 0."""
    for s in range(offsets.shape[0] - 1):
        for i in range(offsets[s], offsets[s + 1]):
            if codes[rows[i]] + 1 != s:
                return 0
    return 1


@kernel
def check_starts(starts: Array, total: int) -> int:
    """1 when the offsets rise from 0 to total, else 0."""
    last = starts.shape[0] - 1
    if last < 0 or starts[0] != 0 or starts[last] != total:
        return 0
    for i in range(last):
        if starts[i + 1] < starts[i]:
            return 0
    return 1
