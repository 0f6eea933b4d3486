"""Product-quantized codes of a segment's vectors: 4 bits (fast scan) or 8 bits a sub-space."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from fanns.codebooks import no_rotation, sample_residuals, train_codebooks
from fanns.computing import Loops, loops_of
from fanns.kernels.distance import COSINE
from fanns.kernels.fastscan import CENTROIDS, GROUP_BYTES, ROWS, groups_of
from fanns.kernels.jit import Array, frozen
from fanns.kernels.pq import FACTOR, SECOND, decode_pq
from fanns.kernels.rotation import random_signs
from fanns.kernels.scan_pq import scan_fast, scan_tables
from fanns.opq import rotation_matrix, train_rotation
from fanns.vectors import DenseVectors

LINE = 64  # bytes of a cache line, at which blocks start
ROTATIONS = ("none", "random", "opq")
MAX_SUBSPACES = 16_384
"""Sums of 16 bits leave few steps to a table beyond this; 65,536 dimensions by 4 fit."""


class PQCodes:
    """Residuals to the centre of a row's cluster, cut into m parts of K = 16 or 256 centroids each.

    - `codes`: K = 16: uint8[blocks, 256 G] in the layout of `kernels/fastscan.py`, else uint8[n, m]
    - `fields` float32[blocks, 128]: `second` and `factor` of 64 rows (`kernels/pq.py`)
    - `error` float32[n]: |f zhat - z|; an estimate's standard error is about |q' - c| error
      / sqrt(d) (twice that in a key under l2)
    - `books` float32[m, s, K], `rotation` float32: the quantizer
    - `mean`, `centroids` float32[c, d], `offsets` int64[c + 1]: the segment's; rows stand in
      cluster order, and without clusters all belong to one around the mean
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        mean: Array,
        metric: int,
        centroids: Array | None = None,
        offsets: Array | None = None,
    ) -> None:
        self.metric = metric
        self.codes = frozen(arrays["codes"])
        self.fields = frozen(arrays["fields"])
        self.error = frozen(arrays["error"])
        self.books = frozen(arrays["books"])
        self.rotation = frozen(arrays["rotation"])
        self.mean = frozen(mean)
        self.n = len(self.error)
        whole = np.array([0, self.n], np.int64)
        self.centroids = frozen(self.mean[None] if centroids is None else centroids)
        self.offsets = frozen(whole if offsets is None else offsets)
        self.subspaces, self.length, self.size = self.books.shape

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        mean: Array,
        seed: int,
        bits: int = 4,
        subspaces: int | None = None,
        rotation: str = "none",
        centroids: Array | None = None,
        offsets: Array | None = None,
        threads: int | None = 1,
        progress: Callable[[int], None] | None = None,
        loops: Loops | None = None,
    ) -> PQCodes:
        """Train on a sample and encode all rows; the same for any number of threads or loops.

        Args:
            vectors: rows in cluster order.
            mean: float32[d], that of `Int8Codes`.
            bits: 4 or 8 a sub-space.
            subspaces: m; by default one for 4 dimensions (4 bits) or 8 (8 bits).
            rotation: "none", "random" or "opq".
            centroids, offsets: the clusters; None is one around the mean.
        """
        if bits not in (4, 8) or rotation not in ROTATIONS:
            raise ValueError(f"bits {bits} is not 4 or 8, or rotation {rotation!r} is unknown")
        m = -(-vectors.d // bits) if subspaces is None else subspaces
        if not 1 <= m <= MAX_SUBSPACES:
            raise ValueError(f"{m} sub-spaces; expected 1 to {MAX_SUBSPACES:,}")
        size = 1 << bits
        n, mean = vectors.n, frozen(np.asarray(mean, np.float32))
        whole = np.array([0, n], np.int64)
        centroids = frozen(mean[None] if centroids is None else centroids)
        offsets = frozen(whole if offsets is None else offsets)
        labels = np.repeat(np.arange(len(centroids), dtype=np.int32), np.diff(offsets))
        turned, books = _train(vectors, centroids, labels, m, size, rotation, seed, threads)
        arrays = empty_codes(n, m, size)
        arrays |= {"books": books, "rotation": turned}
        around = (mean, centroids, labels, turned, books)
        loops_of(loops, threads).encode_products(vectors, *around, arrays, progress)
        return cls(arrays, mean, vectors.metric, centroids, offsets)

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, Array],
        mean: Array,
        metric: int,
        centroids: Array | None = None,
        offsets: Array | None = None,
    ) -> PQCodes:
        """Hold what `arrays` gave, in memory or mapped; nothing is read."""
        return cls(arrays, mean, metric, centroids, offsets)

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down; mean and clusters are the segment's."""
        names = ("codes", "fields", "error", "books", "rotation")
        return {name: getattr(self, name) for name in names}

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays().values())

    @property
    def bits_per_vector(self) -> float:
        """Bits a row takes, its three numbers included; the quantizer is shared by all."""
        rows = (self.codes, self.fields, self.error)
        return 8.0 * sum(array.nbytes for array in rows) / max(self.n, 1)

    @property
    def usable(self) -> bool:
        """Whether every number of a row is finite: lengths from 1e19 on are beyond float32."""
        flat = self.fields.reshape(-1, 2, ROWS)
        second = flat[:, 0].reshape(-1)[: self.n]
        return bool(np.isfinite(second).all() and np.isfinite(flat[:, 1]).all())

    def second(self, rows: Array) -> Array:
        """`second` of some rows, float32."""
        second: Array = self.fields[rows // ROWS, SECOND + rows % ROWS]
        return second

    def factor(self, rows: Array) -> Array:
        """`factor` of some rows, float32."""
        factor: Array = self.fields[rows // ROWS, FACTOR + rows % ROWS]
        return factor

    def nearest(
        self, queries: npt.NDArray[np.float32], words: npt.NDArray[np.uint64], limit: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """The `limit` selected rows with the least estimates, for each query, by (estimate, row).

        queries float32[q, d]; words: a bitmap of rows. Gives rows int32[q, limit] (-1 where there
        is none) and keys float64[q, limit], in the units of `kernels/pq.py`.
        """
        rows = np.empty((len(queries), limit), np.int32)
        keys = np.empty((len(queries), limit), np.float64)
        quantizer = (self.mean, self.rotation, self.books, self.centroids, self.offsets)
        scan = scan_fast if self.size == CENTROIDS else scan_tables
        scan(queries, self.metric, *quantizer, frozen(words), self.codes, self.fields, rows, keys)
        return rows, keys

    def decode(self, rows: Array) -> npt.NDArray[np.float64]:
        """What the codes stand for: approximations c + zhat of x', float64[len(rows), d]."""
        numbers = frozen(np.asarray(rows, np.int32))
        near = np.empty((len(numbers), self.subspaces * self.length), np.float32)
        decode_pq(self.codes, self.books, numbers, near)
        clusters = np.searchsorted(self.offsets, numbers, side="right") - 1
        wide = self._turned_back(near.astype(np.float64))
        return wide + self.centroids[clusters].astype(np.float64)

    def _turned_back(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Undo the rotation: [rows, m s] to [rows, d]."""
        d = len(self.mean)
        if self.rotation.shape[0] == 0:
            return values[:, :d]
        return values[:, : self.rotation.shape[1]] @ rotation_matrix(self.rotation)[:d].T

    def reconstruction_error(self, vectors: DenseVectors, rows: Array) -> float:
        """Mean |x' - decoded|^2 as a share of the rows' variance around the mean, |x' - mean|^2."""
        rows = np.asarray(rows)
        exact = vectors.decode(rows).astype(np.float64)
        if self.metric == COSINE:
            norms = vectors.norms[rows]
            exact /= np.where(norms > 0, norms, 1.0)[:, None]
        left = ((exact - self.decode(rows)) ** 2).sum()
        total = ((exact - self.mean) ** 2).sum()
        return float(left / total) if total > 0 else 0.0


def _train(
    vectors: DenseVectors,
    centroids: Array,
    labels: Array,
    subspaces: int,
    size: int,
    kind: str,
    seed: int,
    threads: int | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The rotation and the codebooks."""
    rotation = random_signs(vectors.d, seed) if kind == "random" else no_rotation()
    length = -(-(rotation.shape[1] if kind == "random" else vectors.d) // subspaces)
    fixed = (vectors, centroids, labels)
    rest = (subspaces * length, seed, threads)
    points = sample_residuals(*fixed, frozen(rotation), *rest)
    if kind == "opq":
        largest = float(np.abs(points).max(initial=0.0))
        if 0.0 < largest < np.inf:
            rotation = train_rotation(points / largest, subspaces, size, seed, threads)
            points = sample_residuals(*fixed, frozen(rotation), *rest)
    return rotation, train_codebooks(points, subspaces, size, seed, threads)[0]


def empty_codes(n: int, subspaces: int, size: int) -> dict[str, Array]:
    """Arrays for n rows that all lack: codes of zeros, infinite keys."""
    blocks = -(-n // ROWS)
    shape = (blocks, groups_of(subspaces) * GROUP_BYTES) if size == CENTROIDS else (n, subspaces)
    fields = _aligned(blocks, 2 * ROWS * 4).view(np.float32)
    fields[:, SECOND : SECOND + ROWS] = np.inf
    fields[:, FACTOR : FACTOR + ROWS] = 0.0
    return {"codes": _aligned(*shape), "fields": fields, "error": np.zeros(n, np.float32)}


def _aligned(rows: int, width: int) -> npt.NDArray[np.uint8]:
    """Zeros uint8[rows, width] that start at a cache line; numpy itself promises 16 bytes only."""
    raw = np.zeros(rows * width + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + rows * width].reshape(rows, width)
