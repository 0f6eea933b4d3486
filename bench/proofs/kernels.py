"""`fanns bench kernels`: single kernels against the machine's memory and against faiss's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.bench.machine import describe
from fanns.bench.proofs import kernel_bits, kernel_int8, kernel_keys, kernel_pq
from fanns.bench.proofs.findings import Bar, Finding, ratio
from fanns.bench.proofs.kernel_peers import one_core
from fanns.bench.proofs.kernel_rates import Pace
from fanns.bench.reporting.ratios import Interval
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.workloads.truth import Report
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors

QUERIES = 32


class Sizes(NamedTuple):
    """What is scanned: rows and dimensions of codes, rows of the int8 scan, half keys a side."""

    rows: int
    dimensions: int
    int8_rows: int
    half_keys: int


def run(sizes: Sizes, pace: Pace, report: Report | None = None) -> Finding:
    """Measure every kernel on one core; each comparison takes `pace`."""
    rows, queries = _simulated(sizes)
    topics: dict[str, Callable[[], tuple[list[dict[str, Any]], list[Bar]]]] = {
        "int8": lambda: kernel_int8.measure(sizes.int8_rows, sizes.dimensions, pace),
        "4-bit": lambda: kernel_pq.measure(rows, queries, pace),
        "one-bit": lambda: kernel_bits.measure(rows, queries, pace),
        "product keys": lambda: kernel_keys.measure(sizes.half_keys, pace),
    }
    records: list[dict[str, Any]] = []
    bars: list[Bar] = []
    with one_core():
        for done, (name, measure) in enumerate(topics.items()):
            if report is not None:
                report(f"kernels: {name}", done, len(topics))
            found, judged = measure()
            records += found
            bars += judged
    return Finding(
        "kernels", "Kernels, one thread", _setting(sizes, pace), [("Kernels", _sheet(records))],
        bars, records,
    )  # fmt: skip


def _simulated(sizes: Sizes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows and queries of unit length, float32."""
    items = arxiv_like.items(sizes.rows, sizes.dimensions)
    asked = arxiv_like.queries(QUERIES, sizes.dimensions)
    return np.ascontiguousarray(vectors(items)), np.ascontiguousarray(vectors(asked))


def _setting(sizes: Sizes, pace: Pace) -> list[str]:
    told = describe()["cpu"]
    int8 = f"{sizes.int8_rows:,} rows, {sizes.int8_rows * sizes.dimensions / 2**20:,.0f} MiB"
    return [
        f"{sizes.rows:,} rows of {sizes.dimensions} dimensions; the int8 scan: {int8} of codes "
        f"where the last cache holds {kernel_int8.last_cache() / 2**20:,.0f} MiB; product keys: "
        f"2 x {sizes.half_keys:,} halves, {kernel_keys.DIMENSIONS} dimensions, k = "
        f"{kernel_keys.K}. One core of {told.get('model')}; {pace.rounds} interleaved rounds, "
        f"{pace.seconds:g} seconds a comparison.",
        "Rates are medians over rounds; ratios are geometric means over rounds of the rate and "
        "that of the fastest contender of the other side, with their 95 % interval.",
    ]


def _sheet(records: list[dict[str, Any]]) -> Sheet:
    lines = [
        [
            one["kernel"],
            f"{one['seconds'] * 1e6:,.0f}",
            _rate(one["per_second"], one["unit"]),
            ratio(Interval(one["ratio"], one["low"], one["high"], 0)),
            one["against"],
        ]
        for one in records
    ]
    return Sheet(["kernel", "us a call", "rate", "ratio", "against"], lines)


def _rate(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e9:.1f} GB/s"
    return f"{value / 1e6:,.1f} M {unit}/s" if value >= 1e5 else f"{value:,.0f} {unit}/s"
