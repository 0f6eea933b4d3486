"""`fanns bench gpu`: filtered search on a GPU, beside the CPU's paths and the peers of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import fanns
from fanns.bench.proofs.findings import Bar, Finding
from fanns.bench.proofs.gpu_asks import Ask, K
from fanns.bench.proofs.gpu_builds import Build
from fanns.bench.proofs.gpu_memory import Checked
from fanns.bench.proofs.gpu_peers import Gone, Peer
from fanns.bench.proofs.gpu_runs import (
    RECALL,
    Clock,
    DeviceSeconds,
    FromPeer,
    Left,
    Measured,
    Run,
    measure,
    ours,
    told,
)
from fanns.bench.proofs.kernel_gpu import Bandwidth
from fanns.bench.proofs.large import Large
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import percent
from fanns.bench.workloads.truth import Report

SLACK = 0.02
SHARE = 0.7
"""Of the rate of a copy, that scans are to reach."""

_OURS, _CPU = "fanns, GPU", "fanns, CPU"
_NONE = "-"


def run(
    held: Large,
    asks: Sequence[Ask],
    peers: Sequence[str],
    batches: Sequence[int],
    rounds: int,
    clock: Clock,
    device_seconds: DeviceSeconds,
    device_memory: str | None = None,
    report: Report | None = None,
) -> Measured:
    """Every ask on the device, on the CPU and by every peer that is there."""
    absent: list[Left] = []
    found: list[FromPeer] = []
    cpu, gpu = fanns.open(held.index), fanns.open(held.index)
    try:
        gpu.to("cuda", device_memory)
        for number, name in enumerate(peers):
            if report is not None:
                report("peers", number, len(peers))
            try:
                found.append(FromPeer(Peer(name, held.folder, max(1.0, clock.left / 4))))
            except Gone as gone:
                absent.append(Left(name, "everything", str(gone)))
        for index in (gpu, cpu):  # what is done once: kernels compiled, costs measured
            index.search(asks[0].queries, K)
        contenders = [*ours(cpu, gpu, len(asks[0].queries)), *found]
        measured = measure(
            asks, contenders, held.vectors(), batches, rounds, clock, device_seconds, report
        )
        measured.left[:0] = absent
        return measured
    finally:
        for one in found:
            one.peer.close()
        cpu.close()
        gpu.close()


def judge(
    chip: str,
    measured: Measured,
    bandwidths: Sequence[Bandwidth],
    builds: Sequence[Build],
    checked: Sequence[Checked],
    setting: Sequence[str],
) -> Finding:
    """Recall and filters on the device, the bandwidth of scans and the memory check have bars."""
    runs = measured.runs
    bars = [*_recall_bars(runs), *_bandwidth_bars(bandwidths), *_memory_bars(checked)]
    sheets = [
        (f"Queries a second at recall {RECALL:g}", _rates([r for r in runs if not r.bound])),
        ("The same, filters bound beforehand", _rates([r for r in runs if r.bound])),
        ("On the device and end to end", _device(runs)),
        ("Kernels", _kernels(runs)),
        ("Bandwidth", _bandwidths(bandwidths)),
        ("Builds", _builds(builds)),
        ("Settings", _settings(runs)),
        ("Memory check", _memory(checked)),
        ("Not run", _left(measured.left)),
    ]
    kept = [(heading, sheet) for heading, sheet in sheets if sheet.rows]
    records = [_record(one) for one in runs]
    title = f"Filtered search on a GPU: {chip}"
    return Finding("gpu", title, [*setting, _METHOD], kept, bars, records)


_METHOD = (
    f"k = {K}. Each contender has the cheapest setting whose recall over all queries is {RECALL:g} "
    "or more; in brackets the best recall where none reaches it, and ! where rows fail their "
    "filter. Times are end to end, from queries on the host to row numbers there, filters "
    "included: medians over interleaved rounds. Where the CPU is predicted to be sooner it answers "
    "for the GPU, as for any user. By itself it has one thread and is asked no query twice in a "
    "batch. Peers take their filters as bitmaps that the host makes from posting lists."
)


def _recall_bars(runs: Sequence[Run]) -> list[Bar]:
    own = [run for run in runs if run.name == _OURS]
    if not own:
        return [Bar(f"recall@{K} on the device", f"at least {RECALL - SLACK:g}", "no run", None)]
    worst, wrong = min(own, key=lambda run: run.recall), sum(run.wrong for run in own)
    least = RECALL - SLACK
    told_worst = f"worst {worst.recall:.3f} at {told(worst.ask)}"
    return [
        Bar(f"recall@{K} on the device", f"at least {least:g}", told_worst, worst.recall >= least),
        Bar("rows that fail their filter, on the device", "0", f"{wrong:,}", wrong == 0),
    ]


def _bandwidth_bars(bandwidths: Sequence[Bandwidth]) -> list[Bar]:
    made = []
    copy = next((one.per_second for one in bandwidths if one.is_copy), 0.0)
    for one in bandwidths:
        if not one.is_copy:
            share = one.per_second / copy
            what = f"{one.name}: bytes read, as a share of a copy on the device"
            made.append(Bar(what, f"at least {SHARE:g}", f"{share:.2f}", share >= SHARE))
    return made


def _memory_bars(checked: Sequence[Checked]) -> list[Bar]:
    return [
        Bar(
            f"compute-sanitizer, {one.tool}", "clean",
            one.state if one.state == "clean" else f"{one.state}: {one.told}",
            {"clean": True, "errors": False}.get(one.state),
        )
        for one in checked
    ]  # fmt: skip


def _rates(runs: Sequence[Run]) -> Sheet:
    found_names = dict.fromkeys(run.name for run in runs)
    names = sorted(found_names, key=lambda name: (name != _OURS, name != _CPU))
    lines: dict[tuple[str, int], dict[str, str]] = {}
    for run in runs:
        lines.setdefault((told(run.ask), run.batch), {})[run.name] = _rate(run)
    passing = {told(run.ask): run.ask for run in runs}
    rows = [
        [what, percent(passing[what].passing), f"{passing[what].affinity:+.2f}", f"{batch:,}",
         *(found.get(name, _NONE) for name in names)]
        for (what, batch), found in lines.items()
    ]  # fmt: skip
    return Sheet(["filter", "passing", "affinity", "batch", *names], rows)


def _rate(run: Run) -> str:
    words = [f"{run.rate:,.0f}"]
    if run.recall < RECALL:
        words.append(f"({run.recall:.3f})")
    if run.name == _OURS and not on_device(run):
        words.append("by the CPU")
    return " ".join([*words, *(["!"] if run.wrong else [])])


def on_device(run: Run) -> bool:
    """Whether the device answered, and not the CPU, predicted to be sooner."""
    return "cuda" in run.path


def _device(runs: Sequence[Run]) -> Sheet:
    """Of ours: what kernels took by themselves, beside the whole of a call."""
    rows = []
    for run in runs:
        if run.device is not None and on_device(run):
            own, whole = sum(run.device.values()), float(np.median(run.seconds))
            each = 1e6 / run.batch
            rows.append(
                [told(run.ask), run.path, f"{run.batch:,}", f"{own * each:,.2f}",
                 f"{whole * each:,.2f}", percent(own / whole)]
            )  # fmt: skip
    heads = ["filter", "path", "batch", "us a query on the device", "us end to end", "share"]
    return Sheet(heads, rows, words=2)


def _kernels(runs: Sequence[Run]) -> Sheet:
    total: dict[str, float] = {}
    for run in runs:
        for label, seconds in (run.device or {}).items():
            total[label] = total.get(label, 0.0) + seconds
    whole = sum(total.values())
    rows = [
        [label, f"{seconds * 1e3:,.2f}", percent(seconds / whole) if whole else _NONE]
        for label, seconds in sorted(total.items(), key=lambda one: -one[1])
    ]
    return Sheet(["kernel", "ms in one call of each run", "share"], rows)


def _bandwidths(bandwidths: Sequence[Bandwidth]) -> Sheet:
    copy = next((one.per_second for one in bandwidths if one.is_copy), 0.0)
    rows = [
        [one.name, f"{one.per_second / 1e9:,.1f}", percent(one.per_second / copy)]
        for one in bandwidths
    ]
    return Sheet(["kernel", "GB/s", "of a copy"], rows)


def _builds(builds: Sequence[Build]) -> Sheet:
    order = [name for one in builds for name in one.stages if name != "total"]
    heads = ["stage", *(f"{one.device}, s for {one.rows:,} rows" for one in builds)]
    rows = [
        [name, *(f"{one.stages[name]:.2f}" if name in one.stages else _NONE for one in builds)]
        for name in [*dict.fromkeys(order), *(["total"] if builds else [])]
    ]
    return Sheet(heads, rows)


def _settings(runs: Sequence[Run]) -> Sheet:
    seen: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        setting = ", ".join(f"{name} {value}" for name, value in run.setting.items()) or _NONE
        seen.setdefault((told(run.ask), run.name), [setting, f"{run.recall:.3f}", f"{run.wrong:,}"])
    heads = ["filter", "contender", "setting", "recall", "wrong rows"]
    return Sheet(heads, [[*key, *values] for key, values in seen.items()], words=3)


def _memory(checked: Sequence[Checked]) -> Sheet:
    return Sheet(["tool", "state", "told"], [list(one) for one in checked], words=3)


def _left(left: Sequence[Left]) -> Sheet:
    joined: dict[tuple[str, str], list[str]] = {}
    for one in left:
        joined.setdefault((one.name, one.why), []).append(one.what)
    rows = [[name, "; ".join(whats), why] for (name, why), whats in joined.items()]
    return Sheet(["contender", "what", "why"], rows, words=3)


def _record(run: Run) -> dict[str, Any]:
    device = None if run.device is None else sum(run.device.values())
    return {
        "filter": run.ask.kind, "each": run.ask.each, "where": run.ask.where or "",
        "passing": run.ask.passing, "affinity": run.ask.affinity, "contender": run.name,
        "bound": run.bound, "batch": run.batch, "setting": str(dict(run.setting)),
        "path": run.path, "recall": run.recall, "wrong": run.wrong,
        "queries_per_second": run.rate, "seconds": float(np.median(run.seconds)),
        "device_seconds": device,
    }  # fmt: skip
