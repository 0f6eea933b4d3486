"""The loops over all rows that a build spends its time in, and how the processor runs them.

Codes and clusters are built by one of these; `device.building` has the one for a GPU, which gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fanns.kernels.bit_encode import encode_bits
from fanns.kernels.int8 import encode
from fanns.kernels.jit import Array, frozen
from fanns.kernels.kmeans import add_rows, nearest_centroids
from fanns.kernels.pq import encode_pq
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors

RowsDone = Callable[[int], None] | None

CHUNK = 1024
"""Rows of a task that encodes: whole blocks of product codes, so that no two tasks share one."""

COMPARED = 512
"""Rows of a task that compares them with centroids."""


class Loops(Protocol):
    """What a build does with all rows; `progress` hears how many are done."""

    def encode(
        self, vectors: DenseVectors, mean: Array, out: Mapping[str, Array], progress: RowsDone
    ) -> None:
        """Int8 codes of all rows around mean float32[d], into the arrays of `Int8Codes`."""

    def encode_bits(
        self,
        vectors: DenseVectors,
        mean: Array,
        signs: Array,
        bits: int,
        offsets: Array,
        centroids: Array,
        records: Array,
        progress: RowsDone,
    ) -> None:
        """Records of all rows, which stand in cluster order, for `BitCodes`."""

    def encode_products(
        self,
        vectors: DenseVectors,
        mean: Array,
        centroids: Array,
        labels: Array,
        rotation: Array,
        books: Array,
        out: Mapping[str, Array],
        progress: RowsDone,
    ) -> None:
        """Product codes of all rows, into the arrays that `pq_codes.empty_codes` makes."""

    def nearest(
        self, codes: Array, scale: Array, square: Array, centroids: Array, parameters: Array
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """The nearest centroid of each coded row, and its squared distance.

        centroids int8[c, w] and parameters float64[c, PARAMETERS], as `kmeans.prepare_centroids`
        prepares them.
        """

    def add_rows(
        self, vectors: DenseVectors, rows: Array, labels: Array, clusters: int
    ) -> npt.NDArray[np.float64]:
        """The sum of rows int32[m] by their clusters, labels int32[m], float64[clusters, d].

        In the order of rows, which are of length 1 under cosine.
        """


class Processor:
    """The loops on this machine's processor, by so many threads (None: all)."""

    def __init__(self, threads: int | None = 1) -> None:
        self._threads = threads

    def encode(
        self, vectors: DenseVectors, mean: Array, out: Mapping[str, Array], progress: RowsDone
    ) -> None:
        coded = [out[name] for name in ("codes", "scale", "square", "error")]
        rows = (vectors.exact, vectors.norms, vectors.metric, mean)

        def task(start: int, stop: int) -> None:
            encode(*rows, start, stop, *coded)

        run_chunks(task, vectors.n, CHUNK, self._threads, progress)

    def encode_bits(
        self,
        vectors: DenseVectors,
        mean: Array,
        signs: Array,
        bits: int,
        offsets: Array,
        centroids: Array,
        records: Array,
        progress: RowsDone,
    ) -> None:
        factors = records.view(np.float32)
        rows = (vectors.exact, vectors.norms, vectors.metric, mean, signs, bits)
        clusters = (frozen(offsets), frozen(centroids))

        def task(start: int, stop: int) -> None:
            encode_bits(*rows, *clusters, start, stop, records, factors)

        run_chunks(task, vectors.n, CHUNK, self._threads, progress)

    def encode_products(
        self,
        vectors: DenseVectors,
        mean: Array,
        centroids: Array,
        labels: Array,
        rotation: Array,
        books: Array,
        out: Mapping[str, Array],
        progress: RowsDone,
    ) -> None:
        rows = (vectors.exact, vectors.norms, vectors.metric, mean, centroids, frozen(labels))
        quantizer = (frozen(rotation), frozen(books))
        coded = (out["codes"], out["fields"], out["error"])

        def task(start: int, stop: int) -> None:
            encode_pq(*rows, *quantizer, start, stop, *coded)

        run_chunks(task, vectors.n, CHUNK, self._threads, progress)

    def nearest(
        self, codes: Array, scale: Array, square: Array, centroids: Array, parameters: Array
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        n = len(codes)
        labels, keys = np.empty(n, np.int32), np.empty(n, np.float64)
        prepared = (codes, scale, square, centroids, parameters)
        run_chunks(
            lambda start, stop: nearest_centroids(*prepared, start, stop, labels, keys),
            n,
            COMPARED,
            self._threads,
        )
        return labels, keys

    def add_rows(
        self, vectors: DenseVectors, rows: Array, labels: Array, clusters: int
    ) -> npt.NDArray[np.float64]:
        """By one thread: the order of additions is that of the rows."""
        sums, counts = np.zeros((clusters, vectors.d), np.float64), np.zeros(clusters, np.int64)
        add_rows(vectors.exact, vectors.norms, vectors.metric, frozen(rows), labels, sums, counts)
        return sums


def loops_of(loops: Loops | None, threads: int | None) -> Loops:
    """The loops that were given, or those of the processor."""
    return Processor(threads) if loops is None else loops
