"""The exact-selection index over attribute columns: a bound filter in, the passing rows out.

domain       Arrow values as int64 keys that sort as the values do, and back
dictionary   the sorted distinct values of a column; codes are ranks in it
postings     the rows of each code, bitmaps of frequent and of cumulated ones
intervals    sets of codes
scalar       a column of single values
lists        a column of lists
stored       a string column that is not indexed
like         LIKE patterns
opaque       expressions and predicates of the caller's
evaluate     the filter tree to a selection
cache        the selections of recent filters
index        AttributeIndex, which owns the columns of one segment
"""

from fanns.attributes.evaluate import RowContext
from fanns.attributes.index import AttributeIndex

__all__ = ["AttributeIndex", "RowContext"]
