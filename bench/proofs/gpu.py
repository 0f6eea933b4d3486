"""`fanns bench gpu`: batches of filtered queries on a GPU, beside the CPU's paths on one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fanns
from fanns.bench.proofs.asking import nearest, recalls
from fanns.bench.proofs.findings import Bar, Finding
from fanns.bench.proofs.kernel_gpu import Bandwidth
from fanns.bench.proofs.large import Large, asked, group_filters
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import percent
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads import truth

K, RECALL, SLACK = 10, 0.95, 0.02
SHARES = (0.001, 0.01, 0.1, 0.5)
NO_FILTER = "no filter"
SHARE = 0.7
"""Of the rate of a copy, that scans are to reach."""


@dataclass
class Place:
    """One kind of filter and size of batch, answered by "cuda" or "cpu".

    Attributes:
        batch: queries of a call. seconds: of each call, over rounds. recalls: of each query.
        where: the paths that answered, as `explain` names them.
    """

    kind: str
    batch: int
    device: str
    recalls: NDArray[np.float64]
    where: str
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Queries a second, of the median call."""
        return self.batch / float(np.median(self.seconds))


class Asking:
    """A batch of queries float32[m, d], each under a filter of one kind of its own."""

    def __init__(
        self, queries: NDArray[np.float32], where: str | None, params: Sequence[dict[str, int]]
    ) -> None:
        self.queries, self.where = queries, where
        self._params = None if where is None else _each(params)

    def ask(self, index: fanns.Index) -> Any:
        """All hits, ids read."""
        found = index.search(self.queries, K, self.where, self._params, recall=RECALL)
        for hits in found:
            hits.ids  # noqa: B018 - read when first asked for: part of the answer
        return found


def _each(params: Sequence[dict[str, int]]) -> dict[str, Any]:
    return {name: fanns.each([one[name] for one in params]) for name in params[0]}


def groups(rows: int) -> list[int]:
    """Rows in the groups that a set of so many rows needs."""
    return [max(1, round(share * rows)) for share in SHARES]


def measure(
    held: Large,
    queries: int,
    batches: Sequence[int],
    rounds: int,
    device_memory: str | None = None,
    report: truth.Report | None = None,
) -> list[Place]:
    """Every kind of filter in batches of every size, on the device and on the CPU in turn.

    A batch of more than `queries` asks them again and again: answers do not depend on it, and the
    CPU, whose time does not either, is asked each one once.
    """
    cpu, gpu = fanns.open(held.index), fanns.open(held.index)
    try:
        gpu.to("cuda", device_memory)
        wanted = asked(queries, cpu.dimensions)
        runs: list[tuple[Place, fanns.Index, Asking]] = []
        for kind, (where, params) in _filters(held, queries).items():
            runs += _runs(held, kind, where, params, wanted, batches, cpu, gpu)
        for turn in range(rounds):
            if report is not None:
                report("gpu", turn, rounds)
            for place, index, batch in shuffled(runs, "gpu", turn):
                begun = perf_counter()
                batch.ask(index)
                place.seconds.append(perf_counter() - begun)
        return [place for place, _, _ in runs]
    finally:
        cpu.close()
        gpu.close()


def _runs(
    held: Large,
    kind: str,
    where: str | None,
    params: Sequence[dict[str, int]],
    queries: NDArray[np.float32],
    batches: Sequence[int],
    cpu: fanns.Index,
    gpu: fanns.Index,
) -> list[tuple[Place, fanns.Index, Asking]]:
    """The batches of one kind of filter, with their recall; not timed yet."""
    found = truth.solve(
        held.vectors(), held.attributes(), queries, [where] * len(queries), list(params), depth=K
    )
    best, made = nearest(found), []
    for device, index in (("cuda", gpu), ("cpu", cpu)):
        told = Asking(queries, where, params).ask(index)
        ids = [np.asarray(hits.ids, np.int64) for hits in told]
        reached = recalls(held.vectors(), queries, ids, best)
        own = {size if device == "cuda" else min(size, len(queries)) for size in batches}
        for batch in sorted(own):
            places = np.resize(np.arange(len(queries)), batch)
            one = Asking(queries[places], where, [params[place] for place in places.tolist()])
            path = one.ask(index)[0].explain().segments[0].path
            made.append((Place(kind, batch, device, reached, path), index, one))
    return made


def _filters(held: Large, count: int) -> dict[str, tuple[str | None, list[dict[str, int]]]]:
    """`count` filters of each kind: their text, and the parameters of each."""
    rows = held.attributes().num_rows
    made: dict[str, tuple[str | None, list[dict[str, int]]]] = {NO_FILTER: (None, [{}] * count)}
    for share, size in zip(SHARES, groups(rows), strict=True):
        drawn = group_filters(rows, size, count)
        made[f"group of {percent(share)}"] = drawn[0][0], [params for _, params in drawn]
    return made


def judge(
    places: Sequence[Place], bandwidths: Sequence[Bandwidth], setting: Sequence[str]
) -> Finding:
    """Recall on the device has a bar, and so has the bandwidth of the scans."""
    on_device = [place for place in places if place.device == "cuda"]
    worst = min(on_device, key=lambda place: place.recalls.mean())
    least, found = RECALL - SLACK, float(worst.recalls.mean())
    told = f"worst {found:.3f} at {worst.kind}"
    bars = [Bar(f"recall@{K} on the device", f"at least {least:g}", told, found >= least)]
    copy = next(one.per_second for one in bandwidths if one.is_copy)
    for one in bandwidths:
        if not one.is_copy:
            share = one.per_second / copy
            what = f"{one.name}: bytes read, as a share of a copy on the device"
            bars.append(Bar(what, f"at least {SHARE:g}", f"{share:.2f}", share >= SHARE))
    sheets = [("Batches", _sheet(places)), ("Bandwidth", _bandwidths(bandwidths))]
    records = [_record(place) for place in places]
    return Finding("gpu", "Filtered search on a GPU", [*setting, _METHOD], sheets, bars, records)


_METHOD = (
    f"k = {K}, recall {RECALL:g}, a filter of its own for each query. Times are end to end, from "
    "the call to the ids: medians over interleaved rounds. The CPU has one thread."
)


def _sheet(places: Sequence[Place]) -> Sheet:
    heads = ["filter", "device", "path", "batch", "us a query", "queries/s", "recall"]
    rows = [
        [
            place.kind, place.device, place.where, f"{place.batch:,}", f"{1e6 / place.rate:,.1f}",
            f"{place.rate:,.0f}", f"{place.recalls.mean():.3f}",
        ]
        for place in places
    ]  # fmt: skip
    return Sheet(heads, rows, words=3)


def _bandwidths(bandwidths: Sequence[Bandwidth]) -> Sheet:
    rows = [[one.name, f"{one.per_second / 1e9:,.1f}"] for one in bandwidths]
    return Sheet(["kernel", "GB/s"], rows, words=1)


def _record(place: Place) -> dict[str, Any]:
    return {
        "filter": place.kind, "device": place.device, "path": place.where, "batch": place.batch,
        "queries_per_second": place.rate, "recall": float(place.recalls.mean()),
    }  # fmt: skip
