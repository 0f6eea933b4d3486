"""Product keys against scanning all the keys that they stand for, in look-ups a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs.findings import Bar, at_least
from fanns.bench.proofs.kernel_peers import flat_calls
from fanns.bench.proofs.kernel_rates import Pace, Timed, compare
from fanns.bench.proofs.turns import Call

LEAST = 50.0
DIMENSIONS, K, BATCH = 256, 32, 32
OURS = "ProductKeys.topk"
SUMS = "numpy, sums of halves"
PRODUCT = "numpy, all keys"

Floats = NDArray[np.float32]


def measure(halves: int, pace: Pace) -> tuple[list[dict[str, Any]], list[Bar]]:
    """Records in queries a second, one at a time and in a batch, and the bars.

    `halves` half keys on each side, of half the dimensions; normal random numbers throughout.
    """
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, halves, DIMENSIONS // 2), np.float32)
    queries = rng.standard_normal((BATCH, DIMENSIONS), np.float32)
    keys, product = fanns.ProductKeys(first, second), pairs(first, second)
    records: list[dict[str, Any]] = []
    bars: list[Bar] = []
    for how, asked in (("one at a time", queries[:1]), (f"{BATCH} at once", queries)):
        peers = {**flat_calls(product, asked, K), PRODUCT: _product(product, asked)}
        calls = {OURS: _ours(keys, asked), SUMS: _sums(first, second, asked), **peers}
        _check(keys, peers[PRODUCT], asked)
        timed = {f"{name}, {how}": Timed(call, len(asked)) for name, call in calls.items()}
        scans = [f"{name}, {how}" for name in peers]
        found, ratios = compare(f"product keys {how}", timed, scans, "queries", pace)
        records += found
        what = f"product keys against scanning {halves**2:,} keys, {how}"
        bars.append(at_least(what, ratios[f"{OURS}, {how}"], LEAST))
    return records, bars


def pairs(first: Floats, second: Floats) -> Floats:
    """Every key, float32[c_a * c_b, d]: key i * c_b + j joins first[i] and second[j]."""
    shape = (len(first), len(second))
    made = np.empty((*shape, first.shape[1] + second.shape[1]), np.float32)
    made[:, :, : first.shape[1]] = first[:, None]
    made[:, :, first.shape[1] :] = second[None]
    return made.reshape(shape[0] * shape[1], -1)


def _ours(keys: fanns.ProductKeys, queries: Floats) -> Call:
    return lambda: keys.topk(queries, K).ids


def _product(product: Floats, queries: Floats) -> Call:
    return lambda: np.argpartition(-(queries @ product.T), K - 1, axis=1)[:, :K]


def _check(keys: fanns.ProductKeys, scan: Call, queries: Floats) -> None:
    """What is compared gives the same answers: random keys have no ties."""
    ours = [sorted(hits.ids.tolist()) for hits in keys.topk(queries, K)]
    if [sorted(ids) for ids in np.asarray(scan()).tolist()] != ours:
        raise AssertionError("product keys and the scan of all keys give different answers")


def _sums(first: Floats, second: Floats, queries: Floats) -> Call:
    """No peer, for it knows of the halves: how far plain numpy gets with them."""
    half = first.shape[1]

    def call() -> object:
        return [
            np.argpartition(-(first @ one[:half])[:, None] - second @ one[half:], K - 1, axis=None)
            for one in queries
        ]

    return call
