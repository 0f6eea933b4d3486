"""The centres of a segment's clusters, coded so that a query finds the nearest at once."""

from __future__ import annotations

import numpy as np

from fanns.codes import ALIGNMENT
from fanns.kernels.distance import L2
from fanns.kernels.int8 import encode
from fanns.kernels.jit import Array, frozen


class Centroids:
    """Where clusters begin and int8 codes of their centres; made when a segment is opened.

    - `bounds` int64[c + 1]: cluster i holds rows bounds[i] .. bounds[i + 1]
    - `centres` float32[c, d]: means of the members (of unit length each, under cosine)
    - `codes` uint8[c, w], `scale` float32[c], `square` float64[c]: as in `Int8Codes`, around the
      mean of the segment's codes, and not normalised
    - `length2` float64[c]: |c|^2
    - `mean` float32[d]
    """

    def __init__(self, bounds: Array, centres: Array, mean: Array) -> None:
        count, d = centres.shape
        width = -(-d // ALIGNMENT) * ALIGNMENT
        codes = np.empty((count, width), np.uint8)
        scale, square = np.empty(count, np.float32), np.empty(count, np.float64)
        error, norms = np.empty(count, np.float32), np.zeros(count, np.float64)
        mean, centres = frozen(mean), frozen(np.ascontiguousarray(centres, np.float32))
        encode(centres, frozen(norms), L2, mean, 0, count, codes, scale, square, error)
        self.bounds, self.centres, self.mean = frozen(bounds), centres, mean
        self.codes, self.scale, self.square = frozen(codes), frozen(scale), frozen(square)
        self.length2 = frozen(np.square(centres.astype(np.float64)).sum(axis=1))

    def __len__(self) -> int:
        return len(self.length2)

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        """bounds, codes, scale, square, length2: what kernels take."""
        return self.bounds, self.codes, self.scale, self.square, self.length2
