"""fanns beside faiss on one thread: python -m fanns.bench.compare --data FOLDER

One interleaved run over filters of many kinds. Every engine takes the cheapest setting that reaches
the target recall on one half of the queries and is timed on the other, filter work included.
Settings and bars stand in peers.toml.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fanns import Index
from fanns.bench import memory
from fanns.bench.engines import Engine, FaissFlat, FaissHNSW, Fanns, Slice
from fanns.bench.measure import Judge, Result, compare
from fanns.bench.workload import Cell, Postings, add_truth, load, make_cells, matrix

PEERS = Path(__file__).with_name("peers.toml")
ORACLE_LIMIT = 3000  # passing rows; beyond, copying them for every query takes too long

talk = Console(stderr=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with papers-*.parquet and queries.parquet.",
)
@click.option("--rows", default=100_000, show_default=True, help="Papers to index.")
@click.option("--queries", default=1000, show_default=True, help="Half tune, half are timed.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each engine in a cell.")
@click.option("--cell", "only", multiple=True, help="Measure only this cell; may be repeated.")
@click.option("--build-threads", default=0, help="For both builds; default all cores.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all results here.")
def main(
    data: Path,
    rows: int,
    queries: int,
    rounds: int,
    only: tuple[str, ...],
    build_threads: int,
    output: Path | None,
) -> None:
    """Compare fanns with faiss on one thread, at equal recall, under filters of many kinds."""
    peers = tomllib.loads(PEERS.read_text(encoding="utf-8"))
    threads = build_threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        report = run(data, rows, queries, rounds, only, threads, peers, Path(folder))
    console = Console()
    show(report, console if console.is_terminal else Console(width=120))
    if output is not None:
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def run(
    data: Path,
    rows: int,
    queries: int,
    rounds: int,
    only: Sequence[str],
    threads: int,
    peers: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Everything that is measured, as plain values."""
    import faiss

    talk.print("reading, and answering exactly")
    table, asked = load(data, rows, queries)
    vectors, probes = matrix(table), matrix(asked)
    postings = Postings(table)
    cells = [c for c in make_cells(table, asked) if not only or c.name in only]
    k = peers["k"]
    add_truth(cells, postings, vectors, probes, k)
    tuning, measured = range(0, len(probes), 2), range(1, len(probes), 2)

    talk.print("building")
    stages: dict[str, list[float]] = {}
    start = perf_counter()
    index = Index.build(
        table,
        vector="embedding",
        path=folder / "papers.fanns",
        queries=probes[list(tuning)],
        threads=threads,
        progress=stage_clock(stages),
    )
    build_seconds = perf_counter() - start
    faiss.omp_set_num_threads(threads)
    hnsw = FaissHNSW(vectors, probes, k, postings, peers["faiss_hnsw"])
    faiss.omp_set_num_threads(1)
    ours = Fanns(index, probes, k, peers["fanns"]["recall"])
    flat = FaissFlat(vectors, probes, k, postings)
    oracle = Slice(vectors, probes, k, postings)

    judge = Judge(vectors, probes, k)
    results: list[Result] = []
    for cell in cells:
        talk.print(f"measuring {cell.name}")
        engines: list[Engine] = [ours, hnsw]
        if cell.where is not None:
            engines.append(flat)
            if np.median(cell.matches) <= ORACLE_LIMIT:
                engines.append(oracle)
        results += compare(engines, cell, tuning, measured, judge, peers["target_recall"], rounds)
    graph_seconds = span(stages.get("graph", []))
    return {
        "machine": {"processor": processor(), "python": platform.python_version()},
        "versions": {"faiss": faiss.__version__, "numpy": np.__version__},
        "rows": len(table),
        "dimensions": vectors.shape[1],
        "queries": {"tuning": len(tuning), "measured": len(measured), "rounds": rounds},
        "peers": dict(peers),
        "cells": [
            {"name": c.name, "where": c.where, "selectivity": float(c.matches.mean() / len(table))}
            for c in cells
        ],
        "results": [asdict(result) for result in results],
        "bars": judge_bars(results, peers["bars"]),
        "build": {
            "threads": threads,
            "fanns_seconds": build_seconds,
            "fanns_graph_seconds": graph_seconds,
            "faiss_hnsw_seconds": hnsw.build_seconds,
            "graph_ratio": graph_seconds / hnsw.build_seconds,
            "stages": {name: span(times) for name, times in stages.items()},
        },
        "call": fixed_cost(index, probes, cells),
        "disk": disk(index, vectors),
        "memory": private_memory(folder, probes, cells),
    }


def stage_clock(stages: dict[str, list[float]]) -> Callable[[str, int, int], None]:
    """A progress callback that notes when each stage of the build reported."""

    def tick(stage: str, done: int, total: int) -> None:
        stages.setdefault(stage, []).append(perf_counter())

    return tick


def span(times: Sequence[float]) -> float:
    """Seconds from the first to the last report."""
    return times[-1] - times[0] if times else 0.0


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


def speedup(ours: Result, peer: Result) -> float:
    """How many times faster than the peer: the median over the rounds."""
    return float(np.median(np.divide(peer.rounds, ours.rounds)))


def judge_bars(
    results: Sequence[Result], bars: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """How fanns stands against each bar of peers.toml, for the cells that were measured.

    The ratio is the median over the rounds: a round gives both engines the same queries within
    seconds, so what disturbs the machine for longer cancels out.
    """
    by_place = {(result.cell, result.engine): result for result in results}
    judged = []
    for bar in bars:
        for cell in bar["cells"]:
            ours, peer = by_place.get((cell, "fanns")), by_place.get((cell, bar["peer"]))
            if ours is not None and peer is not None:
                ratio = speedup(ours, peer)
                met = ratio >= bar["ratio"] and ours.reached
                judged.append(
                    {"cell": cell, "peer": bar["peer"], "bar": bar["ratio"], "ratio": ratio,
                     "met": bool(met)}
                )  # fmt: skip
    return judged


def fixed_cost(
    index: Index, queries: NDArray[np.float32], cells: Sequence[Cell], calls: int = 2000
) -> dict[str, float]:
    """Microseconds of one search() with a prepared filter, and of that outside its access paths.

    `tiny` is a whole call on an index of 16 rows: next to nothing but the fixed cost.
    """
    filtered = [cell for cell in cells if cell.where is not None]
    where: Any = None
    if filtered:
        where = index.prepare(filtered[0].where).bind(**filtered[0].params[0])
        where.count()
    walls, outside = [], []
    for call in range(calls):
        query = queries[call % len(queries)]
        start = perf_counter()
        hits = index.search(query, 10, where=where)
        wall = perf_counter() - start
        inside = sum(part.actual_us for part in hits.explain().segments)
        walls.append(wall * 1e6)
        outside.append(wall * 1e6 - inside)
    tiny = Index.build(
        {"embedding": queries[:16], "a": np.arange(16)}, vector="embedding", calibration="default"
    )
    small = tiny.prepare("a < :a").bind(a=8)
    spent = []
    for call in range(calls):
        query = queries[call % len(queries)]
        start = perf_counter()
        tiny.search(query, 1, where=small)
        spent.append((perf_counter() - start) * 1e6)
    return {
        "call": float(np.median(walls)),
        "outside_paths": float(np.median(outside)),
        "tiny": float(np.median(spent)),
    }


def disk(index: Index, vectors: NDArray[np.float32]) -> dict[str, Any]:
    """Bytes on disk, and the base index (all but stored columns) as a multiple of the vectors."""
    parts = {name: int(value) for name, value in index.info()["bytes"].items()}
    base = parts["total"] - parts["stored"]
    return {"bytes": parts, "base": base, "ratio": base / vectors.nbytes}


def private_memory(
    folder: Path, queries: NDArray[np.float32], cells: Sequence[Cell]
) -> dict[str, int] | None:
    """Private memory of a fresh process after 20 searches of every cell."""
    requests = [
        {"where": c.where, "params": {n: _plain(v) for n, v in c.params[i].items()}}
        for c in cells
        for i in range(min(20, len(queries)))
    ]
    vectors = folder / "queries.npy"
    np.save(vectors, np.concatenate([queries[:20] for _ in cells]))
    return memory.measure(folder / "papers.fanns", vectors, requests)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def show(report: Mapping[str, Any], console: Console) -> None:
    """The report as tables."""
    table = Table(title=f"one thread, {report['rows']:,} rows, times in microseconds per query")
    for name in ("cell", "passing", "engine", "setting", "recall", "mean", "median", "p99"):
        table.add_column(name, justify="left" if name in ("cell", "engine") else "right")
    table.add_column("fanns is", justify="right")
    shares = {cell["name"]: cell["selectivity"] for cell in report["cells"]}
    ours = {r["cell"]: r["rounds"] for r in report["results"] if r["engine"] == "fanns"}
    for result in report["results"]:
        cell, first = result["cell"], result["engine"] == "fanns"
        if first:
            table.add_section()
        table.add_row(
            cell if first else "",
            f"{shares[cell]:.2%}" if first else "",
            result["engine"],
            f"{result['setting']}" + ("" if result["reached"] else " (missed)"),
            f"{result['recall']:.3f}",
            f"{result['micros']:,.0f}",
            f"{result['median_micros']:,.0f}",
            f"{result['p99_micros']:,.0f}",
            "" if first else f"{np.median(np.divide(result['rounds'], ours[cell])):.2f}x",
        )
    console.print(table)
    for bar in report["bars"]:
        verdict = "met" if bar["met"] else "MISSED"
        console.print(
            f"{bar['cell']}: {bar['ratio']:.2f}x {bar['peer']}, bar {bar['bar']:g}x: {verdict}"
        )
    build, call, size = report["build"], report["call"], report["disk"]
    console.print(
        f"build, {build['threads']} threads: fanns {build['fanns_seconds']:.1f} s, of which graph "
        f"{build['fanns_graph_seconds']:.1f} s; faiss HNSW {build['faiss_hnsw_seconds']:.1f} s; "
        f"graph ratio {build['graph_ratio']:.2f}"
    )
    console.print(
        f"one call with a prepared filter: {call['call']:.0f} us, {call['outside_paths']:.0f} us "
        f"outside the access path; {call['tiny']:.0f} us in all over 16 rows"
    )
    console.print(
        f"disk without stored columns: {size['base'] / 1e6:.0f} MB, "
        f"{size['ratio']:.2f}x the float32 vectors"
    )
    if (used := report["memory"]) is not None:
        console.print(
            f"private memory above import: {used['after_open'] / 1e6:.0f} MB after open, "
            f"{used['after_search'] / 1e6:.0f} MB after searches; "
            f"{used['mapped'] / 1e6:.0f} MB of the index's files mapped"
        )


if __name__ == "__main__":
    main()
