"""`fanns bench live`: writes beside searches, for fanns and peers, and an index half replaced."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import fanns
from fanns.bench.proofs.findings import Bar, Finding
from fanns.bench.proofs.live_engines import LIVING
from fanns.bench.proofs.live_worker import BATCH, RECALL, K
from fanns.bench.proofs.rows import Rows
from fanns.bench.proofs.turns import take_turns
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.running.schedule import shuffled
from fanns.bench.workloads.truth import Report

YEARS = 20
"""Years are drawn evenly from 0 to this."""

SINCE = 15
"""Searches are for rows of this year and later: a quarter."""

SPEED, RECALL_LOST, DISK = 1.10, 0.01, 1.05
PHASES = ("idle", "one", "batches", "updates", "merging", "after")


@dataclass
class Told:
    """What the turns of one engine gave, or why there is nothing."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    def median(self, name: str) -> float | None:
        """Of a number over the turns."""
        values = [one[name] for one in self.turns if name in one]
        return statistics.median(values) if values else None

    def percentile(self, phase: str, percent: float) -> float | None:
        """Milliseconds of searches in a phase, over all turns."""
        parts = [one["milliseconds"].get(phase, []) for one in self.turns]
        values = [value for part in parts for value in part]
        return float(np.percentile(values, percent)) if len(values) >= 20 else None


@dataclass(frozen=True)
class Mixed:
    """How to measure: rows of the base, turns, seconds of a phase, searches a second."""

    base: int
    rounds: int
    seconds: float
    rate: float


def measure(
    rows: Rows, names: Sequence[str], mixed: Mixed, folder: Path, report: Report | None = None
) -> dict[str, Told]:
    """Every engine in every round, each in a process of its own on a copy of its base."""
    data = folder / "data"
    data.mkdir(parents=True)
    np.save(data / "vectors.npy", rows.vectors)
    years = np.random.default_rng(0).integers(0, YEARS, len(rows.vectors))
    np.save(data / "years.npy", years.astype(np.int64))
    np.save(data / "queries.npy", rows.queries)
    told = {name: Told() for name in names}
    for number, name in enumerate(names):
        if report is not None:
            report("build", number, len(names))
        base = folder / LIVING[name].engine
        if not base.exists():
            base.mkdir()
            _ask(told[name], name, "build", data, base, mixed)
    for turn in range(mixed.rounds):
        for place, name in enumerate(shuffled(list(names), "live", turn)):
            if report is not None:
                report("live", turn * len(names) + place, mixed.rounds * len(names))
            if told[name].problem is None:
                copy = folder / "turn"
                shutil.copytree(folder / LIVING[name].engine, copy)
                _ask(told[name], name, "turn", data, copy, mixed)
                shutil.rmtree(copy)
    return told


def _ask(told: Told, name: str, what: str, data: Path, folder: Path, mixed: Mixed) -> None:
    """Runs the worker, and keeps what it tells."""
    request = {
        "what": what, "engine": name, "data": str(data), "folder": str(folder),
        "base": mixed.base, "seconds": mixed.seconds, "rate": mixed.rate, "year": SINCE,
    }  # fmt: skip
    path = data / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "fanns.bench.proofs.live_worker", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        told.problem = last[0][:200]
    elif what == "turn":
        told.turns.append(json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Replaced:
    """An index of which half was replaced and compacted, and one built of the same rows.

    Attributes:
        seconds: of a search, by filter and index, one for each round. recalls, sizes: bytes on
            disk, by index.
    """

    seconds: dict[str, dict[str, list[float]]]
    recalls: dict[str, float]
    sizes: dict[str, int]


def replace_half(rows: Rows, base: int, folder: Path, rounds: int, seconds: float) -> Replaced:
    """Both indexes, made and measured in turns."""
    half = base // 2
    vectors, years = rows.vectors, np.random.default_rng(0).integers(0, YEARS, len(rows.vectors))

    def table(keys: Any, places: Any) -> pa.Table:
        flat = np.ascontiguousarray(vectors[places]).ravel()
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        return pa.table({"id": keys, "year": years[places], "vector": column})

    fanns.Index.build(table(np.arange(base), np.arange(base)), path=folder / "replaced").close()
    new = np.arange(base, base + half)
    with fanns.open(folder / "replaced", mode="w", merge="manual") as index:
        for start in range(0, half, 5 * BATCH):
            part = np.arange(start, min(start + 5 * BATCH, half))
            index.upsert(table(part, new[part]))
        index.compact()
    places = np.concatenate([np.arange(half, base), new])
    keys = np.concatenate([np.arange(half, base), np.arange(half)])
    fanns.Index.build(table(keys, places), path=folder / "fresh").close()
    indexes = {name: fanns.open(folder / name) for name in ("replaced", "fresh")}
    taken = {}
    for told, where in (("none", None), (f"year >= {SINCE}", f"year >= {SINCE}")):
        calls = {
            name: lambda one=one, where=where: [
                one.search(query, K, where).ids for query in rows.queries[:100]
            ]
            for name, one in indexes.items()
        }
        taken[told] = {
            name: [second / min(100, len(rows.queries)) for second in each]
            for name, each in take_turns(calls, rounds, seconds, told).items()
        }
    recalls = {name: one.check(rows.queries).recall for name, one in indexes.items()}
    sizes = {
        name: sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
        for name in indexes
    }
    for one in indexes.values():
        one.close()
    return Replaced(taken, recalls, sizes)


def judge(told: Mapping[str, Told], replaced: Replaced, setting: Sequence[str]) -> Finding:
    """The tables, and bars for the index that was half replaced."""
    bars = []
    for where, each in replaced.seconds.items():
        pairs = zip(each["replaced"], each["fresh"], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        what = f"half replaced against built anew, filter {where}: time of a search"
        bars.append(Bar(what, f"at most {SPEED:g}x", f"{ratio:.2f}x", ratio <= SPEED))
    lost = replaced.recalls["fresh"] - replaced.recalls["replaced"]
    found = f"{replaced.recalls['replaced']:.3f} against {replaced.recalls['fresh']:.3f}"
    bars.append(
        Bar("the same: recall lost", f"at most {RECALL_LOST:g}", found, lost <= RECALL_LOST)
    )
    size = replaced.sizes["replaced"] / replaced.sizes["fresh"]
    bars.append(Bar("the same: bytes on disk", f"at most {DISK:g}x", f"{size:.3f}x", size <= DISK))
    sheets = [
        ("Writes a second, one client, beside searches", _writes(told)),
        ("Searches beside writes: milliseconds from when one was due, p50 / p99", _searches(told)),
        ("Recall", _recalls(told)),
    ]
    rows = [
        {"engine": name, "phase": phase, "p50": one.percentile(phase, 50),
         "p99": one.percentile(phase, 99), "per_second": one.median(phase)}
        for name, one in told.items() for phase in PHASES
    ]  # fmt: skip
    return Finding("live", "Writes and searches at once", [*setting, METHOD], sheets, bars, rows)


METHOD = (
    "Each engine in a process of its own, in interleaved rounds, each on a fresh copy of its base; "
    f"settings of peers.toml, the first that reaches recall {RECALL:g} at k = {K} for rows of a "
    "quarter of the years. One thread writes for some seconds a phase (inserts of one row, inserts "
    f"of {BATCH:,} rows, updates of one row's year, then whatever the engine merges by), another "
    "searches at a fixed rate all the while, in the same process. What a write survives stands "
    "beside its rate: lancedb and zvec's inserts call no fsync (seen with strace), zvec's flush "
    "does; hnswlib writes its whole graph anew for an insert to outlive the process."
)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _writes(told: Mapping[str, Told]) -> Sheet:
    heads = ["engine", "a write survives", "rows/s, one at a time", f"rows/s, {BATCH:,} at a time",
             "updates/s", "merge, s"]  # fmt: skip
    rows = []
    for name, one in told.items():
        lacks = LIVING[name].lacks
        survives = LIVING[name].durable
        if one.problem is not None:
            survives += f"; turn {len(one.turns) + 1} failed: {one.problem}"
        rows.append(
            [
                name, survives, _number(one.median("one"), 1),
                _number(one.median("batches")),
                lacks.get("updates") or _number(one.median("updates"), 1),
                lacks.get("merging") or _number(one.median("merge_seconds"), 1),
            ]
        )  # fmt: skip
    return Sheet(heads, rows, words=2)


def _searches(told: Mapping[str, Told]) -> Sheet:
    heads = ["engine", "idle", "single inserts", "batch inserts", "updates", "merge", "afterwards"]
    rows = []
    for name, one in told.items():
        cells = []
        for phase in PHASES:
            half, most = one.percentile(phase, 50), one.percentile(phase, 99)
            cells.append("-" if half is None else f"{half:,.1f} / {_number(most, 1)}")
        rows.append([name, *cells])
    return Sheet(heads, rows)


def _recalls(told: Mapping[str, Told]) -> Sheet:
    rows = []
    for name, one in told.items():
        setting = one.turns[0]["setting"] if one.turns else {}
        words = ", ".join(f"{key} {value:g}" for key, value in setting.items())
        before, after = one.median("recall"), one.median("recall_after")
        rows.append([name, words, _number(before, 3), _number(after, 3)])
    return Sheet(["engine", "setting", "before", "after"], rows, words=2)
