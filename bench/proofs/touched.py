"""Bytes that a search reads, from its counters and the sizes of what it counts.

A model. The clusters path counts records of few bits and int8 codes together, and all are taken as
records where it has them: that is too few bytes, and gives what does not grow with the rows that
pass, the centres, more weight than it has. Rows of d float32 dimensions; an int8 code takes d
bytes, rounded up to 64, and 12 for its scale and square; a record of b bits a dimension d b / 8
bytes and 8 for two numbers, in whole cache lines; a list of links 48 numbers of 4 bytes. Centres
of all clusters, by their records where the clusters path has them, and the int8 codes of those
that it visits, are counted too, as are the 4 bytes that name a selected row.
"""

from __future__ import annotations

import math

from fanns.explanation import SegmentReport

LINE, LINKS = 64, 4 * 48
MOST_CLUSTERS = 4_096


def touched(told: SegmentReport, dimensions: int, bits: int) -> int:
    """Bytes read by the search of one query. Raises ValueError for a path that it does not know."""
    codes, full, _, hops = told.work
    record = _whole(8 * -(-dimensions // 64) * bits + 8)
    int8 = _whole(dimensions) + 12
    rest = full * 4 * dimensions + 4 * told.matches
    clusters = min(math.isqrt(told.rows), MOST_CLUSTERS)
    centres = clusters * int8
    if told.path == "scan":
        shortlist = told.parameters.get("bits", 0)
        if shortlist and codes > told.matches:  # estimates of all, and int8 codes of the best
            sieved = codes - told.matches
            return told.matches * record + sieved * int8 + centres + rest
        return codes * int8 + rest
    if told.path == "graph":
        return codes * int8 + hops * LINKS + centres + rest
    if told.path == "clusters":
        if told.parameters.get("slack", -1.0) >= 0:
            return (codes + clusters) * record + hops * int8 + rest
        return codes * int8 + centres + rest
    raise ValueError(f"no model of what the path {told.path!r} reads")


def _whole(size: int) -> int:
    """Rounded up to whole cache lines."""
    return -(-size // LINE) * LINE
