"""Whether a filter follows the query, ignores it or avoids it; what a walk costs depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fanns.codes import Int8Codes
from fanns.kernels.jit import Array, frozen
from fanns.kernels.locality import local_shares
from fanns.paths import RowSet

FAR = 0.6
"""A query is far from a filter's rows when the pass-rate near it is below this share of that of all
rows."""

FEWEST, SHARE = 3, 40
"""Clusters looked at: one in 40, but at least 3; a walk meets about that share of the rows."""


class Locality:
    """Reads local pass-rates of a segment whose rows stand in cluster order.

    `offsets` int64[c + 1] are the bounds of the clusters. Each is stood for by its centre where
    `ranks` has records of these (see `ClustersPath`), else by its middle row.
    """

    def __init__(self, codes: Int8Codes, offsets: Array, ranks: tuple[Any, ...]) -> None:
        bounds = frozen(np.unique(offsets))
        middle = (bounds[:-1] + bounds[1:]) // 2
        self._arrays = (
            bounds,
            frozen(codes.codes[middle]),
            frozen(codes.scale[middle]),
            frozen(codes.square[middle]),
            *ranks,
            codes.mean,
            codes.metric,
            max(FEWEST, len(middle) // SHARE),
        )

    def lift(self, queries: npt.NDArray[np.float32], selection: RowSet) -> npt.NDArray[np.float64]:
        """The pass-rate near each query over that of all rows, float64[m]; 1 = no correlation."""
        shares = np.empty(len(queries), np.float64)
        given: Any = (queries, selection.words(), *self._arrays, shares)
        local_shares(*given)
        shares *= selection.n / max(selection.count, 1)
        return shares
