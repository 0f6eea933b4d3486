"""How far a query is from the centres of clusters: by int8 codes of the centres.

The centres c are coded as rows are (`int8`), around the same mean and never normalised: under
cosine a centre is a mean of unit rows. With the query prepared for the segment's metric, its key is

    l2           |q - c|^2
    ip, cosine   -<q', c>

which is what an estimate relative to the centre starts from, to within the codes' error.
"""

from __future__ import annotations

import math

from fanns.kernels.distance import L2
from fanns.kernels.int8 import LENGTH, code_key
from fanns.kernels.jit import Array, Integer, inner


@inner
def center_key(
    codes: Array, scale: Array, square: Array, cluster: Integer, code: Array, parameters: Array
) -> float:
    """The key of a centre (module docstring) for a query prepared by `int8.prepare_query`."""
    return code_key(codes, scale, square, cluster, code, parameters)


@inner
def center_gap(metric: int, key: float, length2: float, parameters: Array) -> float:
    """|q' - c| from the key of a centre; `length2` = |c|^2."""
    squared = key
    if metric != L2:
        squared = parameters[LENGTH] * parameters[LENGTH] + 2.0 * key + length2
    return math.sqrt(squared) if squared > 0.0 else 0.0
