"""The fast scan of 4-bit product codes against faiss's IndexPQFastScan, in rows a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.proofs.findings import Bar, at_least
from fanns.bench.proofs.kernel_peers import options, pq_calls, sub_quantizers
from fanns.bench.proofs.kernel_rates import Pace, Timed, compare
from fanns.bench.proofs.turns import Call
from fanns.kernels.distance import COSINE
from fanns.kernels.fastscan import ROWS
from fanns.kernels.jit import frozen
from fanns.kernels.scan_pq import scan_fast
from fanns.pq_codes import PQCodes
from fanns.vectors import DenseVectors

LEAST = 0.8
SHORTLIST = 40
OURS = "4-bit fast scan"


def measure(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], pace: Pace
) -> tuple[list[dict[str, Any]], list[Bar]]:
    """Records in rows a second, queries one at a time and all at once, and the bars.

    As many sub-quantizers as faiss gets, and no clusters, as its index has none.
    """
    rows, dims = vectors.shape
    held = DenseVectors.from_array(vectors, COSINE, threads=None)
    parts = sub_quantizers(dims, options("faiss-pq")[0]["dims_per_code"])
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    codes = PQCodes.build(held, mean, 0, subspaces=parts, threads=None)
    records: list[dict[str, Any]] = []
    bars: list[Bar] = []
    for how, asked in (("one at a time", queries[:1]), (f"{len(queries)} at once", queries)):
        amount = rows * len(asked)
        ours, peers = f"{OURS}, {how}", pq_calls(vectors, asked, SHORTLIST)
        timed = {ours: Timed(fast_scan_call(codes, asked), amount)}
        timed |= {f"{name}, {how}": Timed(call, amount) for name, call in peers.items()}
        found, ratios = compare(f"4-bit {how}", timed, list(timed)[1:], "rows", pace)
        records += found
        bars.append(at_least(f"4-bit scan against IndexPQFastScan, {how}", ratios[ours], LEAST))
    return records, bars


def fast_scan_call(codes: PQCodes, queries: NDArray[np.float32]) -> Call:
    """The scan of all codes, SHORTLIST estimates a query."""
    words = np.full(-(-codes.n // ROWS), ~np.uint64(0))
    if codes.n % ROWS:
        words[-1] = (np.uint64(1) << np.uint64(codes.n % ROWS)) - np.uint64(1)
    found = np.empty((len(queries), SHORTLIST), np.int32)
    keys = np.empty(found.shape, np.float64)
    quantizer = (codes.mean, codes.rotation, codes.books, codes.centroids, codes.offsets)
    query, selected = frozen(queries), frozen(words)

    def call() -> None:
        scan_fast(query, codes.metric, *quantizer, selected, codes.codes, codes.fields, found, keys)

    return call
