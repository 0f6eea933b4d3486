"""Rows that equal another: kept out of the graph proper and linked in a ring beside it.

Inserted like other rows they would crowd out other links, or, pruned, be reached by none. A ring,
each linking to those next to it, is not cut by a filter as a tree would be. Each copy has the links
of the row it equals as well, so that a walk goes on from any of them.
"""

from __future__ import annotations

import numpy as np

from fanns.codes import Int8Codes
from fanns.kernels.jit import Array
from fanns.threads import run_chunks

ROWS_A_CHUNK = 4096


def first_of_equals(codes: Int8Codes, cluster_of: Array, threads: int | None) -> Array:
    """For each row the first row of its cluster with the same code and scale, int32[n]."""
    n = codes.n
    words = codes.codes.view(np.uint64)
    scale = codes.scale.view(np.uint32)
    odd = np.random.default_rng(0).integers(2**63, size=words.shape[1] + 2, dtype=np.uint64)
    odd = odd * np.uint64(2) + np.uint64(1)
    digest = np.empty(n, np.uint64)

    def task(start: int, stop: int) -> None:
        digest[start:stop] = (words[start:stop] * odd[2:]).sum(axis=1)
        digest[start:stop] += scale[start:stop] * odd[0]
        digest[start:stop] += cluster_of[start:stop].astype(np.uint64) * odd[1]

    run_chunks(task, n, ROWS_A_CHUNK, threads)
    order = np.argsort(digest, kind="stable").astype(np.int32)
    before, after = order[:-1], order[1:]
    same = np.flatnonzero(digest[before] == digest[after])
    a, b = before[same], after[same]
    equal = (scale[a] == scale[b]) & (cluster_of[a] == cluster_of[b])
    for start in range(0, len(same), ROWS_A_CHUNK):
        part = slice(start, start + ROWS_A_CHUNK)
        equal[part] &= (words[a[part]] == words[b[part]]).all(axis=1)
    begins = np.ones(n, np.bool_)
    begins[same[equal] + 1] = False
    first = np.empty(n, np.int32)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def groups_of_copies(first: Array) -> tuple[Array, list[Array]]:
    """Rows that have copies, int32, and the copies of each, from `first_of_equals`."""
    copies = np.flatnonzero(first != np.arange(len(first)))
    copies = copies[np.argsort(first[copies], kind="stable")].astype(np.int32)
    originals, starts = np.unique(first[copies], return_index=True)
    return originals, np.split(copies, starts[1:]) if len(copies) else []


def ring_copies(links: Array, degree: int, original: int, copies: Array) -> None:
    """Link a row of at most `degree` links to its copies, and these to each other and to it."""
    room = links.shape[1] - 1
    fan = room - degree
    held = links[original]
    common = held[held >= 0]
    held[len(common) : len(common) + fan] = _pad(copies[:fan], fan)
    ring = np.concatenate((copies, copies[:fan]))
    for number, row in enumerate(copies):
        following = ring[number + 1 :][: min(fan, len(copies) - 1)]
        own = np.concatenate(([original], following, common))
        links[row, :room] = _pad(own[:room], room)


def _pad(rows: Array, size: int) -> Array:
    """Rows with -1 behind them."""
    return np.append(rows, np.full(size - len(rows), -1)).astype(np.int32)
