"""One-bit codes of a segment's vectors: a cache line a row, for estimates that pick a shortlist."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from fanns.kernels.bits import encode_bits, estimate, record_words
from fanns.kernels.jit import Array, frozen
from fanns.kernels.rotation import random_signs
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors

CHUNK = 1024
LINE = 64  # bytes of a cache line, at which records start


class BitCodes:
    """The signs of each row's rotated distance from its cluster's centre, and two numbers (RaBitQ).

    - `records` uint64[n, S]: see `kernels/bits.py`
    - `signs` float32[rounds, D]: the rotation; D = d rounded up to 64
    - `mean` float32[d]: what queries are relative to, that of `Int8Codes`
    """

    def __init__(self, arrays: Mapping[str, Array], mean: Array, metric: int) -> None:
        self.metric = metric
        self.records = frozen(arrays["records"])
        self.signs = frozen(arrays["signs"])
        self.mean = frozen(mean)
        self.factors = self.records.view(np.float32)
        self.n = len(self.records)

    @classmethod
    def build(
        cls,
        vectors: DenseVectors,
        mean: Array,
        seed: int,
        offsets: Array,
        centroids: Array,
        threads: int | None = 1,
        progress: Callable[[int], None] | None = None,
    ) -> BitCodes:
        """Encode all rows, which stand in cluster order; the same records for any threads.

        offsets int64[c + 1]: where clusters begin, none of them empty; centroids float32[c, d].
        """
        signs = frozen(random_signs(vectors.d, seed))
        _, width = record_words(vectors.d)
        records = _aligned(vectors.n, width)
        factors = records.view(np.float32)
        rows = (vectors.exact, vectors.norms, vectors.metric)
        relative = (frozen(mean), signs, frozen(offsets), frozen(centroids))

        def task(start: int, stop: int) -> None:
            encode_bits(*rows, *relative, start, stop, records, factors)

        run_chunks(task, vectors.n, CHUNK, threads, progress)
        return cls({"records": records, "signs": signs}, mean, vectors.metric)

    @classmethod
    def load(cls, arrays: Mapping[str, Array], mean: Array, metric: int) -> BitCodes:
        """Hold what `arrays` gave, in memory or mapped; nothing is read."""
        return cls(arrays, mean, metric)

    def arrays(self) -> dict[str, Array]:
        """Arrays by name, to be written down."""
        return {"records": self.records, "signs": self.signs}

    @property
    def nbytes(self) -> int:
        return self.records.nbytes + self.signs.nbytes

    @property
    def usable(self) -> bool:
        """Whether every factor is finite: lengths from 1e19 on are beyond float32's squares."""
        place = 2 * (self.signs.shape[1] // 64)
        return bool(np.isfinite(self.factors[:, place : place + 2]).all())

    def estimates(
        self,
        query: npt.NDArray[np.float32],
        offsets: npt.NDArray[np.int64],
        starts: npt.NDArray[np.float64],
        slack: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.float64]:
        """The estimated keys of all rows, float64[n]: see `kernels/bits.py`.

        offsets int64[c + 1]: where clusters begin; starts float64[c]: the key of each centre;
        slack float64[c]: what makes a bound from below of the estimates of a cluster.
        """
        keys = np.empty(self.n, np.float64)
        slack = np.zeros(len(starts)) if slack is None else slack
        rest = (self.mean, self.signs, self.records, self.factors)
        estimate(query, self.metric, *rest, frozen(offsets), frozen(starts), frozen(slack), keys)
        return keys


def _aligned(rows: int, width: int) -> npt.NDArray[np.uint64]:
    """uint64[rows, width] that starts at a cache line; numpy itself promises 16 bytes only."""
    raw = np.empty(rows * width * 8 + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + rows * width * 8].view(np.uint64).reshape(rows, width)
