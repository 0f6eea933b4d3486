"""Scans of codes of one bit a dimension against faiss's IndexRaBitQFastScan, in rows a second.

One-bit records are estimated row by row, which is what few passing rows need. Where many pass,
4-bit product codes of 4 dimensions each, as many bits, are estimated 64 rows at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.proofs.findings import Bar, at_least
from fanns.bench.proofs.kernel_peers import rabitq_calls
from fanns.bench.proofs.kernel_pq import fast_scan_call
from fanns.bench.proofs.kernel_rates import Pace, Timed, compare
from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids, cluster_reach
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE
from fanns.paths import NO_BUDGET
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.pq_codes import PQCodes
from fanns.selection import Selection
from fanns.vectors import DenseVectors

LEAST = 1.0
SHORTLIST, K = 40, 10
OURS = "one-bit scan, shortlist reranked"
DENSE = "4-bit codes of 4 dimensions"


def measure(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], pace: Pace
) -> tuple[list[dict[str, Any]], list[Bar]]:
    """Records in rows a second, queries one at a time, and the bar.

    Ours picks a shortlist and orders it by int8 codes and full precision; faiss gives as many
    estimates.
    """
    rows = len(vectors)
    order, offsets, centres = cluster_order(vectors, COSINE, seed=0, threads=None)
    held = DenseVectors.from_array(vectors[order], COSINE, threads=None)
    codes = Int8Codes.build(held, threads=None)
    bits = BitCodes.build(held, codes.mean, 0, offsets, centres, threads=None)
    reach = cluster_reach(held, offsets, centres, threads=None)
    clusters = Centroids(offsets, centres, reach, codes.mean)
    path = ScanPath(held, codes, np.arange(rows, dtype=np.int64), (bits, clusters))
    selection, parameters = Selection.all(rows), ScanParameters(0, bits=SHORTLIST)
    query = queries[:1]
    products = PQCodes.build(held, codes.mean, 0, centroids=centres, offsets=offsets, threads=None)
    timed = {
        OURS: Timed(lambda: path.search(query, selection, K, parameters, NO_BUDGET), rows),
        DENSE: Timed(fast_scan_call(products, query), rows),
    }
    peers = {
        name: Timed(call, rows) for name, call in rabitq_calls(vectors, query, SHORTLIST).items()
    }
    records, ratios = compare("one-bit", timed | peers, list(peers), "rows", pace)
    return records, [
        at_least("one-bit scan against IndexRaBitQFastScan", ratios[OURS], LEAST),
        at_least("as many bits in product codes against it", ratios[DENSE], LEAST),
    ]
