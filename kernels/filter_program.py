"""The instructions of a filter as a program, which a kernel runs for each row.

A program is int32[p, 4], instructions (operation, place, start, stop), which work on a stack of
truth values, as bits of one register:

- CODES: push whether the row's code in column `place` lies within the bounds `start` to `stop` - 1
- LISTS: push whether the code of any element of the row's list does, in list column `place`
- WORDS: push the row's bit in bitmap `place`
- CONSTANT: push `place`, 0 or 1
- AND, OR, WITHOUT: replace the two on top, a below b, by a and b, a or b, a and not b

Bounds are flat and sorted, [a, b, c, d] for the codes a..b-1 and c..d-1. One value is left.
"""

from __future__ import annotations

CODES, LISTS, WORDS, CONSTANT, AND, OR, WITHOUT = range(7)

DEEPEST = 31
"""Values that the stack holds."""
