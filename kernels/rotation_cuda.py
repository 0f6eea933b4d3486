"""The seeded rotation on the device, of one vector by a warp: the twin of `rotation.rotate`.

Sums and differences of pairs do not depend on the order in which pairs are taken, so the bits are
the CPU's. The vector lies in shared memory: a round of the transform is log2(part) steps of a sum
and a difference for each pair, 32 pairs at a time.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import WARP, cuda, inner


@inner
def rotate(values: Array, signs: Array) -> None:
    """Rotate values float32[D] in place; signs float32[rounds, D] of -1 and 1. A whole warp."""
    size, part = values.shape[0], 64
    while 2 * part <= size:
        part *= 2
    scale = np.float32(1.0 / math.sqrt(part))
    for turn in range(signs.shape[0]):
        start = 0 if turn % 2 == 0 else size - part
        cuda.syncwarp()
        for j in range(cuda.laneid, size, WARP):
            values[j] *= signs[turn, j]
        half = 1
        while half < part:
            cuda.syncwarp()
            for pair in range(cuda.laneid, part >> 1, WARP):
                low = start + 2 * pair - (pair & (half - 1))
                a, b = values[low], values[low + half]
                values[low], values[low + half] = a + b, a - b
            half *= 2
        cuda.syncwarp()
        for j in range(start + cuda.laneid, start + part, WARP):
            values[j] *= scale
    cuda.syncwarp()
