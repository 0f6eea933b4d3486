"""The loops of a build on a CUDA device: `computing.Loops`, with the processor's bytes.

Rows come in pieces, so that they need not fit. Vectors that take at most half of the memory that
may be taken stay there for the loops that follow over the same rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.computing import RowsDone
from fanns.device.residency import free_dropped
from fanns.errors import DeviceError
from fanns.kernels.bit_encode_cuda import STEPS, encode_bits, encode_bits_bytes
from fanns.kernels.fastscan import CENTROIDS, ROWS
from fanns.kernels.int8_encode_cuda import encode
from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray, Workspace
from fanns.kernels.kmeans_cuda import add_rows, nearest_centroids
from fanns.kernels.pq_encode_cuda import encode_pq, encode_pq_bytes
from fanns.memory_limit import spelled
from fanns.vectors import DenseVectors

PIECE = 1 << 30
"""Bytes of a piece of rows, results included, at most."""

SPARE = 1 << 26
"""Bytes for what is small, and for ends of allocations."""


class _Piece(NamedTuple):
    """Rows start..stop on the device."""

    start: int
    stop: int
    vectors: DeviceArray
    norms: DeviceArray


class DeviceLoops:
    """The loops on one device, of whose memory `budget` bytes may be taken."""

    def __init__(self, cuda: Any, budget: int) -> None:
        self._cuda, self.budget = cuda, budget
        self._held: tuple[weakref.ref[DenseVectors], DeviceArray, DeviceArray] | None = None

    def encode(
        self, vectors: DenseVectors, mean: Array, out: Mapping[str, Array], progress: RowsDone
    ) -> None:
        if not vectors.n:
            return
        names = ("codes", "scale", "square", "error")
        each, space = sum(out[name][0].nbytes for name in names), Workspace(0)
        moved = self._cuda.to_device(mean)
        for piece in self._pieces(vectors, each, mean.nbytes):
            made = [self._empty(out[name][piece.start : piece.stop]) for name in names]
            rest: Any = (moved, *made, space)
            encode(piece.vectors, piece.norms, vectors.metric, *rest)
            for name, array in zip(names, made, strict=True):
                array.copy_to_host(out[name][piece.start : piece.stop])
            _tell(progress, piece.stop)

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
        if not vectors.n:
            return
        scratch = encode_bits_bytes(len(centroids), signs.shape[1], Workspace(0))
        fixed = centroids.nbytes + signs.nbytes + scratch
        self._check(fixed)
        space = Workspace(scratch)
        labels = np.repeat(np.arange(len(centroids), dtype=np.int32), np.diff(offsets))
        around = [self._cuda.to_device(array) for array in (mean, signs)]
        centres, steps = (self._cuda.to_device(array) for array in (centroids, STEPS))
        for piece in self._pieces(vectors, records[0].nbytes + 4, fixed):
            part = slice(piece.start, piece.stop)
            own, made = self._cuda.to_device(labels[part]), self._empty(records[part])
            rows: Any = (piece.vectors, piece.norms, vectors.metric, *around, bits, own, centres)
            rest: Any = (steps, made, made.view(np.float32), space)
            encode_bits(*rows, *rest)
            made.copy_to_host(records[part])
            _tell(progress, piece.stop)

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
        """ValueError for codes of 8 bits or with a rotation, which segments do not hold."""
        if rotation.shape[0] or books.shape[2] != CENTROIDS:
            raise ValueError("the device encodes products of 4 bits without a rotation")
        if not vectors.n:
            return
        scratch = encode_pq_bytes(books.shape[0] * books.shape[1], Workspace(0))
        fixed = centroids.nbytes + books.nbytes + scratch
        self._check(fixed)
        space = Workspace(scratch)
        around = [self._cuda.to_device(array) for array in (mean, centroids)]
        quantizer = self._cuda.to_device(books)
        each = (out["codes"][0].nbytes + out["fields"][0].nbytes) // ROWS + 8
        for piece in self._pieces(vectors, each, fixed):
            part = slice(piece.start, piece.stop)
            blocks = slice(piece.start // ROWS, -(-piece.stop // ROWS))
            ends = [out["codes"][blocks], out["fields"][blocks], out["error"][part]]
            made = [self._cuda.to_device(array) for array in ends]
            own = self._cuda.to_device(labels[part])
            rows: Any = (piece.vectors, piece.norms, vectors.metric, *around, own, quantizer)
            rest: Any = (*made, space)
            encode_pq(*rows, *rest)
            for array, end in zip(made, ends, strict=True):
                array.copy_to_host(end)
            _tell(progress, piece.stop)

    def nearest(
        self, codes: Array, scale: Array, square: Array, centroids: Array, parameters: Array
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        n, space = len(codes), Workspace(0)
        labels, keys = np.empty(n, np.int32), np.empty(n, np.float64)
        fixed, each, near = centroids.nbytes + parameters.nbytes, codes.shape[1] + 24, None
        if fixed + ROWS * each + self._resident + SPARE > self.budget:
            self.release()
        for start, stop in self._bounds(n, each, fixed + self._resident):
            near = near or [self._cuda.to_device(array) for array in (centroids, parameters)]
            part = slice(start, stop)
            rows = [self._cuda.to_device(array[part]) for array in (codes, scale, square)]
            made = [self._empty(labels[part]), self._empty(keys[part])]
            given: Any = (*rows, *near, *made, space)
            nearest_centroids(*given)
            made[0].copy_to_host(labels[part])
            made[1].copy_to_host(keys[part])
        return labels, keys

    def add_rows(
        self, vectors: DenseVectors, rows: Array, labels: Array, clusters: int
    ) -> npt.NDArray[np.float64]:
        sums, space = np.zeros((clusters, vectors.d), np.float64), Workspace(0)
        fixed = sums.nbytes + 8 * clusters
        self._check(fixed)
        held = self._whole(vectors, 8, fixed)
        each = 8 if held else vectors.vectors.itemsize * vectors.d + 16
        total = None
        for start, stop in self._bounds(len(rows), each, fixed + self._resident):
            total = self._cuda.to_device(sums) if total is None else total
            part = rows[start:stop]
            order = np.argsort(labels[start:stop], kind="stable")
            bounds = np.searchsorted(labels[start:stop][order], np.arange(clusters + 1))
            given = held or self._moved(vectors.vectors[part], vectors.norms[part])
            places = (part[order] if held else order).astype(np.int32)
            grouped = [self._cuda.to_device(one) for one in (places, bounds.astype(np.int64))]
            rest: Any = (*grouped, total, space)
            add_rows(*given, vectors.metric, *rest)
        if total is not None:
            total.copy_to_host(sums)
        return sums

    def release(self) -> None:
        """Let go of vectors that were kept on the device."""
        self._held = None
        free_dropped(self._cuda)

    @property
    def _resident(self) -> int:
        """Bytes of the vectors that stay on the device."""
        if self._held is None or self._held[0]() is None:
            self._held = None
            return 0
        return int(self._held[1].nbytes + self._held[2].nbytes)

    def _whole(
        self, vectors: DenseVectors, each: int, fixed: int
    ) -> tuple[DeviceArray, DeviceArray] | None:
        """All rows on the device, where they may stay; None where they come in pieces.

        A step takes `each` bytes a row and `fixed` beside them.
        """
        least = fixed + ROWS * each + SPARE
        kept = self._resident and self._held is not None and self._held[0]() is vectors
        if kept and self._held is not None and self._resident + least <= self.budget:
            return self._held[1:]
        self.release()  # other rows, or too many: room for the step
        if 2 * vectors.nbytes + least > self.budget or not vectors.n:
            return None
        made = self._moved(vectors.vectors, vectors.norms)
        self._held = (weakref.ref(vectors), *made)
        return made

    def _pieces(self, vectors: DenseVectors, each: int, fixed: int) -> Iterator[_Piece]:
        """All rows, `each` bytes of results beside a row's vector and `fixed` for all."""
        held = self._whole(vectors, each, fixed)
        own = 0 if held else vectors.vectors.itemsize * vectors.d + 8
        for start, stop in self._bounds(vectors.n, each + own, fixed + self._resident):
            part = slice(start, stop)
            if held:
                yield _Piece(start, stop, held[0][part], held[1][part])
            else:
                made = self._moved(vectors.vectors[part], vectors.norms[part])
                yield _Piece(start, stop, *made)

    def _bounds(self, n: int, each: int, fixed: int) -> Iterator[tuple[int, int]]:
        """Runs of rows, of whole blocks, that take `each` bytes a row beside `fixed`.

        Two of them at a time: the one before is held until the next is there.
        """
        self._check(fixed + ROWS * each)
        most = min((self.budget - fixed - SPARE) // 2, PIECE) // each // ROWS * ROWS
        most = max(most, ROWS)
        for start in range(0, n, most):
            free_dropped(self._cuda)
            yield start, min(start + most, n)

    def _check(self, needed: int) -> None:
        """Raises DeviceError unless so many bytes, and some to spare, may be taken."""
        if needed + SPARE > self.budget:
            raise DeviceError(
                f"this build does not fit the device: a step of it needs "
                f"{spelled(needed + SPARE)} there, and {spelled(self.budget)} may be taken "
                '(device_memory=); device="cpu" builds the same codes'
            )

    def _moved(self, vectors: Array, norms: Array) -> tuple[DeviceArray, DeviceArray]:
        return self._cuda.to_device(np.ascontiguousarray(vectors)), self._cuda.to_device(norms)

    def _empty(self, like: Array) -> DeviceArray:
        """A device array of the shape and type of one on the host."""
        return self._cuda.device_array(like.shape, like.dtype)


def _tell(progress: RowsDone, done: int) -> None:
    if progress is not None:
        progress(done)
