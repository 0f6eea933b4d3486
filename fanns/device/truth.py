"""True answers to the sample queries of a build, found on the device that builds."""

from __future__ import annotations

from typing import Any

import numpy as np

from fanns.calibration.samples import Nearest
from fanns.device.columns import upload
from fanns.device.lanes import Lane
from fanns.device.places import cut, nothing_found, places_of
from fanns.device.rows import codes_of, no_selections
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALIGNMENT
from fanns.kernels.masked_scan_cuda import MOST
from fanns.kernels.scan import WORDS
from fanns.kernels.scan_cuda import scan_codes, scan_codes_bytes
from fanns.paths import Answers
from fanns.segment import Segment
from fanns.selection import Selection

SCRATCH = 1 << 28
"""Bytes for queries under way and their answers."""

DEPTH = 4
"""Rows in full precision, as a multiple of k: as many as on the processor."""


def truth_on(cuda: Any, budget: int, segment: Segment) -> Nearest | None:
    """What finds the nearest selected rows; None where the segment does not fit the device."""
    codes = sum(array.nbytes for array in codes_of(segment))
    needed = codes + segment.vectors.vectors.nbytes + 16 * segment.n + SCRATCH
    return _Truth(cuda, segment) if needed <= budget else None


class _Truth:
    """Scans by int8 codes and in full precision, as the processor's scan path has them."""

    def __init__(self, cuda: Any, segment: Segment) -> None:
        self._segment, self._metric = segment, METRICS[segment.metric]
        self._lane = Lane(cuda, SCRATCH)
        vectors = segment.vectors
        self._rows = [
            cuda.to_device(one) for one in (vectors.vectors, vectors.norms, segment.ids.ties)
        ]
        self._codes = [cuda.to_device(np.ascontiguousarray(one)) for one in codes_of(segment)]
        self._nothing = no_selections(cuda)

    def __call__(self, queries: Array, selection: Selection, k: int) -> Answers:
        if k == 0:
            return nothing_found(len(queries), 0)
        words, workspace = selection.words()[None], self._lane.workspace
        n, width, shortlist = self._segment.n, self._segment.codes.width, min(DEPTH * k, MOST)
        one = scan_codes_bytes(1, k, n, width, shortlist, True, workspace) + 4 * queries.shape[1]
        size = (workspace.nbytes - words.nbytes - 64 * ALIGNMENT) // (one + 16 * k)
        parts = range(0, len(queries), max(1, size))
        made = [self._scan(queries[at : at + max(1, size)], words, k, shortlist) for at in parts]
        whole: Any = (np.concatenate(some) for some in zip(*made, strict=True))
        return Answers(*whole)

    def _scan(self, queries: Array, words: Array, k: int, shortlist: int) -> Answers:
        workspace = self._lane.workspace
        with workspace.frame():
            places = places_of(len(queries), k, 1, workspace)
            vectors, norms, ties = self._rows
            given: Any = (upload(np.ascontiguousarray(queries), workspace), WORDS)
            given += (self._nothing.rows, self._nothing.offsets, upload(words, workspace))
            given += (self._segment.n, vectors, norms, self._metric, ties, *self._codes)
            rest: Any = (shortlist, *places.answers, workspace)
            scan_codes(*given, *rest)
            landing = self._lane.fetch(places.whole)
        self._lane.wait()
        _, *parts = (part.copy() for part in cut(landing, places.shapes))
        return Answers(*parts)
