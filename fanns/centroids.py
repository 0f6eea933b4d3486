"""The centres of a segment's clusters, coded so that a query finds the nearest at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanns.codes import ALIGNMENT, code_limits
from fanns.kernels.centroids import measure_reach
from fanns.kernels.distance import L2
from fanns.kernels.int8 import encode
from fanns.kernels.jit import Array, frozen
from fanns.threads import run_chunks
from fanns.vectors import DenseVectors

CHUNK = 16


class Centroids:
    """Where clusters begin and int8 codes of their centres; made when a segment is opened.

    - `bounds` int64[c + 1]: cluster i holds rows bounds[i] .. bounds[i + 1]
    - `centres` float32[c, d]: means of the members (of unit length each, under cosine)
    - `codes` uint8[c, w], `scale` float32[c], `square` float64[c]: as in `Int8Codes`, around the
      mean of the segment's codes, and not normalised
    - `length2` float64[c]: |c|^2
    - `limits` float64[3]: as in `Int8Codes`
    - `reach` float64[c]: at least |x' - c| of each of the cluster's rows
    - `mean` float32[d]
    """

    def __init__(self, bounds: Array, centres: Array, reach: Array, mean: Array) -> None:
        count, d = centres.shape
        width = -(-d // ALIGNMENT) * ALIGNMENT
        codes = np.empty((count, width), np.uint8)
        scale, square = np.empty(count, np.float32), np.empty(count, np.float64)
        error, norms = np.empty(count, np.float32), np.zeros(count, np.float64)
        mean, centres = frozen(mean), frozen(np.ascontiguousarray(centres, np.float32))
        encode(centres, frozen(norms), L2, mean, 0, count, codes, scale, square, error)
        self.bounds, self.centres, self.mean = frozen(bounds), centres, mean
        self.reach = frozen(reach)
        self.codes, self.scale, self.square = frozen(codes), frozen(scale), frozen(square)
        self.limits = code_limits(self.square, error, mean)
        self.length2 = frozen(np.square(centres.astype(np.float64)).sum(axis=1))

    def __len__(self) -> int:
        return len(self.length2)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """bounds, codes, scale, square, length2, limits, reach: what the scan of clusters takes."""
        codes = (self.codes, self.scale, self.square)
        return self.bounds, *codes, self.length2, self.limits, self.reach


def cluster_reach(
    vectors: DenseVectors, bounds: Array, centres: Array, threads: int | None = 1
) -> npt.NDArray[np.float64]:
    """The distance from each centre within which all rows of its cluster lie, float64[c]."""
    reach = np.zeros(len(centres), np.float64)
    fixed = (vectors.exact, vectors.norms, vectors.metric, frozen(bounds), frozen(centres))
    run_chunks(lambda a, b: measure_reach(*fixed, a, b, reach), len(centres), CHUNK, threads)
    return reach
