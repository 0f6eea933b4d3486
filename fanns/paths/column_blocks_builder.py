"""Build the blocks of a column: of every so many ranks of its order, or of its frequent values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fanns.codes import unit_rows
from fanns.kernels.balance import balance
from fanns.kernels.distance import L2
from fanns.kernels.fastscan import ROWS
from fanns.kernels.int8 import encode
from fanns.kernels.jit import Array, frozen
from fanns.kernels.pq import encode_pq
from fanns.paths.column_blocks import PART, Quantized
from fanns.paths.column_path import PostingLists
from fanns.pq_codes import empty_codes
from fanns.threads import run_chunks

CHUNK = 16
"""Blocks that are encoded together."""

Progress = Callable[[int, int], None]


def range_parts(postings: PostingLists) -> list[tuple[int, int]]:
    """First rank and the one behind the last of each part of an ordered column."""
    last = len(postings.rows)
    return [(start, min(start + PART, last)) for start in range(0, last, PART)]


def label_parts(postings: PostingLists, values: Sequence[int]) -> list[tuple[int, int]]:
    """The same of values, given by their rising codes."""
    at = postings.offsets.item
    return [(at(code + 1), at(code + 2)) for code in values]


def column_blocks(
    rows: Quantized,
    postings: PostingLists,
    parts: Sequence[tuple[int, int]],
    *,
    threads: int | None,
    progress: Progress,
) -> dict[str, Array]:
    """What `ColumnBlocks` holds for parts of the column's order; the same for any threads."""
    sizes = [-(-(stop - start) // ROWS) for start, stop in parts]
    firsts = np.cumsum([0, *sizes])
    blocks, width = int(firsts[-1]), rows.codes.width
    coded = empty_codes(blocks * ROWS, rows.products.subspaces, rows.products.size)
    arrays: dict[str, Array] = {
        "parts": np.array([(*part, first) for part, first in zip(parts, firsts, strict=False)],
                          np.int64).reshape(-1, 3),
        "ranks": np.full((blocks, ROWS), -1, np.int32),
        "codes": coded["codes"],
        "fields": coded["fields"],
        "centres": np.empty((blocks, width), np.uint8),
        "scale": np.empty(blocks, np.float32),
        "square": np.empty(blocks, np.float64),
        "length2": np.empty(blocks, np.float64),
    }  # fmt: skip

    def task(start: int, stop: int) -> None:
        for number in range(start, stop):
            _cut(rows, postings, parts[number], int(firsts[number]), arrays)

    total = int(firsts[-1])
    run_chunks(task, len(parts), 1, threads, lambda done: progress(int(firsts[done]), total))
    return {name: frozen(array) for name, array in arrays.items()}


def _cut(
    rows: Quantized,
    postings: PostingLists,
    part: tuple[int, int],
    first: int,
    arrays: dict[str, Array],
) -> None:
    """Write the blocks of one part, from block `first` on."""
    start, stop = part
    slot = postings.rows[start:stop]
    members = np.array(slot, np.int32)
    balance(rows.codes.codes, rows.codes.scale, rows.vectors.d, members)
    # A row stands once in a part that is a value, and once in a column with one value a row.
    order = np.argsort(slot, kind="stable")
    ranks = arrays["ranks"].reshape(-1)[first * ROWS :]
    ranks[: len(members)] = start + order[np.searchsorted(slot, members, sorter=order)]
    for begin in range(0, len(members), CHUNK * ROWS):
        _encode(rows, members[begin : begin + CHUNK * ROWS], first + begin // ROWS, arrays)


def _encode(rows: Quantized, members: Array, first: int, arrays: dict[str, Array]) -> None:
    """Write centres and codes of some blocks."""
    products, codes = rows.products, rows.codes
    points = unit_rows(rows.vectors, members).astype(np.float32)
    starts = np.arange(0, len(members), ROWS)
    sizes = np.diff(starts, append=len(members))
    centres = np.add.reduceat(points.astype(np.float64), starts, axis=0) / sizes[:, None]
    centres = centres.astype(np.float32)
    blocks = slice(first, first + len(starts))
    error = np.empty(len(members), np.float32)
    ones = frozen(np.ones(len(members)))
    labels = frozen(np.repeat(np.arange(len(starts), dtype=np.int32), sizes))
    encode_pq(
        frozen(points),
        ones,
        rows.vectors.metric,
        products.mean,
        frozen(centres),
        labels,
        products.rotation,
        products.books,
        0,
        len(members),
        arrays["codes"][blocks],
        arrays["fields"][blocks],
        error,
    )
    arrays["length2"][blocks] = np.square(centres.astype(np.float64)).sum(axis=1)
    coded, scale, square = (arrays[name][blocks] for name in ("centres", "scale", "square"))
    nothing, unused = frozen(np.zeros(len(starts))), np.empty(len(starts), np.float32)
    encode(frozen(centres), nothing, L2, codes.mean, 0, len(starts), coded, scale, square, unused)
