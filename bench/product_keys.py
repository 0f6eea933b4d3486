"""Product keys against scans of all keys: `python -m fanns.bench.product_keys`.

Two scans, both exact up to rounding and both given what helps them: *keys* multiplies a query with
all c^2 reconstructed keys, held in memory as float32, and takes the top k; *sums* multiplies it
with the half keys only, forms all c^2 sums and takes the top k of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fanns

Floats = npt.NDArray[np.float32]


class Ratios(NamedTuple):
    """Microseconds a query: the best of the rounds, which take turns."""

    product_keys: float
    keys: float
    sums: float

    @property
    def over_keys(self) -> float:
        """How many times faster than the scan of all keys."""
        return self.keys / self.product_keys

    @property
    def over_sums(self) -> float:
        """How many times faster than the scan of all sums."""
        return self.sums / self.product_keys


def measure(
    c: int = 1000, d: int = 256, k: int = 32, rounds: int = 5, scanned: int = 4, seed: int = 0
) -> Ratios:
    """Time the three ways on random tables of c half keys of d / 2 dimensions each.

    `scanned` queries are scanned in a round, 64 are looked up, all in batches, where the scans
    share a matrix product. Answers are compared.
    """
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((c, d // 2)).astype(np.float32) for _ in range(2))
    queries = rng.standard_normal((64, d)).astype(np.float32)
    whole = np.concatenate([np.repeat(a, c, axis=0), np.tile(b, (c, 1))], axis=1)
    table = fanns.ProductKeys(a, b)
    few = queries[:scanned]
    found = [set(hit.ids.tolist()) for hit in table.topk(few, k)]
    for way in (_scan_keys(whole, few, k), _scan_sums(a, b, few, k)):
        assert [set(ids) for ids in way.tolist()] == found, "the scans found other keys"
    times: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        times[0].append(_timed(lambda: table.topk(queries, k)) / len(queries))
        times[1].append(_timed(lambda: _scan_keys(whole, few, k)) / scanned)
        times[2].append(_timed(lambda: _scan_sums(a, b, few, k)) / scanned)
    return Ratios(*(min(taken) * 1e6 for taken in times))


def _top(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def _scan_keys(whole: Floats, queries: Floats, k: int) -> npt.NDArray[np.int64]:
    return _top(queries @ whole.T, k)


def _scan_sums(a: Floats, b: Floats, queries: Floats, k: int) -> npt.NDArray[np.int64]:
    half = a.shape[1]
    first, second = queries[:, :half] @ a.T, queries[:, half:] @ b.T
    return _top((first[:, :, None] + second[:, None, :]).reshape(len(queries), -1), k)


def _timed(task: Callable[[], Any]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1" and os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        print("set OPENBLAS_NUM_THREADS=1 (and OMP_NUM_THREADS=1): the scans use more threads")
    found = measure()
    print(f"product keys  {found.product_keys:10.0f} us a query")
    print(f"scan of keys  {found.keys:10.0f} us a query  {found.over_keys:8.0f} x")
    print(f"scan of sums  {found.sums:10.0f} us a query  {found.over_sums:8.0f} x")
