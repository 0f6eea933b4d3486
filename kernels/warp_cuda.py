"""Sums over the 32 lanes of a warp, in the order of the CPU's kernels.

`intrinsics.dot_float` keeps 4 x 8 partial sums: element j of each whole block of 32 goes to sum
j % 32, what is left of whole steps of 8 to the first 8 sums, and the last d % 8 elements are added
at the end, one by one. Here lane l keeps sum l, so a warp reads 32 elements that lie side by side
(128 bytes of float32: one line), and adding lanes that differ by 8, 16, 4, 2 and 1 is the order in
which the CPU adds its sums: (a + b) + (c + d), then halves.
"""

from __future__ import annotations

from typing import Any

from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import ALL_LANES, cuda, inner

SUMS = 16
"""Sums that a warp keeps at once: 32 registers a thread, and 16 rows to be read at once."""


@inner
def warp_sum(value: float) -> Any:
    """The sum over all lanes, in every lane."""
    value += cuda.shfl_xor_sync(ALL_LANES, value, 8)
    value += cuda.shfl_xor_sync(ALL_LANES, value, 16)
    value += cuda.shfl_xor_sync(ALL_LANES, value, 4)
    value += cuda.shfl_xor_sync(ALL_LANES, value, 2)
    value += cuda.shfl_xor_sync(ALL_LANES, value, 1)
    return value


@inner
def _exchange(sums: Array, half: int, lanes: int) -> None:
    """Lanes of a pair each keep half of the sums, and give the partner the other half."""
    upper = (cuda.laneid & lanes) != 0
    for i in range(half):
        low, high = sums[i], sums[i + half]
        given = cuda.shfl_xor_sync(ALL_LANES, low if upper else high, lanes)
        sums[i] = (high if upper else low) + given


@inner
def sum_of_lane() -> Any:
    """Which of the SUMS sums `warp_sums` gives this lane: those of lanes 2 i and 2 i + 1 agree."""
    lane = cuda.laneid
    return (lane & 8) | (lane & 16) >> 2 | (lane & 4) >> 1 | (lane & 2) >> 1


@inner
def warp_sums(sums: Array) -> Any:
    """Sums float64[SUMS] over all lanes: each lane gets one, number `sum_of_lane()`.

    16 exchanges instead of the 80 of as many calls of `warp_sum`, and the same additions.
    """
    _exchange(sums, 8, 8)
    _exchange(sums, 4, 16)
    _exchange(sums, 2, 4)
    _exchange(sums, 1, 2)
    return sums[0] + cuda.shfl_xor_sync(ALL_LANES, sums[0], 1)
