"""One segment on the device: batches of queries, each under a filter of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fanns.attributes import RowContext
from fanns.device.columns import DeviceColumns, upload
from fanns.expressions import Node
from fanns.kernels import bitset_cuda
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT, DeviceArray, Workspace, bytes_of
from fanns.kernels.scan import WORDS
from fanns.kernels.scan_cuda import scan_codes, scan_codes_bytes, scan_exact, scan_exact_bytes
from fanns.paths import Answers
from fanns.segment import Segment
from fanns.selection import word_count

TIMES = 4
"""Bitmaps that counting and scanning borrow beside a query's own, at most, in its own size."""


class Found(NamedTuple):
    """Answers to m queries, and how many rows pass the filter of each, int64[m]."""

    answers: Answers
    matches: Array


class _Rows(NamedTuple):
    """What kernels ask of the rows, on the device.

    vectors [n, d], norms float64[n], ties int64[n]; `codes`: the arrays of `Int8Codes`.
    """

    vectors: DeviceArray
    norms: DeviceArray
    ties: DeviceArray
    codes: tuple[DeviceArray, ...]


class DeviceSegment:
    """A segment whose columns and rows are on the device; filters and queries come in batches."""

    def __init__(self, segment: Segment, context: RowContext) -> None:
        self.segment = segment
        self.columns = DeviceColumns(segment.attributes, context)
        self._metric = METRICS[segment.metric]
        self._rows: _Rows | None = None

    def needed(self) -> dict[str, int]:
        """Bytes that must be on the device, by part."""
        own = 16 * self.segment.n
        codes = sum(array.nbytes for array in self._codes())
        return {"columns": self.columns.nbytes, "codes": codes, "ids and lengths": own}

    def _codes(self) -> tuple[Array, ...]:
        codes = self.segment.codes
        return codes.codes, codes.scale, codes.square, codes.mean, codes.limits

    @property
    def originals(self) -> int:
        """Bytes of the vectors."""
        return int(self.segment.vectors.vectors.nbytes)

    def move(self, cuda: Any, with_originals: bool) -> None:
        """Copy columns and rows; originals to the device, or to page-locked memory of the host."""
        self.columns.move(cuda)
        vectors = self.segment.vectors
        if with_originals:
            held = cuda.to_device(vectors.vectors)
        else:
            held = cuda.mapped_array(vectors.vectors.shape, vectors.vectors.dtype)
            held[:] = vectors.vectors
        norms, ties = cuda.to_device(vectors.norms), cuda.to_device(self.segment.ids.ties)
        codes = tuple(cuda.to_device(array) for array in self._codes())
        self._rows = _Rows(held, norms, ties, codes)

    def batch(self, k: int, shortlist: int, workspace: Workspace) -> int:
        """Queries that a workspace has room for at a time, at least 1."""
        n, width = self.segment.n, self.segment.codes.width
        one = (1, word_count(n)), np.uint64
        if shortlist:
            scan = scan_codes_bytes(1, k, n, width, shortlist, False, workspace)
        else:
            scan = scan_exact_bytes(1, k, n, False, workspace)
        answers = 12 * k + 64
        each = TIMES * bytes_of(one) + scan + answers + 4 * self.segment.vectors.d
        return int(max(1, (workspace.nbytes - 64 * ALIGNMENT) // each))

    def search(
        self,
        filters: Sequence[Node],
        queries: Array,
        k: int,
        shortlist: int,
        workspace: Workspace,
    ) -> Found:
        """The k nearest rows that pass for each query float32[m, d] of the caller's.

        `filters`: one for each query, or one for all. `shortlist`: rows in full precision after
        the int8 codes of all, at least k; 0: all in full precision. Nothing waits for the device
        before the answers come back, in one copy.
        """
        segment, m = self.segment, len(queries)
        if self._rows is None:
            raise ValueError("the segment was not moved to the device")
        projected = segment.project(queries)
        inside = queries if projected is None else projected.queries
        programs = self.columns.programs(filters, segment.live)
        with workspace.frame():
            places = _places(m, k, len(filters), workspace)
            words = self.columns.bitmaps(programs, workspace)
            bitset_cuda.count(words, places.matches, workspace)
            no_lists = [upload(np.zeros(1, kind), workspace) for kind in (np.int32, np.int64)]
            vectors, norms, ties, codes = self._rows
            given: Any = (
                upload(np.ascontiguousarray(inside), workspace),
                WORDS,
                *no_lists,
                words,
                segment.n,
                vectors,
                norms,
                self._metric,
                ties,
            )
            rest: Any = (*places.answers, workspace)
            if shortlist:
                coded: Any = (*codes, shortlist)
                scan_codes(*given, *coded, *rest)
            else:
                scan_exact(*given, *rest)
            found = places.fetch(workspace)
        answers = found.answers if projected is None else segment.restore(projected, found.answers)
        return Found(answers, np.broadcast_to(found.matches, (m,)))


class _Places(NamedTuple):
    """Where kernels put answers, in one piece of the device's memory."""

    whole: DeviceArray
    matches: DeviceArray
    answers: Any
    shapes: Any

    def fetch(self, workspace: Workspace) -> Found:
        """Wait for the stream, and have all of them on the host."""
        held = self.whole.copy_to_host(stream=workspace.stream)
        _synchronise(workspace)
        parts = _cut(held, self.shapes)
        return Found(Answers(*parts[1:]), parts[0])


def _places(m: int, k: int, filters: int, workspace: Workspace) -> _Places:
    """Places for the answers to m queries under so many filters."""
    shapes = (
        ((filters,), np.int64),
        ((m, k), np.int32),
        ((m, k), np.float64),
        ((m,), np.int32),
        ((m,), np.int8),
        ((m, 4), np.int64),
    )
    whole = workspace.take((bytes_of(*shapes),), np.uint8)
    matches, *answers = _cut(whole, shapes)
    return _Places(whole, matches, answers, shapes)


def _cut(whole: Any, shapes: Any) -> list[Any]:
    """The arrays of these shapes in one array of bytes, on the host or on the device."""
    made, start = [], 0
    for shape, kind in shapes:
        size = bytes_of((shape, kind))
        used = int(np.prod(shape)) * np.dtype(kind).itemsize
        made.append(whole[start : start + used].view(kind).reshape(shape))
        start += size
    return made


def _synchronise(workspace: Workspace) -> None:
    if workspace.stream:
        workspace.stream.synchronize()
